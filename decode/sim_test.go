package decode_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/decode/wire"
)

// simConfig is a server to simulate.
type simConfig struct {
	seed        uint64
	async       bool // two batches in flight
	v2          bool // resumed requests come as new ones
	setOfReset  bool // preempted_req_ids has what reset_prefix_cache preempted (0.25 and later)
	front       bool // free_blocks puts blocks without a hash to the front (0.23 and later)
	caching     bool
	blocks      int
	blockSize   int
	maxSeqs     int
	maxTokens   int
	requests    int
	prompt      int // longest
	outputs     int // longest
	drafts      int // speculative tokens a step
	sharing     int // prefix groups
	reset       float64
	abort       float64
	attachAt    int // schedule call that is the first one seen
	drop        float64
	rowsInEvent int
}

// sim is a small scheduler and block pool with vLLM's rules, which sends the
// events that the BPF programs would send and writes down the truth.
type sim struct {
	simConfig
	rng     *rand.Rand
	now     uint64
	engine  uint8
	seq     uint32
	dropped int
	events  []simRecord
	armed   bool
	sync    int // announce the running requests in so many schedule calls

	keys, objects, outputs addresses
	pool                   pool

	todo      []*simRequest
	waiting   []*simRequest
	running   []*simRequest
	finished  []*simRequest // since the last schedule call
	preempted []*simRequest
	queue     []*simStep
	calls     int // schedule calls
	step      uint32
	update    uint32
	nonEmpty  int64
	lastEnd   uint64
	inCall    bool
	callOps   []int // indexes into truth.Usage
	nextUID   int64
	byUID     map[int64]*simRequest

	lastFreed int
	callBegan int64
	owners    []*simRequest // of truth.Usage
	bearers   []*simRequest // of truth.Evictions

	buffer *bufferSim // nil: no experts are told

	sink  func(simRecord)      // nil: events are kept
	alter func(*record.Engine) // nil: the engine is as it is
	wall  func(mono uint64) int64
	ops   int64 // that the truth has forgotten

	truth tables
	spans []span // of update_from_output, by step
}

type span struct{ begin, end uint64 }

type simRecord struct {
	kind    byte
	payload []byte
}

// addresses hands out addresses as an allocator does: what was freed last first.
type addresses struct {
	next uint64
	free []uint64
}

func (a *addresses) take() uint64 {
	if n := len(a.free); n > 0 {
		at := a.free[n-1]
		a.free = a.free[:n-1]
		return at
	}
	a.next += 64
	return a.next
}

func (a *addresses) give(at uint64) { a.free = append(a.free, at) }

type simRequest struct {
	n           int
	id          string
	key, object uint64
	arrival     float64
	group       int
	shared      int // tokens of the group's prefix
	prompt      int
	outputs     int
	maxTokens   int
	computed    int
	holders     int // output placeholders
	preemptions int
	blocks      []*simBlock
	done        bool
	dropStale   bool
	uid         int64
	known       bool // announced
	row         record.RequestRow
	runSince    uint64
	pre         *record.PreemptionRow
	preemptNS   int64
	flushed     bool
	knownFrom   int64 // start of the schedule call that announced it
}

func (r *simRequest) all() int { return r.prompt + r.outputs }

type simStep struct {
	num       uint32
	output    uint64
	rows      []*simRow
	dropKeys  []*simRequest
	row       record.StepRow
	seen      bool
	scheduled uint64
}

type simRow struct {
	r       *simRequest
	n, pre  int
	drafts  int
	samples bool
	life    int // preemptions when it was scheduled
	row     record.StepRequestRow
	fresh   bool // cached row or not
	blocks  int
}

type simBlock struct {
	id            int
	ref           int
	hash          string
	birth, access uint64
	released      uint64
	hits          int
	bearer        *simRequest
	allocated     bool // since the trace began
	lived         bool // metrics exist, or content from before
}

type pool struct {
	blocks []*simBlock
	free   []*simBlock
	cached map[string]*simBlock
}

const (
	simStart = 5_000_000_000
	simWall  = 1_700_000_000_000_000_000
)

func newSim(c simConfig) *sim {
	if c.rowsInEvent == 0 {
		c.rowsInEvent = 128
	}
	s := &sim{
		simConfig: c, rng: rand.New(rand.NewPCG(c.seed, 7)), now: simStart + 1000,
		keys: addresses{next: 0x1000}, objects: addresses{next: 0x100000}, outputs: addresses{next: 0x900000},
		pool: pool{cached: map[string]*simBlock{}}, byUID: map[int64]*simRequest{},
		wall: func(mono uint64) int64 { return int64(mono) + simWall },
	}
	for i := range c.blocks {
		b := &simBlock{id: i}
		s.pool.blocks = append(s.pool.blocks, b)
		if i > 0 {
			s.pool.free = append(s.pool.free, b)
		}
	}
	for i := range c.requests {
		s.todo = append(s.todo, s.newRequest(i))
	}
	return s
}

