package join

import (
	"sort"

	"github.com/pmtrace/pmtrace/decode/wire"
)

// scheduled is a step of the engine as its workers in other processes see it.
type scheduled struct {
	num              int64
	tokens, requests int32
	at, ended        int64 // schedule returned; update returned (unset: not yet)
	phaseName        string
	step             *step // nil: its row is handed on
}

// WorkerStep takes the beginning of a step in a worker that is another process.
func (j *Joiner) WorkerStep(ev *wire.WorkerStep) error {
	w, th, t := j.enterCall(&ev.Header, ev.Thread)
	j.unreadable("worker_step", ev.Bad)
	if w.own() {
		j.losses.add(lossKey{-1, "worker_step", "of_the_engine"}, t, t, 1)
		return j.err
	}
	r := w.newRun(t, count(ev.Tokens), count(ev.Requests))
	r.num = ev.Step
	if r.tokens == 0 {
		w.empty++
	}
	r.place = int64(ev.Step) - w.empty
	w.stepper = th.id
	w.begin(r)
	w.touch(r)
	r.seen = false                                  // by the step alone
	if th.phase.began == t && th.phase.run != nil { // the phase change of the same call
		th.phase.run.parts--
		th.enterPhase(r, th.phase.phase, t)
	}
	if r.tokens == 0 { // executes no model, and the engine's steps without tokens are passed over
		r.resolved, r.done = true, true
	} else {
		w.runs.push(r)
	}
	if w.runs.len() > maxRuns {
		w.giveUp(*w.runs.at(0))
		w.finish(w.runs.pop())
	}
	w.match()
	j.settle()
	return j.err
}

// announceStep makes a step known to the engine's workers in other processes.
func (e *engine) announceStep(st *step) {
	if e.primary == nil || e.primary.own() || st.headless || st.tokens == 0 {
		return
	}
	s := &scheduled{
		num: int64(st.num), tokens: st.tokens, requests: count(st.head.Rows), at: st.scheduled, ended: unset,
		phaseName: st.phaseName(), step: st,
	}
	st.expected = s
	e.expected.push(s)
	if e.expected.len() > maxRuns {
		e.expected.pop()
	}
	for _, w := range e.workers {
		w.match()
	}
}

// match gives the worker's steps their steps of the engine, in order.
func (w *worker) match() {
	if w.engine == nil {
		return
	}
	for i := range w.runs.len() {
		r := *w.runs.at(i)
		if r.resolved {
			continue
		}
		s, known := w.fitting(i)
		switch {
		case s != nil:
			w.pair(r, s)
		case known:
			w.giveUp(r)
		default:
			return
		}
	}
}

// places is how many steps in a row must fit where it is not known which is which.
const places = 3

// fitting is the step of the engine that the i-th run executes. known: if it is none,
// none will come.
//
// A worker executes the steps in their order, so that once one is matched the others'
// places are known, and counts and times only confirm them. At first, and after a
// contradiction, it is the newest step from which on some in a row fit: each has its
// run's counts, was scheduled before the run began and was not updated before. With
// asynchronous scheduling older steps are under way as well, but those began long ago;
// a newer one does not fit for long.
func (w *worker) fitting(i int) (s *scheduled, known bool) {
	e, r := w.engine, *w.runs.at(i)
	overdue := w.j.clock-r.begin > holdNS
	if w.inStep {
		switch s := e.after(w.matched, r.place-w.matchedPlace); {
		case s == nil:
			return nil, overdue
		case s.fits(r):
			return s, true
		}
		w.inStep = false
	}
	n, all := min(places, w.runs.len()-i), e.expected.len()
	last := *w.runs.at(i + n - 1)
	if !overdue && (n < places || all == 0 || (*e.expected.at(all - 1)).at <= last.begin) {
		return nil, false // what is to fit is not there yet
	}
	for k := all - 1; k >= 0; k-- {
		s := *e.expected.at(k)
		if s.num <= w.matched {
			break
		}
		if w.fit(i, n, k) {
			return s, true
		}
	}
	return nil, true
}

// fit reports whether n runs from the i-th on are the engine's steps from the k-th on.
func (w *worker) fit(i, n, k int) bool {
	e, first := w.engine, *w.runs.at(i)
	for j := range n {
		r := *w.runs.at(i + j)
		at := int64(k) + r.place - first.place
		if at < int64(k) || at >= int64(e.expected.len()) || !(*e.expected.at(int(at))).fits(r) {
			return false
		}
	}
	return true
}

// fits reports whether a run can be of this step.
func (s *scheduled) fits(r *run) bool {
	return s.at <= r.begin && (s.ended == unset || s.ended >= r.begin) && same(s.tokens, r.tokens) && same(s.requests, r.requests)
}

// after is the n-th step with tokens behind a step; nil: not known (yet).
func (e *engine) after(num, n int64) *scheduled {
	if n < 1 {
		return nil
	}
	i := sort.Search(e.expected.len(), func(i int) bool { return (*e.expected.at(i)).num > num })
	if n > int64(e.expected.len()-i) {
		return nil
	}
	return *e.expected.at(i + int(n) - 1)
}

// same reports whether two counts can be of one step.
func same(a, b int32) bool { return a == b || a < 0 || b < 0 }

func (w *worker) pair(r *run, s *scheduled) {
	w.matched, w.matchedPlace, w.inStep = s.num, r.place, true
	r.step, r.matched, r.resolved, r.phaseName = s.num, true, true, s.phaseName
	r.tokens = s.tokens
	if w == w.engine.primary && s.step != nil && s.step.run == nil {
		r.primary = true
		s.step.run = r
	}
}

// contradicted reports whether a step of another process was updated before its
// worker had the results: then it is not that step's, and nor are the ones after it.
func (r *run) contradicted(st *step) bool {
	return r.primary && !r.w.own() && r.end.known && st.updateDone != unset && r.end.hi > st.updateDone
}

// giveUp takes note that a worker's step is none of the engine's that we know.
func (w *worker) giveUp(r *run) {
	if r.resolved {
		return
	}
	r.resolved = true
	// Steps that the engine scheduled before tracing began are executed after.
	if w.matched >= 0 {
		w.j.losses.add(lossKey{-1, "worker_step", "unmatched"}, r.begin, r.begin, 1)
	}
}

// settleRuns hands on what is known of the steps of a worker in another process.
func (w *worker) settleRuns(end bool) {
	if end {
		w.match()
	}
	for w.runs.len() > 0 {
		r := *w.runs.at(0)
		if end {
			w.giveUp(r)
		} else if !w.finished(r) {
			return
		}
		w.finish(w.runs.pop())
	}
}

// finished reports whether nothing more can be learned of a step.
func (w *worker) finished(r *run) bool {
	switch {
	case !r.resolved:
		return false
	case r.primary:
		return r.done
	}
	return r.over && (r.parts == 0 || w.j.clock-r.begin > holdNS)
}

func (w *worker) finish(r *run) {
	if r.done || r.primary {
		return
	}
	if w.engine != nil {
		r.emitPhases()
	}
	r.done = true
}
