package join

import "github.com/pmtrace/pmtrace/decode/wire"

// Bounds of the outputs that wait for the updates of their steps.
const (
	maxWaitingOutputs = 64
	maxWaitingBytes   = 2 * maxRouted
)

// remote is what the process that runs an engine's model tells of routed experts: its
// events have numbers of their own, and come before the update of the step.
type remote struct {
	open    *buffered // whose ids are coming; nil: none
	waiting queue[*buffered]
	held    int // bytes
	begun   bool
	seq     uint32 // of the next event
	last    int64
}

// WorkerRouted takes the routed experts of a step of a worker's, or a part of them.
func (j *Joiner) WorkerRouted(ev *wire.Routed) error {
	e, t := j.engine(ev.Engine), j.time(ev.Ktime)
	r := &e.remote
	if r.begun && ev.Seq != r.seq {
		j.losses.gap(-1, r.last, t, max(int64(int32(ev.Seq-r.seq)), 1))
		r.open = nil
	}
	r.begun, r.seq, r.last = true, ev.Seq+1, t
	j.now, j.clock = max(j.now, t), max(j.clock, t)
	b := r.open
	if b == nil || ev.First == 0 {
		b = &buffered{open: true, head: *ev}
		b.head.IDs = nil
		r.open = b
	}
	b.add(ev)
	if b.whole || b.head.State != wire.RoutedSent {
		r.open = nil
		r.wait(e, b)
	}
	return j.err
}

func (r *remote) wait(e *engine, b *buffered) {
	r.waiting.push(b)
	r.held += len(b.ids)
	for r.waiting.len() > 1 && (r.waiting.len() > maxWaitingOutputs || r.held > maxWaitingBytes) {
		r.drop(e)
	}
}

// drop gives up the oldest output: it is of a step from before the first one that was seen,
// or of one that was not.
func (r *remote) drop(e *engine) {
	r.held -= len(r.waiting.pop().ids)
	e.j.stats.MoE.DummyPasses++
}

// outputOf is what a worker told of a step: the oldest output with its tokens and requests,
// which had computed as many tokens before. Steps that follow one another differ in that.
// nil: it told nothing.
func (e *engine) outputOf(st *step) *buffered {
	r := &e.remote
	for i := range r.waiting.len() {
		if !st.is(&(*r.waiting.at(i)).head) {
			continue
		}
		for range i { // outputs come in the order of the steps
			r.drop(e)
		}
		b := r.waiting.pop()
		r.held -= len(b.ids)
		return b
	}
	return nil
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