func (s *sim) newRequest(i int) *simRequest {
	r := &simRequest{n: i, id: fmt.Sprintf("req-%d-%08x", i, s.rng.Uint32()), uid: -1}
	r.prompt = 1 + s.rng.IntN(s.prompt)
	r.maxTokens = 1 + s.rng.IntN(s.simConfig.outputs)
	if s.sharing > 0 && s.rng.IntN(3) > 0 {
		r.group = 1 + s.rng.IntN(s.sharing)
		r.shared = s.rng.IntN(r.prompt + 1)
	}
	return r
}

func (s *sim) tick(most int) uint64 {
	s.now += 1 + uint64(s.rng.IntN(most))
	return s.now
}

func rel(t uint64) int64                        { return int64(t) - simStart }
func at(t uint64) *int64                        { v := rel(t); return &v }
func i32(v int) *int32                          { w := int32(v); return &w }
func i64[T ~int | ~int64 | ~uint32](v T) *int64 { w := int64(v); return &w }

// run serves all requests.
func (s *sim) run() {
	s.fact(record.Fact{Start: &record.Start{SchemaVersion: 1, MonoNS: simStart, WallNS: simStart + simWall}})
	if s.attachAt == 0 {
		s.arm()
	}
	for len(s.todo) > 0 || len(s.waiting) > 0 || len(s.running) > 0 || len(s.finished) > 0 || len(s.queue) > 0 {
		s.arrive()
		if s.calls == s.attachAt && !s.armed {
			s.arm()
		}
		if s.rng.Float64() < s.reset {
			s.resetPrefixCache()
		}
		if s.rng.Float64() < s.abort {
			s.abortOne()
		}
		if len(s.waiting) > 0 || len(s.running) > 0 || len(s.finished) > 0 || len(s.queue) == 0 {
			s.schedule()
		}
		depth := 0
		if s.async && (len(s.running) > 0 || len(s.waiting) > 0) {
			depth = 1
		}
		for len(s.queue) > depth {
			s.tick(100_000)
			s.updateFromOutput()
		}
		if s.calls > 200_000 {
			panic("the simulated server does not come to an end")
		}
	}
	for _, r := range s.byUID {
		if !r.done {
			s.truth.Requests = append(s.truth.Requests, s.requestRow(r))
		}
	}
}

func (s *sim) arm() {
	s.armed = true
	s.sync = 1
	watches := []string{"schedule_return", "free_blocks", "update_return", "update_entry"}
	e := record.Engine{
		Engine: int(s.engine), MonoNS: int64(s.now), VLLM: "0.32.0", AsyncSched: s.async, V2Runner: s.v2, Device: "cpu", DP: 1,
		Thread: 77, Blocks: s.blocks, BlockSize: s.blockSize, Caching: s.caching, Watches: watches, FromStart: s.attachAt == 0,
		FinishReasons: map[int]string{0: "STOP", 1: "LENGTH", 2: "ABORT"},
	}
	if s.attachAt == 0 {
		e.Iteration = i64(0)
	}
	if s.buffer != nil {
		s.buffer.fact(&e)
	}
	if s.alter != nil {
		s.alter(&e)
	}
	s.fact(record.Fact{Engine: &e})
	for _, b := range s.pool.blocks {
		b.allocated, b.birth, b.access, b.released, b.hits = false, 0, 0, 0, 0
	}
	for _, st := range s.queue {
		st.seen = false
	}
	s.nonEmpty = 0
}

func (s *sim) fact(f record.Fact) {
	b, err := json.Marshal(f)
	if err != nil {
		panic(err)
	}
	s.record(simRecord{'F', b})
}

// record hands on what the journal gets.
func (s *sim) record(r simRecord) {
	if s.sink != nil {
		s.sink(r)
		return
	}
	s.events = append(s.events, r)
}

func (s *sim) arrive() {
	for len(s.todo) > 0 && (s.rng.IntN(4) == 0 || len(s.waiting)+len(s.running) == 0) {
		s.come(s.todo[0])
		s.todo = s.todo[1:]
	}
}

// come is a request's arrival.
func (s *sim) come(r *simRequest) {
	r.key, r.object = s.keys.take(), s.objects.take()
	r.arrival = float64(s.wall(s.now)) / 1e9
	s.waiting = append(s.waiting, r)
}

func (s *sim) abortOne() {
	all := slices.Concat(s.running, s.waiting)
	if len(all) == 0 {
		return
	}
	r := all[s.rng.IntN(len(all))]
	s.tick(1000)
	t := s.freeRequest(r)
	s.end(r, t, "abort")
}

// end finishes r; t 0: the time is the next schedule call's beginning.
func (s *sim) end(r *simRequest, t uint64, reason string) {
	r.done = true
	s.running = without(s.running, r)
	s.waiting = without(s.waiting, r)
	s.finished = append(s.finished, r)
	s.objects.give(r.object)
	if !r.known {
		return
	}
	row := &r.row
	row.Reason = &reason
	if t != 0 {
		row.FinishedNS = at(t)
	}
}

