package decode_test

import (
	"math"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/e2e/soak/steady"
)

// soakServer is a server that runs for days: it keeps nothing of what happened but counts.
type soakServer struct {
	*sim
	gpu    *cudaSim // nil: it has none
	stepNS uint64   // of a step without a GPU
	next   uint64   // when the next request comes
	made   int      // requests
	rate   float64  // requests a second, by day and night
	day    float64  // nanoseconds
	counts steady.Totals
	open   int64             // launches of the newest step
	late   map[string]uint64 // arrivals, by request id, until somebody has asked
}

// soakWorld is what the servers share.
type soakWorld struct {
	stepNS uint64
	dayNS  float64
	wall   func(mono uint64) int64
	sink   func(simRecord)
}

// newSoakServer is an engine. That with index 0 has a GPU.
func newSoakServer(c simConfig, engine uint8, w soakWorld) *soakServer {
	v := &soakServer{sim: newSim(c), stepNS: w.stepNS, rate: soakRate(c, w.stepNS), day: w.dayNS, late: map[string]uint64{}}
	v.engine, v.wall, v.sink = engine, w.wall, w.sink
	if engine == 0 {
		v.gpu = newCudaSim(cudaConfig{seed: c.seed, gpuNS: int(w.stepNS) * 9 / 10})
	}
	v.alter = v.engineFact
	return v
}

// soakRate is so many requests a second that more come at noon than there are seats.
func soakRate(c simConfig, stepNS uint64) float64 {
	steps := 100.0 // one in 200 tokens ends a request, before it has all it may have
	return 0.7 * float64(c.maxSeqs) / (steps * float64(stepNS) / 1e9)
}

func (v *soakServer) engineFact(e *record.Engine) {
	e.DP, e.DataParallel = 2, int(v.engine)
	e.MaxSeqs, e.MaxTokens = v.maxSeqs, v.maxTokens
	e.PID = 5000
	if v.gpu != nil {
		e.Device, e.PID, e.Thread = "cuda", cudaEngineThread, cudaEngineThread
		e.ModelConfig = []byte(`{"num_hidden_layers": 4}`)
	}
}

// begin attaches, before the first request.
func (v *soakServer) begin() {
	v.arm()
	if v.gpu != nil {
		v.gpu.now = v.now
		v.gpu.probe(v.now, int64(v.now))
		v.gpu.capture()
		v.drain()
	}
	v.next = v.now + v.gap()
}

// gap is the time to the next request: five times as many come at noon as at midnight.
func (v *soakServer) gap() uint64 {
	hour := 2 * math.Pi * float64(v.now-simStart) / v.day
	return uint64(v.rng.ExpFloat64() / (v.rate * (1 - math.Cos(hour)*2/3)) * 1e9)
}

// step does a step, or waits for a request.
func (v *soakServer) step() {
	s := v.sim
	for s.now >= v.next {
		r := s.newRequest(v.made)
		v.made++
		s.come(r)
		if v.drop == 0 {
			v.late[r.id] = s.now
		}
		v.next += v.gap()
	}
	if len(s.waiting) == 0 && len(s.running) == 0 && len(s.finished) == 0 {
		s.now = max(s.now, v.next)
		return
	}
	if s.rng.Float64() < s.abort {
		s.abortOne()
	}
	s.schedule()
	v.execute(s.queue[0])
	s.updateFromOutput()
	v.forget()
}

// execute is what the model takes.
func (v *soakServer) execute(st *simStep) {
	tokens := int(st.row.Tokens)
	if tokens == 0 {
		return
	}
	if v.gpu == nil {
		v.now += v.stepNS/2 + uint64(v.rng.Int64N(int64(v.stepNS)))
		return
	}
	g := &cudaStep{num: st.num, tokens: tokens, requests: len(st.rows), output: st.output, waits: map[int][2]uint64{}, phases: map[string]int64{}}
	g.padded = padded(tokens)
	switch {
	case g.padded == tokens && tokens > cudaSizes[len(cudaSizes)-1]:
		g.mode = "NONE"
	case st.row.Phase == record.PhaseDecode:
		g.mode, g.text = "FULL", fullText(g.padded)
	default:
		g.mode, g.text = "PIECEWISE", pieceText(g.padded)
	}
	v.gpu.now = v.now
	v.gpu.execute(g)
	v.gpu.workers[0].wait(g)
	v.now = max(v.now, v.gpu.now)
	v.counts.Replays += int64(g.launches)
	v.open = int64(g.kernels)
	v.counts.Launches += v.open
	v.drain()
}

