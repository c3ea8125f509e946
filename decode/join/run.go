package join

import (
	"math"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/decode/wire"
)

// run is the execution of a step by a worker: what its CUDA calls tell.
type run struct {
	w     *worker
	num   uint32 // the worker's own number, where it is another process
	place int64  // that without steps that have no tokens
	begin int64  // when its step was scheduled, or when the worker began

	tokens, requests int32 // -1: unknown
	step             int64 // step_id; valid if matched
	matched          bool
	resolved         bool // matched, or given up
	primary          bool // its times are the step's
	done             bool // the step's row is handed on
	phaseName        string

	seen   bool // a call was seen
	over   bool // no more calls come
	whole  bool // no call is missing, as far as is known
	partly bool // set when over: launches and copies were not probed all the time
	gap    bool // events were lost
	mixed  bool // calls of a step that was not seen may be among its own
	parts  int  // phases that are open

	launches []launch
	named    int // launches before this one have names

	forward, encoder, firstGraph int64 // first call in the phase, first launch of a graph that is no draft's or encoder's; unset
	after                        int64 // first call behind the forward pass; unset
	phases                       []phaseTime

	kernels, copies, copied int64

	recorded int64 // when the output event was recorded last; unset
	next     int64 // first call behind that, of this step or the next; unset
	drafted  bool  // a draft model ran after that
	end      completion

	first              int64 // first launch of the step's GPU time; unset
	gpuStart, startErr int64 // unset where not known
	startSampled       bool  // the start is an edge of the counters
	sampled            bool  // the end is one, too
	shared             bool  // other processes ran on the GPU: nothing bounds the times
	mode               string
	modelLaunches      int32
	modelEnd, modelErr int64 // of the one FULL graph, by the counters; unset
	read, written      *int64

	following  *run       // what the worker executed next; nil: nothing (yet)
	results    []copySpan // copies to the host that CUPTI told of
	boundary   uint32     // number of the last of them; 0: none
	startExact bool       // gpuStart is CUPTI's
	endExact   bool       // the end is, too
	modelExact bool       // modelEnd is
}

// launch is a graph launch of a step.
type launch struct {
	graph  *graph
	phase  wire.Phase
	replay *replay // nil: nobody tells its times
}

// completion is when the output event of a step was complete: not before lo, not
// after hi, and best taken to be at.
type completion struct {
	known       bool
	at, lo, hi  int64
	waited      bool
	waitedKnown bool
}

// exactly is a completion whose time is known.
func exactly(t int64) completion { return completion{known: true, at: t, lo: t, hi: t} }

func (c *completion) err() int64 { return max(c.at-c.lo, c.hi-c.at) }

// output is an event that was recorded behind a step's results.
type output struct {
	run      *run
	recorded int64
	pending  int64 // not complete then; unset
}

func (w *worker) newRun(begin int64, tokens, requests int32) *run {
	return &run{
		w: w, begin: begin, tokens: tokens, requests: requests,
		forward: unset, encoder: unset, firstGraph: unset, after: unset, recorded: unset, next: unset, gpuStart: unset, modelEnd: unset,
	}
}

// follow makes the step's execution by the engine's own process known.
func (e *engine) follow(st *step) {
	for _, w := range e.workers {
		if !w.own() || st.scheduled < w.since {
			continue
		}
		if st.headless { // whose calls follow is not known
			w.current = nil
			continue
		}
		r := w.newRun(st.scheduled, st.tokens, count(st.head.Rows))
		r.step, r.matched, r.resolved = int64(st.num), true, true
		r.phaseName = st.phaseName()
		if w == e.primary {
			r.primary = true
			st.run = r
		}
		w.begin(r)
	}
}

// phaseName is the step's phase by its requests.
func (st *step) phaseName() string {
	var requests [4]int32
	for i := range st.rows {
		requests[st.rows[i].kind]++
	}
	return phase(&requests, st.tokens, st.complete)
}

// launched takes note of a graph launch in the step.
func (r *run) launched(g *graph, phase wire.Phase, t int64, p *replay) {
	if len(r.launches) >= maxRunLaunches {
		r.gap = true
		r.w.j.losses.add(lossKey{-1, "graph_launches", "too_many"}, t, t, 1)
		return
	}
	r.launches = append(r.launches, launch{g, phase, p})
	if phase != wire.PhaseDraft && phase != wire.PhaseEncoder && r.firstGraph == unset {
		r.firstGraph = t
	}
}

