package session

import (
	"slices"

	"github.com/pmtrace/pmtrace/decode/record"
)

// Summary is a session in numbers. Times are nanoseconds.
type Summary struct {
	Path  string
	Facts *Facts

	// FirstNS and LastNS bound the steps; the session may have been longer.
	FirstNS, LastNS int64
	Phases          map[string]*PhaseSummary // by record.Phase…
	TimingSources   map[string]int64         // steps with a forward time, by how it was got
	TimingColumns   map[string]int64         // … by the column of steps that has it: not the same thing

	Steps        int64 // those without a token not counted
	EmptySteps   int64
	InputTokens  int64 // scheduled prompt tokens
	AgainTokens  int64 // scheduled a second time after a preemption
	OutputTokens int64
	MeanRequests float64 // in a step with tokens
	MaxRequests  int32
	MeanTokens   float64
	MaxTokens    int32
	MaxWaiting   int32

	Requests     int64
	Unfinished   int64
	Finished     map[string]int64 // by reason; "unknown" where it could not be read
	CachedTokens int64
	FirstToken   Stat // arrival to first token, as the engine saw it
	Queue        Stat
	Prefill      Stat
	Decode       Stat
	PerToken     Stat // decode time by output token after the first

	GPU        GPUSummary
	Graphs     GraphSummary
	Operations map[string]*Stat // CPU operations
	Samples    []GPUSamples     // by GPU
	Kernels    KernelSummary
	MoE        MoESummary
	Hooks      []*HookSummary
	Components components // encoder, decoder, cross-attention

	KV          KVSummary
	Preemptions map[string]int64 // by reason
	// Lost has what is missing, by engine, probe and reason in this order: what
	// the counters of the kernel and the reader say, and what only decoding the
	// journal showed.
	Lost []record.Loss

	requestsSum int64
	tokensSum   int64
	kv          kvCount
	firstSeen   bool
}

// PhaseSummary describes the steps of one phase.
type PhaseSummary struct {
	Steps   int64
	Tokens  int64
	Step    Stat // schedule entered to update_from_output returned
	Forward Stat // by the best source of each step
	GPU     Stat // step_gpu_ns
}

// KVSummary describes the KV cache, all engines together.
type KVSummary struct {
	Known      bool
	Blocks     int64
	PeakBlocks int64
	PeakPct    float64
	Evictions  int64 // cached blocks handed out again
}

// NewSummary is one that has seen no rows yet.
func NewSummary(session *Dir, facts *Facts) *Summary {
	return &Summary{Path: session.Path(), Facts: facts,
		Phases: map[string]*PhaseSummary{}, TimingSources: map[string]int64{}, TimingColumns: map[string]int64{},
		GPU: newGPUSummary(), Graphs: newGraphSummary(), MoE: MoESummary{layers: moeLayers{}}, Operations: map[string]*Stat{},
		Finished: map[string]int64{}, Preemptions: map[string]int64{}}
}

// Visitor sees the rows that the summary is made of. After the pass it is complete.
func (s *Summary) Visitor() Visitor {
	return Visitor{
		Step:         func(r *record.StepRow) error { s.step(r); return nil },
		Request:      func(r *record.RequestRow) error { s.request(r); return nil },
		Preemption:   func(r *record.PreemptionRow) error { s.Preemptions[r.Reason]++; return nil },
		KVUsage:      func(r *record.KVUsageRow) error { s.kv.operation(r); return nil },
		KVEviction:   func(r *record.KVEvictionRow) error { s.kv.eviction(r); return nil },
		CPUOperation: func(r *record.CPUOperationRow) error { s.operation(r); return nil },
		Graph:        func(r *record.GraphRow) error { s.Graphs.graph(r); return nil },
		EncoderDecoder: func(r *record.EncoderDecoderRow) error {
			s.Components.add(r)
			return nil
		},
		GPUSample:     func(r *record.GPUSampleRow) error { s.sample(r); return nil },
		KernelClass:   func(r *record.KernelClassRow) error { s.Kernels.add(r); return nil },
		MoEActivation: func(r *record.MoEActivationRow) error { s.MoE.layers.activation(r); return nil },
		MoEImbalance:  func(r *record.MoEImbalanceRow) error { s.MoE.layers.imbalance(r); return nil },
		Hook:          func(r *record.HookRow) error { s.hook(r); return nil },
		Loss:          func(r *record.LossRow) error { s.loss(r); return nil },
		Done:          func() error { s.finish(); return nil },
	}
}

