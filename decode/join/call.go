package join

import (
	"math"
	"slices"

	"github.com/pmtrace/pmtrace/decode/wire"
)

// call collects the events of one schedule call.
type call struct {
	open  bool
	gap   bool // events were lost while it was open
	num   uint32
	time  int64 // of its newest event
	head  wire.Step
	hasIt bool // head was seen
	at    int64

	announcements []announcement
	prefixes      []prefix
	blocks        []uint32 // of the prefixes
	rows          []wire.StepRow
	drafts        []wire.DraftRow
	keys          [wire.ListVictims + 1][]uint64
	bad           wire.Bad
}

// announcement is a Request event that is kept.
type announcement struct {
	wire.Request
	name  string
	named bool
	epoch uint32
	fresh bool // the request was not known
	req   *request
}

func (a *announcement) id() string {
	if !a.named {
		a.name, a.named = requestID(&a.Request), true
	}
	return a.name
}

type prefix struct {
	key      uint64
	from, to int // in call.blocks
}

func (c *call) reset() {
	announcements := c.announcements[:0]
	clear(c.announcements)
	keys := c.keys
	for i := range keys {
		keys[i] = keys[i][:0]
	}
	*c = call{
		announcements: announcements, prefixes: c.prefixes[:0], blocks: c.blocks[:0],
		rows: c.rows[:0], drafts: c.drafts[:0], keys: keys,
	}
}

// part enters an event of schedule call num.
func (j *Joiner) part(h *wire.Header, num uint32) (*engine, int64) {
	e, t := j.enter(h)
	e.closeUpdate()
	if e.call.open && e.call.num != num {
		e.closeCall()
	}
	if !e.call.open {
		e.call.open, e.call.num, e.call.gap = true, num, false
	}
	e.call.time = t
	return e, t
}

// Step takes the head of a schedule call.
func (j *Joiner) Step(ev *wire.Step) error {
	e, t := j.part(&ev.Header, ev.Step)
	e.call.head, e.call.hasIt, e.call.at = *ev, true, t
	j.unreadable("schedule_return", ev.Bad)
	return j.err
}

// StepRows takes rows of a schedule call.
func (j *Joiner) StepRows(ev *wire.StepRows) error {
	e, _ := j.part(&ev.Header, ev.Step)
	j.unreadable("schedule_return", ev.Bad)
	e.call.bad |= ev.Bad
	for i := range ev.Len() {
		e.call.rows = append(e.call.rows, ev.At(i))
	}
	return j.err
}

// Drafts takes the draft tokens of a schedule call.
func (j *Joiner) Drafts(ev *wire.Drafts) error {
	e, _ := j.part(&ev.Header, ev.Step)
	j.unreadable("schedule_return", ev.Bad)
	for i := range ev.Len() {
		e.call.drafts = append(e.call.drafts, ev.At(i))
	}
	return j.err
}

// Keys takes a list of keys of a schedule call.
func (j *Joiner) Keys(ev *wire.Keys) error {
	e, _ := j.part(&ev.Header, ev.Step)
	j.unreadable("schedule_return", ev.Bad)
	for i := range ev.Len() {
		e.call.keys[ev.What] = append(e.call.keys[ev.What], ev.At(i))
	}
	return j.err
}

// Prefix takes the blocks that a request found in the prefix cache.
func (j *Joiner) Prefix(ev *wire.Prefix) error {
	e, _ := j.part(&ev.Header, ev.Step)
	j.unreadable("schedule_return", ev.Bad)
	p := prefix{key: ev.Key, from: len(e.call.blocks)}
	for i := range ev.Len() {
		e.call.blocks = append(e.call.blocks, ev.At(i))
	}
	p.to = len(e.call.blocks)
	e.call.prefixes = append(e.call.prefixes, p)
	return j.err
}

