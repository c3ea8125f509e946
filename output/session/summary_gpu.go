package session

import (
	"slices"
	"strings"

	"github.com/pmtrace/pmtrace/decode/record"
)

// GPUSummary describes the GPU's time in steps. Engines are added up.
type GPUSummary struct {
	Steps   int64            // with a GPU time
	Sources map[string]int64 // of them, by how it was got
	SpanNS  int64            // first step's start to last step's end
	IdleNS  int64            // before steps
	// Of it before steps that had nothing but new requests: there was nothing to do.
	DrainedNS int64
	Longest   Idle // with requests running
	Waited    int64
	WaitKnown int64  // steps of which it is known whether the host waited
	Error     Stat   // error bound of step_gpu_ns
	Unbounded int64  // steps whose time has none
	MBU, MFU  Shares // of decode steps

	// By samples of hardware counters, within the GPU time of the steps that have any.
	SampledNS   int64
	BusyNS      int64
	IdleSteps   int64 // with the idle time before them known
	DRAMNS      int64 // of the steps with DRAM traffic known
	DRAMBytes   int64
	engines     map[int32]*span
	busySampled bool
}

// Shares is the mean of shares of what a GPU can do.
type Shares struct {
	N         int64
	Sum       float64
	Estimated bool // some rest on an assumption
}

func (s *Shares) add(share *float64, estimated *bool) {
	if share == nil {
		return
	}
	s.N++
	s.Sum += *share
	s.Estimated = s.Estimated || estimated != nil && *estimated
}

// Mean is of all, NaN where there are none.
func (s *Shares) Mean() float64 { return s.Sum / float64(s.N) }

// Idle is the GPU's wait before a step.
type Idle struct {
	NS     int64
	Engine int32
	StepID int64
}

type span struct{ first, last int64 }

func newGPUSummary() GPUSummary {
	return GPUSummary{Sources: map[string]int64{}, engines: map[int32]*span{}}
}

func (g *GPUSummary) step(r *record.StepRow) {
	if r.StepGPUNS == nil {
		return
	}
	g.Steps++
	g.Sources[known(r.GPUTimingSource)]++
	addKnown(&g.Error, r.GPUErrorNS)
	if r.GPUErrorNS == nil {
		g.Unbounded++
	}
	if r.Phase == record.PhaseDecode {
		g.MBU.add(r.MBU, r.ModelEstimated)
		g.MFU.add(r.MFU, r.ModelEstimated)
	}
	g.span(r)
	if r.HostWaited != nil {
		g.WaitKnown++
		if *r.HostWaited {
			g.Waited++
		}
	}
	if r.GPUIdleNS != nil {
		g.idle(r, max(*r.GPUIdleNS, 0))
	}
	g.sampled(r)
}

func (g *GPUSummary) span(r *record.StepRow) {
	if r.GPUStartNS == nil || r.GPUEndNS == nil {
		return
	}
	e := g.engines[r.Engine]
	if e == nil {
		g.engines[r.Engine] = &span{*r.GPUStartNS, *r.GPUEndNS}
		return
	}
	e.first, e.last = min(e.first, *r.GPUStartNS), max(e.last, *r.GPUEndNS)
}

func (g *GPUSummary) idle(r *record.StepRow, ns int64) {
	g.IdleSteps++
	g.IdleNS += ns
	if r.NewRequests == r.Requests {
		g.DrainedNS += ns
		return
	}
	if ns > g.Longest.NS {
		g.Longest = Idle{ns, r.Engine, r.StepID}
	}
}

func (g *GPUSummary) sampled(r *record.StepRow) {
	if r.GPUBusyNS != nil {
		g.busySampled = true
		g.SampledNS += *r.StepGPUNS
		g.BusyNS += *r.GPUBusyNS
	}
	if r.DRAMReadBytes != nil && r.DRAMWriteBytes != nil {
		g.DRAMNS += *r.StepGPUNS
		g.DRAMBytes += *r.DRAMReadBytes + *r.DRAMWriteBytes
	}
}

func (g *GPUSummary) finish() {
	for _, e := range g.engines {
		g.SpanNS += e.last - e.first
	}
}

// Source returns the way most GPU times were got.
func (g *GPUSummary) Source() string { return mostOf(g.Sources) }