func without(list []*simRequest, r *simRequest) []*simRequest {
	return slices.DeleteFunc(slices.Clone(list), func(x *simRequest) bool { return x == r })
}

func (s *sim) resetPrefixCache() {
	s.tick(1000)
	for len(s.running) > 0 {
		r := s.running[len(s.running)-1]
		s.running = s.running[:len(s.running)-1]
		s.preempt(r, "reset_prefix_cache")
		r.dropStale = true
		if s.setOfReset {
			s.preempted = append(s.preempted, r)
		}
	}
}

func (s *sim) preempt(r *simRequest, reason string) {
	lost, used := r.computed, len(r.blocks)
	t := s.freeRequest(r)
	freed := 0
	if used > 0 {
		freed = s.lastFreed
	}
	r.preemptions++
	r.dropStale = false
	if s.armed {
		r.pre = &record.PreemptionRow{RequestUID: r.uid, RequestID: r.id, Reason: reason, BlocksFreed: i32(freed)}
		if r.known {
			r.pre.Computed = i32(lost)
		}
		if t != 0 {
			r.pre.TimeNS = rel(t)
			if r.runSince != 0 {
				r.pre.RunningNS = i64(int64(t - r.runSince))
			}
		} else {
			r.pre.TimeNS = math.MaxInt64 // known when the call returns
		}
	}
	r.computed, r.holders = 0, 0
	s.waiting = append([]*simRequest{r}, s.waiting...)
}

func (s *sim) hashOf(r *simRequest, i int) string {
	if (i+1)*s.blockSize <= r.shared {
		return fmt.Sprintf("g%d/%d", r.group, i)
	}
	return fmt.Sprintf("r%d/%d", r.n, i)
}

// freeRequest lets go of r's blocks; 0: none became free.
func (s *sim) freeRequest(r *simRequest) (t uint64) {
	var first, last []*simBlock
	for _, b := range slices.Backward(r.blocks) {
		b.ref--
		if b.ref > 0 {
			continue
		}
		if s.front && b.hash == "" {
			first = append(first, b)
		} else {
			last = append(last, b)
		}
	}
	r.blocks = nil
	s.lastFreed = len(first) + len(last)
	if len(first) > 0 {
		before := len(s.pool.free)
		s.pool.free = append(slices.Clone(first), s.pool.free...)
		t = s.kv(wire.OpFreeFront, r, before, first)
	}
	if len(last) > 0 {
		before := len(s.pool.free)
		s.pool.free = append(s.pool.free, last...)
		t = s.kv(wire.OpFree, r, before, last)
	}
	return t
}

// allocate is allocate_slots: it finds room for n more tokens.
func (s *sim) allocate(r *simRequest, hits []*simBlock, n int) (got int, ok bool) {
	have := len(r.blocks) + len(hits)
	need := max((r.computed+len(hits)*s.blockSize+n+s.blockSize-1)/s.blockSize-have, 0)
	evictable := 0
	for _, b := range hits {
		if b.ref == 0 {
			evictable++
		}
	}
	if need > len(s.pool.free)-evictable {
		return 0, false
	}
	for _, b := range hits {
		if b.ref == 0 {
			before := len(s.pool.free)
			s.pool.free = slices.DeleteFunc(s.pool.free, func(x *simBlock) bool { return x == b })
			s.kv(wire.OpReuse, r, before, []*simBlock{b})
		}
		b.ref++
		b.access = s.now
		b.hits++
		b.lived = true
	}
	r.blocks = append(r.blocks, hits...)
	if need > 0 {
		before := len(s.pool.free)
		blocks := slices.Clone(s.pool.free[:need])
		s.pool.free = s.pool.free[need:]
		s.kv(wire.OpAlloc, r, before, blocks)
		for _, b := range blocks {
			if b.hash != "" && s.pool.cached[b.hash] == b {
				delete(s.pool.cached, b.hash)
			}
			b.hash = ""
			b.ref = 1
		}
		r.blocks = append(r.blocks, blocks...)
	}
	if s.caching {
		full := min(r.computed+len(hits)*s.blockSize+n, r.all()) / s.blockSize
		for i := range full {
			if b := r.blocks[i]; b.hash == "" {
				b.hash = s.hashOf(r, i)
				if s.pool.cached[b.hash] == nil {
					s.pool.cached[b.hash] = b
				}
			}
		}
	}
	return need, true
}

func (s *sim) lookup(r *simRequest) (hits []*simBlock) {
	if !s.caching {
		return nil
	}
	for i := 0; (i+1)*s.blockSize < r.all(); i++ {
		b := s.pool.cached[s.hashOf(r, i)]
		if b == nil {
			break
		}
		hits = append(hits, b)
	}
	return hits
}

