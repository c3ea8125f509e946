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

// cudaConfig is a server with a GPU to simulate.
type cudaConfig struct {
	seed     uint64
	steps    int
	async    bool // the results of a step are waited for after the next is launched
	copyWait bool // V1: record and wait in one phase, without a phase of its own for the wait
	thread   bool // the results are waited for by another thread
	ranks    int  // workers in processes of their own; 0: the engine's own process
	drafts   bool
	encoder  bool
	namedAt  uint64  // after so long the graphs are found; 0: before the first step
	drop     float64 // of the events of calls
	hostNS   int     // host work of a step
	gpuNS    int     // GPU work of a step
	empty    bool    // some steps have no tokens
	reuse    int     // after so many steps all graphs are destroyed and captured anew
	sampler  bool
	captured bool    // traced from before the capture
	same     bool    // all steps have the same counts
	probedAt int     // the step at which the workers come to be probed
	dropAll  float64 // of the engine's events
	cupti    string  // recorded: calls, order; "": attached
	windows  bool    // of kernels
	fewer    bool    // copies are told in windows alone
	probing  bool    // launches and copies are probed in the first three of ten steps alone
	late     uint64  // so much later than CUPTI's events the probes' are read
	moe      moeConfig
}

const (
	cudaEngineThread = 4000
	cudaOutputThread = 4001
	cudaPieces       = 5
)

// timed is a record of the journal and when it came about.
type timed struct {
	at uint64
	simRecord
}

// cudaSim is a scheduler, its workers and a GPU each, which send the events that
// the BPF programs would send, and write down the truth.
type cudaSim struct {
	cudaConfig
	rng     *rand.Rand
	now     uint64 // the engine's
	seq     uint32
	records []timed
	dropped int
	workers []*cudaWorker
	graphs  map[string]uint64 // handle by descriptor and piece
	pieces  map[uint64]int    // piece by handle
	next    uint64
	truth   []*cudaStep
	window  uint64 // launches and copies are probed since then; 0: they are not
	graphN  int    // graphs made
	sizes   []int
	busy    [][2]uint64
}

// cudaStep is what a step did.
type cudaStep struct {
	num       uint32
	tokens    int
	requests  int
	output    uint64
	mode      string
	text      string
	padded    int
	launches  int
	kernels   int
	copies    int
	copied    int64
	first     uint64 // work on the GPU began
	end       uint64 // the output event was complete
	waited    bool
	waits     map[int][2]uint64 // by worker
	phases    map[string]int64  // of rank 0's step thread
	scheduled uint64
	event     []uint64
	recorded  []uint64
	replayed  [2]uint64 // the graph on the GPU
}

// cudaWorker is a process with a GPU.
type cudaWorker struct {
	s       *cudaSim
	index   int
	now     *uint64
	free    uint64 // when the GPU is done with its work
	threads map[int]*cudaThread
	steps   uint32
	step    uint32
	events  uint64
	inside  cuptiSim
	routing moeSim
}

// cudaThread is the kernel's memory of a thread (struct pm_thread).
type cudaThread struct {
	seq              uint32
	phase            wire.Phase
	first, last      uint64
	calls            int
	launches, copies int
	copied           uint64
	step             uint32
}

func newCudaSim(c cudaConfig) *cudaSim {
	if c.moe.known == nil && !c.moe.hidden && !c.moe.inWorker {
		c.moe.known = c.moe.layers
	}
	s := &cudaSim{
		cudaConfig: c, rng: rand.New(rand.NewPCG(c.seed, 5)), now: simStart + 1000, graphs: map[string]uint64{}, pieces: map[uint64]int{}, next: 0x7f0000001000, sizes: slices.Clone(cudaSizes),
	}
	if s.hostNS == 0 {
		s.hostNS = 300_000
	}
	if s.gpuNS == 0 {
		s.gpuNS = 900_000
	}
	for i := range max(c.ranks, 1) {
		w := &cudaWorker{s: s, index: i, now: &s.now, threads: map[int]*cudaThread{}, step: wire.Unknown}
		if c.ranks > 0 {
			w.now = new(s.now)
		}
		s.workers = append(s.workers, w)
	}
	return s
}

func (s *cudaSim) fact(at uint64, f record.Fact) {
	b, err := json.Marshal(f)
	if err != nil {
		panic(err)
	}
	s.records = append(s.records, timed{at, simRecord{'F', b}})
}

