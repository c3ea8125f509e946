package join

import (
	"slices"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/decode/wire"
)

// Call takes a call of CUDA or NCCL.
func (j *Joiner) Call(ev *wire.Call) error {
	w, th, t := j.enterCall(&ev.Header, ev.Thread)
	r := w.runOf(th, ev.Step, ev.Flags)
	if w.steps(th) {
		w.touch(r)
	}
	began := int64(unset)
	if ev.Began != 0 {
		began = min(j.sessionTime(ev.Began), t)
	}
	switch ev.Row {
	case wire.RowGraphLaunch:
		w.launchGraph(r, ev, t)
	case wire.RowCaptureBegin:
		w.captureBegin(th, ev, t)
	case wire.RowCaptureEnd:
		w.captureEnd(th, ev, t)
	case wire.RowGraphInstantiate:
		w.instantiate(ev, t)
	case wire.RowGraphDestroy:
		w.destroy(ev.A, t)
	case wire.RowEventRecord:
		w.record(r, ev, t)
	case wire.RowEventDestroy:
		delete(w.outputs, ev.A)
	case wire.RowEventSync:
		w.waitEvent(th, ev, began, t)
	case wire.RowEventQuery:
		w.queried(ev, began, t)
	case wire.RowStreamSync, wire.RowDeviceSync:
		w.synchronized(r, ev, began, t)
	case wire.RowLaunch, wire.RowCopy, wire.RowAllReduce, wire.RowAllGather, wire.RowReduceScatter,
		wire.RowBroadcast, wire.RowReduce, wire.RowSend, wire.RowRecv:
		w.single(r, ev, t)
	}
	j.settle()
	return j.err
}

// launchGraph takes a replay. Its row waits for the graph's name and the step.
func (w *worker) launchGraph(r *run, ev *wire.Call, t int64) {
	if ev.Flags&wire.CallFailed != 0 {
		return
	}
	j := w.j
	g := w.graphOf(ev.A)
	g.launches++
	j.stats.GraphLaunches++
	p := w.expect(r, g, ev.Thread, t)
	if r != nil {
		r.launched(g, ev.Phase, t, p)
	}
	j.launches.push(heldLaunch{w: w, run: r, graph: g, at: t, phase: ev.Phase, thread: ev.Thread, replay: p})
}

// expect makes a place for what CUPTI may tell of a launch.
func (w *worker) expect(r *run, g *graph, thread uint32, t int64) *replay {
	if !w.j.injectable || w.injected != nil && w.injected.over {
		return nil
	}
	p := &replay{graph: g, run: r, thread: thread, at: t}
	if len(w.unpaired) >= maxUnpaired {
		for _, old := range w.unpaired[:maxUnpaired/2] {
			old.given = true
		}
		w.unpaired = slices.Delete(w.unpaired, 0, maxUnpaired/2)
	}
	w.unpaired = append(w.unpaired, p)
	return p
}

// waitEvent takes the return of a wait on an event. The wait for a step's results
// is a phase of that step, whatever the thread has begun meanwhile.
func (w *worker) waitEvent(th *thread, ev *wire.Call, began, t int64) {
	r := w.waited(ev, began, t)
	if began == unset || r == nil && ev.Phase != wire.PhaseOutputWait {
		return
	}
	if th.phase.began != unset && th.phase.phase != wire.PhaseOutputWait {
		th.phase.waited += t - max(began, th.phase.began)
	}
	switch {
	case r != nil && !r.done:
		r.spent(th.id, wire.PhaseOutputWait, began, t-began)
	case w.engine != nil:
		w.emitOperation(r, th.id, wire.PhaseOutputWait, began, t-began)
	}
}

// emitOperation hands on a phase; r nil: of a step that is not known.
func (w *worker) emitOperation(r *run, thread uint32, p wire.Phase, at, dur int64) {
	row := &w.j.rows.cpu
	*row = record.CPUOperationRow{
		Engine: w.engine.id, TimeNS: at, DurNS: dur, Operation: operation(p), Thread: int32(thread),
		Context: phaseContext(record.PhaseUnknown),
	}
	if r != nil {
		row.StepID, row.Context = r.stepPtr(), phaseContext(r.phaseName)
	}
	w.j.check(w.j.sink.CPUOperation(row))
}