// schedule is Scheduler.schedule.
func (s *sim) schedule() {
	s.tick(20_000)
	began := float64(s.now) / 1e9
	beganNS := uint64(math.Round(began * 1e9))
	s.now = beganNS
	s.inCall, s.callOps = true, nil
	s.calls++
	st := &simStep{output: s.outputs.take(), seen: s.armed}
	budget := s.maxTokens
	var victims, news, resumed []*simRequest
	for i := 0; i < len(s.running) && budget > 0; {
		r := s.running[i]
		if r.holders > 0 && r.computed+2-r.holders >= r.prompt+r.maxTokens {
			i++
			continue
		}
		drafts := 0
		if s.drafts > 0 && r.computed >= r.all()-1 {
			drafts = s.drafts
		}
		n := min(r.all()+drafts+r.holders-r.computed, budget)
		if n <= 0 {
			i++
			continue
		}
		drafts = max(min(drafts, r.computed+n-r.all()), 0)
		got, ok := s.allocate(r, nil, n)
		for !ok {
			victim := s.running[len(s.running)-1]
			s.running = s.running[:len(s.running)-1]
			s.preempt(victim, "kv_blocks")
			victims = append(victims, victim)
			if victim == r {
				break
			}
			got, ok = s.allocate(r, nil, n)
		}
		if !ok {
			break
		}
		st.rows = append(st.rows, &simRow{r: r, n: n, pre: r.computed, drafts: drafts, blocks: got})
		budget -= n
		i++
	}
	if len(victims) == 0 {
		for len(s.waiting) > 0 && budget > 0 && len(s.running) < s.maxSeqs {
			r := s.waiting[0]
			hits := s.lookup(r)
			pre := len(hits) * s.blockSize
			n := min(r.all()-pre, budget)
			got, ok := s.allocate(r, hits, n)
			if !ok {
				break
			}
			s.waiting = s.waiting[1:]
			s.running = append(s.running, r)
			r.computed = pre
			if r.preemptions > 0 {
				resumed = append(resumed, r)
			} else {
				news = append(news, r)
			}
			st.rows = append(st.rows, &simRow{r: r, n: n, pre: pre, fresh: true, blocks: got})
			budget -= n
		}
	}
	if s.v2 {
		news = append(news, resumed...)
		resumed = nil
	}
	s.tick(20_000)
	st.scheduled = s.now
	s.returns(st, began, beganNS, victims, news, resumed)
	s.inCall = false
	st.dropKeys = s.finished
	s.finished, s.preempted = nil, nil
	s.queue = append(s.queue, st)
}

// returns is what happens when schedule returns: requests advance, events are
// sent, and the truth is written down.
func (s *sim) returns(st *simStep, began float64, beganNS uint64, victims, news, resumed []*simRequest) {
	tokens := 0
	for _, w := range st.rows {
		r := w.r
		tokens += w.n
		w.life = r.preemptions
		r.computed = w.pre + w.n
		w.samples = r.computed >= r.all()+r.holders
		if s.drafts > 0 {
			w.samples = r.computed >= r.all()
		}
	}
	preempted := victims
	if s.setOfReset {
		preempted = slices.Concat(s.preempted, victims)
	}
	if s.armed {
		st.num = s.step
		s.step++
		s.trueStep(st, beganNS, tokens, preempted, victims, news, resumed)
		s.sendStep(st, began, tokens, preempted, victims, news, resumed)
	}
	if s.async {
		for _, w := range st.rows {
			if w.samples {
				w.r.holders++
			}
		}
	}
}

func (s *sim) sendStep(st *simStep, began float64, tokens int, preempted, victims, news, resumed []*simRequest) {
	drafts := 0
	for _, w := range st.rows {
		if w.drafts > 0 {
			drafts++
		}
	}
	cached := 0
	for _, w := range st.rows {
		if !w.fresh || !slices.Contains(news, w.r) {
			cached++
		}
	}
	e := s.begin(wire.KindStep)
	e.u64(st.output).f64(began).u32(int(st.num)).u32(tokens).u32(len(st.rows)).u32(len(news)).u32(cached)
	e.u32(len(s.finished)).u32(len(preempted)).u32(len(victims)).u32(drafts).u32(0)
	e.u32(len(s.running)).u32(len(s.waiting)).u32(len(s.running) + len(s.waiting)).u32(len(s.pool.free)).u32(0).u32(0)
	s.sendAt(e, st.scheduled)
	s.sendKeys(st, wire.ListFinished, s.finished)
	s.sendKeys(st, wire.ListPreempted, preempted)
	s.sendKeys(st, wire.ListVictims, victims)
	for _, r := range news {
		s.announce(st, r, wire.WhyNew)
		s.sendPrefix(st, r)
	}
	for _, r := range resumed {
		s.announce(st, r, wire.WhyResumed)
		s.sendPrefix(st, r)
	}
	if s.sync > 0 {
		s.sync--
		if s.sync == 0 {
			for _, r := range slices.Concat(s.running, victims) {
				s.announce(st, r, wire.WhySync)
			}
		}
	}
	s.lists(wire.KindStepRows, int(st.num), 0, len(st.rows), func(e *encoder, i int) {
		w := st.rows[i]
		computed, blocks := w.pre, w.blocks
		if w.fresh {
			blocks = len(w.r.blocks)
			if slices.Contains(news, w.r) {
				computed, blocks = wire.Unknown, wire.Unknown
			}
		}
		e.u64(w.r.key).u32(w.n).u32(computed).u32(blocks).u32(0)
	})
	var with []*simRow
	for _, w := range st.rows {
		if w.drafts > 0 {
			with = append(with, w)
		}
	}
	s.lists(wire.KindDrafts, int(st.num), 0, len(with), func(e *encoder, i int) {
		e.u64(with[i].r.key).u32(with[i].drafts).u32(0)
	})
}

