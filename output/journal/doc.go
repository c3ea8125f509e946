// Package journal keeps what was captured: an append-only sequence of records,
// each a kind byte and a payload that this package does not interpret.
//
// A journal is a directory of files NNNNN.pmj. A file is a header and frames; a
// frame is a header with lengths, a sequence number and checksums, and one zstd
// block holding up to about a mebibyte of records. Frames stand alone: whatever
// happened to the bytes before, a complete frame can be read. A reader steps
// over what is damaged, finds the next frame by its magic, and says what it
// could not read.
//
// What is to survive the tracer's death before there is enough for a frame is
// kept beside them until then (see tail.go).
//
// Before compression the records of a frame are taken apart by class (see
// block.go), because consecutive steps of a server differ in little more than
// counters.
package journal