func (s *cudaSim) spend(now *uint64, most int) { *now += 500 + uint64(s.rng.IntN(most)) }

// journal is the session.
func (s *cudaSim) journal() []simRecord {
	s.attach()
	s.capture()
	var queue []*cudaStep
	for i := range s.steps {
		if s.reuse > 0 && i > 0 && i%s.reuse == 0 {
			for ; len(queue) > 0; queue = queue[1:] {
				s.finish(queue[0])
			}
			s.recapture()
		}
		s.between(i, len(queue))
		s.moveWindow(i)
		st := s.schedule(i)
		if s.probedAt > 0 && i == s.probedAt {
			s.probe(s.now, int64(s.now))
		}
		s.execute(st)
		queue = append(queue, st)
		if !s.async || len(queue) > 1 {
			s.finish(queue[0])
			queue = queue[1:]
		}
	}
	for _, st := range queue {
		s.finish(st)
	}
	if s.sampler {
		s.sample()
	}
	s.readClocks()
	s.closeRings()
	for i := range s.records {
		r := &s.records[i]
		if r.kind == 'E' && binary.LittleEndian.Uint16(r.payload[12:]) < uint16(wire.KindCUPTICall) {
			r.at += s.late
		}
	}
	slices.SortStableFunc(s.records, func(a, b timed) int { return int(int64(a.at) - int64(b.at)) })
	out := make([]simRecord, len(s.records))
	seq := map[byte]uint32{}
	for i, r := range s.records {
		if out[i] = r.simRecord; r.kind == 'E' && binary.LittleEndian.Uint16(r.payload[12:]) >= uint16(wire.KindCUPTICall) {
			ring := r.payload[14]
			binary.LittleEndian.PutUint32(r.payload[8:], seq[ring])
			seq[ring]++
		}
	}
	return out
}

func (s *cudaSim) attach() {
	start := record.Start{MonoNS: simStart, WallNS: simStart + simWall}
	if s.cupti != "" {
		start.Mode, start.Injected = "record", true
	}
	s.fact(0, record.Fact{Start: &start})
	s.inject()
	s.fact(1, record.Fact{Engine: &record.Engine{
		MonoNS: simStart, VLLM: "0.33.0", Device: "cuda", DP: 1, Thread: cudaEngineThread, PID: 4000, Iteration: i64(0), FromStart: true,
		Watches:   []string{"schedule_return", "update_return", "update_entry"},
		MoELayers: s.moe.known, SpecTokens: s.moe.drafts, ModelConfig: json.RawMessage(fmt.Sprintf(`{"num_hidden_layers": %d}`, cudaPieces-1)),
	}})
	if s.probedAt == 0 {
		s.probe(2, simStart)
	}
	if s.sampler {
		s.fact(3, record.Fact{GPU: &record.GPU{Index: 3, PIDs: []int{4000}}})
		s.fact(4, record.Fact{Sampler: &record.Sampler{Index: 3, IntervalNS: 20_000, Metrics: []string{
			wire.MetricDRAMReadBytes, wire.MetricSMActivePct,
		}}})
	}
}

const windowPeriod, windowSteps = 10, 3

// unseen says whether a call of a row is none that is probed now.
func (s *cudaSim) unseen(row wire.Row) bool {
	return s.probing && s.window == 0 && (row == wire.RowLaunch || row == wire.RowCopy)
}

// moveWindow opens or closes the window in which launches and copies are probed.
func (s *cudaSim) moveWindow(step int) {
	if !s.probing || step%windowPeriod != 0 && step%windowPeriod != windowSteps {
		return
	}
	s.now += 501
	c := record.CallWindow{BeginNS: int64(s.now)}
	if s.window != 0 {
		c = record.CallWindow{BeginNS: int64(s.window), EndNS: int64(s.now)}
	}
	s.window = s.now
	if c.EndNS != 0 {
		s.window = 0
	}
	for i := range s.workers {
		f := c
		f.Worker = i
		s.fact(s.now, record.Fact{CallWindow: &f})
	}
}

// probe tells of the workers.
func (s *cudaSim) probe(at uint64, mono int64) {
	for i := range s.workers {
		f := record.Worker{Worker: i, PID: 4000, Engine: new(int), Rank: &i, EngineThread: cudaEngineThread, MonoNS: mono, FromStart: true, CallsInWindows: s.probing}
		if s.ranks > 0 {
			f.PID, f.EngineThread = 5000+i, 0
		}
		if s.moe.inWorker && at <= 2 {
			f.Engine = nil
		}
		s.fact(at, record.Fact{Worker: &f})
	}
}

