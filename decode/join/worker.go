package join

import (
	"cmp"
	"maps"
	"math"
	"slices"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/decode/wire"
)

// worker is a process whose CUDA calls are probed.
type worker struct {
	j      *Joiner
	id     int32
	fact   record.Worker
	engine *engine // nil: not known (yet)
	since  int64   // probed from then on

	threads map[uint32]*thread
	forgot  bool // some of them

	current  *run        // the newest step that it executes; nil: none
	open     []*run      // those of whose calls more may come
	followed queue[*run] // those that know the next one
	runs     queue[*run] // of another process: what waits to be handed on
	matched  int64       // the engine's step that was matched last; -1: none
	// The worker's own place of that step, and whether the next ones follow it.
	matchedPlace int64
	inStep       bool
	empty        int64  // steps without tokens
	stepper      uint32 // the thread that executes the steps, in another process
	waiting      queue[heldCall]

	graphs   map[uint64]*graph // by handle, what lives
	gone     map[uint64]int64  // handles that were destroyed, and when
	captures map[uint64]capture
	outputs  map[uint64]output // events that tell the end of a step
	encodes  bool              // an encoder was seen at work
	routed   []int32           // layers with experts of its model; nil: not known (yet)

	windows []callWindow // the newest, where launches and copies are not seen always

	injected *injected // what CUPTI tells of it; nil: nothing (yet)
	missed   bool      // some of its events
	unpaired []*replay // launches that CUPTI has not told of yet
}

// thread is what is known of a thread of a worker.
type thread struct {
	id    uint32
	begun bool
	seq   uint32 // of the next event
	last  int64

	phase   segment
	capture capture // that is going on; begin unset: none
}

func (j *Joiner) worker(i uint8) *worker {
	if w := j.workers[i]; w != nil {
		return w
	}
	w := &worker{
		j: j, id: int32(i), since: math.MinInt64, matched: -1,
		threads: map[uint32]*thread{}, graphs: map[uint64]*graph{}, gone: map[uint64]int64{},
		captures: map[uint64]capture{}, outputs: map[uint64]output{},
	}
	j.workers[i] = w
	return w
}

// attach takes a Worker fact.
func (w *worker) attach(f *record.Worker) {
	if w.fact.PID != 0 && w.fact.PID != f.PID {
		w.j.losses.add(lossKey{-1, "worker", "index_used_again"}, w.j.now, w.j.now, 1)
	}
	w.fact = *f
	if w.since == math.MinInt64 && f.MonoNS != 0 {
		w.since = f.MonoNS - w.j.base
	}
	if f.Engine == nil || *f.Engine < 0 || *f.Engine >= len(w.j.engines) {
		return
	}
	w.engine = w.j.engine(uint8(*f.Engine))
	w.engine.enlist(w)
}

// enlist makes w one of the engine's workers. The one of the lowest rank is the
// steps' own: its times are theirs.
func (e *engine) enlist(w *worker) {
	for _, other := range e.workers {
		if other == w {
			e.elect()
			return
		}
	}
	e.workers = append(e.workers, w)
	e.elect()
}

func (e *engine) elect() {
	e.primary = e.workers[0]
	for _, w := range e.workers[1:] {
		if w.order() < e.primary.order() {
			e.primary = w
		}
	}
}

// order sorts the workers of an engine by rank. Its own process, which may use CUDA without
// executing a step, is its worker where there is no other with a rank.
func (w *worker) order() int {
	switch {
	case w.own():
		return math.MaxInt32 - 1
	case w.fact.Rank != nil && *w.fact.Rank >= 0:
		return min(*w.fact.Rank, math.MaxInt32-2)
	}
	return math.MaxInt32 + int(w.id)
}

// own reports whether the process is the engine's own: its calls stand in the
// order of the program between the schedule calls.
func (w *worker) own() bool { return w.fact.EngineThread != 0 }

func (w *worker) enginePtr() *int32 {
	if w.engine == nil {
		return nil
	}
	return w.j.ptr.int32(w.engine.id)
}