func (s *sim) sendKeys(st *simStep, what wire.List, list []*simRequest) {
	s.lists(wire.KindKeys, int(st.num), what, len(list), func(e *encoder, i int) { e.u64(list[i].key) })
}

func (s *sim) lists(kind wire.Kind, step int, what wire.List, n int, row func(*encoder, int)) {
	for first := 0; first < n; first += s.rowsInEvent {
		rows := min(n-first, s.rowsInEvent)
		e := s.begin(kind)
		e.u32(step).u32(first).u16(rows).u16(int(what)).u32(0)
		for i := range rows {
			row(e, first+i)
		}
		s.send(e)
	}
}

func (s *sim) announce(st *simStep, r *simRequest, why wire.Why) {
	e := s.begin(wire.KindRequest)
	e.u64(r.key).u64(r.object).f64(r.arrival).u32(int(st.num)).u32(int(why)).u32(r.prompt).u32(r.all())
	e.u32(r.computed).u32(r.preemptions).u32(r.maxTokens).u32(0).u32(0).u16(len(r.id)).u8(1).u8(0)
	e.b = append(e.b, r.id...)
	s.send(e)
}

func (s *sim) sendPrefix(st *simStep, r *simRequest) {
	pre := 0
	for _, w := range st.rows {
		if w.r == r {
			pre = w.pre
		}
	}
	blocks := r.blocks[:pre/s.blockSize]
	for first := 0; first < len(blocks); first += s.rowsInEvent {
		n := min(len(blocks)-first, s.rowsInEvent)
		e := s.begin(wire.KindPrefix)
		e.u64(r.key).u32(int(st.num)).u16(0).u16(n).u32(first).u32(0)
		for _, b := range blocks[first : first+n] {
			e.u32(b.id)
		}
		s.send(e)
	}
}

