package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/pmtrace/pmtrace/output/report"
)

func printRequest(w io.Writer, d *report.Detail) {
	fmt.Fprintf(w, "Request %s (uid %d, engine %d)\n", printable(d.ExternalID), d.UID, d.Engine)
	fmt.Fprintf(w, "%s prompt tokens, %s of them cached; %s output tokens of at most %s; %d steps\n",
		known(d.PromptTokens), known(d.CachedTokens), known(d.OutputTokens), known(d.MaxTokens), d.Steps)
	if !d.FromStart {
		fmt.Fprintln(w, "It ran when tracing began: what was before is unknown.")
	}
	if d.FinishedNS == nil {
		fmt.Fprintln(w, "Its end was not seen.")
	}
	printLife(w, d)
	printParts(w, d)
	printGaps(w, d)
}

func known(n *int32) string {
	if n == nil {
		return "unknown"
	}
	return fmt.Sprint(*n)
}

// printLife says what happened when. Of many chunks the first and last are shown.
func printLife(w io.Writer, d *report.Detail) {
	const shown = 12
	fmt.Fprintf(w, "\n%-12s %11s %11s\n", "Life", "at s", "since ms")
	for i, e := range d.Events {
		if hidden := len(d.Events) - shown; hidden > 1 && i >= shown/2 && i < shown/2+hidden {
			if i == shown/2 {
				fmt.Fprintf(w, "  … %d more (--json has them)\n", hidden)
			}
			continue
		}
		line := fmt.Sprintf("  %-11s %10.6f %11.3f  %s", e.Event, float64(e.TimeNS)/1e9, float64(e.TimeNS-d.FromNS)/1e6, happened(&e))
		fmt.Fprintln(w, strings.TrimRight(line, " "))
		if len(e.With) > 0 {
			printPrefills(w, "      with ", e.With)
		}
	}
}

func happened(e *report.Event) string {
	var words []string
	if e.StepID != nil {
		words = append(words, fmt.Sprintf("step %d", *e.StepID))
	}
	switch e.Event {
	case report.EventPrefill, report.EventRecompute:
		s := fmt.Sprintf("%d tokens", *e.Tokens)
		if e.Computed != nil {
			s += fmt.Sprintf(" behind %d", *e.Computed)
		}
		words = append(words, s, fmt.Sprintf("%d requests in the step", *e.Requests))
	case report.EventPreempted:
		if e.Blocks != nil {
			words = append(words, fmt.Sprintf("%d blocks freed", *e.Blocks))
		}
		if e.Computed != nil {
			words = append(words, fmt.Sprintf("%d tokens thrown away", *e.Computed))
		}
	}
	if e.Reason != "" {
		words = append(words, printable(e.Reason))
	}
	return strings.Join(words, ", ")
}

// printPrefills says who else computed prompts, in lines that are not too long.
func printPrefills(w io.Writer, indent string, list []report.Prefill) {
	const wide = 98
	line := indent
	for i, p := range list {
		word := fmt.Sprintf("%s of %d tokens: %s", p.Kind, p.Tokens, printable(p.ExternalID))
		if i > 0 {
			line += ","
			if len(line)+len(word) >= wide {
				fmt.Fprintln(w, line)
				line = strings.Repeat(" ", len(indent)-1)
			}
			line += " "
		}
		line += word
	}
	fmt.Fprintln(w, line)
}