func (s *Summary) step(r *record.StepRow) {
	s.kv.step(r)
	if !s.firstSeen || r.StartNS < s.FirstNS {
		s.FirstNS, s.firstSeen = r.StartNS, true
	}
	s.LastNS = max(s.LastNS, r.ScheduledNS)
	if r.EndNS != nil {
		s.LastNS = max(s.LastNS, *r.EndNS)
	}
	if r.Waiting != nil {
		s.MaxWaiting = max(s.MaxWaiting, *r.Waiting)
	}
	if r.OutputTokens != nil {
		s.OutputTokens += int64(*r.OutputTokens)
	}
	if r.Tokens == 0 {
		s.EmptySteps++
		return
	}
	s.Steps++
	s.InputTokens += int64(r.PrefillTokens)
	s.AgainTokens += int64(r.RecomputeTokens)
	s.requestsSum += int64(r.Requests)
	s.tokensSum += int64(r.Tokens)
	s.MaxRequests = max(s.MaxRequests, r.Requests)
	s.MaxTokens = max(s.MaxTokens, r.Tokens)
	p := s.Phases[r.Phase]
	if p == nil {
		p = &PhaseSummary{}
		s.Phases[r.Phase] = p
	}
	p.Steps++
	p.Tokens += int64(r.Tokens)
	if r.EndNS != nil {
		p.Step.Add(*r.EndNS - r.StartNS)
	}
	if forward, ok := forwardOf(r); ok {
		p.Forward.Add(forward.ns)
		s.TimingSources[forward.source]++
		s.TimingColumns[forward.column]++
	}
	addKnown(&p.GPU, r.StepGPUNS)
	s.GPU.step(r)
	s.Graphs.step(r)
}

func (s *Summary) operation(r *record.CPUOperationRow) {
	stat := s.Operations[r.Operation]
	if stat == nil {
		stat = new(Stat)
		s.Operations[r.Operation] = stat
	}
	stat.Add(r.DurNS)
}

func (s *Summary) request(r *record.RequestRow) {
	s.Requests++
	switch {
	case r.FinishedNS == nil:
		s.Unfinished++
	case r.Reason == nil:
		s.Finished["unknown"]++
	default:
		s.Finished[*r.Reason]++
	}
	if r.CachedTokens != nil {
		s.CachedTokens += int64(*r.CachedTokens)
	}
	if r.ArrivalNS != nil && r.FirstTokNS != nil {
		s.FirstToken.Add(*r.FirstTokNS - *r.ArrivalNS)
	}
	addKnown(&s.Queue, r.QueueNS)
	addKnown(&s.Prefill, r.PrefillNS)
	addKnown(&s.Decode, r.DecodeNS)
	if r.DecodeNS != nil && r.OutputTokens != nil && *r.OutputTokens > 1 {
		s.PerToken.Add(*r.DecodeNS / int64(*r.OutputTokens-1))
	}
}

func (s *Summary) loss(r *record.LossRow) {
	l := record.Loss{Engine: -1, Probe: r.Probe, Reason: r.Reason, Lost: true}
	if r.Engine != nil {
		l.Engine = int(*r.Engine)
	}
	i, found := slices.BinarySearchFunc(s.Lost, l, compareLosses)
	if !found {
		s.Lost = slices.Insert(s.Lost, i, l)
	}
	s.Lost[i].Count += uint64(r.Count)
}

func addKnown(s *Stat, ns *int64) {
	if ns != nil {
		s.Add(*ns)
	}
}

func (s *Summary) finish() {
	s.kv.finish()
	s.GPU.finish()
	s.Graphs.finish()
	s.MoE.finish()
	s.finishHooks()
	s.KV = KVSummary{
		Known:      s.kv.totals != nil,
		Blocks:     s.kv.total,
		PeakBlocks: s.kv.peak,
		PeakPct:    s.kv.peakPct,
		Evictions:  s.kv.evicted,
	}
	if s.Steps > 0 {
		s.MeanRequests = float64(s.requestsSum) / float64(s.Steps)
		s.MeanTokens = float64(s.tokensSum) / float64(s.Steps)
	}
}

// TracedNS is how long the session lasted: by its end's record, else by its
// last step.
func (s *Summary) TracedNS() int64 {
	if ns := s.Facts.DurationNS(); ns > 0 {
		return ns
	}
	return max(s.LastNS, 0)
}

// Dominant returns the way most forward times were got, "" if there are none.
func (s *Summary) Dominant() string { return mostOf(s.TimingSources) }

// mostOf returns the key with the largest count, the first of several.
func mostOf(counts map[string]int64) string {
	best := ""
	for _, key := range sortedKeys(counts) {
		if best == "" || counts[key] > counts[best] {
			best = key
		}
	}
	return best
}
