package join

import (
	"math"
	"strings"

	"github.com/pmtrace/pmtrace/decode/model"
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/decode/wire"
)

// Joiner takes the events and facts of a session in the order of its journal
// and hands the rows of all tables to a sink. Its memory is bounded by the
// requests that live and the blocks there are. Not for use by several
// goroutines at once.
type Joiner struct {
	classes map[string]*string // of kernels, by name
	sink    record.Sink
	ptr     *nullable
	engines [256]*engine
	order   []*engine // by index
	workers [256]*worker
	devices [256]*device
	hooks   [256]*hook

	injections [256]*injected // by ring
	processes  []*injected    // the same, in the order in which they came
	injectable bool           // the processes may have pmtrace's library in them

	nextGraph int32
	launches  queue[heldLaunch]

	base    int64 // the session's zero, CLOCK_MONOTONIC ns
	based   bool
	wall    wallClock
	nextUID int64
	now     int64 // time of the newest event
	clock   int64 // the same, facts included

	losses lossBook
	stats  Stats
	err    error // the sink's first

	// What rows' columns of few values point to.
	cpuBound, eventBound, gpuSampled, cupti string
	full, piecewise, none                   string
	returned, raised                        string
	yes, no                                 bool
	text                                    []byte // reused

	rows struct {
		step       record.StepRow
		request    record.RequestRow
		stepReq    record.StepRequestRow
		preemption record.PreemptionRow
		usage      record.KVUsageRow
		block      record.KVBlockRow
		eviction   record.KVEvictionRow
		cpu        record.CPUOperationRow
		process    record.ProcessRow
		loss       record.LossRow
		hook       record.HookRow

		graph       record.GraphRow
		graphLaunch record.GraphLaunchRow
		encoder     record.EncoderDecoderRow
		launch      record.LaunchRow
		copied      record.CopyRow
		collective  record.CollectiveRow
		gpu         record.GPUSampleRow
		counter     record.GPUCounterRow
		kernel      record.KernelRow
		window      record.KernelWindowRow
		class       record.KernelClassRow
		activation  record.MoEActivationRow
		coselection record.MoECoselectionRow
		weight      record.MoEWeightRow
		imbalance   record.MoEImbalanceRow
	}
}

// Stats are counts of what was seen so far.
type Stats struct {
	Steps          int64
	EmptySteps     int64 // of them without a token
	StepRequests   int64
	Requests       int64 // announced
	Finished       int64
	NeverScheduled int64 // finished without having been scheduled
	Preemptions    int64
	KVOperations   int64
	Evictions      int64
	Scheduled      int64            // tokens
	Output         int64            // tokens
	Lost           int64            // events
	Unreadable     map[string]int64 // parts of events, by name

	Graphs          int64 // seen or found
	GraphLaunches   int64
	UnknownLaunches int64 // of them without a name
	Launches        int64 // told one by one
	Copies          int64
	Collectives     int64
	CounterSamples  int64
	Kernels         int64 // told by CUPTI, its copies in windows too
	Replays         int64 // of GraphLaunches: timed by CUPTI
	TimedSteps      int64 // with a GPU time
	SampledSteps    int64 // with counters
	Bounds          BoundCheck
	Coverage        Coverage
	MoE             MoEStats
}

// MoEStats counts what routing kernels told.
type MoEStats struct {
	Passes         int64 // that are of a step
	DummyPasses    int64 // that are of none: warm-up, and batches that keep other ranks company
	EarlyRuns      int64 // before the engine was known: of the warm-up, too
	MissingLayers  int64 // of steps with tokens, those of which nothing came
	Activations    int64
	SkippedIDs     int64 // of no expert
	SkippedWeights int64 // of those, and what is no number
}

// Coverage counts the steps whose graphs are known, and their scheduled tokens.
type Coverage struct {
	FullSteps, PiecewiseSteps, EagerSteps    int64
	FullTokens, PiecewiseTokens, EagerTokens int64
	PaddedTokens                             int64 // of the steps with a graph: computed and not scheduled
}

// cover counts a step.
func (s *Stats) cover(r *replays, row *record.StepRow) {
	c, tokens := &s.Coverage, int64(row.Tokens)
	switch r.mode {
	case modeFull:
		c.FullSteps++
		c.FullTokens += tokens
	case modePiecewise:
		c.PiecewiseSteps++
		c.PiecewiseTokens += tokens
	case modeNone:
		c.EagerSteps++
		c.EagerTokens += tokens
	default:
		return
	}
	c.PaddedTokens += max(int64(r.padded)-tokens, 0)
}

