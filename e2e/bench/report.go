package main

import "fmt"

// row says a figure and its target.
func (w *report) row(what, figure string, target string, met bool) {
	word := "met"
	switch {
	case target == "":
		word = ""
	case !met:
		word = "**missed**"
	}
	w.line("| %s | %s | %s | %s |", what, figure, target, word)
}

func (w *report) targets(r *Results) {
	w.line("")
	w.line("## Targets")
	w.line("")
	w.line("| what | figure | target | |")
	w.line("|---|---|---|---|")
	if t := r.Tracer; t != nil {
		at := fmt.Sprintf("at %.0f steps/s × %d requests, %.0f s", t.Steps, t.Requests, t.Seconds)
		w.row("CPU of `pmtrace attach` "+at, fmt.Sprintf("%.2f %% of a core (%.0f %% of it in the kernel)", t.CPU, 100*t.SystemShare), "≤ 1 %", t.CPU <= 1)
		w.row("the same, armed, without a step", fmt.Sprintf("%.2f %% of a core", t.Idle), "", true)
		w.row("anonymous memory "+at, fmt.Sprintf("peak %.1f MiB, end %.1f MiB", t.MiB.Peak, t.MiB.End), "≤ 60 MiB", t.MiB.Peak <= 60)
		w.row("journal + Parquet", bytesPer(t.Size), "≤ 10 B a request and step", t.Size.Both <= 10)
	}
	if l := r.Long; l != nil {
		at := fmt.Sprintf("over %.0f steps × %d requests in %.0f s", l.Steps, l.Requests, l.Seconds)
		w.row("anonymous memory "+at, fmt.Sprintf("peak %.1f MiB, end %.1f MiB", l.MiB.Peak, l.MiB.End), "≤ 60 MiB", l.MiB.Peak <= 60)
		w.row("its slope in the last three quarters", fmt.Sprintf("%+.2f MiB per 100,000 steps", l.SlopeMiB), "flat: ≤ 1 MiB", l.SlopeMiB <= 1)
		w.row("journal + Parquet of that", bytesPer(l.Size), "≤ 10 B a request and step", l.Size.Both <= 10)
	}
	if a := r.Attach; a != nil {
		w.row(fmt.Sprintf("attach to a real server under load, start of pmtrace → armed, %d times", a.Runs),
			fmt.Sprintf("median %.2f s, at most %.2f s", a.Median, a.Max), "≤ 1 s", a.Max <= 1)
	}
	if d := r.Decode; d != nil {
		w.row(fmt.Sprintf("decode and join of a journal with %.1f M requests in steps (%.1f M rows in all tables), median of %d", float64(d.Rows)/1e6, float64(d.AllRows)/1e6, d.Runs),
			perSecond(d.Pipeline), "≥ 1 M/s", d.Pipeline >= 1e6)
		w.row("`pmtrace decode --no-csv`: the same, and Parquet written", perSecond(d.Parquet), "", true)
		w.row("`pmtrace decode`: the same, and the CSV and JSON files", perSecond(d.Files), "", true)
	}
}

func bytesPer(s Size) string {
	return fmt.Sprintf("%.2f + %.2f = %.2f B a request and step (%.0f + %.0f B a step)",
		s.Journal, s.Parquet, s.Both, s.JournalStep, s.ParquetStep)
}

func perSecond(rate float64) string {
	return fmt.Sprintf("%.2f M requests in steps a second", rate/1e6)
}

func (w *report) step(costs []StepCost) {
	if costs == nil {
		return
	}
	w.line("")
	w.line("## BPF in a step")
	w.line("")
	w.line("By the kernel's own statistics (`kernel.bpf_stats_enabled`): time in the programs, without the breakpoints' traps. Hits a step × time a hit, at 100 steps/s.")
	w.line("")
	w.line("| requests | schedule_return | free_blocks | update_return | update_entry | hits a step | BPF a step |")
	w.line("|---|---|---|---|---|---|---|")
	for _, c := range costs {
		name := fmt.Sprint(c.Requests)
		if c.Where == "server" {
			name += ", real vLLM"
		}
		row := "| " + name
		for _, p := range c.Programs {
			row += fmt.Sprintf(" | %.2f × %.1f µs", p.HitsStep, p.NSHit/1e3)
		}
		w.line("%s | %.2f | %.1f µs |", row, c.HitsStep, c.USStep)
	}
}

func (w *report) paired(r *Results) {
	if r.Server == nil && r.Worst == nil {
		return
	}
	w.line("")
	w.line("## With and without")
	w.line("")
	w.line("Pairs of stretches on one running process, pmtrace attached for one of the two, in random order: with / without, mean ± standard error, 95 %% interval, and median. CPU is the engine process's own; what is added to it is the whole cost in the server: BPF, traps, and the debug registers at each context switch.")
	w.line("")
	w.line("| | pairs | without | rate | time per token or step | CPU a step | added CPU a step |")
	w.line("|---|---|---|---|---|---|---|")
	if p := r.Server; p != nil {
		w.pair(fmt.Sprintf("real vLLM, decode, %d requests, %.0f s each", p.Requests, p.Seconds), "tokens/s", p)
	}
	if p := r.Worst; p != nil {
		w.pair(fmt.Sprintf("worst case: the shape program, %d requests, steps without a model at full speed, %.0f s each", p.Requests, p.Seconds), "steps/s", p)
	}
}

func (w *report) pair(what, unit string, p *Paired) {
	w.line("| %s | %d | %.0f %s, %.0f µs CPU a step | %s | %s | %s | %.0f ± %.0f µs, median %.0f |", what, p.Rate.N, p.Without, unit, p.CPUStep,
		ratioText(p.Rate), ratioText(p.TPOT), ratioText(p.CPU), p.AddedUS.Mean, p.AddedUS.SE, p.AddedUS.Median)
}

func ratioText(e Estimate) string {
	return fmt.Sprintf("%.3f ± %.3f (%.3f to %.3f), median %.3f", e.Mean, e.SE, e.Low, e.High, e.Median)
}

func (w *report) long(l *Long) {
	if l == nil {
		return
	}
	w.line("")
	w.line("## Memory over an hour's worth of steps")
	w.line("")
	w.line("At full speed (%.0f steps/s, %.0f µs of pmtrace's CPU a step).", l.Steps/l.Seconds, l.CPUStep)
	w.line("")
	w.line("| steps | anonymous memory |")
	w.line("|---|---|")
	for i, s := range l.Samples {
		if i%5 == 0 || i == len(l.Samples)-1 {
			w.line("| %.0f | %.1f MiB |", s.Steps, s.MiB)
		}
	}
}