// trueStep writes down what the step and its requests should be.
func (s *sim) trueStep(st *simStep, beganNS uint64, tokens int, preempted, victims, news, resumed []*simRequest) {
	s.callBegan = rel(beganNS)
	for _, r := range slices.Concat(news, resumed) {
		s.makeKnown(r, r.preemptions == 0)
		if r.preemptions == 0 {
			r.row.ScheduledNS = at(beganNS)
			r.row.FromStart = true
		}
	}
	if s.sync == 1 {
		for _, r := range slices.Concat(s.running, victims) {
			known := r.known
			s.makeKnown(r, false)
			if !known && r.pre != nil {
				// Whether all of the call was seen is not known.
				r.pre.RequestUID, r.pre.RunningNS, r.pre.BlocksFreed = r.uid, nil, nil
			}
		}
	}
	for _, r := range s.waiting {
		if !r.known {
			r.pre = nil // nobody will hear of it
		}
	}
	row := &st.row
	*row = record.StepRow{
		StepID: int64(st.num), StartNS: rel(beganNS), ScheduledNS: rel(st.scheduled),
		ScheduleDurNS: i64(int64(st.scheduled - beganNS)),
		Requests:      int32(len(st.rows)), Tokens: int32(tokens), Preempted: int32(len(preempted)),
		Running: i32(len(s.running)), Waiting: i32(len(s.waiting)),
		KVTotal: i32(s.blocks - 1), KVUsed: i32(s.blocks - 1 - len(s.pool.free)),
	}
	for _, r := range slices.Concat(preempted, victims) {
		if r.pre != nil {
			r.pre.StepID = int64(st.num)
			if r.pre.TimeNS == math.MaxInt64 {
				r.pre.TimeNS = rel(st.scheduled)
				if r.pre.Reason != "kv_blocks" {
					r.pre.TimeNS = rel(beganNS)
				}
				if r.runSince != 0 {
					r.pre.RunningNS = i64(r.pre.TimeNS - rel(r.runSince))
				}
			}
		}
	}
	ctx := [4]int32{}
	split := map[string]*[2]int32{"prefill": {}, "decode": {}, "recompute": {}}
	for _, w := range st.rows {
		r := w.r
		kind := "decode"
		switch {
		case r.preemptions > 0 && w.pre < r.all()-1:
			kind = "recompute"
		case w.pre < r.prompt:
			kind = "prefill"
		}
		split[kind][0]++
		split[kind][1] += int32(w.n)
		row.DraftTokens += int32(w.drafts)
		w.row = record.StepRequestRow{
			StepID: int64(st.num), RequestUID: r.uid, Kind: kind, Scheduled: int32(w.n),
			Computed: i32(w.pre), PromptTokens: i32(r.prompt), DraftTokens: int32(w.drafts), NewBlocks: i32(w.blocks),
		}
		if slices.Contains(news, r) || !(w.fresh && slices.Contains(news, r)) && r.outputs+r.holders == 0 {
			ctx[0]++
			ctx[1] += int32(w.n)
		} else {
			ctx[2]++
			ctx[3] += int32(w.n)
		}
		r.row.Steps++
		r.row.Scheduled += int64(w.n)
		if !w.fresh {
			continue
		}
		if r.preemptions == 0 {
			row.NewRequests++
			r.row.CachedTokens = i32(w.pre)
		} else {
			row.ResumedRequests++
			if r.pre != nil {
				if r.pre.StepID < 0 || !s.setOfReset && r.pre.Reason == "reset_prefix_cache" {
					r.pre.StepID = int64(st.num)
					if r.pre.TimeNS == math.MaxInt64 {
						r.pre.TimeNS = rel(beganNS)
						if r.runSince != 0 {
							r.pre.RunningNS = i64(r.pre.TimeNS - rel(r.runSince))
						}
					}
				}
				r.pre.ResumedNS = at(beganNS)
				r.pre.ResumedStep = i64(st.num)
				r.preemptNS += *r.pre.ResumedNS - r.pre.TimeNS
				s.truth.Preemptions = append(s.truth.Preemptions, *r.pre)
				r.pre = nil
			}
		}
		r.runSince = beganNS
	}
	for i, p := range []**int32{&row.ContextRequests, &row.ContextTokens, &row.GenerationRequests, &row.GenerationTokens} {
		v := ctx[i]
		*p = &v
	}
	row.PrefillRequests, row.PrefillTokens = split["prefill"][0], split["prefill"][1]
	row.DecodeRequests, row.DecodeTokens = split["decode"][0], split["decode"][1]
	row.RecomputeRequests, row.RecomputeTokens = split["recompute"][0], split["recompute"][1]
	pre, dec := row.PrefillRequests+row.RecomputeRequests > 0, row.DecodeRequests > 0
	switch {
	case pre && dec:
		row.Phase = "mixed"
	case pre:
		row.Phase = "prefill"
	case dec:
		row.Phase = "decode"
	default:
		row.Phase = "empty"
	}
	for _, i := range s.callOps {
		s.truth.Usage[i].StepID = i64(st.num)
	}
	for _, r := range s.finished {
		if r.known && r.row.FinishedNS == nil {
			r.row.FinishedNS = at(beganNS)
		}
		s.flushEnded(r)
	}
}

// makeKnown: the trace names r from now on.
func (s *sim) makeKnown(r *simRequest, fromStart bool) {
	if r.known {
		return
	}
	r.known = true
	r.uid = s.nextUID
	s.nextUID++
	s.byUID[r.uid] = r
	r.runSince = 0
	r.knownFrom = s.callBegan
	arrival := r.arrival
	r.row = record.RequestRow{
		RequestUID: r.uid, RequestID: r.id, ExternalID: r.id[:len(r.id)-9], ArrivalUnix: &arrival,
		ArrivalNS:    i64(int64(math.Round(arrival*1e9)) - simWall - simStart),
		PromptTokens: i32(r.prompt), MaxTokens: i32(r.maxTokens), FromStart: fromStart,
	}
	if r.preemptions > 0 {
		r.preemptNS = math.MinInt64
	}
}

// flushEnded writes down the row of a request that ended.
func (s *sim) flushEnded(r *simRequest) {
	if r.known && !r.flushed {
		r.flushed = true
		delete(s.byUID, r.uid)
		s.truth.Requests = append(s.truth.Requests, s.requestRow(r))
	}
}

func (s *sim) requestRow(r *simRequest) record.RequestRow {
	row := r.row
	row.OutputTokens = i32(r.outputs)
	row.Preemptions = int32(r.preemptions)
	diff := func(a, b *int64) *int64 {
		if a == nil || b == nil {
			return nil
		}
		return i64(*a - *b)
	}
	row.QueueNS = diff(row.ScheduledNS, row.ArrivalNS)
	row.PrefillNS = diff(row.FirstTokNS, row.ScheduledNS)
	row.DecodeNS = diff(row.FinishedNS, row.FirstTokNS)
	if r.preemptNS >= 0 {
		row.PreemptedNS = i64(r.preemptNS)
	}
	if r.pre != nil {
		s.truth.Preemptions = append(s.truth.Preemptions, *r.pre)
		r.pre = nil
	}
	return row
}