// Live is what a status line shows.
type Live struct {
	TimeNS                            int64 // newest event, from the session's start
	Steps, Requests                   int64
	ScheduledTokens, OutputTokens     int64
	Running, Waiting, KVUsed, KVTotal int64
	Lost                              int64
	GraphLaunches, UnknownLaunches    int64
	TimedSteps                        int64

	ClockNS   int64 // TimeNS, or of a newer fact
	SettledNS int64 // of what ended before it all rows are handed on
}

// New returns a Joiner that writes to sink.
func New(sink record.Sink) *Joiner {
	j := &Joiner{
		sink: sink, ptr: newNullable(),
		cpuBound: record.TimingCPUBound, eventBound: record.TimingEventBound, gpuSampled: record.TimingGPUSampled, cupti: record.TimingCUPTI,
		full: modeFull, piecewise: modePiecewise, none: modeNone, yes: true,
		returned: record.HookReturned, raised: record.HookRaised,
	}
	j.losses.init()
	j.stats.Unreadable = map[string]int64{}
	return j
}

// BoundCheck is how far event_bound times are off from the counters' of the same steps.
type BoundCheck struct {
	Steps       int64
	Bias, Error float64 // sums over the steps of (event_bound - counters) / counters, and of its amount
}

// Live returns the newest numbers of all engines together. It reads what the
// events write: call it from the same goroutine.
func (j *Joiner) Live() Live {
	l := Live{
		TimeNS: j.now, Steps: j.stats.Steps, Requests: j.stats.Requests,
		ScheduledTokens: j.stats.Scheduled, OutputTokens: j.stats.Output, Lost: j.losses.lost(),
		GraphLaunches: j.stats.GraphLaunches, UnknownLaunches: j.stats.UnknownLaunches, TimedSteps: j.stats.TimedSteps,
		ClockNS: j.clock, SettledNS: j.clock,
	}
	for _, e := range j.order {
		if e.held.len() > 0 {
			l.SettledNS = min(l.SettledNS, (*e.held.at(0)).handed())
		}
		l.Steps += int64(e.held.len())
		l.Running += max(e.running, 0)
		l.Waiting += max(e.waiting, 0)
		if total := e.kvTotal(); total >= 0 {
			l.KVTotal += int64(total)
			if e.free >= 0 {
				l.KVUsed += int64(total) - e.free
			}
		}
	}
	return l
}

// Stats returns the counts so far.
func (j *Joiner) Stats() Stats {
	s := j.stats
	s.Lost = j.losses.lost()
	return s
}

// Fact takes one of the journal's facts.
func (j *Joiner) Fact(f *record.Fact) error {
	if s := f.Start; s != nil {
		j.base, j.based = s.MonoNS, true
		j.wall.read(s.MonoNS, s.WallNS)
		j.injectable = s.Injected
	}
	if c := f.Clock; c != nil {
		j.wall.read(c.MonoNS, c.WallNS)
	}
	if p := f.Process; p != nil {
		j.process(p)
	}
	if f.Engine != nil && f.Engine.Engine >= 0 && f.Engine.Engine < len(j.engines) {
		j.engine(uint8(f.Engine.Engine)).attach(f.Engine)
	}
	j.gpuFact(f)
	if f.Hook != nil {
		j.hookFact(f.Hook)
	}
	if i := f.Injected; i != nil && i.Ring >= 0 && i.Ring < len(j.injections) {
		j.injected(uint8(i.Ring)).status(i)
	}
	if f.Losses != nil {
		j.advance(f.Losses.MonoNS)
		j.kernelLosses(f.Losses) // between any two events, also those of one call
	}
	j.settle()
	return j.err
}

// gpuFact takes what a fact says of workers, their graphs and the GPUs.
func (j *Joiner) gpuFact(f *record.Fact) {
	if w := f.Worker; w != nil {
		if w.Worker >= 0 && w.Worker < len(j.workers) {
			j.worker(uint8(w.Worker)).attach(w)
		} else {
			j.AddLoss("decode", "worker_index", 1)
		}
	}
	if c := f.CallWindow; c != nil && c.Worker >= 0 && c.Worker < len(j.workers) {
		j.worker(uint8(c.Worker)).window(c)
	}
	if g := f.Graphs; g != nil && g.Worker >= 0 && g.Worker < len(j.workers) {
		j.advance(g.MonoNS)
		j.worker(uint8(g.Worker)).found(g)
	}
	if g := f.GPU; g != nil {
		if d := j.device(g.Index); d != nil {
			d.pids = g.PIDs
			d.model, _ = model.FindGPU(g.Name)
		}
	}
	if s := f.GPUSample; s != nil {
		j.advance(s.MonoNS)
		j.gpuSample(s)
	}
	if s := f.Sampler; s != nil {
		if d := j.device(s.Index); d != nil {
			d.session(s)
		}
	}
	if c := f.GPUClock; c != nil {
		if d := j.device(c.Index); d != nil {
			j.advance(c.AfterNS)
			d.reading(c)
		}
	}
}

