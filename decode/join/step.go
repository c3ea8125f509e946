package join

import (
	"slices"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/decode/wire"
)

// maxFlight bounds the steps that wait for their update.
const maxFlight = 64

// step is a schedule call whose update has not returned.
type step struct {
	num              uint32
	output           uint64
	began, scheduled int64 // began: unset where unknown
	tokens           int32 // -1: unknown
	head             wire.Step
	rows             []stepRow
	headless         bool // its head was lost: only requests are known
	complete         bool // all rows are there
	gap              bool // events were lost since
	unseen           bool // a step may be missing before it
	draftTokens      int32
	chosen           bool // what its tokens chose is counted, or missed

	ctxKnown                bool
	ctxRequests, ctxTokens  int32
	genRequests, genTokens  int32
	updateBegan, updateDone int64 // unset where unknown
	before                  int64 // when the update before returned; unset where unknown
	outputs                 int32 // -1: unknown
	finished                int32

	run      *run       // its execution by the primary worker; nil: none is known
	expected *scheduled // what workers of other processes match; nil: not expected
}

type stepRow struct {
	req       *request
	scheduled int32
	computed  int32 // -1: unknown
	newBlocks int32 // -1: unknown
	outputs   int32 // -1: unknown
	drafts    int32
	kind      kind
	taken     taken
}

// taken says whether a step took the request from waiting.
type taken uint8

const (
	takenNot taken = iota
	takenFirst
	takenAgain
)

func (e *engine) newStep(c *call) *step {
	var st *step
	if n := len(e.spareSteps); n > 0 {
		st, e.spareSteps = e.spareSteps[n-1], e.spareSteps[:n-1]
	} else {
		st = &step{}
	}
	*st = step{
		num: c.num, output: c.head.Output, head: c.head, rows: st.rows[:0],
		began: unset, scheduled: c.time, tokens: -1,
		updateBegan: unset, updateDone: unset, before: unset, outputs: -1,
		headless: !c.hasIt, gap: c.gap, unseen: c.gap || e.gapInWindow(),
	}
	if c.hasIt {
		st.scheduled = c.at
		st.tokens = count(c.head.Tokens)
		st.began = e.beganAt(c.head.Began, st.scheduled)
		e.called = st.scheduled
	}
	return st
}

func (e *engine) recycle(st *step) {
	clear(st.rows)
	e.spareSteps = append(e.spareSteps, st)
}

// find is r's row. Lists of one step have the rows' order, so the search goes
// on from where it was.
func (st *step) find(r *request, at *int) *stepRow {
	n := len(st.rows)
	for range n {
		if *at >= n {
			*at = 0
		}
		row := &st.rows[*at]
		*at++
		if row.req == r {
			return row
		}
	}
	return nil
}

// fly makes a step wait for its update. A step with the same SchedulerOutput
// cannot wait any more: the address was free.
func (e *engine) fly(st *step) {
	for i, old := range e.flight {
		if old.output == st.output {
			e.retire(i)
			break
		}
	}
	e.flight = append(e.flight, st)
	if len(e.flight) > maxFlight {
		e.retire(0)
	}
	if !e.watch.updateReturn && !e.watch.updateEntry {
		e.retireAll()
	}
}

func (e *engine) retireAll() {
	if n := len(e.flight); n > 0 {
		e.retire(n - 1)
	}
}

// retire hands on the steps up to the i-th: updates come in the order of the
// steps, so the ones before will have none.
func (e *engine) retire(i int) {
	for _, st := range e.flight[:i+1] {
		e.hand(st)
	}
	e.flight = slices.Delete(e.flight, 0, i+1)
}

// emit hands on a step, its requests and its timed operations.
func (e *engine) emit(st *step) {
	e.unupdated(st)
	row := e.stepRow(st)
	e.number(st, row)
	e.j.stats.Steps++
	e.j.stats.StepRequests += int64(len(st.rows))
	e.j.stats.Scheduled += int64(row.Tokens)
	if row.Tokens == 0 {
		e.j.stats.EmptySteps++
	}
	if st.unseen {
		e.gpuBefore = gpuEnd{}
	}
	r := st.run
	launched := row.ForwardNS // as the CPU saw it
	switch {
	case r != nil:
		if r.contradicted(st) {
			e.j.losses.add(lossKey{-1, "worker_step", "out_of_order"}, r.begin, r.begin, 1)
			r.gap, r.w.inStep, r.end.known = true, false, false
		}
		r.whole = !r.gap && (r.over || st.updateBegan != unset || st.updateDone != unset)
		e.fill(r, row)
	case st.tokens != 0:
		e.gpuBefore = gpuEnd{} // what the GPU did is not known
	}
	e.fillWork(st, row)
	e.j.check(e.j.sink.Step(row))
	e.emitRows(st)
	e.emitOperations(st, row, launched)
	if r != nil {
		r.emitPhases()
		e.emitEncoder(r, row)
		e.route(st, r, row)
		r.done = true
		st.run = nil
	}
	if st.expected != nil {
		st.expected.step, st.expected = nil, nil
	}
}

// number gives the step vLLM's own number. Steps without a token have none;
// up to 0.22 vLLM counts them nevertheless, from 0.25 it does not
// (EngineCore.log_iteration_details, capture_iteration_details).
func (e *engine) number(st *step, row *record.StepRow) {
	if e.emitted && e.lastStep+1 != st.num || !e.emitted && st.num != 0 || st.tokens < 0 {
		e.iterations = false
	}
	e.emitted, e.lastStep = true, st.num
	if !e.iterations {
		return
	}
	if st.tokens == 0 {
		switch n := minor(e.fact.VLLM); {
		case n <= 22:
			e.iteration++
		case n < 25:
			e.iterations = false // somewhere in between it changed
		}
		return
	}
	row.Iteration = e.j.ptr.int64(e.iteration)
	e.iteration++
}

