package session

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
)

// topOperations is how many CPU operations the text shows.
const topOperations = 6

// operations shows what the CPU spent most of its time on.
func (s *Summary) operations(w io.Writer) {
	// Without CUDA's calls there are the same three always, and no news in them.
	if len(s.Operations) <= 3 {
		return
	}
	names := sortedKeys(s.Operations)
	slices.SortStableFunc(names, func(a, b string) int {
		return cmp.Compare(s.Operations[b].Total(), s.Operations[a].Total())
	})
	fmt.Fprintf(w, "Top CPU operations\tcount\tmean\tp50\tp99\tmax\ttotal\n")
	for _, name := range names[:min(len(names), topOperations)] {
		stat := s.Operations[name]
		fmt.Fprintf(w, "  %s\t%d\t%s\t%s\n", strings.ReplaceAll(name, "_", " "), stat.Count(), times(stat, 50, 99), Duration(stat.Total()))
	}
	fmt.Fprintln(w)
}

// gpu says whether the GPU idled, whether steps missed graphs, and how much was
// padding.
func (s *Summary) gpu(w io.Writer) {
	if s.GPU.Steps > 0 {
		fmt.Fprintf(w, "GPU\t%s\n", strings.Join(s.GPU.lines(len(s.Facts.Engines) > 1), "\n\t"))
	}
	if b := s.Facts.Bounds; b.Steps > 0 {
		fmt.Fprintf(w, "\tby the counters of %d steps, event_bound times are off by %+.1f%% in the mean, %.1f%% either way\n", b.Steps, b.BiasPct, b.ErrorPct)
	}
	if lines := s.Graphs.lines(); len(lines) > 0 {
		fmt.Fprintf(w, "Graphs\t%s\n", strings.Join(lines, "\n\t"))
	}
	for i := range s.Samples {
		fmt.Fprintf(w, "GPU %d samples\t%s\n", s.Samples[i].GPU, s.Samples[i].text())
	}
	if lines := s.Kernels.lines(); len(lines) > 0 {
		fmt.Fprintf(w, "Kernels\t%s\n", strings.Join(lines, "\n\t"))
	}
	if s.MoE.Activations > 0 {
		fmt.Fprintf(w, "MoE\t%s\n", s.MoE.text())
	}
	s.encoder(w)
}

func (g *GPUSummary) lines(engines bool) []string {
	var lines []string
	if g.SpanNS > 0 && g.IdleSteps > 0 {
		lines = append(lines, g.idleText(engines))
	}
	if more := g.words(); len(more) > 0 {
		lines = append(lines, strings.Join(more, "; "))
	}
	return lines
}

func (g *GPUSummary) idleText(engines bool) string {
	s := fmt.Sprintf("idle %.1f%% of %s", ratio(g.IdleNS, g.SpanNS), Duration(float64(g.SpanNS)))
	if g.IdleNS > 0 {
		s += fmt.Sprintf(": %.1f%% without requests, %.1f%% with", ratio(g.DrainedNS, g.SpanNS), ratio(g.IdleNS-g.DrainedNS, g.SpanNS))
	}
	if (g.IdleSteps+int64(len(g.engines)))*100 < g.Steps*98 { // before the first one it never is
		s += fmt.Sprintf("; known before %.1f%% of steps only: at least that", ratio(g.IdleSteps, g.Steps))
	}
	if l := g.Longest; l.NS > 0 {
		s += fmt.Sprintf(" (longest %s, before step %d", Duration(float64(l.NS)), l.StepID)
		if engines {
			s += fmt.Sprintf(" of engine %d", l.Engine)
		}
		s += ")"
	}
	return s
}

func (g *GPUSummary) words() []string {
	var parts []string
	if g.WaitKnown > 0 {
		parts = append(parts, fmt.Sprintf("the host waited for it in %.1f%% of steps", ratio(g.Waited, g.WaitKnown)))
	}
	if g.busySampled {
		parts = append(parts, fmt.Sprintf("SMs active %.1f%% of its steps' time", ratio(g.BusyNS, g.SampledNS)))
	}
	if g.DRAMNS > 0 {
		parts = append(parts, fmt.Sprintf("DRAM %.0f GB/s in steps", float64(g.DRAMBytes)/float64(g.DRAMNS)))
	}
	if g.MBU.N > 0 {
		s := fmt.Sprintf("the model needs %.1f%% of its bandwidth and %.1f%% of its arithmetic in decode steps (MBU, MFU", g.MBU.Mean()*100, g.MFU.Mean()*100)
		if g.MBU.Estimated {
			s += "; estimated"
		}
		parts = append(parts, s+")")
	}
	if g.Error.Count() > 0 {
		parts = append(parts, fmt.Sprintf("times ± %s (p99)", Duration(g.Error.Percentile(99))))
	}
	if g.Unbounded > 0 {
		parts = append(parts, fmt.Sprintf("other processes ran on it in %.1f%% of steps, whose times have no bound", ratio(g.Unbounded, g.Unbounded+g.Error.Count())))
	}
	return parts
}

