package join

import (
	"slices"
	"sort"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/decode/wire"
)

// injected is a process with pmtrace's library in it: what CUPTI tells of its work on
// the GPU. CUPTI numbers the calls that cause work; a replay has the number of its launch.
type injected struct {
	j     *Joiner
	index int32
	fact  record.Injected
	told  bool
	w     *worker // whose launches these are; nil: not known (yet)
	ended int64   // it tells no more since; unset: it does
	over  bool    // nothing more comes
	names map[uint32]string

	calls  []graphCall           // that have no launch yet
	launch map[uint32]*replay    // by number
	recent []numbered            // the same in the order of their numbers
	early  map[uint32]replaySpan // replays whose launch is not known yet
	aged   queue[earlySpan]
	spans  []replaySpan    // replays in a window, whose kernels are still coming
	held   queue[heldWork] // whose row is to come
	copies queue[heldWork] // that may tell when a step was done
	seen   int64           // copies up to then have been attributed

	order   ordering
	windows []window // that may still get kernels

	routing routing
	traffic *traffic // nil: no counters are sampled
}

// replay is a graph launch whose times CUPTI may tell.
type replay struct {
	graph        *graph
	run          *run
	thread       uint32
	at           int64 // of the probed call
	began, ended int64 // of the call as CUPTI saw it
	number       uint32
	start, end   int64
	known        bool   // start and end are
	given        bool   // or will not be
	edge         bool   // it was under way as CUPTI switched
	nodes        []node // of a piece whose layers are to be found
}

// numbered is a launch and its number.
type numbered struct {
	number uint32
	replay *replay
}

// graphCall is a launch as CUPTI's callback tells it.
type graphCall struct {
	wire.CUPTICall
	began, ended int64
}

// replaySpan is when a graph ran.
type replaySpan struct {
	number     uint32
	graph      uint32
	start, end int64
	parts      bool   // told by its kernels
	nodes      []node // these
}

type earlySpan struct {
	number uint32
	at     int64 // when it came
}

// heldWork is a kernel or a copy whose launch is not known yet.
type heldWork struct {
	at     int64 // when it came
	number uint32
	graph  uint32
	copied bool
	noted  bool // a copy: what it tells of its step is known
	kernel wire.CUPTIKernel
	copy   wire.CUPTICopy
}

// window is a time in which kernels were told one by one.
type window struct {
	number           uint32
	on, onSince      int64 // CUPTI was asked at on, and had switched at onSince
	off, offDone     int64 // unset: it is open
	kernels, replays int64
	leftOut          int64 // kernels of replays that were under way at a switch
}

// copySpan is a copy of results to the host.
type copySpan struct{ start, end int64 }

// before reports whether number a was given before b: they begin anew at 2^32.
func before(a, b uint32) bool { return int32(a-b) < 0 }

func (j *Joiner) injected(i uint8) *injected {
	in := j.injections[i]
	if in == nil {
		in = &injected{
			j: j, index: int32(i), names: map[uint32]string{}, launch: map[uint32]*replay{}, early: map[uint32]replaySpan{},
			seen: unset, ended: unset,
		}
		in.routing = routing{in: in, until: unset}
		in.order = ordering{in: in, graphs: map[*graph]uint32{}, last: unset, whole: true}
		j.injections[i] = in
		j.processes = append(j.processes, in)
	}
	return in
}

// status takes an Injected fact.
func (in *injected) status(f *record.Injected) {
	in.fact, in.told = *f, true
	in.find()
	switch {
	case f.State == record.InjectedFailed:
		in.finish()
	case f.State != record.InjectedRunning && f.State != record.InjectedStarting && in.ended == unset:
		in.ended = in.j.clock // the probes' events of what it told may still be on their way
	}
}

// finish takes note that nothing more comes.
func (in *injected) finish() {
	if !in.over {
		in.over = true
		if in.routing.until = in.ended; in.ended == unset {
			in.routing.until = in.j.clock
		}
		in.settle(true)
	}
}

