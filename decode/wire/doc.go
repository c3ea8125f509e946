// Package wire is Go's view of the events in bpf/event.h: heads as plain
// structs, lists as views over the event's bytes. Reading one allocates
// nothing. Package bpf's generated structs describe the same layout, but come
// with the BPF loader; the pure half of pmtrace does without it, and a test
// fills every field from C and reads it back here.
package wire