// Request takes the announcement of a request: as part of a schedule call, or
// between the rows of an update that use its key.
func (j *Joiner) Request(ev *wire.Request) error {
	e := j.engine(ev.Engine)
	if e.update.open && !e.update.hasEnd && ev.Seq == e.seq {
		e, _ = j.enter(&ev.Header)
		j.unreadable("update_return", ev.Bad)
		a := announcement{Request: *ev, epoch: e.epoch}
		r := e.register(&a)
		e.announce(r, &a)
		r.skipUpdate = e.update.num + 1
		return j.err
	}
	e, _ = j.part(&ev.Header, ev.Step)
	j.unreadable("schedule_return", ev.Bad)
	a := announcement{Request: *ev, epoch: e.epoch}
	a.id()
	a.ID = nil // the event's
	e.call.announcements = append(e.call.announcements, a)
	return j.err
}

// closeCall interprets the schedule call that is open.
func (e *engine) closeCall() {
	c := &e.call
	if !c.open {
		return
	}
	st := e.newStep(c)
	e.flushOps(st.start()-1, nil) // what came before the call
	for i := range c.announcements {
		a := &c.announcements[i]
		a.req = e.register(a)
	}
	if c.hasIt {
		e.flushOps(st.scheduled, st)
	} else {
		e.flushOps(c.time, nil)
	}
	e.preemptions(c, st)
	for i := range c.announcements {
		e.take(&c.announcements[i], st)
	}
	for _, p := range c.prefixes {
		if r := e.byKey[p.key]; r != nil {
			e.touch(r, c.blocks[p.from:p.to], st.start())
		}
	}
	if c.hasIt {
		e.addRows(c, st)
	}
	e.finished(c, st)
	if c.hasIt {
		if e.free = int64(count(c.head.FreeBlocks)); e.free < 0 && e.kv.after >= 0 {
			e.free = e.kv.after
		}
		e.running, e.waiting = int64(count(c.head.Running)), int64(count(c.head.Waiting))
		e.turn(st.start())
		e.follow(st)
		e.announceStep(st)
		e.fly(st)
	} else {
		e.recycle(st)
	}
	c.reset()
	e.window++
	e.sweep()
}

// preemptions takes the preempted requests of a call. The victims are those
// that schedule itself chose, for want of blocks; the set has all of them.
func (e *engine) preemptions(c *call, st *step) {
	victims := c.keys[wire.ListVictims]
	for _, key := range victims {
		e.preemptKey(key, st, reasonBlocks)
	}
	reason := reasonReset
	if c.gap || e.gapInWindow() || c.hasIt && c.head.Victims == wire.Unknown {
		reason = reasonUnknown // the list of victims may be incomplete
	}
	for _, key := range c.keys[wire.ListPreempted] {
		if !slices.Contains(victims, key) {
			e.preemptKey(key, st, reason)
		}
	}
}

func (e *engine) preemptKey(key uint64, st *step, reason string) {
	r := e.byKey[key]
	if r == nil || !e.trusted(r) {
		e.unknownKeys(1)
		return
	}
	e.preempt(r, st, reason)
}

// take takes over an announcement.
func (e *engine) take(a *announcement, st *step) {
	r := a.req
	if e.byKey[a.Key] != r || r.done {
		return
	}
	computed, known := r.computed, !a.fresh && r.steps > 0 && r.rowEpoch == e.epoch
	if !e.announce(r, a) {
		if a.Why != wire.WhySync {
			e.resume(r, st)
			e.started(r, a, st)
		}
		return
	}
	// Versions up to 0.24 do not list what reset_prefix_cache preempted.
	if known {
		after := r.computed
		r.computed = computed
		r.preemptions--
		e.preempt(r, st, reasonUnlisted)
		r.computed = after
		e.resume(r, st)
	} else {
		r.preemptedOff = true
	}
	e.started(r, a, st)
}

