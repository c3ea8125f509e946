package live

import (
	"cmp"
	"slices"
	"strings"
	"sync"

	"github.com/pmtrace/pmtrace/decode/record"
)

// slackNS is by how much rows may come late (decode/join holds them for the GPU's side).
const slackNS = 10_000_000_000

// Recent keeps what happened in the last seconds. It is a record.Sink; its methods may be
// called by several goroutines.
type Recent struct {
	record.Discard

	mu     sync.Mutex
	window int64
	newest int64 // time of the newest row

	steps       ring[stepSample]
	requests    ring[requestSample]
	evictions   ticks
	preemptions ticks
	engines     map[int32]*engineNow
	devices     []Device // by index
	losses      []record.Loss
	total       Counts
}

var _ record.Sink = (*Recent)(nil)

// engineNow is an engine as its newest step had it.
type engineNow struct {
	step             int64
	running, waiting *int32
	used, blocks     *int32
}

type stepSample struct {
	at, duration     int64 // ended; -1: unknown
	gpuStart, gpu    int64 // gpu -1: unknown
	idle             int64 // before it; -1: unknown
	engine           int32
	phase            string
	mode             string // "": unknown
	source           string
	drained          bool // the idle time was without requests
	requests, tokens int32
	prefill, outputs int32
	padding          int32 // -1: unknown
}

func (s stepSample) time() int64 { return s.at }

type requestSample struct {
	at int64
	Finished
}

func (s requestSample) time() int64 { return s.at }

// NewRecent keeps the last ns nanoseconds.
func NewRecent(ns int64) *Recent { return &Recent{window: ns, engines: map[int32]*engineNow{}} }

// horizon is what is older than any window to come.
func (r *Recent) horizon(at int64) int64 {
	r.newest = max(r.newest, at)
	return r.newest - r.window - slackNS
}

func (r *Recent) Step(row *record.StepRow) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now(row)
	s := stepSample{
		at: row.ScheduledNS, duration: -1, gpu: -1, idle: -1, padding: -1, engine: row.Engine, phase: row.Phase,
		requests: row.Requests, tokens: row.Tokens, prefill: row.PrefillTokens,
	}
	if row.EndNS != nil {
		s.at, s.duration = *row.EndNS, max(*row.EndNS-row.StartNS, 0)
	}
	if row.OutputTokens != nil {
		s.outputs = *row.OutputTokens
		r.total.TokensOut += int64(s.outputs)
	}
	if row.Tokens == 0 {
		s.phase = record.PhaseEmpty
		r.total.EmptySteps++
	} else {
		r.total.Steps++
		r.total.TokensIn += int64(row.PrefillTokens)
		s.gpuSide(row)
	}
	r.steps.push(s, r.horizon(s.at))
	return nil
}

func (s *stepSample) gpuSide(row *record.StepRow) {
	if row.GraphMode != nil {
		s.mode = *row.GraphMode
	}
	if n, known := padding(row); known {
		s.padding = int32(n)
	}
	if row.StepGPUNS == nil || row.GPUStartNS == nil {
		return
	}
	s.gpuStart, s.gpu, s.source = *row.GPUStartNS, max(*row.StepGPUNS, 0), word(row.GPUTimingSource)
	if row.GPUIdleNS != nil {
		s.idle, s.drained = max(*row.GPUIdleNS, 0), row.NewRequests == row.Requests
	}
}

// now takes what the newest step says of its engine.
func (r *Recent) now(row *record.StepRow) {
	e := r.engines[row.Engine]
	if e == nil {
		e = &engineNow{step: -1}
		r.engines[row.Engine] = e
	}
	if row.StepID > e.step {
		*e = engineNow{row.StepID, row.Running, row.Waiting, row.KVUsed, row.KVTotal}
	}
}

func (r *Recent) Request(row *record.RequestRow) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if row.FinishedNS == nil {
		r.total.Unfinished++
		return nil
	}
	r.total.Finished++
	s := requestSample{at: *row.FinishedNS, Finished: Finished{
		ID: row.ExternalID, Engine: row.Engine, Reason: word(row.Reason), PromptTokens: row.PromptTokens, OutputTokens: row.OutputTokens,
		Preemptions: row.Preemptions, QueueNS: row.QueueNS, TTFTNS: firstToken(row), TPOTNS: perToken(row), TotalNS: endToEnd(row),
	}}
	r.requests.push(s, r.horizon(s.at))
	return nil
}

func (r *Recent) Preemption(row *record.PreemptionRow) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.total.Preemptions++
	r.preemptions.add(row.TimeNS, 1, r.horizon(row.TimeNS))
	return nil
}

func (r *Recent) KVEviction(row *record.KVEvictionRow) error {
	if !row.HadHash {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.total.Evictions++
	r.evictions.add(row.TimeNS, 1, r.horizon(row.TimeNS))
	return nil
}

func (r *Recent) GPUSample(row *record.GPUSampleRow) error {
	d := Device{
		GPU: row.GPU, TimeNS: row.TimeNS, SMPct: row.SMPct, UtilPct: row.UtilPct, DRAMPct: row.DRAMPct, PowerW: row.PowerW,
		SMClockMHz: row.SMClockMHz, TemperatureC: row.TemperatureC, MemoryUsed: row.MemoryUsed,
	}
	if row.Throttle != nil {
		d.Throttled = strings.FieldsFunc(*row.Throttle, func(c rune) bool { return c == '|' })
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	i, found := slices.BinarySearchFunc(r.devices, d.GPU, func(d Device, gpu int32) int { return cmp.Compare(d.GPU, gpu) })
	if !found {
		r.devices = slices.Insert(r.devices, i, d)
	}
	r.devices[i] = d
	return nil
}

func (r *Recent) Loss(row *record.LossRow) error {
	l := record.Loss{Engine: -1, Probe: row.Probe, Reason: row.Reason, Lost: true}
	if row.Engine != nil {
		l.Engine = int(*row.Engine)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	i, found := slices.BinarySearchFunc(r.losses, l, compareLosses)
	if !found {
		if len(r.losses) >= maxSeries {
			i = len(r.losses) - 1 // the sum stays right
		} else {
			r.losses = slices.Insert(r.losses, i, l)
		}
	}
	r.losses[i].Count += uint64(max(row.Count, 0))
	return nil
}

func compareLosses(a, b record.Loss) int {
	return cmp.Or(cmp.Compare(a.Engine, b.Engine), strings.Compare(a.Probe, b.Probe), strings.Compare(a.Reason, b.Reason))
}
