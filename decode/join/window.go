package join

import (
	"slices"

	"github.com/pmtrace/pmtrace/decode/record"
)

// callWindow is a time in which all launches and copies of a worker are seen.
type callWindow struct{ from, to int64 } // to unset: it goes on

// window takes the beginning or the end of a window.
func (w *worker) window(c *record.CallWindow) {
	from, to := c.BeginNS-w.j.base, int64(unset)
	if c.EndNS != 0 {
		to = c.EndNS - w.j.base
	}
	if last := len(w.windows) - 1; last >= 0 && w.windows[last].from == from {
		w.windows[last].to = to
		return
	}
	if len(w.windows) == maxCallWindows {
		w.windows = slices.Delete(w.windows, 0, 1)
	}
	w.windows = append(w.windows, callWindow{from, to})
}

// allCalls reports whether all launches and copies of a step are seen, as far as they are
// probed at all.
func (r *run) allCalls() bool {
	switch {
	case !r.w.fact.CallsInWindows:
		return true
	case r.over:
		return !r.partly
	}
	return slices.ContainsFunc(r.w.windows, func(c callWindow) bool {
		return c.from <= r.begin && (c.to == unset || r.w.j.clock <= c.to)
	})
}