var cudaSizes = []int{1, 8, 64}

func fullText(n int) string {
	return fmt.Sprintf("FULL:BatchDescriptor(num_tokens=%d, num_reqs=%d, uniform=True, has_lora=False)", n, n)
}

func pieceText(n int) string {
	return fmt.Sprintf("PIECEWISE:BatchDescriptor(num_tokens=%d, num_reqs=None, uniform=False, has_lora=False)", n)
}

// capture makes the graphs, and lets them be found some time later.
func (s *cudaSim) capture() {
	var found []record.Graph
	no, yes := false, true
	add := func(key string, g record.Graph) {
		g.Exec = s.next
		if g.Piece != nil {
			s.pieces[g.Exec] = *g.Piece
		}
		s.next += 64
		s.graphs[key] = g.Exec
		found = append(found, g)
		s.graphN++
		if s.captured {
			for _, w := range s.workers {
				w.capture(g.Exec)
			}
		}
	}
	for _, n := range s.sizes {
		add(fullText(n), record.Graph{Holder: "model", Mode: "FULL", NumTokens: &n, NumReqs: &n, Uniform: &yes, HasLora: &no})
		for p := range cudaPieces {
			pieces := cudaPieces
			add(pieceText(n)+fmt.Sprint(p), record.Graph{Holder: "piecewise", Mode: "PIECEWISE", NumTokens: &n, Uniform: &no, HasLora: &no, Piece: &p, Pieces: &pieces})
		}
	}
	add("draft", record.Graph{Holder: "speculator", Mode: "FULL", NumTokens: &s.sizes[0]})
	for i := range s.workers {
		at := s.now + s.namedAt
		f := record.Graphs{Worker: i, MonoNS: int64(at), Graphs: found}
		if s.moe.inWorker {
			f.MoELayers = s.moe.layers
		}
		s.fact(at, record.Fact{Graphs: &f})
	}
	if s.moe.inWorker {
		s.probe(s.now+s.namedAt+1, simStart)
	}
}

// recapture throws all graphs away; the new ones get the old ones' handles, in
// another order.
func (s *cudaSim) recapture() {
	lowest := uint64(math.MaxUint64)
	for _, exec := range s.graphs {
		lowest = min(lowest, exec)
	}
	for exec := lowest; exec < lowest+uint64(64*len(s.graphs)); exec += 64 {
		for _, w := range s.workers {
			w.call(w.stepThread(), wire.PhaseCapture, wire.RowGraphDestroy, [3]uint64{exec}, wire.CallDummy)
		}
	}
	slices.Reverse(s.sizes[:2])
	s.next = lowest
	s.capture()
	slices.Reverse(s.sizes[:2])
	for _, w := range s.workers {
		if s.ranks > 0 {
			s.now = max(s.now, *w.now)
		}
	}
}

func (w *cudaWorker) capture(exec uint64) {
	th := w.stepThread()
	w.call(th, wire.PhaseCapture, wire.RowCaptureBegin, [3]uint64{7, 1}, wire.CallDummy)
	w.s.spend(w.now, 1000)
	w.call(th, wire.PhaseCapture, wire.RowCaptureEnd, [3]uint64{7, exec + 1}, wire.CallDummy)
	w.call(th, wire.PhaseCapture, wire.RowGraphInstantiate, [3]uint64{exec, exec + 1}, wire.CallDummy)
}

func (s *cudaSim) schedule(i int) *cudaStep {
	s.spend(&s.now, 20_000)
	began := s.now
	s.spend(&s.now, 20_000)
	st := &cudaStep{num: uint32(i), output: 0x9000 + uint64(i%7)*64, waits: map[int][2]uint64{}, phases: map[string]int64{}, mode: "NONE"}
	switch kind := s.rng.IntN(10); {
	case s.same:
		st.requests, st.tokens, st.padded = 32, 32, padded(32)
		st.mode, st.text = "FULL", fullText(st.padded)
	case kind < 6:
		st.requests = 1 + s.rng.IntN(64)
		st.tokens = st.requests
		st.padded = padded(st.tokens)
		st.mode, st.text = "FULL", fullText(st.padded)
	case kind < 8:
		st.requests, st.tokens = 2, 2+s.rng.IntN(60)
		st.padded = padded(st.tokens)
		st.mode, st.text = "PIECEWISE", pieceText(st.padded)
	case kind == 8 && s.empty:
		st.mode = ""
	default:
		st.requests, st.tokens = 3, 600+s.rng.IntN(1000)
		st.padded = st.tokens
	}
	s.truth = append(s.truth, st)
	st.scheduled = s.now
	encoders := 0
	if s.encoder && st.mode == "NONE" && st.tokens > 0 {
		encoders = 1
	}
	s.engineEvent(wire.KindStep, func(e *encoder) {
		e.u64(st.output).f64(float64(began) / 1e9).u32(i).u32(st.tokens).u32(st.requests).u32(0).u32(st.requests)
		e.u32(0).u32(0).u32(0).u32(0).u32(encoders).u32(1).u32(0).u32(1).u32(wire.Unknown).u32(0).u32(0)
	})
	return st
}