// find looks for the worker whose process this is.
func (in *injected) find() {
	if in.w != nil || !in.told {
		return
	}
	for _, w := range in.j.workers {
		if w != nil && w.fact.PID != 0 && w.fact.PID == in.fact.PID && w.injected == nil {
			in.w, w.injected = w, in
			return
		}
	}
}

// enterCUPTI takes note of an event of CUPTI's.
func (j *Joiner) enterCUPTI(h *wire.Header) (*injected, int64) {
	in := j.injected(h.Engine)
	t := j.time(h.Ktime)
	j.clock = max(j.clock, t)
	in.routing.missed = in.routing.missed || h.Seq != in.order.seq
	in.order.follow(h.Seq)
	return in, t
}

// CUPTICall takes the return of a graph launch.
func (j *Joiner) CUPTICall(ev *wire.CUPTICall) error {
	in, _ := j.enterCUPTI(&ev.Header)
	c := graphCall{CUPTICall: *ev, began: j.sessionTime(ev.Began), ended: j.sessionTime(ev.Ended)}
	if len(in.calls) >= maxGraphCalls {
		in.calls = append(in.calls[:0], in.calls[maxGraphCalls/2:]...)
	}
	in.calls = append(in.calls, c)
	j.settle()
	return j.err
}

// CUPTIReplay takes a replay.
func (j *Joiner) CUPTIReplay(ev *wire.CUPTIReplay) error {
	in, t := j.enterCUPTI(&ev.Header)
	s := replaySpan{number: ev.Correlation, graph: ev.Graph, start: j.sessionTime(ev.Start), end: j.sessionTime(ev.End)}
	in.complete(s.number, s.start)
	in.ran(s, t)
	j.settle()
	return j.err
}

// CUPTIKernel takes a kernel.
func (j *Joiner) CUPTIKernel(ev *wire.CUPTIKernel) error {
	in, t := j.enterCUPTI(&ev.Header)
	start, end := j.sessionTime(ev.Start), j.sessionTime(ev.End)
	in.complete(ev.Correlation, start)
	if ev.Graph != 0 {
		in.part(replaySpan{number: ev.Correlation, graph: ev.Graph, start: start, end: end}, node{ev.Node, start, ev.Name})
	}
	if w := in.begunBefore(start); w != nil { // it may run after the window in which it was launched
		w.kernels++
	}
	in.hold(heldWork{at: t, number: ev.Correlation, graph: ev.Graph, kernel: *ev})
	j.settle()
	return j.err
}

// begunBefore is the newest window that had begun at a time; nil: none had.
func (in *injected) begunBefore(t int64) *window {
	for i := len(in.windows) - 1; i >= 0; i-- {
		if w := &in.windows[i]; t >= w.on {
			return w
		}
	}
	return nil
}

// leaveOut counts a kernel that is left out rightly.
func (in *injected) leaveOut(start int64) {
	if w := in.begunBefore(start); w != nil {
		w.kernels--
		w.leftOut++
	}
}

// CUPTICopy takes a copy.
func (j *Joiner) CUPTICopy(ev *wire.CUPTICopy) error {
	in, t := j.enterCUPTI(&ev.Header)
	if ev.Graph != 0 {
		start := j.sessionTime(ev.Start)
		in.part(replaySpan{number: ev.Correlation, graph: ev.Graph, start: start, end: j.sessionTime(ev.End)}, node{ev.Node, start, noName})
	}
	in.hold(heldWork{at: t, number: ev.Correlation, graph: ev.Graph, copied: true, copy: *ev})
	j.settle()
	return j.err
}

// CUPTIName takes the name of a kernel.
func (j *Joiner) CUPTIName(ev *wire.CUPTIName) error {
	in, _ := j.enterCUPTI(&ev.Header)
	if len(in.names) >= maxNames {
		j.losses.add(lossKey{-1, "kernels", "too_many_names"}, j.now, j.now, 1)
		return j.err
	}
	name := decodeID(ev.Name, 1, ev.Flags&wire.CUPTINameCut != 0)
	in.names[ev.ID] = name
	return j.err
}

