package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/report"
)

func printRequest(w io.Writer, d *report.Detail) {
	fmt.Fprintf(w, "Request %s (uid %d, engine %d)\n", printable(d.ExternalID), d.UID, d.Engine)
	fmt.Fprintf(w, "%s prompt tokens, %s of them cached; %s output tokens of at most %s; %s\n",
		known(d.PromptTokens), known(d.CachedTokens), known(d.OutputTokens), known(d.MaxTokens), counted(d.Steps, "step"))
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

func counted[N int | int32](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
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
			printPrefills(w, e.With)
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
		s := counted(*e.Tokens, "token")
		if e.Computed != nil {
			s += fmt.Sprintf(" behind %d", *e.Computed)
		}
		words = append(words, s, counted(*e.Requests, "request")+" in the step")
	case report.EventPreempted:
		if e.Blocks != nil {
			words = append(words, counted(*e.Blocks, "block")+" freed")
		}
		if e.Computed != nil {
			words = append(words, counted(*e.Computed, "token")+" thrown away")
		}
	}
	if e.Reason != "" {
		words = append(words, printable(e.Reason))
	}
	return strings.Join(words, ", ")
}

// printPrefills says who else computed prompts.
func printPrefills(w io.Writer, list []report.Prefill) {
	words := make([]string, len(list))
	for i, p := range list {
		words[i] = fmt.Sprintf("%s of %s: %s", p.Kind, counted(p.Tokens, "token"), printable(p.ExternalID))
	}
	printWords(w, "      with ", words)
}

// printWords breaks a list into lines that are not too long.
func printWords(w io.Writer, head string, words []string) {
	const wide = 98
	line := head
	for i, word := range words {
		if i > 0 {
			line += ","
			if len(line)+len(word) >= wide {
				fmt.Fprintln(w, line)
				line = strings.Repeat(" ", len(head)-1)
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
		fmt.Fprintf(w, "* attributed, not measured: in %s what it took beyond the median of the last steps\n"+
			"  of decodes alone of like batch size, in %s the share of tokens\n", counted(d.Compared, "step"), counted(d.Shared, "step"))
	}
	if d.Total.Of(report.QueueSeqs, report.QueueBlocks) != 0 {
		fmt.Fprint(w, "* queue: attributed by what the schedule calls show that did not take it\n")
	}
	fmt.Fprint(w, timings(d.Timings))
}

// timings says how the times of steps were got.
func timings(by map[string]int64) string {
	whole := int64(0)
	for _, ns := range by {
		whole += ns
	}
	if whole == 0 {
		return ""
	}
	var sources []string
	for _, source := range slices.Sorted(maps.Keys(by)) {
		sources = append(sources, fmt.Sprintf("%s %.1f %%", source, 100*float64(by[source])/float64(whole)))
	}
	note := ""
	if by[record.TimingCPUBound] != 0 {
		note = " (the CPU's view: the host's work in them, too)"
	}
	return "Times of the steps: " + strings.Join(sources, ", ") + note + "\n"
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
	fmt.Fprintf(w, "\nSlowest of %s between its tokens; the median is %.3f ms\n", counted(d.Gaps, "gap"), float64(d.Usual.NS)/1e6)
	for i := range d.Slowest {
		g := &d.Slowest[i]
		fmt.Fprintf(w, "  token %d at %.6f s: %.3f ms", g.Token, float64(g.ToNS)/1e9, float64(g.NS)/1e6)
		if g.Tokens > 1 {
			fmt.Fprintf(w, " for %d tokens", g.Tokens)
		}
		fmt.Fprintln(w)
		if more := beyond(g); len(more) > 0 {
			printWords(w, "    beyond the median: ", more)
		}
		for _, s := range g.Steps {
			printGapStep(w, &s)
		}
		if more := g.StepCount - len(g.Steps); more > 0 {
			fmt.Fprintf(w, "    and %s more\n", counted(more, "step"))
		}
	}
}

// beyond are the parts that most of the difference to the usual gap is of.
func beyond(g *report.TokenGap) []string {
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
	return words
}

func printGapStep(w io.Writer, s *report.GapStep) {
	without := ""
	if !s.Own {
		without = ", without it"
	}
	fmt.Fprintf(w, "    step %d%s: %.3f of its %.3f ms, %s, %s, %d of them prefill\n", s.StepID, without,
		float64(s.WithinNS)/1e6, float64(s.RunNS)/1e6, counted(s.Requests, "request"), counted(s.Tokens, "token"), s.PrefillTokens)
	if len(s.Prefills) > 0 {
		printPrefills(w, s.Prefills)
	}
}