// enterCall takes note of an event of a worker's thread. Each thread numbers its
// own events; between threads times may go back a little.
func (j *Joiner) enterCall(h *wire.Header, id uint32) (*worker, *thread, int64) {
	w := j.worker(h.Engine)
	t := j.time(h.Ktime)
	th := w.threads[id]
	if th == nil {
		if len(w.threads) >= maxThreads {
			w.forgetSilent()
			j.losses.add(lossKey{-1, "calls", "too_many_threads"}, t, t, 1)
		}
		th = &thread{id: id, last: t, phase: segment{began: unset, cut: unset}, capture: capture{begin: unset, end: unset}}
		if w.forgot && h.Seq != 0 {
			th.seq = h.Seq // what it has sent before is not missing
		}
		w.threads[id] = th
	}
	if w.stepping(th) {
		w.engine.closeCall()
		w.engine.closeUpdate()
	}
	w.number(th, h.Seq, t)
	if th.begun && t < th.last { // one thread's clock: the event is damaged
		j.losses.add(lossKey{-1, "calls", "time_went_back"}, th.last, th.last, 1)
		t = th.last
	}
	th.begun, th.last = true, t
	j.now = max(j.now, t)
	j.clock = max(j.clock, t)
	return w, th, t
}

// forgetSilent drops the half of the threads that was silent longest: most have
// ended.
func (w *worker) forgetSilent() {
	all := slices.SortedFunc(maps.Values(w.threads), func(a, b *thread) int {
		return cmp.Or(cmp.Compare(a.last, b.last), cmp.Compare(a.id, b.id))
	})
	for _, th := range all[:len(all)/2] {
		th.endSegment(unset)
		delete(w.threads, th.id)
	}
	w.forgot = true
}

// number checks the event's number in its thread. Number 0 begins a new thread,
// also where the kernel gave it an old one's id.
func (w *worker) number(th *thread, seq uint32, t int64) {
	switch n := int64(int32(seq - th.seq)); {
	case n == 0, seq == 0:
	case !th.begun && n > 0:
		w.lose(th, max(w.since, t-holdNS), t, n)
	case th.begun && n > 0:
		w.lose(th, th.last, t, n)
	case th.begun:
		w.j.losses.add(lossKey{-1, "calls", "sequence_went_back"}, th.last, t, 1)
		w.distrust(th)
	}
	th.seq = seq + 1
}

func (w *worker) lose(th *thread, from, to, n int64) {
	w.j.losses.gap(-1, from, to, n)
	w.distrust(th)
}

// distrust takes note of lost events: the steps that they may be of have lost
// counts, and an event may have been recorded again by a step unseen.
func (w *worker) distrust(th *thread) {
	w.missed = true
	if w.injected != nil {
		w.injected.order.synced = false
	}
	th.endSegment(unset)
	th.capture = capture{begin: unset, end: unset}
	clear(w.outputs)
	for _, r := range w.open {
		r.gap = true
	}
}

// stepping reports whether th runs the scheduler.
func (w *worker) stepping(th *thread) bool {
	return w.own() && w.engine != nil && th.id == uint32(w.fact.EngineThread)
}

// steps reports whether th is the thread whose calls follow the steps' order.
func (w *worker) steps(th *thread) bool {
	return w.stepping(th) || !w.own() && th.id == w.stepper
}

// runOf is the step that a call belongs to; nil: none.
func (w *worker) runOf(th *thread, num uint32, flags uint8) *run {
	switch {
	case flags&wire.CallDummy != 0:
		return nil
	case w.own():
		if w.stepping(th) {
			return w.current
		}
		return nil
	case num == wire.Unknown:
		return nil
	case w.current != nil && w.current.num == num:
		return w.current
	}
	for _, r := range w.open {
		if r.num == num {
			return r
		}
	}
	return nil
}

// touch takes note that a call of r was seen by the thread of the steps: no call
// of an earlier one will come.
func (w *worker) touch(r *run) {
	if r == nil {
		return
	}
	r.seen = true
	if r != w.current || len(w.open) < 2 {
		return
	}
	for _, old := range w.open[:len(w.open)-1] {
		old.partly = !old.allCalls()
		old.over = true
	}
	w.open = slices.Delete(w.open, 0, len(w.open)-1)
}

// begin makes r the step that the worker executes. Each knows the next one, so that
// whoever keeps one of old would keep all since: those of old forget it.
func (w *worker) begin(r *run) {
	if w.current != nil && w.j.injectable { // CUPTI may ask for it
		w.current.following = r
		w.followed.push(w.current)
		if w.followed.len() > maxFollowed {
			w.followed.pop().following = nil
		}
	}
	w.current = r
	w.open = append(w.open, r)
	if len(w.open) > maxRuns { // no calls come
		w.open[0].over, w.open[0].gap = true, true
		w.open = slices.Delete(w.open, 0, 1)
	}
}
