package join

import (
	"math"
	"strconv"
	"strings"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/decode/wire"
)

// unset marks a time that is not known.
const unset = math.MinInt64

// request is a request that lives in an engine.
type request struct {
	uid         int64
	key, object uint64
	id          string
	arrival     float64 // epoch s; 0: unknown
	prompt      int32   // tokens; -1: unknown
	promptPtr   *int32
	maxTokens   int32
	priority    int32
	preemptions int32
	fromStart   bool
	done        bool
	doneWindow  uint32

	// Counted up from events; right while epoch is the engine's.
	epoch   uint32
	outputs int32 // tokens handed out; -1: unknown
	// computed is what num_computed_tokens should be; -1: unknown.
	computed  int32
	caughtUp  bool   // all but its newest token were computed since it was taken from waiting
	lastStep  uint32 // of its newest row; valid if steps > 0
	rowEpoch  uint32
	metEpoch  uint32 // of the newest announcement or row
	metWindow uint32 // before which operations were not known to be for it, plus one
	rowWindow uint32

	announced  uint32 // window of the newest announcement, plus one
	taken      uint32 // window in which it was last taken from waiting, plus one
	takenNew   bool   // as one of scheduled_new_reqs
	skipUpdate uint32 // update whose outputs the announcement has already, plus one

	scheduled, firstToken int64
	cached                int32
	steps                 int32
	tokens                int64 // scheduled, sum

	// Since it was last taken from waiting.
	runSince int64
	runEpoch uint32

	preempted     bool
	preemptEpoch  uint32
	preemptWindow uint32               // of the call that it was preempted in or before, plus one
	preemption    record.PreemptionRow // where preempted, or its row waits
	preemptedNS   int64
	preemptedOff  bool // preempted_ns is not known: a preemption was not seen

	freeWindow  uint32 // window of the newest freed blocks, plus one
	freed       int32
	freedAt     int64
	allocWindow uint32
	alloced     int32
	allocAt     int64 // first queue operation of that window
}

// register makes key mean what the announcement says from now on.
func (e *engine) register(a *announcement) *request {
	r := e.byKey[a.Key]
	if r != nil && (r.done || r.object != a.Object || r.id != a.id()) {
		e.forget(r)
		r = nil
	}
	if r == nil {
		r = &request{
			uid: e.j.nextUID, key: a.Key, object: a.Object, id: a.id(),
			prompt: -1, outputs: -1, computed: -1, cached: -1, epoch: a.epoch,
			fromStart: a.Why == wire.WhyNew && !e.ranBefore(a),
			scheduled: unset, firstToken: unset, runSince: unset,
			preemptedOff: e.ranBefore(a),
			rowWindow:    e.window,
		}
		e.j.nextUID++
		e.j.stats.Requests++
		e.byKey[a.Key] = r
		e.byObject[a.Object] = r
		a.fresh = true
	}
	if a.fresh || !e.trusted(r) {
		r.metWindow = e.window + 1
	}
	r.metEpoch = e.epoch
	return r
}

// ranBefore says whether an announced request was, or may have been, preempted. Versions
// before 0.12 do not count preemptions; but what is new with the V1 runner was never
// scheduled (the V2 runner has resumed requests among the new ones, and came with the count).
func (e *engine) ranBefore(a *announcement) bool {
	if a.Preemptions == wire.Unknown && a.Why == wire.WhyNew && e.known && !e.fact.V2Runner {
		return false
	}
	return a.Preemptions != 0
}

// announce takes over what the announcement says of r. It reports whether r was
// taken from waiting after a preemption that nothing has told of.
func (e *engine) announce(r *request, a *announcement) (unseen bool) {
	if p := count(a.PromptTokens); p >= 0 && (p != r.prompt || r.promptPtr == nil) {
		r.prompt, r.promptPtr = p, e.j.ptr.int32(p)
	}
	if n := count(a.Preemptions); n >= 0 {
		unseen = !a.fresh && !r.preempted && n > r.preemptions
		r.preemptions = n
	}
	r.arrival, r.maxTokens, r.priority = a.Arrival, count(a.MaxTokens), a.Priority
	r.epoch, r.announced = a.epoch, e.window+1
	r.outputs = -1
	if tokens := count(a.Tokens); tokens >= 0 && r.prompt >= 0 {
		r.outputs = max(tokens-r.prompt, 0)
	}
	r.computed = count(a.Computed)
	if a.Why == wire.WhySync {
		if r.preempted && r.preemptWindow == e.window+1 {
			return false // by this very call
		}
		if unseen || r.preempted { // it runs: it was resumed, and nothing said so
			r.preemptedOff = true
			r.caughtUp = false
			e.emitPreemption(r)
		}
		return false
	}
	r.taken, r.takenNew = e.window+1, a.Why == wire.WhyNew
	r.caughtUp = false
	return unseen
}

// all is the number of its tokens, prompt and output; -1: unknown.
func (r *request) all() int32 {
	if r.prompt < 0 || r.outputs < 0 {
		return -1
	}
	return sum(r.prompt, r.outputs)
}

