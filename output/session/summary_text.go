package session

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/pmtrace/pmtrace/decode/record"
)

// WriteText writes the summary for a person, on about one screen. What was not
// seen is left out.
func (s *Summary) WriteText(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	f := s.Facts
	fmt.Fprintf(t, "\nTraced %s", Duration(float64(s.TracedNS())))
	if f.End == nil {
		fmt.Fprint(t, " (the end was not recorded)")
	} else if f.End.Reason != "" {
		fmt.Fprintf(t, " (%s)", strings.ReplaceAll(f.End.Reason, "_", " "))
	}
	for i, e := range f.Engines {
		if i == 0 {
			fmt.Fprintf(t, ": vLLM %s, %s", e.VLLM, e.Model)
		}
	}
	if len(f.Engines) > 1 {
		fmt.Fprintf(t, ", %d engines", len(f.Engines))
	}
	fmt.Fprint(t, "\n\n")
	s.steps(t)
	s.requests(t)
	s.operations(t)
	s.hooks(t)
	s.rates(t)
	s.gpu(t)
	if err := t.Flush(); err != nil {
		return err
	}
	s.trouble(t)
	fmt.Fprintf(t, "\nSession  %s\n", s.Path)
	return t.Flush()
}

func (s *Summary) steps(w io.Writer) {
	if s.Steps+s.EmptySteps == 0 {
		fmt.Fprint(w, "No step was seen.\n\n")
		return
	}
	gpu := s.GPU.Steps > 0
	header := "forward p50"
	if source := s.Dominant(); source != "" {
		header += " (" + source + ")"
	}
	if gpu {
		header = "GPU p50\tp99 (" + s.GPU.Source() + ")"
	}
	fmt.Fprintf(w, "Steps\tcount\tmean\tp50\tp99\tmax\t%s\ttokens\n", header)
	for _, phase := range []string{record.PhasePrefill, record.PhaseMixed, record.PhaseDecode, record.PhaseUnknown} {
		p := s.Phases[phase]
		if p == nil {
			continue
		}
		forward := part(&p.Forward, 50)
		if gpu {
			forward = part(&p.GPU, 50) + "\t" + part(&p.GPU, 99)
		}
		fmt.Fprintf(w, "  %s\t%d\t%s\t%s\t%d\n", phase, p.Steps, times(&p.Step, 50, 99), forward, p.Tokens)
	}
	if s.EmptySteps > 0 {
		fmt.Fprintf(w, "  no tokens\t%d%s\n", s.EmptySteps, strings.Repeat("\t", strings.Count(header, "\t")+6))
	}
	fmt.Fprintln(w)
}

func (s *Summary) requests(w io.Writer) {
	if s.Requests == 0 {
		return
	}
	fmt.Fprintf(w, "Requests\tcount\tmean\tp50\tp99\tmax\n")
	for _, row := range []struct {
		name string
		stat *Stat
	}{
		{"to first token", &s.FirstToken}, {"queue", &s.Queue}, {"prefill", &s.Prefill},
		{"decode", &s.Decode}, {"per output token", &s.PerToken},
	} {
		if row.stat.Count() > 0 {
			fmt.Fprintf(w, "  %s\t%d\t%s\n", row.name, row.stat.Count(), times(row.stat, 50, 99))
		}
	}
	fmt.Fprintln(w)
}