// advance takes note of a fact's time.
func (j *Joiner) advance(mono int64) {
	if j.based {
		j.clock = max(j.clock, mono-j.base)
	}
}

func (j *Joiner) process(p *record.Process) {
	number := func(n *int) *int32 {
		if n == nil {
			return nil
		}
		return j.ptr.int32(int32(*n))
	}
	j.rows.process = record.ProcessRow{
		PID: int32(p.PID), Role: p.Role, Engine: number(p.Engine), Rank: number(p.Rank),
		Title: p.Title, Command: p.Command,
		Python: text(p.Python), VLLM: text(p.VLLM), Torch: text(p.Torch),
		StartNS: p.StartNS - j.base, TracedNS: p.TracedNS - j.base,
	}
	j.check(j.sink.Process(&j.rows.process))
}

// Close ends the session: what waits for events that do not come any more is
// handed on with nulls.
func (j *Joiner) Close() error {
	for _, e := range j.order {
		e.closeCall()
		e.closeUpdate()
		e.flushOps(math.MaxInt64, nil)
		e.retireAll()
		e.closeRequests()
	}
	j.closeWorkers()
	for _, in := range j.processes {
		in.emitTraffic()
	}
	j.flushLosses(j.now, true)
	return j.err
}

// closeWorkers hands on what waits for calls, names and samples.
func (j *Joiner) closeWorkers() {
	for _, in := range j.processes {
		in.finish()
	}
	for _, w := range j.workers {
		if w != nil {
			w.match()
		}
	}
	for _, e := range j.order {
		for e.held.len() > 0 {
			e.release()
		}
	}
	for _, in := range j.processes {
		in.routing.close()
	}
	for _, e := range j.order {
		e.experts.close()
	}
	for _, w := range j.workers {
		if w != nil {
			w.settleRuns(true)
			w.settleCalls(true)
		}
	}
	for j.launches.len() > 0 {
		j.emitLaunch(j.launches.pop())
	}
	for _, w := range j.workers {
		if w != nil {
			w.closeGraphs()
		}
	}
}

func (j *Joiner) check(err error) {
	if err != nil && j.err == nil {
		j.err = err
	}
}

// time is a time of the session.
func (j *Joiner) time(ktime uint64) int64 {
	if !j.based {
		j.base, j.based = int64(ktime), true
	}
	return int64(ktime) - j.base
}

// sessionTime is a time of the session that is no event's.
func (j *Joiner) sessionTime(ktime uint64) int64 { return int64(ktime) - j.base }

func (j *Joiner) modePtr(mode string) *string {
	switch mode {
	case modeFull:
		return &j.full
	case modePiecewise:
		return &j.piecewise
	}
	return &j.none
}

func (j *Joiner) engine(i uint8) *engine {
	if e := j.engines[i]; e != nil {
		return e
	}
	e := newEngine(j, i)
	j.engines[i] = e
	at := 0
	for at < len(j.order) && j.order[at].id < e.id {
		at++
	}
	j.order = append(j.order, nil)
	copy(j.order[at+1:], j.order[at:])
	j.order[at] = e
	return e
}

func (j *Joiner) unreadable(probe string, bad wire.Bad) {
	for i, name := range wire.BadNames {
		if bad&(1<<i) != 0 {
			j.stats.Unreadable[probe+"."+name]++
		}
	}
}

// watches says which of the four watches an engine has.
type watches struct {
	blocks, updateReturn, updateEntry bool
}

func watchesOf(names []string) watches {
	if names == nil {
		return watches{true, true, true} // no fact: what comes will tell
	}
	var w watches
	for _, n := range names {
		switch strings.ToLower(n) {
		case "free_blocks":
			w.blocks = true
		case "update_return":
			w.updateReturn = true
		case "update_entry":
			w.updateEntry = true
		}
	}
	return w
}
