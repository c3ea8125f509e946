package page

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/pmtrace/pmtrace/output/findings"
	"github.com/pmtrace/pmtrace/output/session"
)

// view is what the template shows: words and figures, all of them escaped there.
type view struct {
	Title, Began, Model, Versions, Command string
	Duration, Ended                        string
	Tiles                                  []tile
	Tables                                 []table
	Findings                               []finding
	Absent                                 absences
	Unavailable                            []absence
	Losses                                 []string
	Text                                   string // the summary as it stands in a terminal
	Served                                 bool
	Pmtrace                                string
}

// tile is a figure that matters.
type tile struct{ Name, Value, Unit, Note string }

// table has cells of text; the first of a row is its name.
type table struct {
	Head []string
	Rows [][]string
	Note string
}

// finding is as the page shows it.
type finding struct {
	findings.Finding
	Share  string // of the time of all requests
	Pct    int
	Moment string // where it is seen
}

func (p *Page) view() (*view, error) {
	s := p.summary
	v := &view{
		Title: p.data.Session, Duration: session.Duration(float64(s.TracedNS())), Ended: "its end was not recorded",
		Command: strings.Join(s.Facts.Start.Command, " "), Absent: p.absences(), Unavailable: p.unavailable(),
		Served: p.data.Served, Pmtrace: s.Facts.Start.Version,
	}
	if s.Facts.Start.WallNS != 0 {
		v.Began = s.Facts.Began().Format("2006-01-02 15:04:05 UTC")
	}
	if end := s.Facts.End; end != nil {
		v.Ended = strings.ReplaceAll(end.Reason, "_", " ")
	}
	v.engines(s.Facts)
	v.Tiles = tiles(s)
	v.Tables = []table{stepTable(s), requestTable(s), operationTable(s)}
	v.Tables = slices.DeleteFunc(v.Tables, func(t table) bool { return len(t.Rows) == 0 })
	for _, f := range p.findings {
		one := finding{Finding: f, Moment: momentOf(f.Name, p.data.Moments)}
		if f.Cost != nil {
			one.Share, one.Pct = fmt.Sprintf("%.1f %%", 100**f.Cost), int(100**f.Cost+0.5)
		}
		v.Findings = append(v.Findings, one)
	}
	for _, l := range s.Lost {
		v.Losses = append(v.Losses, fmt.Sprintf("%d × %s: %s", l.Count, l.Probe, l.Reason))
	}
	var text strings.Builder
	if err := s.WriteText(&text); err != nil {
		return nil, err
	}
	if err := findings.WriteText(&text, p.findings); err != nil {
		return nil, err
	}
	v.Text = strings.TrimSpace(text.String())
	return v, nil
}

func (v *view) engines(facts *session.Facts) {
	if len(facts.Engines) == 0 {
		return
	}
	e := &facts.Engines[0]
	v.Model = e.Model
	v.Versions = "vLLM " + e.VLLM
	if len(facts.Engines) > 1 {
		v.Versions += fmt.Sprintf(", %d engines", len(facts.Engines))
	}
	if e.TP > 1 || e.PP > 1 {
		v.Versions += fmt.Sprintf(", TP %d, PP %d", max(e.TP, 1), max(e.PP, 1))
	}
	for i := range facts.GPUs {
		if i == 0 || facts.GPUs[i].Name != facts.GPUs[i-1].Name {
			v.Versions += ", " + facts.GPUs[i].Name
		}
	}
}

func tiles(s *session.Summary) []tile {
	var list []tile
	add := func(name, value, unit, note string) { list = append(list, tile{name, value, unit, note}) }
	if span := float64(s.LastNS-s.FirstNS) / 1e9; span > 0 {
		add("output", grouped(float64(s.OutputTokens)/span), "tokens/s", fmt.Sprintf("%s tokens", grouped(float64(s.OutputTokens))))
		note := grouped(float64(s.InputTokens)) + " computed"
		if s.CachedTokens > 0 {
			note += ", " + grouped(float64(s.CachedTokens)) + " cached"
		}
		if s.AgainTokens > 0 {
			note += ", " + grouped(float64(s.AgainTokens)) + " computed again"
		}
		add("prompts", grouped(float64(s.InputTokens)/span), "tokens/s", note)
	}
	for _, l := range []struct {
		name string
		stat *session.Stat
	}{{"time to first token", &s.FirstToken}, {"time per output token", &s.PerToken}, {"queue", &s.Queue}} {
		if l.stat.Count() > 0 {
			value, unit := split(session.Duration(l.stat.Percentile(50)))
			add(l.name, value, unit, "median; p99 "+session.Duration(l.stat.Percentile(99)))
		}
	}
	if s.Requests > 0 {
		add("requests", grouped(float64(s.Requests)), "", fmt.Sprintf("%s finished", grouped(float64(s.Requests-s.Unfinished))))
	}
	if s.Steps > 0 {
		add("batch", fmt.Sprintf("%.1f", s.MeanRequests), "requests", fmt.Sprintf("mean of %s steps; max %d", grouped(float64(s.Steps)), s.MaxRequests))
	}
	list = append(list, memoryTiles(s)...)
	lost := uint64(0)
	for _, l := range s.Lost {
		lost += l.Count
	}
	note := "all that was watched was seen"
	if lost > 0 {
		note = "what follows rests on the rest"
	}
	return append(list, tile{"lost events", grouped(float64(lost)), "", note})
}