func padded(n int) int {
	for _, size := range cudaSizes {
		if n <= size {
			return size
		}
	}
	return n
}

func (s *cudaSim) engineEvent(kind wire.Kind, body func(*encoder)) {
	e := &encoder{b: make([]byte, wire.HeaderSize, 128), kind: kind}
	body(e)
	binary.LittleEndian.PutUint64(e.b, s.now)
	binary.LittleEndian.PutUint32(e.b[8:], s.seq)
	binary.LittleEndian.PutUint16(e.b[12:], uint16(kind))
	e.b[15] = wire.Version
	s.seq++
	if s.dropAll > 0 && s.rng.Float64() < s.dropAll {
		s.dropped++
		return
	}
	s.records = append(s.records, timed{s.now, simRecord{'E', e.b}})
}

// execute lets all workers execute a step.
func (s *cudaSim) execute(st *cudaStep) {
	st.event, st.recorded = make([]uint64, len(s.workers)), make([]uint64, len(s.workers))
	for _, w := range s.workers {
		if s.ranks > 0 {
			*w.now = max(*w.now, s.now) + 20_000
			w.begin(st)
		}
		if st.tokens > 0 {
			w.execute(st)
		}
	}
}

func (w *cudaWorker) stepThread() int {
	if w.s.ranks > 0 {
		return 5000 + w.index
	}
	return cudaEngineThread
}

func (w *cudaWorker) begin(st *cudaStep) {
	th := w.thread(w.stepThread())
	w.event(wire.KindWorkerStep, th, *w.now+501, func(e *encoder) { // together with the step's first call
		e.u64(st.output + 1<<20).u32(w.stepThread()).u32(int(w.steps)).u32(st.tokens).u32(st.requests).u32(0).u32(0)
	})
	if !w.unprobed() {
		w.step = w.steps
		w.steps++
	}
}

func (w *cudaWorker) unprobed() bool { return w.s.probedAt > 0 && len(w.s.truth) <= w.s.probedAt }

// run is a piece of work on the GPU: it begins after the call that launches it.
func (w *cudaWorker) run(st *cudaStep, ns int) (began uint64) {
	began = max(w.free, *w.now+2000+uint64(w.s.rng.IntN(40_000)))
	w.free = began + uint64(ns)
	if w.index == 0 {
		w.s.busy = append(w.s.busy, [2]uint64{began, w.free})
	}
	return began
}