// CUPTIWindow takes the begin or the end of a window.
func (j *Joiner) CUPTIWindow(ev *wire.CUPTIWindow) error {
	in, _ := j.enterCUPTI(&ev.Header)
	began, ended := j.sessionTime(ev.Began), j.sessionTime(ev.Ended)
	open := len(in.windows) > 0 && in.windows[len(in.windows)-1].off == unset
	switch {
	case ev.On:
		in.closeWindows(false)
		if len(in.windows) < maxWindows {
			in.windows = append(in.windows, window{number: ev.Number, on: began, onSince: ended, off: unset, offDone: unset})
		}
	case open:
		w := &in.windows[len(in.windows)-1]
		w.off, w.offDone = began, ended
	}
	j.settle()
	return j.err
}

func (in *injected) hold(h heldWork) {
	q := &in.held
	if h.copied && !h.noted {
		q = &in.copies
	}
	if q.len() >= maxHeldWork {
		in.attribute(q.pop())
	}
	q.push(h)
}

// ran takes the times of a replay, by its launch's number or by order.
func (in *injected) ran(s replaySpan, t int64) {
	if !in.fact.Calls && in.told {
		in.order.push(s)
		return
	}
	if r := in.launch[s.number]; r != nil {
		in.time(r, s)
		return
	}
	in.keep(s, t)
}

// keep keeps a replay until its launch is known.
func (in *injected) keep(s replaySpan, t int64) {
	if len(in.early) >= maxEarly {
		in.forgetEarly(true)
	}
	in.early[s.number] = s
	in.aged.push(earlySpan{s.number, t})
}

// time gives a launch its times: what ran before it was called was another's.
func (in *injected) time(r *replay, s replaySpan) {
	if s.start < r.at {
		in.j.losses.add(lossKey{-1, "cupti", "replay_before_launch"}, r.at, r.at, 1)
		r.given = true
		return
	}
	r.start, r.end, r.known, r.given = s.start, s.end, true, true
}

// part adds a kernel or copy of a replay that is told by its parts.
func (in *injected) part(s replaySpan, n node) {
	for i := len(in.spans) - 1; i >= 0; i-- {
		if p := &in.spans[i]; p.number == s.number {
			p.start, p.end = min(p.start, s.start), max(p.end, s.end)
			if len(p.nodes) < maxNodes {
				p.nodes = append(p.nodes, n)
			}
			return
		}
	}
	if len(in.spans) < maxParts {
		s.nodes = append(s.nodes, n)
		in.spans = append(in.spans, s)
	}
}

// complete takes note of work of a later call that began when earlier replays had ended:
// those are complete.
func (in *injected) complete(number uint32, start int64) {
	kept := in.spans[:0]
	for _, s := range in.spans {
		if before(s.number, number) && s.end <= start {
			in.whole(s)
		} else {
			kept = append(kept, s)
		}
	}
	in.spans = kept
}

// whole takes a replay of which all parts have been told. Of one that was launched as
// CUPTI switched some may never have been.
func (in *injected) whole(s replaySpan) {
	r := in.launch[s.number]
	switch {
	case r == nil && in.told && !in.fact.Calls:
		in.order.push(s)
		return
	case r == nil:
		s.parts = true
		in.keep(s, in.j.clock)
		return
	case r.known || r.graph == nil:
		return
	}
	w := in.windowOf(r)
	if w == nil && !in.fact.Always {
		return
	}
	if w != nil && w.off != unset && s.end > w.off {
		r.edge = true
		return
	}
	if w != nil {
		w.replays++
	}
	if r.graph.layers == nil && r.graph.name != nil {
		in.layer(r, s.nodes)
	}
	in.time(r, s)
}