// drain hands on what the GPU's side has made.
func (v *soakServer) drain() {
	for _, r := range v.gpu.records {
		v.sink(r.simRecord)
	}
	v.gpu.records, v.gpu.busy = v.gpu.records[:0], v.gpu.busy[:0]
}

// forget adds up the truth so far.
func (v *soakServer) forget() {
	t, c := &v.truth, &v.counts
	for i := range t.Steps {
		st := &t.Steps[i]
		c.Steps++
		c.Tokens += int64(st.Tokens)
		c.OutputTokens += int64(*st.OutputTokens)
		c.Preempted += int64(st.Preempted)
	}
	for i := range t.StepRequests {
		c.StepRequests++
		c.Scheduled += int64(t.StepRequests[i].Scheduled)
	}
	for i := range t.Requests {
		c.Requests++
		c.RequestOutputs += int64(*t.Requests[i].OutputTokens)
	}
	c.Preemptions += int64(len(t.Preemptions))
	c.Usage += int64(len(t.Usage))
	c.Blocks += int64(len(t.KVBlocks))
	c.Evictions += int64(len(t.Evictions))
	v.ops += int64(len(t.Usage))
	t.Steps, t.StepRequests, t.Requests, t.Preemptions = t.Steps[:0], t.StepRequests[:0], t.Requests[:0], t.Preemptions[:0]
	t.Usage, t.KVBlocks, t.Evictions, t.CPU = t.Usage[:0], t.KVBlocks[:0], t.Evictions[:0], t.CPU[:0]
	v.owners, v.bearers, v.spans = v.owners[:0], v.bearers[:0], v.spans[:0]
}

// end adds up what still runs. How many kernels the last step launched nobody tells: the next
// step's first call would have.
func (v *soakServer) end() {
	for _, r := range v.byUID {
		if !r.done {
			v.truth.Requests = append(v.truth.Requests, v.requestRow(r))
		}
	}
	v.counts.Launches -= v.open
	v.forget()
}

// soakClock is the wall clock of a machine: it drifts, and NTP sets it once.
type soakClock struct {
	ppm  float64
	at   uint64 // when it is set
	step int64
}

func (c soakClock) wall(mono uint64) int64 {
	w := int64(mono) + simWall + int64(float64(mono-simStart)*c.ppm/1e6)
	if mono >= c.at {
		w += c.step
	}
	return w
}

// arrivals compares when a server's requests came, which it tells by its wall clock, with
// when they did.
type arrivals struct {
	record.Discard
	server *soakServer
	clock  soakClock
	most   int64 // by which one is off
	around int64 // requests of the moment in which nobody can tell: the wall clock showed the same
	// twice, and nobody had noticed
	all int64
}

func (a *arrivals) Request(r *record.RequestRow) error {
	came, ok := a.server.late[r.RequestID]
	if !ok || r.Engine != int32(a.server.engine) {
		return nil
	}
	delete(a.server.late, r.RequestID)
	if r.ArrivalNS == nil {
		return nil
	}
	a.all++
	off := max(*r.ArrivalNS-rel(came), rel(came)-*r.ArrivalNS)
	unsure := uint64(max(a.clock.step, -a.clock.step)) + soakSecond
	if off > soakDriftNS && came+unsure > a.clock.at && came < a.clock.at+unsure {
		a.around++
		return nil
	}
	a.most = max(a.most, off)
	return nil
}

// soakServers are two engines of a server: one with a GPU, of which nothing is lost, and one of
// which events are lost now and then.
func soakServers(w soakWorld) (whole, lossy *soakServer) {
	c := simConfig{
		seed: 72, caching: true, front: true, blocks: 640, blockSize: 16, maxSeqs: 32, maxTokens: 512,
		prompt: 400, outputs: 300, sharing: 40, abort: 0.0005,
	}
	whole = newSoakServer(c, 0, w)
	c.seed, c.maxSeqs, c.blocks, c.drop = 73, 4, 120, 0.0005
	w.stepNS *= 4
	lossy = newSoakServer(c, 1, w)
	return whole, lossy
}
