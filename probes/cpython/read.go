package cpython

import (
	"encoding/binary"
	"errors"
)

// view is a part of a structure that was read in one go. Its methods take the
// field's offset in the structure, which must be among those asked for, or
// between them.
type view struct {
	lo int
	b  []byte
}

func (v view) u64(off int) uint64 { return binary.LittleEndian.Uint64(v.b[off-v.lo:]) }
func (v view) i64(off int) int64  { return int64(v.u64(off)) }
func (v view) u32(off int) uint32 { return binary.LittleEndian.Uint32(v.b[off-v.lo:]) }
func (v view) i32(off int) int    { return int(int32(v.u32(off))) }
func (v view) u8(off int) uint8   { return v.b[off-v.lo] }

// maxSpan bounds how far apart fields read together may be.
const maxSpan = 16 << 10

// fields reads 8 bytes at each offset in one go, and what lies between.
func (r *Runtime) fields(op string, addr uint64, offs ...int) (view, error) {
	lo, hi := offs[0], offs[0]
	for _, off := range offs[1:] {
		lo, hi = min(lo, off), max(hi, off)
	}
	if addr == 0 {
		return view{}, r.fail(NullPointer, op, addr, "")
	}
	if hi-lo > maxSpan {
		return view{}, r.fail(Unsupported, op, addr, "fields too far apart")
	}
	b := make([]byte, hi+8-lo)
	if err := r.mem.ReadAt(addr+uint64(lo), b); err != nil {
		return view{}, r.failErr(op, addr, err)
	}
	return view{lo, b}, nil
}

func (r *Runtime) bytes(op string, addr uint64, n int) ([]byte, error) {
	b := make([]byte, n)
	if err := r.mem.ReadAt(addr, b); err != nil {
		return nil, r.failErr(op, addr, err)
	}
	return b, nil
}

func (r *Runtime) u64(op string, addr uint64) (uint64, error) {
	v, err := r.fields(op, addr, 0)
	if err != nil {
		return 0, err
	}
	return v.u64(0), nil
}

// pointers reads n pointers at addr. n must be bounded by the caller.
func (r *Runtime) pointers(op string, addr uint64, n int) ([]uint64, error) {
	if n == 0 {
		return nil, nil
	}
	b, err := r.bytes(op, addr, n*8)
	if err != nil {
		return nil, err
	}
	out := make([]uint64, n)
	for i := range out {
		out[i] = binary.LittleEndian.Uint64(b[i*8:])
	}
	return out, nil
}

// length checks a count that the process gave against a limit.
func (r *Runtime) length(op string, addr uint64, n int64, limit int) (int, error) {
	if n < 0 {
		return 0, r.fail(BadLength, op, addr, "negative")
	}
	if n > int64(limit) {
		return 0, r.fail(Limit, op, addr, "")
	}
	return int(n), nil
}

// fail counts and makes an error.
func (r *Runtime) fail(reason Reason, op string, addr uint64, detail string) error {
	r.failures.add(reason)
	return &Error{Reason: reason, Op: op, Addr: addr, Detail: detail}
}

// failErr is fail for an error of the memory.
func (r *Runtime) failErr(op string, addr uint64, err error) error {
	var already *Error
	if errors.As(err, &already) {
		return err
	}
	r.failures.add(Unreadable)
	return &Error{Reason: Unreadable, Op: op, Addr: addr, Err: err}
}