func (e *engine) started(r *request, a *announcement, st *step) {
	if st.headless {
		r.runSince = unset
		return
	}
	if r.scheduled == unset && r.fromStart && a.fresh {
		r.scheduled = st.start()
	}
	r.runSince, r.runEpoch = st.start(), e.epoch
}

// finished takes the requests that ended since the call before.
func (e *engine) finished(c *call, st *step) {
	for _, key := range c.keys[wire.ListFinished] {
		r := e.byKey[key]
		if r == nil {
			// Those of the first call may have ended before tracing began.
			if e.window > 0 && !e.gapInWindow() {
				e.j.stats.NeverScheduled++
			}
			continue
		}
		if !r.done {
			t := st.start()
			if r.freeWindow == e.window+1 {
				t = r.freedAt
			}
			reason := "abort" // no output told of the end
			if !e.watch.updateReturn || e.gapInWindow() || e.badOutputs == e.window+1 || !e.trusted(r) {
				reason = ""
			}
			e.finish(r, t, reason)
		}
		e.drop(r)
	}
}

// unknownKeys counts rows whose request was not announced, or was in an event
// that is lost.
func (e *engine) unknownKeys(n int64) {
	e.j.losses.add(lossKey{e.id, "schedule_return", "unknown_request"}, e.last, e.last, n)
}

// addRows makes the call's rows the step's.
func (e *engine) addRows(c *call, st *step) {
	unknown := int64(0)
	inNew := c.head.Bad&wire.BadComputed == 0 && c.bad&wire.BadComputed == 0
	ctxKnown := true
	for i := range c.rows {
		in := &c.rows[i]
		r := e.rowOf(in, st.num, inNew)
		n := count(in.Scheduled)
		if r == nil || n < 0 {
			unknown++
			continue
		}
		row := stepRow{req: r, scheduled: n, computed: count(in.Computed), newBlocks: count(in.NewBlocks), outputs: -1}
		first := inNew && in.Computed == wire.Unknown && in.Bad == 0 // in scheduled_new_reqs
		taken := first || r.taken == e.window+1
		if row.computed < 0 && r.computed >= n && r.announced == e.window+1 {
			row.computed = r.computed - n
		}
		if taken {
			row.newBlocks = -1 // what was listed has the blocks of the prefix cache, too
			if e.watch.blocks && !e.gapInWindow() {
				row.newBlocks = 0
				if r.allocWindow == e.window+1 {
					row.newBlocks = r.alloced
				}
			}
		}
		if e.gapInWindow() && r.announced == e.window+1 {
			row.newBlocks = -1 // it may have been taken from waiting, and the event that says so lost
		}
		switch {
		case taken && (r.preemptions > 0 || r.taken == e.window+1 && !r.takenNew): // the count is not in all versions
			row.taken = takenAgain
		case taken:
			row.taken = takenFirst
		}
		row.kind = e.kindOf(r, &row)
		switch e.context(r, &row, first || taken && r.takenNew) {
		case yes:
			st.ctxRequests++
			st.ctxTokens = sum(st.ctxTokens, n)
		case no:
			st.genRequests++
			st.genTokens = sum(st.genTokens, n)
		default:
			ctxKnown = false
		}
		e.stepped(r, &row, st, taken)
		st.rows = append(st.rows, row)
	}
	if unknown > 0 {
		e.unknownKeys(unknown)
	}
	st.complete = c.head.Rows != wire.Unknown && uint32(len(st.rows)) == c.head.Rows
	st.ctxKnown = ctxKnown && st.complete
	e.addDrafts(c, st)
	if st.tokens < 0 && st.complete {
		st.tokens = 0
		for i := range st.rows {
			st.tokens = sum(st.tokens, st.rows[i].scheduled)
		}
	}
}

