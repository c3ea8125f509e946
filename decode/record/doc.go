// Package record is pmtrace's vocabulary: what the journal's facts say and what
// the rows of the output tables hold. It imports nothing of pmtrace, reads no
// bytes and no files.
//
// All times are nanoseconds of CLOCK_MONOTONIC counted from the session's first
// journal frame, unless a name says otherwise; what is known from before is
// negative. A nil pointer is a null: the value is not known.
package record