// windowOf is the window that a launch lies within.
func (in *injected) windowOf(r *replay) *window { return in.windowAround(r.began, r.ended) }

// windowAround is the window that a stretch of time lies within; nil: none.
func (in *injected) windowAround(from, to int64) *window {
	for i := range in.windows {
		if w := &in.windows[i]; from >= w.onSince && (w.off == unset || to <= w.off) {
			return w
		}
	}
	return nil
}

// pair gives calls their launches: a thread's probed call comes before CUPTI's word of
// it, and the thread's next one after. Whether it is there is known once a later event of
// the thread is.
func (in *injected) pair(end bool) {
	if in.w == nil || len(in.calls) == 0 {
		return
	}
	kept := in.calls[:0]
	for i := range in.calls {
		c := &in.calls[i]
		th := in.w.threads[c.Thread]
		if !end && (th == nil || th.last <= c.ended) && in.j.clock-c.ended < holdNS {
			kept = append(kept, *c)
			continue
		}
		in.paired(c, in.w.take(c))
	}
	in.calls = kept
}

// take finds the launch that a call is.
func (w *worker) take(c *graphCall) *replay {
	for i := len(w.unpaired) - 1; i >= 0; i-- {
		r := w.unpaired[i]
		if r.thread == c.Thread && r.graph.exec == c.Exec && r.at <= c.ended && c.began-r.at < sameCallNS {
			w.unpaired = append(w.unpaired[:i], w.unpaired[i+1:]...)
			return r
		}
	}
	return nil
}

// paired takes a call and its launch; nil: the launch was not probed.
func (in *injected) paired(c *graphCall, r *replay) {
	if r == nil {
		r = &replay{given: true} // what has its number is of no launch that we know
	}
	r.began, r.ended = c.began, c.ended
	for _, number := range []uint32{c.Runtime, c.Correlation} {
		if number != 0 {
			in.number(r, number)
		}
	}
}

// number makes a launch known by its number.
func (in *injected) number(r *replay, number uint32) {
	r.number = number
	in.launch[number] = r
	at := len(in.recent)
	for at > 0 && before(number, in.recent[at-1].number) {
		at--
	}
	in.recent = append(in.recent, numbered{})
	copy(in.recent[at+1:], in.recent[at:])
	in.recent[at] = numbered{number, r}
	if s, ok := in.early[number]; ok {
		delete(in.early, number)
		switch {
		case s.parts:
			in.whole(s)
		case r.graph != nil:
			in.time(r, s)
		}
	}
	if len(in.recent) >= 2*maxRecent {
		for _, n := range in.recent[:maxRecent] {
			n.replay.given = true
			delete(in.launch, n.number)
		}
		in.recent = slices.Delete(in.recent, 0, maxRecent)
	}
}

func (in *injected) forgetEarly(all bool) {
	for in.aged.len() > 0 && (all || in.j.clock-in.aged.at(0).at > 2*holdNS) {
		delete(in.early, in.aged.pop().number)
	}
}

// after is the newest launch whose number is not behind n; nil: none is known. next: a
// launch behind n is known as well.
func (in *injected) after(n uint32) (r *replay, next bool) {
	i := sort.Search(len(in.recent), func(i int) bool { return before(n, in.recent[i].number) })
	if i == 0 {
		return nil, len(in.recent) > 0
	}
	return in.recent[i-1].replay, i < len(in.recent)
}

// awaited reports whether a call up to number n has no launch yet.
func (in *injected) awaited(n uint32) bool {
	for i := range in.calls {
		if c := &in.calls[i]; !before(n, max(c.Correlation, c.Runtime)) {
			return true
		}
	}
	return false
}