// exact reports whether its counts can be relied on.
func (e *engine) exact(r *request) bool { return r.epoch == e.epoch }

// followed reports whether no row of r is missing since its newest.
func (e *engine) followed(r *request) bool {
	return e.exact(r) || r.steps > 0 && r.rowEpoch == e.epoch
}

// trusted reports whether its key and object still mean r.
func (e *engine) trusted(r *request) bool {
	return e.followed(r) || r.metEpoch == e.epoch
}

// count is a number of the wire; -1: unknown.
func count(v uint32) int32 {
	if v > math.MaxInt32 {
		return -1
	}
	return int32(v)
}

// sum adds what a hostile journal counts, and stays a number.
func sum(a, b int32) int32 { return int32(min(int64(a)+int64(b), math.MaxInt32)) }

// forget drops a request whose key means another one now, or whose end was
// not seen.
func (e *engine) forget(r *request) {
	if !r.done {
		e.emitPreemption(r)
		e.emitRequest(r)
	}
	e.drop(r)
}

func (e *engine) drop(r *request) {
	if e.byKey[r.key] == r {
		delete(e.byKey, r.key)
	}
	if e.byObject[r.object] == r {
		delete(e.byObject, r.object)
	}
}

// finish ends a request. An empty reason is not known.
func (e *engine) finish(r *request, t int64, reason string) {
	if r.done {
		return
	}
	e.emitPreemption(r)
	row := e.requestRow(r)
	row.FinishedNS = e.j.ptr.int64(t)
	if reason != "" {
		row.Reason = &reason
	}
	if r.firstToken != unset && t >= r.firstToken {
		row.DecodeNS = e.j.ptr.int64(t - r.firstToken)
	}
	e.j.stats.Finished++
	e.j.check(e.j.sink.Request(row))
	r.done, r.doneWindow = true, e.window
	if e.byObject[r.object] == r {
		delete(e.byObject, r.object)
	}
}

func (e *engine) emitRequest(r *request) {
	e.j.check(e.j.sink.Request(e.requestRow(r)))
}

func (e *engine) requestRow(r *request) *record.RequestRow {
	ptr := e.j.ptr
	row := &e.j.rows.request
	*row = record.RequestRow{
		RequestUID: r.uid, Engine: e.id, RequestID: r.id, ExternalID: r.id,
		PromptTokens: r.promptPtr, CachedTokens: ptr.count(r.cached),
		MaxTokens: ptr.count(r.maxTokens), Priority: r.priority,
		Preemptions: r.preemptions, Steps: r.steps, Scheduled: r.tokens, FromStart: r.fromStart,
	}
	if suffixed(e.fact.VLLM) {
		row.ExternalID = externalID(r.id)
	}
	if e.watch.updateReturn && e.exact(r) {
		row.OutputTokens = ptr.count(r.outputs)
	}
	if r.arrival > 0 && r.arrival < math.MaxInt64/1e9 {
		arrival := r.arrival
		row.ArrivalUnix = &arrival
		if e.j.wall.known() {
			latest := int64(math.MaxInt64)
			if r.scheduled != unset {
				latest = r.scheduled + e.j.base
			}
			row.ArrivalNS = ptr.int64(e.j.wall.mono(int64(math.Round(r.arrival*1e9)), latest) - e.j.base)
		}
	}
	if r.scheduled != unset {
		row.ScheduledNS = ptr.int64(r.scheduled)
		if row.ArrivalNS != nil {
			row.QueueNS = ptr.int64(r.scheduled - *row.ArrivalNS)
		}
	}
	if r.firstToken != unset {
		row.FirstTokNS = ptr.int64(r.firstToken)
		if r.scheduled != unset {
			row.PrefillNS = ptr.int64(r.firstToken - r.scheduled)
		}
	}
	if !r.preemptedOff && e.followed(r) {
		row.PreemptedNS = ptr.int64(r.preemptedNS)
	}
	return row
}

// reason is the name of a FinishReason.
func (e *engine) reason(number int16) string {
	if name, ok := e.fact.FinishReasons[int(number)]; ok {
		return strings.ToLower(name)
	}
	// v1/engine/__init__.py: FinishReason, the same numbers in 0.12 to 0.33.
	names := [...]string{"stop", "length", "abort", "error", "repetition"}
	if number >= 0 && int(number) < len(names) {
		return names[number]
	}
	return "reason_" + strconv.Itoa(int(number))
}

// sweep forgets requests whose end was in events that are lost, or in a list of
// finished ones that could not be read: their keys would stay for ever.
func (e *engine) sweep() {
	const patience = 1024 // schedule calls
	if e.window-e.swept < patience {
		return
	}
	e.swept = e.window
	var ended []*request
	for _, r := range e.byKey {
		switch {
		case r.done && e.window-r.doneWindow > 2:
			e.drop(r)
		case !r.done && r.epoch != e.epoch && r.rowEpoch != e.epoch && !r.preempted &&
			e.window-r.rowWindow > patience:
			ended = append(ended, r)
		}
	}
	for _, r := range byUID(ended) {
		e.forget(r)
	}
}
