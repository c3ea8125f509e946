package join

import "github.com/pmtrace/pmtrace/decode/wire"

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
		s, known := w.fitting(r)
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

// fitting is the first step behind the last matched one that has the run's counts
// and was under way when it began. known: if it is none, none will come.
func (w *worker) fitting(r *run) (s *scheduled, known bool) {
	e := w.engine
	seen := 0
	for i := range e.expected.len() {
		s := *e.expected.at(i)
		if s.at > r.begin {
			return nil, true
		}
		if s.num <= w.matched || s.ended != unset && s.ended < r.begin {
			continue
		}
		if same(s.tokens, r.tokens) && same(s.requests, r.requests) {
			return s, true
		}
		if seen++; seen > matchWindow {
			break
		}
	}
	return nil, w.j.clock-r.begin > holdNS
}

// same reports whether two counts can be of one step.
func same(a, b int32) bool { return a == b || a < 0 || b < 0 }

func (w *worker) pair(r *run, s *scheduled) {
	w.matched = s.num
	r.step, r.matched, r.resolved, r.phaseName = s.num, true, true, s.phaseName
	r.tokens = s.tokens
	if w == w.engine.primary && s.step != nil && s.step.run == nil {
		r.primary = true
		s.step.run = r
	}
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