// memoryTiles are those of the KV cache and of the GPU.
func memoryTiles(s *session.Summary) []tile {
	var list []tile
	if s.KV.Known {
		list = append(list, tile{"KV cache peak", fmt.Sprintf("%.1f", s.KV.PeakPct), "%", fmt.Sprintf("of %s blocks; %s evictions", grouped(float64(s.KV.Blocks)), grouped(float64(s.KV.Evictions)))})
	}
	preempted := int64(0)
	for _, n := range s.Preemptions {
		preempted += n
	}
	if s.Requests > 0 {
		list = append(list, tile{"preemptions", grouped(float64(preempted)), "", "requests thrown out of the batch"})
	}
	if g := &s.GPU; g.SpanNS > 0 && g.IdleSteps > 0 {
		idle := 100 * float64(g.IdleNS) / float64(g.SpanNS)
		list = append(list, tile{"GPU idle", fmt.Sprintf("%.1f", idle), "%", fmt.Sprintf("%.1f %% with requests in the batch (%s)", 100*float64(g.IdleNS-g.DrainedNS)/float64(g.SpanNS), g.Source())})
	}
	if g := &s.Graphs; g.Known > 0 {
		in := g.Known - g.Steps[modeEager]
		list = append(list, tile{"in CUDA graphs", fmt.Sprintf("%.1f", 100*float64(in)/float64(g.Known)), "% of steps", fmt.Sprintf("padding %.1f %% of tokens", g.PaddingPct())})
	}
	return list
}

// split takes a duration's number and unit apart.
func split(duration string) (value, unit string) {
	value, unit, _ = strings.Cut(duration, " ")
	return value, unit
}

// grouped writes a number with its thousands apart.
func grouped(v float64) string {
	if v < 100 && v != float64(int64(v)) {
		return fmt.Sprintf("%.1f", v)
	}
	digits := fmt.Sprintf("%.0f", v)
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteRune('\u2009') // thin
		}
		b.WriteRune(d)
	}
	return b.String()
}

// cells are the mean, percentiles and maximum of durations.
func cells(name string, s *session.Stat) []string {
	if s.Count() == 0 {
		return []string{name, "0", "–", "–", "–", "–"}
	}
	return []string{
		name, grouped(float64(s.Count())), session.Duration(s.Mean()), session.Duration(s.Percentile(50)),
		session.Duration(s.Percentile(99)), session.Duration(float64(s.Max())),
	}
}

func stepTable(s *session.Summary) table {
	t := table{Head: []string{"Steps", "count", "mean", "p50", "p99", "max", "tokens"}, Note: "from the call of the scheduler until its outputs were handed out"}
	if s.GPU.Steps > 0 {
		t.Head = append(t.Head, "GPU p50", "GPU p99")
		t.Note += "; GPU: its time alone (" + s.GPU.Source() + ")"
	}
	for _, phase := range phases {
		p := s.Phases[phase]
		if p == nil {
			continue
		}
		row := cells(phase, &p.Step)
		row[1] = grouped(float64(p.Steps))
		row = append(row, grouped(float64(p.Tokens)))
		switch {
		case s.GPU.Steps > 0 && p.GPU.Count() > 0:
			row = append(row, session.Duration(p.GPU.Percentile(50)), session.Duration(p.GPU.Percentile(99)))
		case s.GPU.Steps > 0:
			row = append(row, "–", "–")
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

func requestTable(s *session.Summary) table {
	t := table{Head: []string{"Requests", "count", "mean", "p50", "p99", "max"}, Note: "as the engine saw them"}
	for _, l := range []struct {
		name string
		stat *session.Stat
	}{{"to first token", &s.FirstToken}, {"queue", &s.Queue}, {"prefill", &s.Prefill}, {"decode", &s.Decode}, {"per output token", &s.PerToken}} {
		if l.stat.Count() > 0 {
			t.Rows = append(t.Rows, cells(l.name, l.stat))
		}
	}
	return t
}

func operationTable(s *session.Summary) table {
	const top = 8
	t := table{Head: []string{"CPU operations", "count", "mean", "p50", "p99", "max", "total"}, Note: "model execution holds others"}
	var names []string
	for name := range s.Operations {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(s.Operations[b].Total(), s.Operations[a].Total()), cmp.Compare(a, b))
	})
	for _, name := range names[:min(top, len(names))] {
		stat := s.Operations[name]
		t.Rows = append(t.Rows, append(cells(strings.ReplaceAll(name, "_", " "), stat), session.Duration(stat.Total())))
	}
	return t
}
