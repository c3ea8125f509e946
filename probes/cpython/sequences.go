package cpython

import "encoding/binary"

// ListLen gives the length of a list without reading it.
func (r *Runtime) ListLen(obj uint64) (int, error) {
	n, _, err := r.listHead(obj)
	return n, err
}

// List gives the items of a list.
func (r *Runtime) List(obj uint64) ([]uint64, error) {
	n, items, err := r.listHead(obj)
	if err != nil || n == 0 {
		return nil, err
	}
	return r.pointers("list items", items, n)
}

func (r *Runtime) listHead(obj uint64) (n int, items uint64, err error) {
	if _, err := r.want("list", obj, flagList); err != nil {
		return 0, 0, err
	}
	o := &r.off.List
	v, err := r.fields("list", obj, o.Size, o.Items)
	if err != nil {
		return 0, 0, err
	}
	n, err = r.length("list", obj, v.i64(o.Size), r.limits.Items)
	return n, v.u64(o.Items), err
}

// Tuple gives the items of a tuple.
func (r *Runtime) Tuple(obj uint64) ([]uint64, error) {
	if _, err := r.want("tuple", obj, flagTuple); err != nil {
		return nil, err
	}
	return r.tupleItems("tuple", obj, r.limits.Items)
}

func (r *Runtime) tupleItems(op string, obj uint64, limit int) ([]uint64, error) {
	v, err := r.fields(op, obj, r.off.Tuple.Size)
	if err != nil {
		return nil, err
	}
	n, err := r.length(op, obj, v.i64(r.off.Tuple.Size), limit)
	if err != nil {
		return nil, err
	}
	return r.pointers(op, obj+uint64(r.off.Tuple.Items), n)
}

// DequeLen gives the length of a collections.deque or of a subclass.
func (r *Runtime) DequeLen(obj uint64) (int, error) {
	if err := r.wantDeque(obj); err != nil {
		return 0, err
	}
	v, err := r.fields("deque", obj, r.off.Deque.Size)
	if err != nil {
		return 0, err
	}
	return r.length("deque", obj, v.i64(r.off.Deque.Size), r.limits.Items)
}

// Deque gives the items of a collections.deque or of a subclass, left first.
func (r *Runtime) Deque(obj uint64) ([]uint64, error) {
	if err := r.wantDeque(obj); err != nil {
		return nil, err
	}
	o := &r.off.Deque
	v, err := r.fields("deque", obj, o.Size, o.LeftBlock, o.LeftIndex)
	if err != nil {
		return nil, err
	}
	n, err := r.length("deque", obj, v.i64(o.Size), r.limits.Items)
	if err != nil {
		return nil, err
	}
	index := v.i64(o.LeftIndex)
	if index < 0 || index > int64(o.BlockItems) {
		return nil, r.fail(BadLength, "deque", obj, "left index")
	}
	return r.dequeItems(v.u64(o.LeftBlock), int(index), n)
}

func (r *Runtime) dequeItems(block uint64, index, n int) ([]uint64, error) {
	o := &r.off.Deque
	out := make([]uint64, 0, min(n, 4096))
	seen := make(map[uint64]bool)
	for len(out) < n {
		if seen[block] {
			return out, r.fail(Cycle, "deque", block, "")
		}
		seen[block] = true
		b, err := r.bytes("deque block", block, o.BlockRight+8)
		if err != nil {
			return out, err
		}
		for ; index < o.BlockItems && len(out) < n; index++ {
			out = append(out, binary.LittleEndian.Uint64(b[o.BlockData+index*8:]))
		}
		block, index = binary.LittleEndian.Uint64(b[o.BlockRight:]), 0
	}
	return out, nil
}

func (r *Runtime) wantDeque(obj uint64) error {
	t, err := r.Type(obj)
	for depth := 0; err == nil && t.Name != "collections.deque"; depth++ {
		if t.Base == 0 || depth >= r.limits.MRO {
			return r.fail(WrongType, "deque", obj, "")
		}
		t, err = r.TypeAt(t.Base)
	}
	return err
}

// SetLen gives the length of a set or frozenset.
func (r *Runtime) SetLen(obj uint64) (int, error) {
	if err := r.wantSet(obj); err != nil {
		return 0, err
	}
	v, err := r.fields("set", obj, r.off.Set.Used)
	if err != nil {
		return 0, err
	}
	return r.length("set", obj, v.i64(r.off.Set.Used), r.limits.Items)
}

// Set gives the members of a set or frozenset in table order.
func (r *Runtime) Set(obj uint64) ([]uint64, error) {
	if err := r.wantSet(obj); err != nil {
		return nil, err
	}
	o := &r.off.Set
	v, err := r.fields("set", obj, o.Used, o.Mask, o.Table)
	if err != nil {
		return nil, err
	}
	slots := v.i64(o.Mask) + 1
	if slots < 1 || slots&(slots-1) != 0 || v.i64(o.Used) < 0 || v.i64(o.Used) > slots {
		return nil, r.fail(BadLength, "set", obj, "")
	}
	if v.i64(o.Used) > int64(r.limits.Items) {
		return nil, r.fail(Limit, "set", obj, "")
	}
	// A set that was emptied keeps its table, which is far larger then.
	n, err := r.length("set", obj, slots, 16*r.limits.Items)
	if err != nil {
		return nil, err
	}
	return r.setTable(v.u64(o.Table), n, int(v.i64(o.Used)))
}

// setChunk is how many slots of a set's table are read at once.
const setChunk = 4096

// setTable stops at used members: what follows can only be empty, or the set
// changes while it is read.
func (r *Runtime) setTable(table uint64, slots, used int) ([]uint64, error) {
	o := &r.off.Set
	var out []uint64
	for at := 0; at < slots && len(out) < used; at += setChunk {
		b, err := r.bytes("set table", table+uint64(at*o.EntrySize), min(setChunk, slots-at)*o.EntrySize)
		if err != nil {
			return out, err
		}
		for i := 0; i < len(b) && len(out) < used; i += o.EntrySize {
			key := binary.LittleEndian.Uint64(b[i+o.EntryKey:])
			hash := int64(binary.LittleEndian.Uint64(b[i+o.EntryHash:]))
			if key != 0 && hash != -1 { // -1: deleted
				out = append(out, key)
			}
		}
	}
	return out, nil
}

func (r *Runtime) wantSet(obj uint64) error {
	t, err := r.Type(obj)
	for depth := 0; err == nil && t.Name != "set" && t.Name != "frozenset"; depth++ {
		if t.Base == 0 || depth >= r.limits.MRO {
			return r.fail(WrongType, "set", obj, "")
		}
		t, err = r.TypeAt(t.Base)
	}
	return err
}
