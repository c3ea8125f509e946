package join

import (
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/decode/wire"
)

// heldLaunch is a graph launch whose row waits for its graph's name, and for the
// step's times.
type heldLaunch struct {
	w      *worker
	run    *run // nil: of no step
	graph  *graph
	at     int64
	phase  wire.Phase
	thread uint32
	replay *replay // nil: nobody tells its times
}

// hand takes a step that has its update. Its row goes on at once, or as soon as
// the GPU's side of it and the rows before are known.
func (e *engine) hand(st *step) {
	e.held.push(st)
	e.heldRows += len(st.rows)
	if s := st.expected; s != nil {
		s.ended = st.updateDone
	}
	e.settleSteps()
	for e.held.len() > maxHeldSteps || e.heldRows > maxHeldRows {
		e.release()
	}
}

// handed is when the step's update returned, as far as it is known: its row is in time
// order by it.
func (st *step) handed() int64 {
	if st.updateDone != unset {
		return st.updateDone
	}
	return st.scheduled
}

// release hands on the oldest step that is held.
func (e *engine) release() {
	st := e.held.pop()
	e.heldRows -= len(st.rows)
	e.emit(st)
	e.recycle(st)
}

func (e *engine) settleSteps() {
	for e.held.len() > 0 && e.settled(*e.held.at(0)) {
		e.release()
	}
}

// settled reports whether nothing more can be learned of the oldest held step, or
// is waited for.
func (e *engine) settled(st *step) bool {
	if e.primary == nil || st.run == nil && (st.expected == nil || e.primary.matched > st.expected.num) {
		return true
	}
	if e.overdue() {
		return true
	}
	r := st.run
	if r == nil || !r.over || r.parts > 0 || r.pendingEnd() {
		return false
	}
	if e.j.clock-r.begin > holdNS {
		return true
	}
	return r.allNamed() && e.counted(r) && r.measured()
}

// overdue reports whether the step behind the oldest held one began so long ago
// that no call of that one will come. While the server is idle none is overdue.
func (e *engine) overdue() bool {
	next := int64(unset)
	switch {
	case e.held.len() > 1:
		next = (*e.held.at(1)).scheduled
	case len(e.flight) > 0 && e.flight[0] != *e.held.at(0):
		next = e.flight[0].scheduled
	}
	return next != unset && e.last-next > holdNS
}

// settle hands on all rows that need not wait any more.
func (j *Joiner) settle() {
	for _, in := range j.processes {
		in.settle(false)
		in.routing.settle(false)
	}
	for _, e := range j.order {
		if e.held.len() > 0 {
			e.settleSteps()
		}
		for _, w := range e.workers {
			w.settleCalls(false)
			w.settleRuns(false)
		}
	}
	for j.launches.len() > 0 && (j.launches.at(0).settled(j) || j.launches.len() > maxHeldLaunches) {
		j.emitLaunch(j.launches.pop())
	}
}

// settled reports whether a launch's row is known as far as it will be.
func (l *heldLaunch) settled(j *Joiner) bool {
	if r := l.run; r != nil && (!r.resolved || r.primary && !r.done) {
		return false
	}
	if l.replay.waits(l.w) {
		return false
	}
	return l.graph.name != nil || l.graph.id < 0 || j.clock-l.at > holdNS
}

// emitLaunch hands on a replay.
func (j *Joiner) emitLaunch(l heldLaunch) {
	ptr, g, r := j.ptr, l.graph, l.run
	row := &j.rows.graphLaunch
	*row = record.GraphLaunchRow{
		Worker: l.w.id, Engine: l.w.enginePtr(), StepID: r.stepPtr(), GraphID: g.id, LaunchNS: l.at,
		Mode: g.mode, Descriptor: g.text, Piece: g.piece, Phase: phaseNames[l.phase], Thread: int32(l.thread),
	}
	if g.name == nil {
		j.stats.UnknownLaunches++
	}
	if g.model && l.phase != wire.PhaseDraft && l.phase != wire.PhaseEncoder {
		row.PaddedTokens = ptr.count(g.tokens)
		if r != nil && r.matched {
			row.Tokens = ptr.count(r.tokens)
			r.timeLaunch(row, ptr)
		}
	}
	if p := l.replay; p != nil && p.known {
		j.stats.Replays++
		row.StartNS, row.EndNS, row.DurNS = ptr.int64(p.start), ptr.int64(p.end), ptr.int64(p.end-p.start)
		row.TimingSource, row.ErrorNS = &j.cupti, ptr.int64(0)
	}
	j.check(j.sink.GraphLaunch(row))
}

// timeLaunch gives a replay its times, where the step has this one of the model.
func (r *run) timeLaunch(row *record.GraphLaunchRow, ptr *nullable) {
	if !r.primary || r.gpuStart == unset || r.mode != modeFull || r.modelLaunches != 1 {
		return
	}
	j := r.w.j
	row.StartNS, row.TimingSource = ptr.int64(r.gpuStart), &j.eventBound
	row.ErrorNS = r.bound(r.startErr)
	if r.startSampled {
		row.TimingSource = &j.gpuSampled
	}
	if r.modelEnd != unset {
		row.EndNS, row.DurNS = ptr.int64(r.modelEnd), ptr.int64(r.modelEnd-r.gpuStart)
		row.ErrorNS = r.bound(r.startErr + r.modelErr)
		row.DRAMReadBytes, row.DRAMWriteBytes = r.read, r.written
	}
}
