package compare

import (
	"fmt"
	"regexp"
	"strconv"
)

// Gate is a change that is not wanted: tpot_p99>+3%.
type Gate struct {
	Text   string
	Metric string
	More   bool    // than the limit; else less
	Limit  float64 // 0.03
}

var gateText = regexp.MustCompile(`^(\S+?)\s*([<>])\s*([+-]?\d+(?:\.\d+)?)\s*%$`)

// ParseGate reads a gate; the error says what is wrong with it.
func ParseGate(text string) (Gate, error) {
	m := gateText.FindStringSubmatch(text)
	if m == nil {
		return Gate{}, fmt.Errorf("%q: want a metric and the change that is too much, such as 'tpot_p99>+3%%' or 'tokens_per_s<-3%%'", text)
	}
	limit, err := strconv.ParseFloat(m[3], 64)
	if err != nil {
		return Gate{}, fmt.Errorf("%q: %w", text, err)
	}
	g := Gate{Text: text, Metric: m[1], More: m[2] == ">", Limit: limit / 100}
	switch {
	case !IsMetric(g.Metric):
		return Gate{}, fmt.Errorf("%q: no metric is called %q; pmtrace diff --metrics lists them", text, g.Metric)
	case g.More && limit < 0 || !g.More && limit > 0:
		return Gate{}, fmt.Errorf("%q: a change of 0 would fail, too; want > with a rise or < with a fall", text)
	}
	return g, nil
}

// Verdict is what became of a gate.
type Verdict struct {
	Gate   string   `json:"gate"`
	Fails  bool     `json:"fails"`
	NoData bool     `json:"no_data"` // on one side at least, or too little to test
	Change *float64 `json:"change"`
	P      *float64 `json:"p"`
	Shown  bool     `json:"significant"`
}

// Check holds the result against a gate: it fails on a change that is shown and beyond
// the limit.
func (r *Result) Check(g Gate) Verdict {
	for i := range r.Metrics {
		row := &r.Metrics[i]
		if row.Name != g.Metric {
			continue
		}
		v := Verdict{Gate: g.Text, Change: row.Change, P: row.P, Shown: row.Shown}
		switch {
		case row.P == nil:
			v.NoData = true
		case row.Change == nil: // from 0: more than any rise
			v.Fails = row.Shown && g.More && *row.B.Mean > *row.A.Mean
		default:
			v.Fails = row.Shown && (g.More && *row.Change > g.Limit || !g.More && *row.Change < g.Limit)
		}
		return v
	}
	return Verdict{Gate: g.Text, NoData: true}
}
