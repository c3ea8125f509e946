// Package cpython reads another process's CPython 3.10 to 3.14 from outside.
//
// It never stops the process and never writes to it: everything is read with
// process_vm_readv while the interpreter runs on. So every pointer may be
// stale and every length may be wrong. Each read is bounded, linked structures
// have a limit and a cycle guard, and what cannot be read is an *Error with a
// Reason, counted in Runtime.Failures.
//
// Open finds the interpreter in a process and gives a Runtime. From there:
//
//	interp → Threads → Frames → Code → Positions   (where to put watches)
//	frame  → Local → Attr, Dict, List, Str, Int …  (what is there now)
//	object → ResolveAttr → Storage                 (how BPF gets there later)
//
// An object is named by its address, a uint64. Addresses of one Runtime mean
// nothing in another.
//
// A Runtime reads live memory each time. Runtime.Snapshot gives one that reads
// whole pages once and remembers them, for walks over many objects.
package cpython

//go:generate gen/generate.sh
