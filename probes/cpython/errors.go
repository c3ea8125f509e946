package cpython

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
)

// Reason says why something could not be read. It is itself an error, so that
// errors.Is(err, NotFound) asks for it.
type Reason uint8

const (
	Unreadable  Reason = iota // the memory is not mapped
	NullPointer               // a pointer that must be set is null
	BadLength                 // a length or count that no such object has
	Cycle                     // a linked structure that does not end
	WrongType                 // the object is of another type than asked for
	NotFound                  // no such attribute, key, name or symbol
	Unsupported               // a form that this package does not read
	Limit                     // more than the limits allow
	Overflow                  // an int beyond 64 bits
	reasonCount
)

func (r Reason) String() string {
	switch r {
	case Unreadable:
		return "unreadable"
	case NullPointer:
		return "null_pointer"
	case BadLength:
		return "bad_length"
	case Cycle:
		return "cycle"
	case WrongType:
		return "wrong_type"
	case NotFound:
		return "not_found"
	case Unsupported:
		return "unsupported"
	case Limit:
		return "limit"
	case Overflow:
		return "overflow"
	}
	return fmt.Sprintf("reason(%d)", uint8(r))
}

// Error makes a Reason a target for errors.Is.
func (r Reason) Error() string { return "cpython: " + r.String() }

// Error is a failed read of the other process.
type Error struct {
	Reason Reason
	Op     string // what was being read: "str", "dict keys" …
	Addr   uint64 // where
	Detail string // what was found, may be empty
	Err    error  // the memory's own error, may be nil
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "cpython: %s at %#x: %s", e.Op, e.Addr, e.Reason)
	if e.Detail != "" {
		b.WriteString(": " + e.Detail)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

// Unwrap gives the memory's own error.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is the error's Reason.
func (e *Error) Is(target error) bool {
	r, ok := target.(Reason)
	return ok && r == e.Reason
}

// ReasonOf gives the Reason of err. false: err is not from a read.
func ReasonOf(err error) (Reason, bool) {
	var e *Error
	if errors.As(err, &e) {
		return e.Reason, true
	}
	return 0, false
}

// UnsupportedError says that an interpreter cannot be read, what was found and
// what would be needed.
type UnsupportedError struct {
	Feature string // "version", "free-threaded build", "jit"
	Found   string
	Need    string
	Remedy  string
}

func (e *UnsupportedError) Error() string {
	s := fmt.Sprintf("cpython: %s not supported: found %s, need %s", e.Feature, e.Found, e.Need)
	if e.Remedy != "" {
		s += " (" + e.Remedy + ")"
	}
	return s
}

// Is makes every UnsupportedError match the Reason Unsupported.
func (e *UnsupportedError) Is(target error) bool { return target == Unsupported }

// Counter counts failed reads by reason. It only rises. The zero value is
// ready; it may be used from several goroutines.
type Counter struct{ n [reasonCount]atomic.Uint64 }

func (c *Counter) add(r Reason) { c.n[r].Add(1) }

// Counts gives the reasons that occurred and how often each did.
func (c *Counter) Counts() map[Reason]uint64 {
	out := make(map[Reason]uint64)
	for r := range c.n {
		if n := c.n[r].Load(); n > 0 {
			out[Reason(r)] = n
		}
	}
	return out
}