// attributable reports whether it is known which launch a piece of work follows.
func (in *injected) attributable(h *heldWork) bool {
	if in.over || in.j.clock-h.at > holdNS {
		return true
	}
	if in.w == nil {
		return false
	}
	if in.fact.Calls {
		if in.awaited(h.number) {
			return false
		}
	} else if _, next := in.after(h.number); !next {
		return false
	}
	r, _ := in.after(h.number)
	if r == nil || r.run == nil {
		return true
	}
	if h.graph != 0 { // its layer is known when the replay is whole, and those of the model's other pieces
		return r.run.resolved && !slices.ContainsFunc(in.spans, func(s replaySpan) bool { return s.number == h.number }) &&
			!in.launch[h.number].awaitsPieces()
	}
	// Whether it is that step's is known with the next one's launches; what its own
	// work is, with the copy of its results.
	next := r.run.withTokens()
	return r.run.resolved && next != nil && (len(next.launches) > 0 || next.over) && (h.copied && !h.noted || r.run.boundary != 0)
}

// attribute hands on a piece of work.
func (in *injected) attribute(h heldWork) {
	r, _ := in.after(h.number)
	of := (*run)(nil)
	if r != nil {
		of = r.run
	}
	if h.graph != 0 {
		r = in.launch[h.number]
		of = nil
		if r != nil {
			of = r.run
		}
	}
	switch {
	case h.copied && !h.noted:
		in.note(h, of)
	case h.graph == 0 && (of == nil || of.boundary == 0 || before(of.boundary, h.number)):
		in.emit(&h, nil, nil) // the step's if it was launched between its graph and the copy of its results
	default:
		in.emit(&h, r, of)
	}
}

// note takes what a copy of results to the host tells: when its step was done.
func (in *injected) note(h heldWork, of *run) {
	start, end := in.j.sessionTime(h.copy.Start), in.j.sessionTime(h.copy.End)
	if of != nil && h.graph == 0 && h.copy.Kind == copyToHost && len(of.results) < maxResults {
		of.results = append(of.results, copySpan{start, end})
		if of.mustCopy(start) {
			of.boundary = h.number
		}
	}
	in.seen = max(in.seen, end)
	if in.inWindow(start) {
		h.noted = true
		in.hold(h)
	}
}

// emit hands on the row of a piece of work.
func (in *injected) emit(h *heldWork, r *replay, of *run) {
	if h.copied {
		in.copied(&h.copy, r, of)
	} else {
		in.kernel(&h.kernel, r, of)
	}
}

// copied hands on a copy.
func (in *injected) copied(ev *wire.CUPTICopy, r *replay, of *run) {
	row := in.row(in.j.sessionTime(ev.Start), in.j.sessionTime(ev.End), r, of)
	row.Name, row.Bytes = "copy "+copyKinds[min(ev.Kind, uint32(len(copyKinds)-1))], in.j.ptr.int64(positive(ev.Bytes))
	row.Device, row.Stream = int32(ev.Device), int32(ev.Stream)
	if ev.Graph != 0 {
		row.Node = in.j.ptr.int64(int64(ev.Node))
	} else {
		row.GraphID = nil
	}
	in.emitKernel(row)
}

// kernel hands on a kernel.
func (in *injected) kernel(ev *wire.CUPTIKernel, r *replay, of *run) {
	if ev.Graph != 0 && r != nil && (r.edge || in.windowOf(r) == nil && !in.fact.Always) {
		// Of a replay that was under way as CUPTI switched some kernels come with times
		// that are not theirs: seen on an H100, 90 ms in a kernel of 10 µs.
		in.leaveOut(in.j.sessionTime(ev.Start))
		return
	}
	row := in.row(in.j.sessionTime(ev.Start), in.j.sessionTime(ev.End), r, of)
	row.Name = in.names[ev.Name]
	row.Device, row.Stream = int32(ev.Device), int32(ev.Stream)
	row.GridX, row.GridY, row.GridZ = int32(ev.Grid[0]), int32(ev.Grid[1]), int32(ev.Grid[2])
	row.BlockX, row.BlockY, row.BlockZ = int32(ev.Block[0]), int32(ev.Block[1]), int32(ev.Block[2])
	row.Registers, row.SharedBytes = int32(ev.Registers), int32(min(ev.Shared, 1<<31-1))
	if ev.Graph != 0 {
		row.Node = in.j.ptr.int64(int64(ev.Node))
		if layer, ok := r.layer(ev.Node); ok {
			row.Layer = in.j.ptr.int32(layer)
		}
	} else {
		row.GraphID = nil
		row.Layer = r.layerBehind()
	}
	in.emitKernel(row)
}

