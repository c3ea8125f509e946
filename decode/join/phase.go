package join

import "github.com/pmtrace/pmtrace/decode/wire"

// segment is the phase that a thread is in, from its first call in it.
type segment struct {
	began  int64 // unset: none is open
	cut    int64 // the thread went to schedule or update; unset: it did not
	waited int64 // ns in waits on output events, which are told by themselves
	phase  wire.Phase
	run    *run // nil: of no step
}

// phaseTime is the time that a thread spent in a phase of a step. The phases of a
// thread do not overlap: each lasts from its first call to the next phase's.
type phaseTime struct {
	thread uint32
	phase  wire.Phase
	first  int64
	dur    int64
}

// operation is a phase's name in cpu_operations; empty: it is not told.
func operation(p wire.Phase) string {
	switch p {
	case wire.PhaseExecute:
		return "execute_model"
	case wire.PhasePrepare:
		return "prepare_inputs"
	case wire.PhaseEncoder:
		return "encoder"
	case wire.PhaseForward:
		return "forward_launch"
	case wire.PhaseCrossAttention:
		return "cross_attention"
	case wire.PhaseLogits:
		return "logits"
	case wire.PhaseSample:
		return "sampling"
	case wire.PhaseDraft:
		return "draft"
	case wire.PhaseOutputCopy:
		return "output_copy"
	case wire.PhaseOutputWait:
		return "output_wait"
	case wire.PhasePostprocess:
		return "postprocess"
	case wire.PhaseSyncRanks:
		return "sync_ranks"
	}
	return ""
}

// phaseNames are the phases in the column phase of calls.
var phaseNames = [wire.Phases]string{
	"none", "other", "execute", "prepare", "encoder", "forward", "cross_attention", "logits", "sample", "draft",
	"output_copy", "output_wait", "postprocess", "sync_ranks", "capture", "dummy",
}

// enterPhase begins a segment.
func (th *thread) enterPhase(r *run, p wire.Phase, t int64) {
	th.phase = segment{began: t, cut: unset, phase: p, run: r}
	if r == nil {
		return
	}
	r.parts++
	switch {
	case p == wire.PhaseForward || p == wire.PhaseCrossAttention:
		if r.forward == unset {
			r.forward = t
		}
	case p == wire.PhaseEncoder:
		if r.encoder == unset {
			r.encoder = t
		}
	case p == wire.PhaseDraft:
		r.drafted = true
		fallthrough
	case p == wire.PhaseLogits || p == wire.PhaseSample || p == wire.PhaseOutputCopy || p == wire.PhasePostprocess:
		if r.forward != unset && r.after == unset {
			r.after = t
		}
	}
}

// endSegment ends the segment at a time; unset: when it ended and what was counted
// in it is lost.
func (th *thread) endSegment(end int64) {
	s := &th.phase
	if s.run != nil {
		s.run.parts--
		s.run.gap = s.run.gap || end == unset
		if end != unset && s.phase != wire.PhaseOutputWait {
			s.run.spent(th.id, s.phase, s.began, max(end-s.began-s.waited, 0))
		}
	}
	*s = segment{began: unset, cut: unset}
}

// spent adds to the time of a thread in a phase.
func (r *run) spent(thread uint32, p wire.Phase, first, dur int64) {
	if operation(p) == "" {
		return
	}
	if r.done {
		r.w.j.losses.add(lossKey{-1, "cpu_operations", "too_late"}, first, first, 1)
		return
	}
	for i := range r.phases {
		if t := &r.phases[i]; t.thread == thread && t.phase == p {
			t.first = min(t.first, first)
			t.dur += dur
			return
		}
	}
	if len(r.phases) < maxRunPhases {
		r.phases = append(r.phases, phaseTime{thread, p, first, dur})
	}
}

func (r *run) spentIn(p wire.Phase) (first, dur int64, ok bool) {
	first = unset
	for _, t := range r.phases {
		if t.phase == p {
			if first == unset || t.first < first {
				first = t.first
			}
			dur += t.dur
		}
	}
	return first, dur, first != unset
}

// turn takes note that the engine's thread went to schedule or to update.
func (e *engine) turn(t int64) {
	for _, w := range e.workers {
		if !w.own() {
			continue
		}
		if th := w.threads[uint32(w.fact.EngineThread)]; th != nil && th.phase.began != unset && th.phase.cut == unset {
			th.phase.cut = t
		}
	}
}

// PhaseChange takes a thread's first call in a phase, and what was counted in the
// phase before.
func (j *Joiner) PhaseChange(ev *wire.PhaseChange) error {
	w, th, t := j.enterCall(&ev.Header, ev.Thread)
	num := uint32(wire.Unknown) // ev.Step is of the phase before
	if w.current != nil {
		num = w.current.num
	}
	r := w.runOf(th, num, ev.Flags)
	if w.steps(th) {
		w.resume(ev.Phase, t)
		w.touch(r)
	}
	if ev.Phase == wire.PhaseCapture || ev.Phase == wire.PhaseDummy {
		r = nil
	}
	w.leavePhase(th, ev, r, t)
	th.enterPhase(r, ev.Phase, t)
	w.encodes = w.encodes || r != nil && ev.Phase == wire.PhaseEncoder
	j.settle()
	return j.err
}

// leavePhase ends the phase before; r is the new one's step. Where an event was
// lost since it began, what it counted is of a step that is marked for it.
func (w *worker) leavePhase(th *thread, ev *wire.PhaseChange, r *run, t int64) {
	s := &th.phase
	if s.began == unset || s.phase != ev.Before || ev.First == 0 {
		th.endSegment(unset)
		return
	}
	end := t
	if s.cut != unset || s.run != r {
		end = min(t, max(w.j.sessionTime(ev.Last), s.began))
	}
	if s.cut != unset {
		end = min(end, max(s.cut, s.began))
	}
	if old := s.run; old != nil {
		old.kernels += int64(ev.Launches)
		old.copies += int64(ev.Copies)
		old.copied = add(old.copied, ev.Copied)
	}
	th.endSegment(end)
}

// resume takes note of the first call behind a step's results: from then on the GPU
// may have other work.
func (w *worker) resume(p wire.Phase, t int64) {
	if p == wire.PhaseOutputCopy || p == wire.PhaseOutputWait {
		return
	}
	for _, r := range w.open {
		if r.recorded != unset && r.next == unset {
			r.next = t
		}
	}
}

// add is a sum that does not overflow.
func add(a int64, b uint64) int64 {
	if s := uint64(a) + b; b < 1<<62 && s < 1<<62 {
		return int64(s)
	}
	return 1 << 62
}
