package main

import "fmt"

// A busy server's day, for which the goal of disk space is set.
const (
	stepsPerSecond = 100
	stepsPerDay    = stepsPerSecond * 86400
)

// own says pmtrace's own speed and size, beside their goals.
func (w *report) own(r *Own) {
	w.line("")
	w.line("## pmtrace's own speed and size")
	w.line("")
	w.where(r.Where)
	w.line("Of the program of vLLM's shape on CPython %s. RSS counts 16 MiB of the ring that the kernel writes into, and the pages of pmtrace's own file, which are the page cache's.", r.Machine.Python)
	w.line("")
	w.line("| what | figure | goal | |")
	w.line("|---|---|---|---|")
	if d := r.Decode; d != nil {
		of := fmt.Sprintf("of %.1f M rows", float64(d.AllRows)/1e6)
		scale := float64(d.AllRows) / float64(d.Rows) / 1e6
		w.row("decode and join, rows of all tables, "+of, fmt.Sprintf("%.2f M/s", d.Pipeline*scale), "≥ 2 M/s", d.Pipeline*scale >= 2)
		w.row("`pmtrace decode --no-csv`: and Parquet written", fmt.Sprintf("%.2f M/s", d.Parquet*scale), "≥ 2 M/s", d.Parquet*scale >= 2)
		if d.CPU > 0 {
			w.row("… a second of the processor's", fmt.Sprintf("%.2f M", float64(d.AllRows)/d.CPU/1e6), "", true)
		}
		w.row("`pmtrace decode`: and the CSV and JSON files", fmt.Sprintf("%.2f M/s", d.Files*scale), "", true)
		if d.PeakMiB > 0 {
			w.row("peak memory of `pmtrace decode` (RSS)", fmt.Sprintf("%.0f MiB", d.PeakMiB), "", true)
		}
	}
	if t := r.Tracer; t != nil {
		if t.RSS > 0 {
			w.row(fmt.Sprintf("peak memory of `pmtrace attach` (RSS), %.0f steps/s × %d requests, %.0f s", t.Steps, t.Requests, t.Seconds),
				fmt.Sprintf("%.0f MiB, %.0f of them anonymous", t.RSS, t.MiB.Peak), "≤ 60 MB", t.RSS*(1<<20) <= 60e6)
		}
	}
	if l := r.Long; l != nil && l.RSS > 0 {
		w.row(fmt.Sprintf("… over %.0f steps × %d requests at full speed", l.Steps, l.Requests),
			fmt.Sprintf("%.0f MiB, %.0f of them anonymous", l.RSS, l.MiB.Peak), "≤ 60 MB", l.RSS*(1<<20) <= 60e6)
	}
	if t := r.Tracer; t != nil {
		w.day(t)
	}
}

// day says what a day's steps take of the disk: a session without steps, and for each step what
// the measured session has more than that.
func (w *report) day(t *TracerCost) {
	gb := func(perStep, empty float64) float64 {
		steps := float64(t.Size.Steps)
		return (empty + (perStep*steps-empty)/steps*stepsPerDay) / 1e9
	}
	j, p := gb(t.Size.JournalStep, t.Size.EmptyJournal), gb(t.Size.ParquetStep, t.Size.EmptyParquet)
	w.row(fmt.Sprintf("disk a day, at %d steps/s × %d requests: a session without steps, and %.2f M times what a step adds", stepsPerSecond, t.Requests, stepsPerDay/1e6),
		fmt.Sprintf("%.2f GB of journal + %.2f GB of Parquet = %.2f GB", j, p, j+p), "≤ 2 GB", j+p <= 2)
}