func (in *injected) row(start, end int64, r *replay, of *run) *record.KernelRow {
	row := &in.j.rows.kernel
	*row = record.KernelRow{TimeNS: start, DurNS: end - start, StepID: of.stepPtr()}
	if in.w != nil {
		row.Worker, row.Engine = in.w.id, in.w.enginePtr()
	} else {
		row.Worker = -1
	}
	if r != nil && r.graph != nil && r.graph.id >= 0 {
		row.GraphID = in.j.ptr.int32(r.graph.id)
	}
	return row
}

func (in *injected) emitKernel(row *record.KernelRow) {
	j := in.j
	j.stats.Kernels++
	switch {
	case row.Bytes != nil:
		row.Class = &copyClass
	case row.Name != "":
		row.Class = j.classOf(row.Name)
	}
	in.workedOn(row)
	j.check(j.sink.Kernel(row))
}

// inWindow reports whether kernels are told of at a time.
func (in *injected) inWindow(t int64) bool {
	if in.fact.Always {
		return true
	}
	for i := range in.windows {
		if w := &in.windows[i]; t >= w.on && (w.off == unset || t <= w.offDone) {
			return true
		}
	}
	return false
}

// tellsCopies reports whether all copies of a step are told of.
func (in *injected) tellsCopies(r *run) bool {
	return !in.fact.CopiesInWindows || in.windowAround(r.begin, r.end.hi) != nil
}

// settle hands on what need not wait any more.
func (in *injected) settle(end bool) {
	if !in.over && in.ended != unset && in.j.clock-in.ended > lastWordsNS {
		in.finish()
		return
	}
	in.find()
	in.pair(end)
	if end {
		for _, s := range in.spans {
			in.whole(s)
		}
		in.spans = in.spans[:0]
	}
	in.order.settle(end)
	in.forgetEarly(end)
	for _, q := range []*queue[heldWork]{&in.copies, &in.held} { // a kernel's step ends with its copies
		for q.len() > 0 && (end || in.attributable(q.at(0))) {
			in.attribute(q.pop())
		}
	}
	if end {
		for _, r := range in.recent {
			r.replay.given = true
		}
		if in.w != nil {
			for _, r := range in.w.unpaired {
				r.given = true
			}
			in.w.unpaired = nil
		}
		in.closeWindows(true)
		in.recent, in.launch, in.early = nil, map[uint32]*replay{}, map[uint32]replaySpan{} // each holds a step, and that the next
	}
}

// closeWindows hands on the windows whose kernels have all come.
func (in *injected) closeWindows(end bool) {
	kept := in.windows[:0]
	for _, w := range in.windows {
		if !end && (w.off == unset || in.j.clock-w.off < 2*holdNS) {
			kept = append(kept, w)
			continue
		}
		in.foldWindow(&w)
		row := &in.j.rows.window
		*row = record.KernelWindowRow{
			Worker: -1, Window: int32(w.number), OnNS: w.on, OnSwitchNS: w.onSince - w.on, Kernels: w.kernels, Replays: w.replays,
			LeftOut: w.leftOut,
		}
		if in.w != nil {
			row.Worker, row.Engine = in.w.id, in.w.enginePtr()
		}
		if w.off != unset {
			row.OffNS, row.OffSwitchNS = in.j.ptr.int64(w.off), in.j.ptr.int64(w.offDone-w.off)
		}
		in.j.check(in.j.sink.KernelWindow(row))
	}
	in.windows = kept
}