// updateFromOutput is Scheduler.update_from_output for the oldest step.
func (s *sim) updateFromOutput() {
	st := s.queue[0]
	s.queue = s.queue[1:]
	begin := s.tick(20_000)
	if s.armed {
		if s.buffer != nil {
			s.buffer.tell(s, st, begin)
		}
		e := s.begin(wire.KindUpdateBegin)
		e.u64(st.output).u32(int(s.update)).u32(0).u32(0).u32(0)
		s.sendAt(e, begin)
	}
	type output struct {
		r      *simRequest
		n      int
		finish int16
	}
	var outs []output
	var ended []*simRequest
	total, finished := 0, 0
	for _, w := range st.rows {
		r := w.r
		w.row.OutputTokens = i32(0)
		stale := w.life != r.preemptions
		if r.done || !w.samples || stale && r.dropStale {
			continue
		}
		n := 1
		if w.drafts > 0 {
			n += s.rng.IntN(w.drafts + 1)
			if !stale {
				r.computed -= w.drafts - (n - 1)
			}
		}
		n = min(n, r.maxTokens-r.outputs)
		if n <= 0 {
			continue
		}
		r.outputs += n
		if s.async && !stale {
			r.holders--
		}
		o := output{r, n, -1}
		if r.outputs >= r.maxTokens {
			o.finish = 1
		} else if s.rng.IntN(200) == 0 {
			o.finish = 0
		}
		w.row.OutputTokens = i32(n)
		total += n
		if o.finish >= 0 {
			finished++
			s.tick(100)
			s.freeRequest(r)
			s.end(r, 0, []string{"stop", "length"}[o.finish])
			ended = append(ended, r)
		}
		outs = append(outs, o)
	}
	more := uint64(max(len(outs)-1, 0) / s.rowsInEvent) // events of outputs behind the first, a nanosecond each
	s.now += more
	end := s.tick(20_000)
	for _, o := range outs {
		if o.r.known && o.r.row.FirstTokNS == nil && o.r.outputs == o.n && st.seen {
			o.r.row.FirstTokNS = at(end)
		}
	}
	for _, r := range ended {
		if r.known {
			r.row.FinishedNS = at(end)
			s.flushEnded(r)
		}
	}
	s.keysOf(st)
	s.outputs.give(st.output)
	if !s.armed {
		s.lastEnd = 0
		return
	}
	s.now = end - 1 - more
	s.lists(wire.KindOutputRows, int(s.update), 0, len(outs), func(e *encoder, i int) {
		e.u64(outs[i].r.key).u32(outs[i].n).u16(int(uint16(outs[i].finish))).u16(0)
	})
	e := s.begin(wire.KindUpdateEnd)
	e.u64(st.output).u32(int(s.update)).u32(len(outs)).u32(0).u32(0)
	s.sendAt(e, end)
	s.update++
	if st.seen {
		s.endStep(st, begin, end, total, finished)
	}
	s.lastEnd = end
}

// keysOf frees the keys of requests whose end this step's output told.
func (s *sim) keysOf(st *simStep) {
	for _, r := range st.dropKeys {
		s.keys.give(r.key)
	}
}

func (s *sim) endStep(st *simStep, begin, end uint64, total, finished int) {
	row := &st.row
	row.UpdateNS, row.EndNS, row.UpdateDurNS = at(begin), at(end), i64(int64(end-begin))
	row.OutputTokens, row.FinishedRequests = i32(total), i32(finished)
	if row.Tokens > 0 {
		from := max(st.scheduled, s.lastEnd)
		source := record.TimingCPUBound
		row.ForwardNS, row.TimingSource = i64(int64(begin-from)), &source
		if s.attachAt == 0 {
			row.Iteration = i64(s.nonEmpty)
			s.nonEmpty++
		}
		s.truth.CPU = append(s.truth.CPU, record.CPUOperationRow{
			StepID: i64(st.num), TimeNS: rel(from), DurNS: *row.ForwardNS, Operation: "model_execution",
			Thread: 77, Context: "phase=" + row.Phase,
		})
	}
	s.truth.CPU = append(s.truth.CPU,
		record.CPUOperationRow{StepID: i64(st.num), TimeNS: row.StartNS, DurNS: *row.ScheduleDurNS, Operation: "scheduling", Thread: 77},
		record.CPUOperationRow{StepID: i64(st.num), TimeNS: *row.UpdateNS, DurNS: *row.UpdateDurNS, Operation: "update_from_output", Thread: 77})
	s.truth.Steps = append(s.truth.Steps, *row)
	s.spans = append(s.spans, span{begin, end})
	for _, w := range st.rows {
		s.truth.StepRequests = append(s.truth.StepRequests, w.row)
	}
}

