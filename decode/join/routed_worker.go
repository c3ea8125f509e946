package join

import "github.com/pmtrace/pmtrace/decode/wire"

// remote is what the process that runs an engine's model tells of routed experts: its
// events have numbers of their own.
type remote struct {
	buffered
	begun bool
	seq   uint32 // of the next event
	last  int64
}

// WorkerRouted takes the routed experts of a step of a worker's, or a part of them.
func (j *Joiner) WorkerRouted(ev *wire.Routed) error {
	e, t := j.engine(ev.Engine), j.time(ev.Ktime)
	r := &e.remote
	if r.begun && ev.Seq != r.seq {
		j.losses.gap(-1, r.last, t, max(int64(int32(ev.Seq-r.seq)), 1))
		r.open = false
	}
	j.now, j.clock = max(j.now, t), max(j.clock, t)
	first := !r.open || ev.First == 0
	r.begun, r.seq, r.last = true, ev.Seq+1, t
	if first {
		r.buffered = buffered{open: true, head: *ev, ids: r.ids[:0]}
		r.head.IDs = nil
	}
	r.add(ev)
	if r.whole || r.head.State != wire.RoutedSent {
		e.choseRemote()
		r.buffered = buffered{ids: r.ids[:0]}
	}
	return j.err
}

// choseRemote gives what a worker told to its step: the oldest one under way that has its
// tokens and requests, which had computed as many tokens before. Steps that follow one
// another differ in that.
func (e *engine) choseRemote() {
	r := &e.remote
	if e.fact.RoutedExperts == "" {
		return
	}
	for _, st := range e.flight {
		if st.chosen || !st.is(&r.head) {
			continue
		}
		e.tally(st, &r.buffered)
		return
	}
	e.j.stats.MoE.DummyPasses++ // from before the first step that was seen, or of one that has no name
}

// is reports whether a step is the one that a worker's output is of.
func (st *step) is(h *wire.Routed) bool {
	if h.State == wire.RoutedSent && int64(st.tokens) != int64(h.Rows) || len(st.rows) != int(h.Requests) || !st.complete {
		return false
	}
	computed := uint64(0)
	for i := range st.rows {
		if st.rows[i].computed < 0 {
			return false
		}
		computed += uint64(st.rows[i].computed)
	}
	return computed == h.Computed
}