func (e *engine) stepRow(st *step) *record.StepRow {
	ptr := e.j.ptr
	row := &e.j.rows.step
	*row = record.StepRow{
		Engine: e.id, StepID: int64(st.num), StartNS: st.start(), ScheduledNS: st.scheduled,
		Requests: max(count(st.head.Rows), int32(len(st.rows))), Tokens: max(st.tokens, 0),
		DraftTokens: st.draftTokens, EncoderInputs: max(count(st.head.EncoderInputs), 0),
		Preempted: max(count(st.head.Preempted), count(st.head.Victims), 0),
		Running:   ptr.count(count(st.head.Running)), Waiting: ptr.count(count(st.head.Waiting)),
		KVTotal: ptr.count(e.kvTotal()),
	}
	if total, free := e.kvTotal(), count(st.head.FreeBlocks); total >= 0 && free >= 0 && free <= total {
		row.KVUsed = ptr.int32(total - free)
	}
	if st.began != unset {
		row.ScheduleDurNS = ptr.int64(st.scheduled - st.began)
	}
	if st.updateBegan != unset {
		row.UpdateNS = ptr.int64(st.updateBegan)
	}
	if st.updateDone != unset {
		row.EndNS = ptr.int64(st.updateDone)
		if st.updateBegan != unset && st.updateBegan <= st.updateDone {
			row.UpdateDurNS = ptr.int64(st.updateDone - st.updateBegan)
		}
		if st.outputs >= 0 {
			row.OutputTokens = ptr.int32(st.outputs)
			row.FinishedRequests = ptr.int32(st.finished)
		}
	}
	e.split(st, row)
	e.forward(st, row)
	if st.ctxKnown {
		row.ContextRequests, row.ContextTokens = ptr.int32(st.ctxRequests), ptr.int32(st.ctxTokens)
		row.GenerationRequests, row.GenerationTokens = ptr.int32(st.genRequests), ptr.int32(st.genTokens)
	}
	return row
}

// split counts requests and tokens by kind.
func (e *engine) split(st *step, row *record.StepRow) {
	var requests, tokens [4]int32
	for i := range st.rows {
		r := &st.rows[i]
		requests[r.kind]++
		tokens[r.kind] = sum(tokens[r.kind], r.scheduled)
		switch r.taken {
		case takenFirst:
			row.NewRequests++
		case takenAgain:
			row.ResumedRequests++
		}
	}
	row.PrefillRequests, row.PrefillTokens = requests[kindPrefill], tokens[kindPrefill]
	row.DecodeRequests, row.DecodeTokens = requests[kindDecode], tokens[kindDecode]
	row.RecomputeRequests, row.RecomputeTokens = requests[kindRecompute], tokens[kindRecompute]
	row.Phase = phase(&requests, st.tokens, st.complete)
}

// forward is what the CPU saw of the forward pass: from when both this step was
// scheduled and the one before was done with, until its update began. On a
// device that runs by itself this is more than the device's time.
func (e *engine) forward(st *step, row *record.StepRow) {
	if st.updateBegan == unset || st.tokens <= 0 || st.gap {
		return
	}
	from := st.forwardFrom()
	if from > st.updateBegan {
		return
	}
	row.ForwardNS = e.j.ptr.int64(st.updateBegan - from)
	row.TimingSource = &e.j.cpuBound
}

func (st *step) forwardFrom() int64 {
	return max(st.scheduled, st.before) // unset is the smallest time
}

func (e *engine) emitRows(st *step) {
	ptr := e.j.ptr
	out := &e.j.rows.stepReq
	known := st.updateDone != unset && st.outputs >= 0
	for i := range st.rows {
		r := &st.rows[i]
		*out = record.StepRequestRow{
			Engine: e.id, StepID: int64(st.num), RequestUID: r.req.uid, Kind: r.kind.String(),
			Scheduled: r.scheduled, Computed: ptr.count(r.computed), PromptTokens: r.req.promptPtr,
			DraftTokens: r.drafts, NewBlocks: ptr.count(r.newBlocks),
		}
		switch {
		case r.outputs >= 0:
			out.OutputTokens = ptr.int32(r.outputs)
		case known:
			out.OutputTokens = ptr.int32(0) // the update had nothing for it
		}
		e.j.check(e.j.sink.StepRequest(out))
	}
}

// emitOperations hands on what the engine's thread spent its time with.
func (e *engine) emitOperations(st *step, row *record.StepRow, execution *int64) {
	if row.ScheduleDurNS != nil {
		e.operation(st, "scheduling", row.StartNS, *row.ScheduleDurNS, row.Phase)
	}
	if execution != nil {
		e.operation(st, "model_execution", st.forwardFrom(), *execution, row.Phase)
	}
	if row.UpdateDurNS != nil {
		e.operation(st, "update_from_output", *row.UpdateNS, *row.UpdateDurNS, row.Phase)
	}
}

func (e *engine) operation(st *step, name string, at, dur int64, phase string) {
	row := &e.j.rows.cpu
	*row = record.CPUOperationRow{
		Engine: e.id, StepID: e.j.ptr.int64(int64(st.num)), TimeNS: at, DurNS: dur,
		Operation: name, Thread: int32(e.fact.Thread),
	}
	if name == "model_execution" {
		row.Context = phaseContext(phase)
	}
	e.j.check(e.j.sink.CPUOperation(row))
}

func phaseContext(phase string) string {
	switch phase {
	case record.PhasePrefill:
		return "phase=prefill"
	case record.PhaseDecode:
		return "phase=decode"
	case record.PhaseMixed:
		return "phase=mixed"
	}
	return "phase=unknown"
}