// allNamed reports whether all graphs of the step have their names.
func (r *run) allNamed() bool {
	for r.named < len(r.launches) && r.launches[r.named].graph.name != nil {
		r.named++
	}
	return r.named == len(r.launches)
}

// record takes note of an event that is recorded behind the results, and forgets
// what else the event has meant.
func (w *worker) record(r *run, ev *wire.Call, t int64) {
	delete(w.outputs, ev.A)
	if r == nil || ev.Flags&wire.CallFailed != 0 || ev.Phase != wire.PhaseOutputCopy && ev.Phase != wire.PhaseOutputWait {
		return
	}
	if len(w.outputs) >= maxOutputs {
		clear(w.outputs) // events that nobody waits on
	}
	w.outputs[ev.A] = output{r, t, unset}
	r.recorded, r.next, r.drafted = t, unset, false
}

// waited takes the return of a wait on an event, and reports the step whose
// results it waited for; nil: none.
func (w *worker) waited(ev *wire.Call, began, t int64) *run {
	out, ok := w.outputs[ev.A]
	if !ok || ev.Flags&wire.CallFailed != 0 {
		return nil
	}
	delete(w.outputs, ev.A)
	since := max(out.recorded, out.pending)
	c := completion{known: true, at: t, lo: since, hi: t}
	switch {
	case began == unset: // how long it waited is not known
	case t-began > waitedNS:
		c.at, c.lo = max(t-wakeUpNS, began, since), max(t-latestWakeUpNS, since)
		c.waited, c.waitedKnown = true, true
	default:
		// The host came late. A GPU that waits for the host is done soon after it got
		// its last work, which was before the event was recorded.
		c.at, c.waitedKnown = since, true
	}
	out.run.complete(c)
	return out.run
}

// queried takes the return of a query of an event.
func (w *worker) queried(ev *wire.Call, began, t int64) {
	out, ok := w.outputs[ev.A]
	if !ok {
		return
	}
	if ev.Flags&wire.CallFailed != 0 { // cudaErrorNotReady
		out.pending = max(out.pending, began)
		w.outputs[ev.A] = out
		return
	}
	delete(w.outputs, ev.A)
	since := max(out.recorded, out.pending)
	out.run.complete(completion{known: true, at: since, lo: since, hi: t})
}

// synchronized takes the return of a wait on a stream or the device, which older
// runners get their results by.
func (w *worker) synchronized(r *run, ev *wire.Call, began, t int64) {
	if r == nil || r.recorded != unset || ev.Flags&wire.CallFailed != 0 || began == unset ||
		ev.Phase != wire.PhaseOutputCopy && ev.Phase != wire.PhaseOutputWait {
		return
	}
	c := completion{
		known: true, at: max(t-wakeUpNS, began), lo: max(t-latestWakeUpNS, began), hi: t,
		waited: t-began > waitedNS, waitedKnown: true,
	}
	if !c.waited {
		c.at, c.lo = began, min(max(r.forward, r.firstGraph, r.begin), began)
	}
	r.complete(c)
}

// complete takes the completion of an output event; of several the last counts.
func (r *run) complete(c completion) {
	c.hi = max(c.hi, c.lo)
	c.at = min(max(c.at, c.lo), c.hi)
	if !r.done && (!r.end.known || c.hi > r.end.hi) {
		r.end = c
	}
}

// pendingEnd reports whether the end of the step is yet to come.
func (r *run) pendingEnd() bool { return r.recorded != unset && !r.end.known }

// replays is what the model's graph launches of a step say together.
type replays struct {
	mode           string // empty: not known
	text           *string
	padded         int32 // -1: not known
	all, unknown   int32
	model          int32 // launches of the model's graphs
	maybeModel     int32 // of graphs without a name
	full           int32
	firstFullGraph *graph
}