// kv sends a queue operation and writes it down.
func (s *sim) kv(op wire.KVOp, r *simRequest, before int, blocks []*simBlock) uint64 {
	t := s.tick(100)
	names := map[wire.KVOp]string{wire.OpAlloc: "alloc", wire.OpReuse: "reuse", wire.OpFree: "free", wire.OpFreeFront: "free"}
	uid := func() *int64 {
		if r.known {
			return i64(r.uid)
		}
		return nil
	}
	opID := s.ops + int64(len(s.truth.Usage))
	if s.armed {
		if s.inCall {
			s.callOps = append(s.callOps, len(s.truth.Usage))
		}
		s.truth.Usage = append(s.truth.Usage, record.KVUsageRow{
			OpID: opID, TimeNS: rel(t), Op: names[op], Blocks: int32(len(blocks)),
			FreeAfter: new(int32(len(s.pool.free))), RequestUID: uid(),
		})
		s.owners = append(s.owners, r)
	}
	for _, b := range blocks {
		if s.armed {
			s.truth.KVBlocks = append(s.truth.KVBlocks, record.KVBlockRow{
				OpID: opID, TimeNS: rel(t), BlockID: int32(b.id), Op: names[op], HadHash: b.hash != "",
			})
		}
		switch op {
		case wire.OpAlloc:
			if s.armed && s.caching && (b.lived && (b.allocated || b.released != 0 || b.hits > 0) || b.hash != "") {
				s.evict(b, t, opID)
			}
			b.birth, b.access, b.released, b.hits = t, t, 0, 0
			b.allocated, b.lived, b.bearer = true, true, r
		case wire.OpFree, wire.OpFreeFront:
			b.released = t
			b.lived = true
		}
	}
	if s.armed {
		s.sendKV(op, r, before, blocks, t)
	}
	return t
}

func (s *sim) evict(b *simBlock, t uint64, op int64) {
	row := record.KVEvictionRow{
		TimeNS: rel(t), OpID: op, BlockID: int32(b.id), HadHash: b.hash != "", BirthKnown: b.allocated, Hits: int32(b.hits),
	}
	if b.allocated {
		row.LifetimeNS, row.IdleNS = int64(t-b.birth), int64(t-b.access)
		row.BirthNS = at(b.birth)
	}
	if b.released != 0 {
		row.ReleasedNS, row.UnusedNS = at(b.released), i64(int64(t-b.released))
	}
	s.truth.Evictions = append(s.truth.Evictions, row)
	s.bearers = append(s.bearers, b.bearer)
}

func (s *sim) sendKV(op wire.KVOp, r *simRequest, before int, blocks []*simBlock, t uint64) {
	for first := 0; first < len(blocks); first += s.rowsInEvent {
		n := min(len(blocks)-first, s.rowsInEvent)
		more := 0
		if first+n < len(blocks) {
			more = 1
		}
		e := s.begin(wire.KindKV)
		e.u64(r.object).u32(before).u32(len(s.pool.free)).u32(first).u16(n).u8(int(op)).u8(more).u32(len(blocks)).u32(0)
		for _, b := range blocks[first : first+n] {
			id := b.id
			if b.hash != "" {
				id |= 1 << 31
			}
			e.u32(id)
		}
		s.sendAt(e, t)
	}
}

// encoder writes an event.
type encoder struct {
	b    []byte
	kind wire.Kind
}

func (s *sim) begin(kind wire.Kind) *encoder {
	return &encoder{b: make([]byte, wire.HeaderSize, 256), kind: kind}
}

func (e *encoder) u8(v int) *encoder { e.b = append(e.b, byte(v)); return e }
func (e *encoder) u16(v int) *encoder {
	e.b = binary.LittleEndian.AppendUint16(e.b, uint16(v))
	return e
}
func (e *encoder) u32(v int) *encoder {
	e.b = binary.LittleEndian.AppendUint32(e.b, uint32(v))
	return e
}
func (e *encoder) u64(v uint64) *encoder {
	e.b = binary.LittleEndian.AppendUint64(e.b, v)
	return e
}
func (e *encoder) f64(v float64) *encoder { return e.u64(math.Float64bits(v)) }

func (s *sim) send(e *encoder) {
	s.now++
	s.sendAt(e, s.now)
}

func (s *sim) sendAt(e *encoder, t uint64) {
	binary.LittleEndian.PutUint64(e.b, t)
	binary.LittleEndian.PutUint32(e.b[8:], s.seq)
	binary.LittleEndian.PutUint16(e.b[12:], uint16(e.kind))
	e.b[14], e.b[15] = s.engine, wire.Version
	s.seq++
	if s.drop > 0 && s.seq > 1 && s.rng.Float64() < s.drop {
		s.dropped++
		if s.sync == 0 {
			s.sync = 2 + s.rng.IntN(10) // the reader sees the counter some time later
		}
		return
	}
	s.record(simRecord{'E', e.b})
}
