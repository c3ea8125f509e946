package join

import (
	"cmp"
	"math"
	"slices"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/decode/wire"
)

// engine is what is known of one engine.
type engine struct {
	j     *Joiner
	id    int32
	fact  record.Engine
	known bool // an Engine fact was seen
	watch watches
	work  *work

	seq     uint32 // of the next event
	called  int64  // when schedule last returned; unset before
	begun   bool   // an event was seen
	last    int64  // time of the newest event
	epoch   uint32 // rises with every loss
	since   int64  // when this epoch began: everything since has been seen
	window  uint32 // schedule calls closed
	gapTo   uint32 // window in which the newest loss may have been, plus one
	running int64  // newest queue lengths; -1: unknown
	waiting int64
	free    int64 // newest number of free blocks; -1: unknown

	call   call
	update update

	workers   []*worker // processes that execute its steps
	primary   *worker   // whose times are the steps'; nil: none is known
	expected  queue[*scheduled]
	gpuBefore gpuEnd

	flight      []*step // in the order of their ids
	held        queue[*step]
	heldRows    int // requests in them
	spareSteps  []*step
	lastUpdate  int64 // when update_from_output last returned; valid if updated
	updated     bool
	updateEpoch uint32 // of lastUpdate
	badOutputs  uint32 // window of the newest update that was not read as a whole, plus one
	beginOffset offset
	endOffset   offset
	emitted     bool
	lastStep    uint32 // emitted
	iteration   int64
	iterations  bool // iteration is known

	byKey    map[uint64]*request
	byObject map[uint64]*request
	swept    uint32

	kv       kv
	routed   []int32 // layers with experts
	experts  expertBook
	buffered buffered
}

func newEngine(j *Joiner, i uint8) *engine {
	e := &engine{
		j: j, id: int32(i), watch: watchesOf(nil), running: -1, waiting: -1, free: -1,
		since: math.MinInt64, called: unset,
		byKey: map[uint64]*request{}, byObject: map[uint64]*request{},
	}
	e.experts.e = e
	return e
}

// layered takes the layers with experts, once.
func (e *engine) layered(layers []int32) {
	if n := len(layers); e.routed == nil && n > 0 && n <= maxMoELayers {
		e.routed = layers
	}
}

func (e *engine) attach(f *record.Engine) {
	first := !e.known
	e.fact, e.known = *f, true
	e.work = newWork(f)
	e.layered(f.MoELayers)
	e.watch = watchesOf(f.Watches)
	// An engine that is idle has nothing on the GPU that its first step waits for.
	if first && (f.FromStart || f.Iteration != nil) && !e.begun {
		e.gpuBefore = gpuEnd{completion: exactly(f.MonoNS - e.j.base), recorded: unset, idle: true}
	}
	if first && f.MonoNS != 0 && !e.begun {
		e.since = f.MonoNS - e.j.base
	}
	// Dummy steps of a data-parallel engine take iteration numbers unseen.
	if f.Iteration != nil && f.DP <= 1 && !e.emitted && len(e.flight) == 0 {
		e.iteration, e.iterations = *f.Iteration, true
	}
}

// kvTotal is the number of blocks without the null block; -1: unknown.
func (e *engine) kvTotal() int32 {
	if e.fact.Blocks <= 0 {
		return -1
	}
	return int32(e.fact.Blocks) - 1
}

// enter takes note of an event and returns its time.
func (j *Joiner) enter(h *wire.Header) (*engine, int64) {
	e := j.engine(h.Engine)
	t := j.time(h.Ktime)
	if e.begun && h.Seq != e.seq {
		e.lose(e.last, t, int64(int32(h.Seq-e.seq)))
	}
	if !e.begun && (e.since == math.MinInt64 || t < e.since) {
		e.since = t // also where it came between arming and the reading of the clock
	}
	if e.begun && t < e.last { // one thread's clock: the event is damaged
		e.j.losses.add(lossKey{e.id, "ring", "time_went_back"}, e.last, e.last, 1)
		t = e.last
	}
	e.begun = true
	e.seq = h.Seq + 1
	e.last = t
	j.now = max(j.now, t)
	j.clock = max(j.clock, t)
	return e, t
}

// lose takes note that n events are missing between two times. n below 1: the
// numbers went back, and how many are missing is not known.
func (e *engine) lose(from, to, n int64) {
	if n > 0 {
		e.j.losses.gap(e.id, from, to, n)
	} else {
		e.j.losses.add(lossKey{e.id, "ring", "sequence_went_back"}, from, to, 1)
	}
	e.distrust(to)
}

// distrust begins a new epoch: what was counted up from events is not relied on.
func (e *engine) distrust(t int64) {
	e.epoch++
	e.kv.current++
	e.since = t
	e.gapTo = e.window + 1
	if e.call.open { // it may be the next call's events that are missing
		e.gapTo++
	}
	e.call.gap = true
	for _, st := range e.flight {
		st.gap = true
	}
	for _, w := range e.workers {
		if !w.own() {
			continue
		}
		for _, r := range w.open { // calls of a step unseen would be taken for theirs
			r.gap, r.mixed = true, true
		}
	}
}

// gapInWindow reports whether events may have been lost since the last schedule
// call, or in the one that is being closed.
func (e *engine) gapInWindow() bool { return e.gapTo > e.window }

// Malformed is told of an event that could not be read.
func (j *Joiner) Malformed(h wire.Header) error {
	if h.Version != wire.Version {
		return nil // its header may mean anything
	}
	if h.Kind >= wire.KindCall && h.Kind <= wire.KindWorkerStep {
		return nil // the thread that numbered it is not known: its next event shows the gap
	}
	if h.Kind == wire.KindHook {
		return nil // what is missing of them the kernel counts
	}
	if h.Kind >= wire.KindCUPTICall && h.Kind <= wire.KindLast {
		if in := j.injections[h.Engine]; in != nil {
			in.order.synced = false // it may have been a replay
		}
		return nil
	}
	e, t := j.enter(&h)
	e.distrust(t)
	return j.err
}

func (e *engine) closeRequests() {
	left := make([]*request, 0, len(e.byKey))
	for _, r := range e.byKey {
		if !r.done {
			left = append(left, r)
		}
	}
	slices.SortFunc(left, func(a, b *request) int { return cmp.Compare(a.uid, b.uid) })
	for _, r := range left {
		e.emitPreemption(r)
		e.emitRequest(r)
	}
	clear(e.byKey)
	clear(e.byObject)
}
