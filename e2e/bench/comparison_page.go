package main

import (
	"fmt"
	"slices"
)

// markdown is COMPARISON.md.
func (c *Comparison) markdown() string {
	var w report
	w.line("# pmtrace beside other tools")
	w.line("")
	w.line("Written by `make bench-comparison`; the figures are comparison.json's.")
	if c.Tools != nil {
		w.tools(c.Tools)
	}
	if r := c.Record; r != nil {
		w.line("")
		w.line("## A server started by pmtrace record")
		w.line("")
		w.where(r.Where)
		w.line("Two servers, one of them started by `pmtrace record`, loaded in turn, %d stretches each: what differs between any two processes is in it. Time per output token %s, median %.3f; tokens/s %s; CPU a step %s.",
			r.TPOT.N, interval(r.TPOT), r.TPOT.Median, interval(r.Rate), interval(r.CPU))
	}
	if c.Own != nil {
		w.own(c.Own)
	}
	return w.String()
}

// where says on what machine, and how busy it was.
func (w *report) where(at Where) {
	m := at.Machine
	kind := "bare metal"
	if m.Hypervisor {
		kind = "a virtual machine"
	}
	w.line("%s: %s, %d cores, %.0f GiB, %s, no GPU; Linux %s. Load average %s before and %s after; beside ran %s.",
		m.Date, m.CPU, m.Cores, m.MemoryGiB, kind, m.Kernel, at.Loads[0], at.Loads[1], at.Beside)
	if m.Quick {
		w.line("")
		w.line("A quick run: the figures are rough.")
	}
	w.line("")
}

func (w *report) tools(c *Tools) {
	w.line("")
	w.line("## Cost in the server")
	w.line("")
	w.where(c.Where)
	w.line("A real vLLM %s on the CPU with a tiny random model, run in the engine's own process as with one GPU, so its steps are short and mostly Python: the worst case for all of these. %d requests decode, %.0f tokens/s without any tool. Stretches of %.1f s: each with a tool lies between two without one, on the same running server, in random order; ratios are taken within such a triple, so a neighbour's load that lasts counts on both sides.",
		c.Machine.VLLM, c.Requests, c.Rate, c.Seconds)
	w.line("")
	w.line("With / without, geometric mean (95 %% interval); the least time per output token first. 1 is no cost; an interval with 1 in it has shown none. CPU is that of the engine's process; its own, that of the tool's.")
	w.line("")
	w.line("| tool | stretches | time per output token | median | tokens/s | CPU a step | its own CPU |")
	w.line("|---|---|---|---|---|---|---|")
	arms := slices.Clone(c.Arms)
	slices.SortStableFunc(arms, func(a, b Arm) int { return int(1e6 * (a.TPOT.Mean - b.TPOT.Mean)) })
	for _, a := range arms {
		own := "–"
		if a.Own > 0 {
			own = fmt.Sprintf("%.0f %% of a core", a.Own)
		}
		w.line("| %s | %d | **%s** | %.3f | %s | %s | %s |", a.Tool, a.TPOT.N, interval(a.TPOT), a.TPOT.Median, interval(a.Rate), interval(a.CPU), own)
	}
	w.line("")
	for _, a := range c.Arms {
		failed := ""
		if a.Failed > 0 {
			failed = fmt.Sprintf(" It failed in %d more stretches.", a.Failed)
		}
		w.line("- %s: %s.%s", a.Tool, a.How, failed)
	}
	for _, a := range c.Missing {
		w.line("- %s: **not measured here**: %s.", a.Tool, a.Why)
	}
}

func interval(e Estimate) string { return fmt.Sprintf("%.3f (%.3f to %.3f)", e.Mean, e.Low, e.High) }
