package join

import "math"

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
	f32   slab[float32]
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

// narrow is a number of a fact; null where it is absent or no int32.
func (n *nullable) narrow(v *int) *int32 {
	if v == nil || int(int32(*v)) != *v {
		return nil
	}
	return n.int32(int32(*v))
}

// time is a time that is null where it is unset.
func (n *nullable) time(t int64) *int64 {
	if t == unset {
		return nil
	}
	return n.int64(t)
}

// text is a string that is null where it is empty.
func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// float32 is a number that is null where it is not one.
func (n *nullable) float32(v float32) *float32 {
	if math.IsNaN(float64(v)) {
		return nil
	}
	return n.f32.of(v)
}

// rounded is a sum of floats; null where one of them was not a number.
func (n *nullable) rounded(v float64) *int64 {
	if math.IsNaN(v) {
		return nil
	}
	return n.int64(int64(math.Round(min(max(v, -1<<62), 1<<62))))
}

// bytes is a size as a column has it.
func (n *nullable) bytes(v *uint64) *int64 {
	if v == nil {
		return nil
	}
	return n.int64(positive(*v))
}