// graphModes are cudagraph_mode's values with the words for them.
var graphModes = []struct{ mode, word string }{{"FULL", "FULL"}, {"PIECEWISE", "PIECEWISE"}, {"NONE", "eager"}}

func (g *GraphSummary) lines() []string {
	var parts []string
	tokens := int64(0)
	for _, n := range g.Tokens {
		tokens += n
	}
	for _, m := range graphModes {
		if n := g.Steps[m.mode]; n > 0 {
			format := "%s %.1f%% (%.1f%%)"
			if len(parts) == 0 {
				format = "%s %.1f%% of steps (%.1f%% of tokens)"
			}
			parts = append(parts, fmt.Sprintf(format, m.word, ratio(n, g.Known), ratio(g.Tokens[m.mode], tokens)))
		}
	}
	var lines []string
	if len(parts) > 0 {
		line := strings.Join(parts, ", ")
		if g.PaddedSteps > 0 {
			line += fmt.Sprintf("; padding %.1f%% of %d tokens, %.1f%% of those in graphs", g.PaddingPct(), g.PaddedTokens, ratio(g.Padding, g.GraphTokens))
		}
		lines = append(lines, line)
	}
	if g.Captured+g.Launches == 0 {
		return lines
	}
	line := fmt.Sprintf("%d captured (%d executable)", g.Captured, g.Execs)
	if g.NeverLaunched > 0 {
		line += fmt.Sprintf(", %d never launched", g.NeverLaunched)
	}
	return append(lines, line+fmt.Sprintf("; %d launches, %d of unknown graphs", g.Launches, g.UnknownLaunches))
}

func (g *GPUSamples) text() string {
	var parts []string
	say := func(format string, m *mean) {
		if m.n > 0 {
			parts = append(parts, fmt.Sprintf(format, m.value()))
		}
	}
	if say("SM %.1f%%", &g.SM); g.SM.n == 0 {
		say("busy %.1f%%", &g.Util)
	}
	say("DRAM %.1f%%", &g.DRAM)
	if say("%.0f W", &g.Power); g.Power.n > 0 {
		parts[len(parts)-1] += fmt.Sprintf(" (max %.0f)", g.MaxPower)
	}
	if say("SM clock %.0f MHz", &g.SMClock); g.SMClock.n > 0 {
		parts[len(parts)-1] += fmt.Sprintf(" (min %.0f)", g.MinClock)
	}
	if g.MemoryMax > 0 {
		parts = append(parts, fmt.Sprintf("memory %.1f GiB", float64(g.MemoryMax)/(1<<30)))
	}
	return strings.Join(append(parts, g.throttling()...), ", ")
}

func (g *GPUSamples) throttling() []string {
	if g.Throttled == 0 {
		return nil
	}
	var reasons []string
	for _, reason := range sortedKeys(g.Throttle) {
		reasons = append(reasons, fmt.Sprintf("%s %.1f%%", reason, ratio(g.Throttle[reason], g.Throttled)))
	}
	if len(reasons) == 0 {
		return []string{"not throttled"}
	}
	return []string{"throttled: " + strings.Join(reasons, ", ") + " of the time"}
}

func (s *Summary) encoder(w io.Writer) {
	runs := &s.Components
	if runs[0].Count() == 0 && runs[2].Count() == 0 {
		return // a decoder alone is the step
	}
	var parts []string
	for i, name := range componentNames {
		if n := runs[i].Count(); n > 0 {
			parts = append(parts, fmt.Sprintf("%s %.1f%% (%d × %s)", strings.ReplaceAll(name, "_", "-"),
				runs[i].pct(runs.total()), n, Duration(runs[i].Mean())))
		}
	}
	fmt.Fprintf(w, "Encoder\t%s; shares by CPU time of the launches\n", strings.Join(parts, ", "))
}