// execute is execute_model and sample_tokens.
func (w *cudaWorker) execute(st *cudaStep) {
	s, th := w.s, w.stepThread()
	host := func() { s.spend(w.now, s.hostNS/12) }
	count := func(kernels, copies int, bytes uint64) {
		if w.index == 0 {
			st.kernels += kernels
			st.copies += copies
			st.copied += int64(copies) * int64(bytes)
		}
	}
	first := func(at uint64) {
		if w.index == 0 && st.first == 0 {
			st.first = at
		}
	}
	for range 3 {
		w.call(th, wire.PhasePrepare, wire.RowCopy, [3]uint64{4096, 1}, 0)
		host()
	}
	w.call(th, wire.PhasePrepare, wire.RowLaunch, [3]uint64{}, 0)
	w.run(st, 8000)
	count(1, 3, 4096)
	host()
	if s.encoder && st.mode == "NONE" {
		w.call(th, wire.PhaseEncoder, wire.RowLaunch, [3]uint64{}, 0)
		first(w.run(st, s.gpuNS/3))
		count(1, 0, 0)
		host()
	}
	switch st.mode {
	case "FULL":
		at := w.launch(st, wire.PhaseForward, s.graphs[st.text], s.gpuNS)
		first(at)
		w.forward(st, at, at+uint64(s.gpuNS))
		if w.index == 0 {
			st.replayed = [2]uint64{at, at + uint64(s.gpuNS)}
			st.launches++
		}
	case "PIECEWISE":
		from := uint64(0)
		for p := range cudaPieces {
			at := w.launch(st, wire.PhaseForward, s.graphs[st.text+fmt.Sprint(p)], s.gpuNS/cudaPieces)
			if first(at); p == 0 {
				from = at
			}
			w.call(th, wire.PhaseForward, wire.RowLaunch, [3]uint64{}, 0)
			w.attend(p, w.run(st, 3000))
			count(1, 0, 0)
			if w.index == 0 {
				st.launches++
			}
			host()
		}
		w.forward(st, from, w.free)
	case "NONE":
		from := uint64(0)
		for i := range 10 {
			w.call(th, wire.PhaseForward, wire.RowLaunch, [3]uint64{}, 0)
			at := w.run(st, s.gpuNS/5)
			if first(at); i == 0 {
				from = at
			}
			host()
		}
		w.forward(st, from, w.free)
		count(10, 0, 0)
	}
	if s.ranks > 1 {
		w.call(th, wire.PhaseForward, wire.RowAllReduce, [3]uint64{uint64(st.tokens) * 2048, 9, 0}, 0)
	}
	host()
	w.call(th, wire.PhaseLogits, wire.RowLaunch, [3]uint64{}, 0)
	w.run(st, 100_000)
	host()
	w.call(th, wire.PhaseSample, wire.RowLaunch, [3]uint64{}, 0)
	w.run(st, 20_000)
	count(2, 0, 0)
	host()
	w.call(th, wire.PhaseOutputCopy, wire.RowCopy, [3]uint64{256, 2}, 0)
	count(0, 1, 256)
	w.events++
	st.event[w.index] = 0x5000 + w.events%3*16 + uint64(w.index)<<16
	w.call(th, wire.PhaseOutputCopy, wire.RowEventRecord, [3]uint64{st.event[w.index], 9}, 0)
	st.recorded[w.index] = *w.now
	if w.index == 0 {
		st.end = max(w.free, *w.now) + 5000
	}
	end := max(w.free, *w.now) + 5000
	w.outside(st, end-9000, end-4000)
	w.copied(2, end-3500, end-2000)
	st.waits[w.index] = [2]uint64{0, end}
	if s.drafts {
		host()
		w.launch(st, wire.PhaseDraft, s.graphs["draft"], 60_000)
		if w.index == 0 {
			st.launches++
		}
	}
	host()
	w.call(th, wire.PhasePostprocess, wire.RowCopy, [3]uint64{64, 1}, 0)
	count(0, 1, 64)
	host()
}

// finish waits for a step's results and hands them to the scheduler.
func (s *cudaSim) finish(st *cudaStep) {
	if st.tokens > 0 {
		for _, w := range s.workers {
			w.wait(st)
			s.now = max(s.now, *w.now)
		}
	}
	s.spend(&s.now, 10_000)
	s.engineEvent(wire.KindUpdateBegin, func(e *encoder) { e.u64(st.output).u32(int(st.num)).u32(0).u32(0).u32(0) })
	s.spend(&s.now, 10_000)
	s.engineEvent(wire.KindUpdateEnd, func(e *encoder) { e.u64(st.output).u32(int(st.num)).u32(0).u32(0).u32(0) })
}

func (w *cudaWorker) wait(st *cudaStep) {
	s := w.s
	thread, phase := w.stepThread(), wire.PhaseOutputWait
	if s.thread {
		thread = cudaOutputThread
	}
	if s.copyWait {
		phase = wire.PhaseOutputCopy
	}
	th := w.thread(thread)
	s.spend(w.now, 2000)
	began := *w.now
	w.enter(th, thread, phase, wire.RowEventSync, 0, 0)
	done := st.waits[w.index][1]
	if began >= done {
		*w.now += 3000
	} else {
		*w.now = done + 5000 + uint64(s.rng.IntN(60_000))
	}
	th.last = *w.now
	st.waits[w.index] = [2]uint64{began, *w.now}
	if w.index == 0 {
		st.waited = *w.now-began > 15_000
	}
	w.send(th, thread, phase, wire.RowEventSync, [3]uint64{st.event[w.index]}, began, 0)
}