func (r *run) replays() replays {
	s := replays{padded: -1, all: int32(len(r.launches))}
	var piece *graph
	for _, l := range r.launches {
		own := l.phase != wire.PhaseDraft && l.phase != wire.PhaseEncoder
		switch {
		case l.graph.name == nil:
			s.unknown++
			if own {
				s.maybeModel++
			}
		case own && l.graph.model && l.graph.name.Mode == modeFull:
			s.model++
			s.full++
			if s.firstFullGraph == nil {
				s.firstFullGraph = l.graph
			}
		case own && l.graph.model:
			s.model++
			if piece == nil {
				piece = l.graph
			}
		}
	}
	first := s.firstFullGraph
	if first == nil {
		first = piece
	}
	switch {
	case r.tokens == 0 || !r.seen:
	case first != nil:
		s.mode, s.text, s.padded = first.name.Mode, first.text, first.tokens
	case s.maybeModel == 0 && r.whole:
		s.mode, s.padded = modeNone, r.tokens
	}
	return s
}

// launchTime is the first launch of the model: of its graph where one graph is all
// of it, else the first call in the forward pass.
func (r *run) launchTime(s *replays) int64 {
	switch {
	case r.firstGraph != unset && (s.full > 0 || s.maybeModel == 1 && s.model == 0):
		return r.firstGraph
	case r.forward != unset && r.firstGraph != unset:
		return min(r.forward, r.firstGraph)
	case r.forward != unset && r.allCalls(): // else others may have come before it
		return r.forward
	}
	return r.firstGraph
}

// fill completes the step's row by what its worker's calls tell. Steps are filled
// in their order: the end of one bounds the start of the next.
func (e *engine) fill(r *run, row *record.StepRow) {
	if r.mixed {
		e.gpuBefore = gpuEnd{}
		return
	}
	ptr := e.j.ptr
	s := r.replays()
	r.mode, r.modelLaunches = s.mode, s.model+s.maybeModel
	if r.seen && r.whole {
		row.GraphLaunches, row.UnknownGraphs = ptr.int32(s.all), ptr.int32(s.unknown)
	}
	if s.mode != "" {
		row.GraphMode, row.Descriptor = e.j.modePtr(s.mode), s.text
		row.PaddedTokens = ptr.count(s.padded)
	}
	if r.seen && r.whole && r.over && r.parts == 0 && r.allCalls() {
		row.KernelLaunches, row.Copies = ptr.int32(clip(r.kernels)), ptr.int32(clip(r.copies))
		row.CopiedBytes = ptr.int64(r.copied)
	}
	switch {
	case r.tokens == 0:
	case r.seen:
		e.fillTimes(r, &s, row)
	default:
		e.gpuBefore = gpuEnd{}
	}
	e.j.stats.cover(&s, row)
}

// fillTimes is when the GPU worked for the step.
func (e *engine) fillTimes(r *run, s *replays, row *record.StepRow) {
	ptr := e.j.ptr
	before := e.gpuBefore
	launch := r.launchTime(s)
	if !r.gap && launch != unset {
		row.LaunchNS = ptr.int64(launch)
	}
	r.start(launch, &before)
	e.guess(r, s)
	guessed := r.end.at - r.gpuStart
	e.refine(r, s, &before)
	e.check(r, guessed)
	r.measure(s)
	r.inOrder()
	if r.end.known {
		row.GPUEndNS = ptr.int64(r.end.at)
		if r.end.waitedKnown {
			row.HostWaited = &e.j.no
			if r.end.waited {
				row.HostWaited = &e.j.yes
			}
		}
		row.GPUTimingSource = &e.j.eventBound
	}
	if r.gpuStart != unset {
		row.GPUStartNS = ptr.int64(r.gpuStart)
		row.GPUTimingSource = &e.j.eventBound
		if before.known && !before.vague && !before.idle {
			row.GPUIdleNS = ptr.int64(max(r.gpuStart-before.at, 0))
		}
	}
	switch {
	case r.startExact && r.endExact:
		row.GPUTimingSource = &e.j.cupti
	case r.sampled:
		row.GPUTimingSource = &e.j.gpuSampled
	}
	if r.end.known && r.gpuStart != unset {
		row.StepGPUNS = ptr.int64(r.end.at - r.gpuStart)
		// CUPTI's times are the process's own, whoever else runs.
		r.shared = !(r.startExact && r.endExact) && r.w.shared(r.end.at)
		row.GPUErrorNS = r.bound(r.startErr + r.end.err())
		e.j.stats.TimedSteps++
	}
	e.fillCounters(r, row)
	if r.modelExact && r.gpuStart != unset {
		row.ForwardNS, row.TimingSource, row.ErrorBoundNS = ptr.int64(r.modelEnd-r.gpuStart), &e.j.cupti, ptr.int64(0)
	}
	e.learn(r, s, &before)
	e.gpuBefore = gpuEnd{completion: r.end, recorded: r.recorded, vague: r.drafted || r.gap}
}