// printParts is a table of the parts that there are.
func printParts(w io.Writer, d *report.Detail) {
	columns := []*report.Parts{&d.Total}
	fmt.Fprintf(w, "\n%-32s", "Where the time went, ms")
	if d.First != nil {
		columns = []*report.Parts{d.First, d.After, &d.Total}
		fmt.Fprintf(w, "%17s %17s ", "to first token", "after it")
	}
	fmt.Fprintf(w, "%17s\n", "total")
	for part := report.Frontend; part <= report.Unknown; part++ {
		if d.Total[part] != 0 {
			printRow(w, part.Text(), columns, func(p *report.Parts) int64 { return p[part] })
		}
	}
	printRow(w, "whole", columns, (*report.Parts).Sum)
	if d.Total[report.OthersPrefill] != 0 {
		fmt.Fprintf(w, "* attributed, not measured: in %d steps what they took beyond the median of the last\n"+
			"  steps of decodes alone of like batch size, in %d the share of tokens\n", d.Compared, d.Shared)
	}
	if d.Total.Of(report.QueueSeqs, report.QueueBlocks) != 0 {
		fmt.Fprint(w, "* queue: attributed by what the schedule calls show that did not take it\n")
	}
	whole := int64(0)
	for _, ns := range d.Timings {
		whole += ns
	}
	var sources []string
	for _, source := range slices.Sorted(maps.Keys(d.Timings)) {
		sources = append(sources, fmt.Sprintf("%s %.1f %%", source, 100*float64(d.Timings[source])/float64(max(whole, 1))))
	}
	if len(sources) > 0 {
		fmt.Fprintf(w, "Times of its steps: %s%s\n", strings.Join(sources, ", "), cpuBound(d))
	}
}

func cpuBound(d *report.Detail) string {
	if d.Timings["cpu_bound"] == 0 {
		return ""
	}
	return " (the CPU's view: the host's work in them, too)"
}

func printRow(w io.Writer, name string, columns []*report.Parts, of func(*report.Parts) int64) {
	line := fmt.Sprintf("  %-30s", name)
	for _, p := range columns {
		cell := ""
		if ns := of(p); ns != 0 {
			cell = fmt.Sprintf("%10.3f %5.1f%%", float64(ns)/1e6, 100*float64(ns)/float64(p.Sum()))
		}
		line += fmt.Sprintf("%17s ", cell)
	}
	fmt.Fprintln(w, strings.TrimRight(line, " "))
}

func printGaps(w io.Writer, d *report.Detail) {
	if len(d.Slowest) == 0 {
		return
	}
	fmt.Fprintf(w, "\nSlowest of %d gaps between its tokens; the median gap is %.3f ms\n", d.Gaps, float64(d.Usual.NS)/1e6)
	for i := range d.Slowest {
		g := &d.Slowest[i]
		fmt.Fprintf(w, "  token %d at %.6f s: %.3f ms", g.Token, float64(g.ToNS)/1e9, float64(g.NS)/1e6)
		if g.Tokens > 1 {
			fmt.Fprintf(w, " for %d tokens", g.Tokens)
		}
		fmt.Fprintln(w)
		if more := beyond(g); more != "" {
			fmt.Fprintf(w, "    beyond the median: %s\n", more)
		}
		for _, s := range g.Steps {
			printGapStep(w, &s)
		}
		if more := g.StepCount - len(g.Steps); more > 0 {
			fmt.Fprintf(w, "    and %d steps more\n", more)
		}
	}
}

// beyond are the parts that most of the difference to the usual gap is of.
func beyond(g *report.TokenGap) string {
	order := make([]report.Part, len(g.Beyond))
	for i := range order {
		order[i] = report.Part(i)
	}
	slices.SortStableFunc(order, func(a, b report.Part) int { return int(min(max(g.Beyond[b]-g.Beyond[a], -1), 1)) })
	var words []string
	for _, part := range order[:3] {
		if ns := g.Beyond[part]; ns > g.NS/50 {
			words = append(words, fmt.Sprintf("%s + %.3f ms", part.Text(), float64(ns)/1e6))
		}
	}
	return strings.Join(words, "; ")
}

func printGapStep(w io.Writer, s *report.GapStep) {
	without := ""
	if !s.Own {
		without = ", without it"
	}
	fmt.Fprintf(w, "    step %d%s: %.3f of its %.3f ms, %d requests, %d tokens, %d of them prefill\n", s.StepID, without,
		float64(s.WithinNS)/1e6, float64(s.RunNS)/1e6, s.Requests, s.Tokens, s.PrefillTokens)
	if len(s.Prefills) > 0 {
		printPrefills(w, "      with ", s.Prefills)
	}
}