func (r *run) stepPtr() *int64 {
	if r == nil || !r.matched || r.mixed {
		return nil
	}
	return r.w.j.ptr.int64(r.step)
}

// emitPhases hands on the phases of a step. Where not all calls were seen, that is the wait
// for its results, which is a call's own time.
func (r *run) emitPhases() {
	all := r.allCalls()
	for _, p := range r.phases {
		if all || p.phase == wire.PhaseOutputWait {
			r.w.emitOperation(r, p.thread, p.phase, p.first, p.dur)
		}
	}
}

// heldCall is a call whose step is not matched yet.
type heldCall struct {
	run  *run
	call wire.Call
	at   int64
}

// single takes a call that is a row by itself.
func (w *worker) single(r *run, ev *wire.Call, t int64) {
	if r == nil || r.resolved && w.waiting.len() == 0 {
		w.emitCall(r, ev, t)
		return
	}
	w.waiting.push(heldCall{r, *ev, t})
	if w.waiting.len() > maxHeldCalls {
		c := w.waiting.pop()
		w.emitCall(c.run, &c.call, c.at)
	}
}

// settleCalls hands on the calls whose step is known.
func (w *worker) settleCalls(end bool) {
	for w.waiting.len() > 0 && (end || w.waiting.at(0).run.resolved) {
		c := w.waiting.pop()
		w.emitCall(c.run, &c.call, c.at)
	}
}

func (w *worker) emitCall(r *run, ev *wire.Call, t int64) {
	j := w.j
	switch ev.Row {
	case wire.RowLaunch:
		j.stats.Launches++
		j.rows.launch = record.LaunchRow{
			Worker: w.id, Engine: w.enginePtr(), StepID: r.stepPtr(), TimeNS: t, Function: ev.A, GridX: int32(uint32(ev.B)), GridY: int32(ev.B >> 32),
			Stream: ev.C, Phase: phaseNames[ev.Phase], Thread: int32(ev.Thread),
		}
		j.check(j.sink.Launch(&j.rows.launch))
	case wire.RowCopy:
		j.stats.Copies++
		j.rows.copied = record.CopyRow{
			Worker: w.id, Engine: w.enginePtr(), StepID: r.stepPtr(), TimeNS: t, Bytes: positive(ev.A), Kind: copyKind(ev.B),
			Stream: ev.C, Phase: phaseNames[ev.Phase], Thread: int32(ev.Thread),
		}
		j.check(j.sink.Copy(&j.rows.copied))
	default:
		j.stats.Collectives++
		name, size := ncclType(ev.B)
		count := positive(ev.A)
		j.rows.collective = record.CollectiveRow{
			Worker: w.id, Engine: w.enginePtr(), Rank: j.ptr.narrow(w.fact.Rank), StepID: r.stepPtr(), TimeNS: t,
			Collective: ev.Row.Name(), Count: count, Type: name, Bytes: times(count, size),
			Stream: ev.C, Phase: phaseNames[ev.Phase], Thread: int32(ev.Thread),
		}
		j.check(j.sink.Collective(&j.rows.collective))
	}
}

// positive is a size_t as a column has it.
func positive(n uint64) int64 { return int64(min(n, 1<<62)) }

func times(n, size int64) int64 {
	if size > 0 && n > (1<<62)/size {
		return 1 << 62
	}
	return n * size
}

// copyKind is the name of a cudaMemcpyKind.
func copyKind(kind uint64) string {
	switch kind {
	case 0:
		return "host_to_host"
	case 1:
		return "host_to_device"
	case 2:
		return "device_to_host"
	case 3:
		return "device_to_device"
	case 4:
		return "default"
	}
	return "unknown"
}

// ncclType is the name and the size of a ncclDataType_t (nccl.h).
func ncclType(t uint64) (name string, size int64) {
	types := [...]struct {
		name string
		size int64
	}{
		{"int8", 1}, {"uint8", 1}, {"int32", 4}, {"uint32", 4}, {"int64", 8}, {"uint64", 8},
		{"float16", 2}, {"float32", 4}, {"float64", 8}, {"bfloat16", 2}, {"float8_e4m3", 1}, {"float8_e5m2", 1},
	}
	if t >= uint64(len(types)) {
		return "unknown", 0
	}
	return types[t].name, types[t].size
}