// sure reports whether the end is known to a tenth of the step's time.
func (r *run) sure() bool { return 10*r.end.err() <= r.end.at-r.gpuStart }

// check compares what a step would take by events alone with what the counters say.
func (e *engine) check(r *run, guessed int64) {
	took := r.end.at - r.gpuStart
	if !r.sampled || !r.startSampled || took <= 0 || guessed <= 0 || !r.sure() {
		return
	}
	b, diff := &e.j.stats.Bounds, float64(guessed-took)/float64(took)
	b.Steps++
	b.Bias += diff
	b.Error += math.Abs(diff)
}

// bound is an error bound of the step's times; null where nothing bounds them.
func (r *run) bound(ns int64) *int64 {
	if r.shared {
		return nil
	}
	return r.w.j.ptr.int64(ns)
}

// inOrder keeps the end from coming before the start, which may have been found later
// than it was taken to be.
func (r *run) inOrder() {
	if !r.end.known || r.gpuStart == unset {
		return
	}
	if r.gpuStart > r.end.hi {
		r.gpuStart, r.startSampled, r.sampled = unset, false, false
		return
	}
	r.end.lo = max(r.end.lo, r.gpuStart)
	r.end.at = max(r.end.at, r.end.lo)
}

// gpuEnd is when the GPU was done with the step before.
type gpuEnd struct {
	completion
	// recorded is when its output event was recorded; unset where not known.
	recorded int64
	vague    bool // it may have worked on: a draft model ran after the output event
	idle     bool // it had no work, since when is not known
}

// start is when the GPU began with the step: at the launch, or when it was done
// with the step before.
func (r *run) start(launch int64, before *gpuEnd) {
	first := launch
	if r.encoder != unset && (first == unset || r.encoder < first) {
		first = r.encoder
	}
	r.first = first
	if first == unset || r.gap || !before.known {
		return
	}
	idle, busy := first+launchNS, before.at+prepareNS
	if before.idle || idle >= busy {
		r.gpuStart = idle
		r.startErr = max(launchNS, latestLaunchNS-launchNS, before.hi+longestPrepareNS-idle)
		if before.idle {
			r.startErr = latestLaunchNS - launchNS
		}
	} else {
		r.gpuStart = busy
		earliest, latest := max(first, before.lo), max(before.hi, first)+longestPrepareNS
		r.startErr = max(busy-earliest, latest-busy)
	}
	if !r.end.known {
		return
	}
	if r.gpuStart > r.end.hi {
		r.gpuStart = unset
		return
	}
	if r.end.lo = max(r.end.lo, r.gpuStart); r.end.at <= r.end.lo && r.end.at < r.gpuStart {
		r.end.at = r.end.lo + (r.end.hi-r.end.lo)/2 // anywhere between
	}
	if before.vague {
		r.startErr += r.end.at - r.gpuStart
	}
}

// learn takes note of a step between two waits, or whose end the counters have: its GPU
// time is known best.
func (e *engine) learn(r *run, s *replays, before *gpuEnd) {
	g := s.firstFullGraph
	sampled := r.sampled && r.sure()
	if g == nil || !sampled && (!before.waited || !r.end.waited) || r.end.at <= r.gpuStart || r.gpuStart == unset || r.drafted {
		return
	}
	took := r.end.at - r.gpuStart
	if sampled { // no wait of the host's is in it
		g.learned = max(g.learned, enoughLearned-1)
	}
	switch {
	case g.usual == 0:
		g.usual = took
	case took < g.usual:
		g.usual += (took - g.usual) / 8
	default: // a wait may return late by any time: the host was away
		g.usual += min(took-g.usual, g.usual) / 64
	}
	g.learned++
}

// guess puts the end of a step for which the host came late where steps with its
// graph usually end, within the bounds: they stay what they are.
func (e *engine) guess(r *run, s *replays) {
	g := s.firstFullGraph
	if g == nil || g.learned < enoughLearned || !r.end.known || r.end.waited || r.gpuStart == unset {
		return
	}
	r.end.at = min(max(r.gpuStart+g.usual, r.end.lo), r.end.hi)
}

func clip(n int64) int32 { return int32(min(max(n, 0), 1<<31-1)) }