func (w *cudaWorker) thread(id int) *cudaThread {
	th := w.threads[id]
	if th == nil {
		th = &cudaThread{step: wire.Unknown}
		w.threads[id] = th
	}
	return th
}

// call is a call that is not waited for.
func (w *cudaWorker) call(thread int, phase wire.Phase, row wire.Row, args [3]uint64, flags int) {
	th := w.thread(thread)
	*w.now += 501
	if w.s.unseen(row) {
		return
	}
	w.enter(th, thread, phase, row, args[0], flags)
	if row != wire.RowLaunch && row != wire.RowCopy {
		w.send(th, thread, phase, row, args, 0, flags)
	}
}

// enter is what the BPF program does at a call's entry.
func (w *cudaWorker) enter(th *cudaThread, thread int, phase wire.Phase, row wire.Row, bytes uint64, flags int) {
	if th.phase != phase {
		w.event(wire.KindPhase, th, *w.now, func(e *encoder) {
			e.u64(th.first).u64(th.last).u64(th.copied).u32(thread).u32(int(th.step)).u32(th.calls).u32(th.launches).u32(th.copies)
			e.u8(int(phase)).u8(int(th.phase)).u8(int(row)).u8(flags)
		})
		*th = cudaThread{seq: th.seq, phase: phase, first: *w.now}
	}
	th.step = w.step
	th.last = *w.now
	th.calls++
	switch row {
	case wire.RowLaunch:
		th.launches++
	case wire.RowCopy:
		th.copies++
		th.copied += bytes
	}
}

func (w *cudaWorker) send(th *cudaThread, thread int, phase wire.Phase, row wire.Row, args [3]uint64, began uint64, flags int) {
	w.event(wire.KindCall, th, *w.now, func(e *encoder) {
		e.u64(args[0]).u64(args[1]).u64(args[2]).u64(began).u32(thread).u32(int(w.step)).u32(0)
		e.u8(int(row)).u8(int(phase)).u8(flags).u8(0)
	})
}

func (w *cudaWorker) event(kind wire.Kind, th *cudaThread, at uint64, body func(*encoder)) {
	if w.unprobed() {
		return
	}
	e := &encoder{b: make([]byte, wire.HeaderSize, 80), kind: kind}
	body(e)
	binary.LittleEndian.PutUint64(e.b, at)
	binary.LittleEndian.PutUint32(e.b[8:], th.seq)
	binary.LittleEndian.PutUint16(e.b[12:], uint16(kind))
	e.b[14], e.b[15] = byte(w.index), wire.Version
	th.seq++
	if w.s.drop > 0 && w.s.rng.Float64() < w.s.drop {
		w.s.dropped++
		return
	}
	w.s.records = append(w.s.records, timed{at, simRecord{'E', e.b}})
}

// sample writes the samples of the GPU's counters: handed on twice a second, on a
// clock that runs away by 5 µs a second.
func (s *cudaSim) sample() {
	gpu := func(t uint64) uint64 { return 1<<60 + t + (t-simStart)/200_000 }
	const interval, batch = 20_000, 25_000
	var ends []uint64
	var lengths []uint32
	values := make([][]float32, 2)
	k := 0
	for at := uint64(simStart); at < s.now+interval; at += interval {
		var ns uint64
		for k < len(s.busy) && s.busy[k][1] <= at {
			k++
		}
		for _, b := range s.busy[k:] {
			if b[0] >= at+interval {
				break
			}
			ns += min(b[1], at+interval) - max(b[0], at)
		}
		ends, lengths = append(ends, gpu(at+interval)), append(lengths, interval)
		values[0] = append(values[0], float32(ns)) // a byte a nanosecond of work
		values[1] = append(values[1], float32(ns)/interval*90)
		if len(ends) == batch || at+interval >= s.now {
			s.clock(at+interval, gpu)
			s.records = append(s.records, timed{at + interval, simRecord{'C', wire.AppendCounters(nil, 3, 0, ends, lengths, values)}})
			ends, lengths, values = nil, nil, make([][]float32, 2)
		}
	}
	s.clock(simStart, gpu)
}

func (s *cudaSim) clock(at uint64, gpu func(uint64) uint64) {
	s.fact(at, record.Fact{GPUClock: &record.GPUClock{Index: 3, GPUNS: int64(gpu(at)), BeforeNS: int64(at) - 3000, AfterNS: int64(at) + 3000}})
}