func (s *Summary) rates(w io.Writer) {
	if s.Requests > 0 {
		fmt.Fprintf(w, "Finished\t%d of %d%s\n", s.Requests-s.Unfinished, s.Requests, listed(s.Finished))
	}
	if span := float64(s.LastNS-s.FirstNS) / 1e9; span > 0 {
		fmt.Fprintf(w, "Tokens\t%.1f/s in (%d computed", float64(s.InputTokens)/span, s.InputTokens)
		if s.CachedTokens > 0 {
			fmt.Fprintf(w, ", %d from the prefix cache", s.CachedTokens)
		}
		if s.AgainTokens > 0 {
			fmt.Fprintf(w, ", %d again after preemptions", s.AgainTokens)
		}
		fmt.Fprint(w, ")")
		if s.Facts.watched(watchUpdateReturn) {
			fmt.Fprintf(w, ", %.1f/s out (%d)", float64(s.OutputTokens)/span, s.OutputTokens)
		}
		fmt.Fprintln(w)
	}
	if s.Steps > 0 {
		seqs, tokens := 0, 0
		for _, e := range s.Facts.Engines {
			seqs, tokens = max(seqs, e.MaxSeqs), max(tokens, e.MaxTokens)
		}
		fmt.Fprintf(w, "Batch\tmean %.1f, max %d requests%s; mean %.1f, max %d tokens%s; waiting at most %d\n",
			s.MeanRequests, s.MaxRequests, limit(seqs), s.MeanTokens, s.MaxTokens, limit(tokens), s.MaxWaiting)
	}
	if s.KV.Known {
		fmt.Fprintf(w, "KV cache\tpeak %.1f%% (%d of %d blocks)", s.KV.PeakPct, s.KV.PeakBlocks, s.KV.Blocks)
		if s.Facts.watched(watchFreeBlocks) {
			fmt.Fprintf(w, ", %d evictions of cached blocks", s.KV.Evictions)
		}
		fmt.Fprintln(w)
	}
	n := int64(0)
	for _, c := range s.Preemptions {
		n += c
	}
	fmt.Fprintf(w, "Preemptions\t%d%s\n", n, listed(s.Preemptions))
}

// trouble says what is missing. It always says something: that nothing is, too.
func (s *Summary) trouble(w io.Writer) {
	if len(s.Lost) == 0 {
		fmt.Fprint(w, "Lost events\t0\n")
	}
	for i, l := range s.Lost {
		name := ""
		if i == 0 {
			name = "Lost events"
		}
		fmt.Fprintf(w, "%s\t%d %s: %s\n", name, l.Count, l.Probe, l.Reason)
	}
	if n := len(s.Facts.Damage); n > 0 {
		fmt.Fprintf(w, "Journal\tdamaged in %d places: what was there is missing, and may not be counted as lost\n", n)
	}
	for _, u := range s.Facts.Missing() {
		if !s.Facts.On(u.Profiler) && u.Profiler != GPUSampling {
			continue // nobody asked for it
		}
		what := u.Profiler
		if len(u.Columns) > 0 {
			what += " (" + strings.Join(u.Columns, ", ") + ")"
		}
		if u.Engine != nil {
			what += " of engine " + strconv.Itoa(*u.Engine)
		}
		fmt.Fprintf(w, "Unavailable\t%s: %s\n", what, u.Reason)
		if u.Remedy != "" {
			fmt.Fprintf(w, "\t→ %s\n", u.Remedy)
		}
	}
}

// times are the mean, percentiles and maximum of a Stat as cells of a table.
func times(s *Stat, percentiles ...float64) string {
	if s.Count() == 0 {
		return strings.Repeat("–\t", len(percentiles)+1) + "–"
	}
	cells := []string{Duration(s.Mean())}
	for _, p := range percentiles {
		cells = append(cells, Duration(s.Percentile(p)))
	}
	return strings.Join(append(cells, Duration(float64(s.Max()))), "\t")
}

func part(s *Stat, percentile float64) string {
	if s.Count() == 0 {
		return "–"
	}
	return Duration(s.Percentile(percentile))
}

// Duration has three digits that count.
func Duration(ns float64) string {
	d := time.Duration(ns)
	switch {
	case d >= time.Hour:
		return d.Round(time.Minute).String()
	case d >= 100*time.Second:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return strconv.FormatFloat(ns/1e9, 'f', 2, 64) + " s"
	case d >= time.Millisecond:
		return strconv.FormatFloat(ns/1e6, 'f', 2, 64) + " ms"
	}
	return strconv.FormatFloat(ns/1e3, 'f', 1, 64) + " µs"
}

func limit(n int) string {
	if n == 0 {
		return ""
	}
	return " (limit " + strconv.Itoa(n) + ")"
}

func listed(counts map[string]int64) string {
	var parts []string
	for _, name := range sortedKeys(counts) {
		parts = append(parts, name+" "+strconv.FormatInt(counts[name], 10))
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}
