package join

// slab hands out pointers to values for the nullable columns, a chunk at a
// time: one allocation for many rows, and a row may keep its pointers.
type slab[T any] struct {
	chunk []T
}

const slabSize = 1024

func (s *slab[T]) of(v T) *T {
	if len(s.chunk) == cap(s.chunk) {
		s.chunk = make([]T, 0, slabSize)
	}
	s.chunk = append(s.chunk, v)
	return &s.chunk[len(s.chunk)-1]
}

// nullable makes pointers for the nullable columns.
type nullable struct {
	i32   slab[int32]
	i64   slab[int64]
	small [256]int32 // small counts are most of all values and need no memory of their own
}

func newNullable() *nullable {
	n := &nullable{}
	for i := range n.small {
		n.small[i] = int32(i)
	}
	return n
}

func (n *nullable) int32(v int32) *int32 {
	if uint32(v) < uint32(len(n.small)) {
		return &n.small[v]
	}
	return n.i32.of(v)
}

func (n *nullable) int64(v int64) *int64 { return n.i64.of(v) }

// count is a count that is null where it is negative.
func (n *nullable) count(v int32) *int32 {
	if v < 0 {
		return nil
	}
	return n.int32(v)
}
