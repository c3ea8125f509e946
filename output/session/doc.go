// Package session owns the session directory: where it lies, who may read it,
// and what is in it beside the journal. Rows go in as Parquet (Tables, a
// record.Sink) and come out again (Read); from them and from the facts the CSV,
// JSON and TXT files of profilemate's layout are made (WriteFiles), and the
// Summary that a person reads at the end of a run.
package session
