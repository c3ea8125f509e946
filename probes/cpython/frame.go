package cpython

// Frame is one Python call on a thread.
type Frame struct {
	Addr    uint64 // of the _PyInterpreterFrame; in 3.10 of the PyFrameObject
	Code    uint64
	Func    uint64 // the function object; 0 in 3.10
	Globals uint64 // a dict
	// Localsplus is the address of the first local's slot; slots are 8 bytes.
	Localsplus uint64
	Owner      uint8
	// InstrAddr is the instruction that runs, or that called the next frame;
	// InstrIndex the same in code units from the code's first. 3.11 and 3.12
	// keep it exact only at calls.
	InstrAddr  uint64
	InstrIndex int
}

// Frames gives the thread's Python frames, innermost first, at most max (0:
// the limit). The thread runs on meanwhile: a frame may be gone when it is
// looked at. On an error it gives the frames it had.
func (t Thread) Frames(max int) ([]Frame, error) { return t.r.Frames(t, max) }

// Frames is Thread.Frames read through r, which may be another snapshot.
func (r *Runtime) Frames(t Thread, max int) ([]Frame, error) {
	top, err := r.currentFrame(t.Addr)
	if err != nil {
		return nil, err
	}
	if max <= 0 || max > r.limits.Frames {
		max = r.limits.Frames
	}
	var out []Frame
	seen := make(map[uint64]bool)
	for at := top; at != 0 && len(out) < max; {
		if seen[at] {
			return out, r.fail(Cycle, "frames", at, "")
		}
		if len(seen) > 2*r.limits.Frames {
			return out, r.fail(Limit, "frames", at, "")
		}
		seen[at] = true
		f, previous, err := r.frame(at)
		if err != nil {
			return out, err
		}
		if r.holdsPython(&f) {
			out = append(out, f)
		}
		at = previous
	}
	return out, nil
}

func (r *Runtime) currentFrame(tstate uint64) (uint64, error) {
	o := &r.off.Thread
	if o.CurrentFrame != Absent {
		return r.u64("thread", tstate+uint64(o.CurrentFrame))
	}
	cframe, err := r.u64("thread", tstate+uint64(o.CFrame))
	if err != nil {
		return 0, err
	}
	return r.u64("cframe", cframe+uint64(r.off.CFrame.CurrentFrame))
}

// frame reads one frame and the address of its caller's.
func (r *Runtime) frame(addr uint64) (Frame, uint64, error) {
	o := &r.off.Frame
	if o.InstrIsIndex {
		return r.frame310(addr)
	}
	// fields reads 8 bytes from each offset: Owner-7 makes its byte the last.
	v, err := r.fields("frame", addr, o.Code, o.Func, o.Globals, o.Previous, o.Instr, o.Owner-7)
	if err != nil {
		return Frame{}, 0, err
	}
	f := Frame{
		Addr: addr, Code: r.deref(v.u64(o.Code)), Func: r.deref(v.u64(o.Func)), Globals: v.u64(o.Globals),
		Localsplus: addr + uint64(o.Localsplus), Owner: v.u8(o.Owner), InstrAddr: v.u64(o.Instr),
	}
	f.InstrIndex = int(int64(f.InstrAddr-f.Code-uint64(r.off.Code.Adaptive)) / 2)
	return f, v.u64(o.Previous), nil
}

// frame310 is frame for PyFrameObject.
func (r *Runtime) frame310(addr uint64) (Frame, uint64, error) {
	o := &r.off.Frame
	v, err := r.fields("frame", addr, o.Code, o.Globals, o.Previous, o.Instr)
	if err != nil {
		return Frame{}, 0, err
	}
	f := Frame{
		Addr: addr, Code: v.u64(o.Code), Globals: v.u64(o.Globals), Localsplus: addr + uint64(o.Localsplus), InstrIndex: v.i32(o.Instr),
	}
	units, err := r.u64("code", f.Code+uint64(r.off.Code.Bytes))
	if err != nil {
		return Frame{}, 0, err
	}
	f.InstrAddr = units + uint64(r.off.Bytes.Data) + 2*uint64(int64(f.InstrIndex))
	return f, v.u64(o.Previous), nil
}

// deref clears the tag bits of a _PyStackRef (3.14).
func (r *Runtime) deref(ref uint64) uint64 { return ref &^ uint64(r.off.Frame.RefMask) }

// holdsPython is false for the interpreter's own frames and for those whose
// function has not begun yet (CPython's _PyFrame_IsIncomplete).
func (r *Runtime) holdsPython(f *Frame) bool {
	if r.off.Frame.Owner == Absent {
		return f.Code != 0
	}
	if f.Owner >= uint8(r.off.Frame.OwnerShim) || f.Code == 0 {
		return false
	}
	if f.Owner == uint8(r.off.Frame.OwnerGenerator) {
		return true
	}
	v, err := r.fields("code", f.Code, r.off.Code.FirstTraceable)
	return err == nil && f.InstrIndex >= v.i32(r.off.Code.FirstTraceable)
}

// LocalSlot gives the address of a local's slot, for BPF.
func (f Frame) LocalSlot(index int) uint64 { return f.Localsplus + uint64(index)*8 }

// Local gives the object in local index (see Code.LocalIndex), looking into
// the cell of a variable that a nested function shares. NullPointer: not set.
func (r *Runtime) Local(f Frame, code Code, index int) (uint64, error) {
	if index < 0 || index >= code.Nlocalsplus {
		return 0, r.fail(NotFound, "local", f.Addr, "")
	}
	ref, err := r.u64("local", f.LocalSlot(index))
	if err != nil {
		return 0, err
	}
	obj := r.deref(ref)
	if obj == 0 {
		return 0, r.fail(NullPointer, "local", f.LocalSlot(index), "not set")
	}
	if !code.IsCell(index) {
		return obj, nil
	}
	// An argument becomes a cell only when MAKE_CELL has run.
	if t, err := r.Type(obj); err != nil || t.Name != "cell" {
		return obj, err
	}
	return r.Cell(obj)
}

// LocalByName is Local for a name.
func (r *Runtime) LocalByName(f Frame, code Code, name string) (uint64, error) {
	i, ok := code.LocalIndex(name)
	if !ok {
		return 0, r.fail(NotFound, "local", f.Addr, name+" in "+code.Qualname)
	}
	return r.Local(f, code, i)
}

// Cell gives the object in a cell. NullPointer: it is empty.
func (r *Runtime) Cell(cell uint64) (uint64, error) {
	obj, err := r.u64("cell", cell+uint64(r.off.Cell.Ref))
	if err == nil && obj == 0 {
		err = r.fail(NullPointer, "cell", cell, "empty")
	}
	return obj, err
}