// GraphSummary says how steps with tokens used CUDA graphs.
type GraphSummary struct {
	Known        int64            // steps whose graphs are known
	Steps        map[string]int64 // of them, by cudagraph_mode
	Tokens       map[string]int64 // scheduled in them
	PaddedSteps  int64            // steps whose padding is known
	PaddedTokens int64            // computed in them
	GraphTokens  int64            // of these in steps that ran graphs
	Padding      int64            // of these more than were scheduled

	Captured        int64 // (mode, descriptor)s with a graph, before tracing or since
	Execs           int64 // their executable graphs: pieces, and several workers' ones
	NeverLaunched   int64 // (mode, descriptor)s
	Throwaways      int64 // executable graphs captured to measure memory
	Launches        int64
	UnknownLaunches int64 // of graphs without a name
	descriptors     describedGraphs
}

func newGraphSummary() GraphSummary {
	return GraphSummary{Steps: map[string]int64{}, Tokens: map[string]int64{}, descriptors: describedGraphs{}}
}

func (g *GraphSummary) step(r *record.StepRow) {
	if r.GraphMode != nil {
		g.Known++
		g.Steps[*r.GraphMode]++
		g.Tokens[*r.GraphMode] += int64(r.Tokens)
	}
	if r.PaddedTokens != nil && *r.PaddedTokens >= r.Tokens {
		g.PaddedSteps++
		g.PaddedTokens += int64(*r.PaddedTokens)
		g.Padding += int64(*r.PaddedTokens - r.Tokens)
		if r.GraphMode != nil && *r.GraphMode != "NONE" {
			g.GraphTokens += int64(*r.PaddedTokens)
		}
	}
}

func (g *GraphSummary) graph(r *record.GraphRow) {
	if r.Throwaway {
		g.Throwaways++
	}
	g.descriptors.add(r)
}

func (g *GraphSummary) finish() {
	for _, d := range g.descriptors {
		g.Launches += d.launches
		if !d.named {
			g.UnknownLaunches += d.launches
			continue
		}
		g.Captured++
		g.Execs += d.execs
		if d.launches == 0 {
			g.NeverLaunched++
		}
	}
}

// PaddingPct is the share of computed tokens that were padding.
func (g *GraphSummary) PaddingPct() float64 { return ratio(g.Padding, g.PaddedTokens) }

// ratio is in percent; 0 of nothing is 0.
func ratio(part, whole int64) float64 {
	if whole <= 0 {
		return 0
	}
	return 100 * float64(part) / float64(whole)
}

// GPUSamples are the means of what NVML and GPM said of one GPU.
type GPUSamples struct {
	GPU       int32
	Count     int64
	SM        mean // percent: GPM's SM activity
	Util      mean // percent: time with a kernel running
	DRAM      mean // percent of the peak
	Power     mean // W
	MaxPower  float64
	SMClock   mean // MHz
	MinClock  float64
	MemoryMax int64
	Throttle  map[string]int64 // samples by reason
	Throttled int64            // samples of which it is known whether the GPU was throttled
}

func (s *Summary) sample(r *record.GPUSampleRow) {
	i, found := slices.BinarySearchFunc(s.Samples, r.GPU, func(g GPUSamples, gpu int32) int { return int(g.GPU - gpu) })
	if !found {
		s.Samples = slices.Insert(s.Samples, i, GPUSamples{GPU: r.GPU, Throttle: map[string]int64{}})
	}
	s.Samples[i].add(r)
}

func (g *GPUSamples) add(r *record.GPUSampleRow) {
	g.Count++
	g.SM.addKnown(r.SMPct)
	g.Util.addKnown(r.UtilPct)
	g.DRAM.addKnown(r.DRAMPct)
	g.Power.addKnown(r.PowerW)
	if r.PowerW != nil {
		g.MaxPower = max(g.MaxPower, *r.PowerW)
	}
	g.SMClock.addKnown(r.SMClockMHz)
	if c := r.SMClockMHz; c != nil && (g.SMClock.n == 1 || *c < g.MinClock) {
		g.MinClock = *c
	}
	if r.MemoryUsed != nil {
		g.MemoryMax = max(g.MemoryMax, *r.MemoryUsed)
	}
	if r.Throttle == nil {
		return
	}
	g.Throttled++
	for reason := range strings.SplitSeq(*r.Throttle, "|") {
		if reason != "" {
			g.Throttle[reason]++
		}
	}
}
