// Package decode turns the journal's records into the rows of pmtrace's
// tables: raw event bytes become typed events (Decoder), package join makes
// rows of them, and Pipeline is both in a row, live as well as over a recorded
// journal. It is pure: no clock, no files; the same bytes give the same rows in
// the same order.
package decode