// rowOf is the request that a row is of. After a loss a key may mean another
// request than we know: it is believed again when the request is announced, or
// when its row follows the last one without a break.
func (e *engine) rowOf(in *wire.StepRow, num uint32, inNew bool) *request {
	r := e.byKey[in.Key]
	if r == nil || r.done {
		return nil
	}
	if r.announced == e.window+1 {
		return r
	}
	if in.Computed == wire.Unknown && inNew && in.Bad == 0 {
		e.forget(r) // a new one: its announcement is lost
		return nil
	}
	if e.trusted(r) || r.steps > 0 && num == r.lastStep+1 && r.computed >= 0 && r.computed == count(in.Computed) && !e.maybeResumed(in) {
		return r
	}
	return nil
}

// maybeResumed reports whether the row may be of a request that this call
// resumed: then its new blocks are all that it has.
func (e *engine) maybeResumed(in *wire.StepRow) bool {
	return e.gapInWindow() &&
		int64(in.NewBlocks)*int64(max(e.fact.BlockSize, 1)) >= int64(in.Computed)+int64(in.Scheduled)
}

// kindOf classifies a row. After a loss it says so where it cannot tell.
func (e *engine) kindOf(r *request, row *stepRow) kind {
	if row.computed < 0 || r.prompt < 0 {
		return kindUnknown
	}
	if e.exact(r) && r.outputs >= 0 {
		k := classify(row.computed, r.prompt, r.all(), r.preemptions)
		r.caughtUp = r.caughtUp || row.computed >= r.all()-1
		return k
	}
	if r.preemptions == 0 || r.caughtUp {
		return classify(row.computed, r.prompt, r.prompt, 0)
	}
	if r.outputs >= 0 && row.computed < r.all()-1 {
		return kindRecompute
	}
	return kindUnknown
}

type answer uint8

const (
	unclear answer = iota
	yes
	no
)

// context says whether compute_iteration_details counts the request as context:
// it is one of scheduled_new_reqs, or has no output token, the placeholders of
// asynchronous scheduling included. A request without output has a placeholder
// once its prompt is scheduled to the end.
func (e *engine) context(r *request, row *stepRow, inNew bool) answer {
	switch {
	case inNew:
		return yes
	case row.computed < 0 || r.prompt < 0 || r.outputs < 0:
		return unclear
	case row.computed >= r.prompt || r.outputs > 0:
		return no
	case !e.exact(r):
		return unclear
	case r.preemptions > 0 && !e.watch.updateReturn && e.fact.AsyncSched:
		return unclear // output of before the preemption may have come
	}
	return yes
}

// stepped takes note of a row in its request.
func (e *engine) stepped(r *request, row *stepRow, st *step, taken bool) {
	if taken && r.takenNew && r.preemptions == 0 && r.fromStart && r.steps == 0 {
		r.cached = row.computed
	}
	r.steps++
	r.tokens += int64(row.scheduled)
	r.lastStep, r.rowEpoch, r.rowWindow = st.num, e.epoch, e.window
	r.computed = -1
	if row.computed >= 0 {
		r.computed = sum(row.computed, row.scheduled)
	}
}

// addDrafts gives the draft tokens to the rows. They come in the rows' order.
func (e *engine) addDrafts(c *call, st *step) {
	at := 0
	for _, d := range c.drafts {
		n := count(d.Drafts)
		r := e.byKey[d.Key]
		if r == nil || n < 0 {
			continue
		}
		if row := st.find(r, &at); row != nil {
			row.drafts = n
			st.draftTokens = sum(st.draftTokens, n)
		}
	}
}

// start is when the call began, or as near as is known.
func (st *step) start() int64 {
	if st.began != unset {
		return st.began
	}
	return st.scheduled
}

// beganAt is a double of monotonic seconds as a time of the session.
func (e *engine) beganAt(seconds float64, scheduled int64) int64 {
	const sane = 3600e9 // a call of an hour is none
	if !(seconds > 0 && seconds < math.MaxInt64/1e9) {
		return unset
	}
	t := int64(math.Round(seconds*1e9)) - e.j.base
	if t > scheduled || t < scheduled-sane || t < e.called {
		return unset
	}
	return t
}
