package page

import (
	"cmp"
	"slices"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/session"
)

// mostRaw bounds the single steps that the page has.
const mostRaw = 20_000

// window is a stretch of time whose steps are told one by one: all that began in it.
type window struct {
	Engine int32   `json:"engine"`
	FromNS int64   `json:"from_ns"`
	ToNS   int64   `json:"to_ns"`
	Step   deltas  `json:"step"`
	Start  deltas  `json:"start_ns"`
	Other  columns `json:"columns"`
}

// span is a stretch of an engine's time.
type span struct {
	engine   int32
	from, to int64
}

// merged makes spans of one engine that touch into one.
func merged(spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int { return cmp.Or(cmp.Compare(a.engine, b.engine), cmp.Compare(a.from, b.from)) })
	var out []span
	for _, s := range spans {
		if n := len(out); n > 0 && out[n-1].engine == s.engine && s.from <= out[n-1].to {
			out[n-1].to = max(out[n-1].to, s.to)
		} else {
			out = append(out, s)
		}
	}
	return out
}

// readWindows reads the steps that began in the spans, but no more than there may be. What
// a window says that it holds it holds.
func readWindows(dir *session.Dir, spans []span, most int) ([]window, error) {
	spans = merged(spans)
	windows := make([]window, len(spans))
	for i, s := range spans {
		windows[i] = window{Engine: s.engine, FromNS: s.from, ToNS: s.to, Other: columns{}}
	}
	wants := func(low, high int64) bool {
		return slices.ContainsFunc(spans, func(s span) bool { return high >= s.from && low < s.to })
	}
	for r, err := range session.RowsWhere[record.StepRow](dir, "start_ns", wants) {
		if err != nil {
			return nil, err
		}
		for i := range windows {
			w := &windows[i]
			if w.Engine != r.Engine || r.StartNS < w.FromNS || r.StartNS >= w.ToNS {
				continue
			}
			if most <= 0 {
				w.ToNS = r.StartNS
				continue
			}
			w.add(r)
			most--
		}
	}
	windows = slices.DeleteFunc(windows, func(w window) bool { return len(w.Start) == 0 })
	for i := range windows {
		windows[i].Other.trim(func(string) bool { return false })
	}
	return windows, nil
}

// add takes a step. Times but its start are counted from that.
func (w *window) add(r *record.StepRow) {
	w.Step, w.Start = append(w.Step, r.StepID), append(w.Start, r.StartNS)
	since := func(ns *int64) *int64 {
		if ns == nil {
			return nil
		}
		return new(*ns - r.StartNS)
	}
	c := w.Other
	c.add("scheduled", new(r.ScheduledNS-r.StartNS))
	c.add("update", since(r.UpdateNS))
	c.add("end", since(r.EndNS))
	c.add("gpu_start", since(r.GPUStartNS))
	c.add("gpu_end", since(r.GPUEndNS))
	c.add("gpu", r.StepGPUNS)
	c.add("gpu_error", r.GPUErrorNS)
	c.add("idle", r.GPUIdleNS)
	drained := int64(0)
	if r.NewRequests == r.Requests {
		drained = 1
	}
	c.add("drained", &drained)
	c.add("phase", new(int64(phaseIndex(r.Phase))))
	c.add32("requests", &r.Requests)
	c.add32("tokens", &r.Tokens)
	c.add32("prompt", &r.PrefillTokens)
	c.add32("recompute", &r.RecomputeTokens)
	c.add32("output", r.OutputTokens)
	c.add32("kv", r.KVUsed)
	c.add32("running", r.Running)
	c.add32("waiting", r.Waiting)
	c.add32("padded", r.PaddedTokens)
	mode := int64(none)
	if r.GraphMode != nil {
		mode = modeIndex(*r.GraphMode)
	}
	c["mode"] = append(c["mode"], mode)
}