// waits reports whether a launch's times may still come.
func (r *replay) waits(w *worker) bool {
	return r != nil && !r.given && w.injected != nil && !w.injected.over && w.j.clock-r.at <= holdNS
}

// measured reports whether CUPTI has told of a step what it will.
func (r *run) measured() bool {
	in := r.w.injected
	if in == nil || in.over || r.tokens == 0 || len(r.launches) == 0 {
		return true
	}
	for i := range r.launches {
		if r.launches[i].replay.waits(r.w) {
			return false
		}
	}
	return !r.end.known || in.seen > r.end.hi || !in.tellsCopies(r) || r.w.j.clock-r.begin > holdNS
}

// ownLaunches calls f for the launches of the model's graphs.
func (r *run) ownLaunches(f func(*launch)) {
	for i := range r.launches {
		if l := &r.launches[i]; l.phase != wire.PhaseDraft && l.phase != wire.PhaseEncoder {
			f(l)
		}
	}
}

// measure puts the step's GPU time where CUPTI has it: it begins with its first replay,
// if that is the first of its work, and ends when its results were copied.
func (r *run) measure(s *replays) {
	if r.w.injected == nil || r.gap {
		return
	}
	var first, last *launch
	all := true
	r.ownLaunches(func(l *launch) {
		if first == nil {
			first = l
		}
		last = l
		all = all && l.replay != nil && l.replay.known
	})
	if first == nil || first.replay == nil || !first.replay.known {
		return
	}
	if r.first == r.firstGraph && (!r.end.known || first.replay.start < r.end.hi) {
		r.gpuStart, r.startErr, r.startExact, r.startSampled = first.replay.start, 0, true, false
	}
	if last.replay.known {
		r.resultsCopied(last.replay.end)
	}
	if r.startExact && all && s.model > 0 && s.maybeModel == 0 {
		r.modelEnd, r.modelErr, r.modelExact = last.replay.end, 0, true
	}
}

// resultsCopied finds the end of the step: the event behind the copy of its results is
// complete right after it, or as soon as it was recorded.
func (r *run) resultsCopied(modelEnd int64) {
	if !r.end.known || r.recorded == unset || !r.w.injected.tellsCopies(r) {
		return
	}
	end, maybe, several := int64(unset), int64(unset), false
	for _, c := range r.results {
		switch {
		case c.start < modelEnd || c.end > r.end.hi:
		case r.mustCopy(c.start):
			end = max(end, c.end)
		case c.end >= r.end.lo:
			several = maybe != unset
			maybe = c.end
		}
	}
	if end == unset && r.end.waited && !several { // within the time that the wait may have been late by
		end = maybe
	}
	if end == unset {
		return
	}
	end = max(end, r.recorded)
	err := max(copyDoneNS, r.recorded+begunNS-end) // an event that is recorded late is late itself
	r.end.at, r.end.lo, r.end.hi, r.endExact = end, end, min(end+err, r.end.hi), true
	r.end.hi = max(r.end.hi, end)
}

// mustCopy reports whether a copy that follows the step's last launch, and no later one,
// must be the step's. That of a next step without a graph would follow it as well, but
// cannot begin before that step does.
func (r *run) mustCopy(start int64) bool {
	next := r.withTokens()
	return next == nil || len(next.launches) > 0 || start < next.begin
}

// withTokens is the worker's next step with tokens.
func (r *run) withTokens() *run {
	next := r.following
	for next != nil && next.tokens == 0 {
		next = next.following
	}
	return next
}

const copyToHost = 2 // CUPTI_ACTIVITY_MEMCPY_KIND_DTOH

// copyKinds are the names of CUpti_ActivityMemcpyKind.
var copyKinds = [...]string{
	"unknown", "host_to_device", "device_to_host", "host_to_array", "array_to_host", "array_to_array", "array_to_device",
	"device_to_array", "device_to_device", "host_to_host", "peer_to_peer", "unknown",
}
