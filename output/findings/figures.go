package findings

import (
	"strings"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/session"
)

// kvFull is the share of blocks in use from which the KV cache has no room to speak of.
const kvFull = 0.95

// fullBudget is the share of max_num_batched_tokens from which a step has no room.
const fullBudget = 0.98

// figures are what the rules look at. Times are ns; what is weighted is times requests.
type figures struct {
	facts *session.Facts

	requests  int64
	total     float64 // time of all requests, from their arrival (or when they were first seen) to their end
	preempted float64
	longest   int64 // prompt and output of a request, tokens
	prompt    int64 // tokens
	cached    int64

	steps       int64 // with tokens
	counted     int64 // of them, in which all calls of the GPU's libraries were seen
	tokens      int64
	outputs     int64
	recomputed  int64
	preemptions int64
	lost        int64

	// Waiting, by what kept requests from the batch: step time times requests that wait.
	waitKV, waitSeqs, waitTokens float64
	full                         fullSteps
	peakKV                       float64

	decode map[int32]*session.Stat // time of decode steps by requests
	mixed  mixedSteps
	kept   []mixedStep

	idle  idleSteps
	graph graphSteps
	bound boundSteps

	operations map[string]*session.Stat
	gpu        gpuSamples
	evictions  int64
	experts    map[int32]map[int32]int64 // activations by layer and expert
}

// mixedStep is one of mixedSteps.
type mixedStep struct {
	ns              int64
	decode, prefill int32 // requests; tokens
}

// maxMixed bounds those that are kept: of more the first tell enough.
const maxMixed = 1 << 20

// fullSteps are those in which the KV cache had no room for who waited.
type fullSteps struct {
	n                       int64
	running, waiting, usage float64 // sums
}

// mixedSteps are those in which requests decode while prompts of others are computed.
type mixedSteps struct {
	n, outputs int64 // tokens of requests that decode
	extra      float64
	tokens     float64 // prefill tokens, sum
	time       session.Stat
	surplus    float64 // time above a decode step of as many requests
}

// idleSteps say for how long the GPU waited although requests were in the batch.
type idleSteps struct {
	known              int64
	idle, busy, weight float64
}

// graphSteps say how steps used CUDA graphs.
type graphSteps struct {
	known, decode, eagerDecode int64
	missed                     map[int32]int64 // tokens of decode steps without a graph
	idle                       float64         // before those, weighted
	sizes                      map[int32]int64 // tokens of steps in graphs that could be of any size
	captured                   map[int32]bool  // sizes that were used
	tokens, padded             int64
}

// boundSteps are decode steps in which the host waited for the GPU.
type boundSteps struct {
	n, waited int64
	mbu       float64
	mbuN      int64
}

type gpuSamples struct {
	n, throttled, shared int64
	reasons              map[string]int64
}

// stepTime is what a step took, by the best that is known of it.
func stepTime(r *record.StepRow) (int64, bool) {
	switch {
	case r.StepGPUNS != nil:
		return *r.StepGPUNS, true
	case r.ForwardNS != nil:
		return *r.ForwardNS, true
	case r.EndNS != nil:
		return *r.EndNS - r.ScheduledNS, true
	}
	return 0, false
}

func newFigures(facts *session.Facts) *figures {
	return &figures{
		facts: facts, decode: map[int32]*session.Stat{}, operations: map[string]*session.Stat{},
		graph:   graphSteps{missed: map[int32]int64{}, sizes: map[int32]int64{}, captured: map[int32]bool{}},
		gpu:     gpuSamples{reasons: map[string]int64{}},
		experts: map[int32]map[int32]int64{},
	}
}

func (f *figures) visitor() session.Visitor {
	return session.Visitor{
		Step:          func(r *record.StepRow) error { f.step(r); return nil },
		Request:       func(r *record.RequestRow) error { f.request(r); return nil },
		GPUSample:     func(r *record.GPUSampleRow) error { f.sample(r); return nil },
		Loss:          func(r *record.LossRow) error { f.loss(r); return nil },
		KVEviction:    func(r *record.KVEvictionRow) error { f.eviction(r); return nil },
		CPUOperation:  func(r *record.CPUOperationRow) error { f.operation(r); return nil },
		MoEActivation: func(r *record.MoEActivationRow) error { f.activation(r); return nil },
		Done:          func() error { f.compare(); return nil },
	}
}

// compare holds mixed steps against what decode steps have shown.
func (f *figures) compare() {
	for _, m := range f.kept {
		f.surplus(m)
	}
	f.kept = nil
}

func (f *figures) step(r *record.StepRow) {
	f.preemptions += int64(r.Preempted)
	if r.KVUsed != nil && r.KVTotal != nil && *r.KVTotal > 0 {
		f.peakKV = max(f.peakKV, float64(*r.KVUsed)/float64(*r.KVTotal))
	}
	if r.Tokens == 0 {
		return
	}
	f.steps++
	if r.KernelLaunches != nil {
		f.counted++
	}
	f.tokens += int64(r.Tokens)
	f.recomputed += int64(r.RecomputeTokens)
	if r.OutputTokens != nil {
		f.outputs += int64(*r.OutputTokens)
	}
	f.waiting(r)
	f.idle.add(r)
	f.graph.add(r)
	f.bound.add(r)
	t, ok := stepTime(r)
	if ok && r.Phase == record.PhaseMixed && r.DecodeRequests > 0 && len(f.kept) < maxMixed {
		f.kept = append(f.kept, mixedStep{t, r.DecodeRequests, r.PrefillTokens})
	}
	if ok && r.Phase == record.PhaseDecode && r.RecomputeTokens == 0 {
		s := f.decode[r.Requests]
		if s == nil {
			s = new(session.Stat)
			f.decode[r.Requests] = s
		}
		s.Add(t)
	}
}

// waiting says what kept requests out of a step, where something did.
func (f *figures) waiting(r *record.StepRow) {
	if r.Waiting == nil || *r.Waiting == 0 {
		return
	}
	t := r.ScheduledNS - r.StartNS
	if r.EndNS != nil {
		t = *r.EndNS - r.StartNS
	}
	weighted := float64(max(t, 0)) * float64(*r.Waiting)
	e := f.facts.Engine(r.Engine)
	usage := 0.0
	if r.KVUsed != nil && r.KVTotal != nil && *r.KVTotal > 0 {
		usage = float64(*r.KVUsed) / float64(*r.KVTotal)
	}
	switch {
	case usage >= kvFull || r.Preempted > 0:
		f.waitKV += weighted
		f.full.n++
		f.full.waiting += float64(*r.Waiting)
		f.full.running += float64(r.Requests)
		f.full.usage += usage
	case e.MaxSeqs > 0 && int(r.Requests) >= e.MaxSeqs:
		f.waitSeqs += weighted
	case e.MaxTokens > 0 && float64(r.Tokens) >= fullBudget*float64(e.MaxTokens):
		f.waitTokens += weighted
	}
}

func (i *idleSteps) add(r *record.StepRow) {
	if r.GPUIdleNS == nil || r.StepGPUNS == nil || r.NewRequests == r.Requests {
		return
	}
	i.known++
	idle := float64(max(*r.GPUIdleNS, 0))
	i.idle += idle
	i.busy += float64(*r.StepGPUNS)
	i.weight += idle * float64(r.Requests-r.NewRequests)
}

func (g *graphSteps) add(r *record.StepRow) {
	if r.GraphMode == nil {
		return
	}
	g.known++
	eager := *r.GraphMode == "NONE"
	if r.Phase == record.PhaseDecode {
		g.decode++
		if eager {
			g.eagerDecode++
			g.missed[r.Tokens]++
			if r.GPUIdleNS != nil {
				g.idle += float64(max(*r.GPUIdleNS, 0)) * float64(r.Requests)
			}
		}
	}
	if eager || r.PaddedTokens == nil {
		return
	}
	g.sizes[r.Tokens]++
	g.captured[*r.PaddedTokens] = true
	g.tokens += int64(r.Tokens)
	g.padded += int64(*r.PaddedTokens)
}

func (b *boundSteps) add(r *record.StepRow) {
	if r.Phase != record.PhaseDecode || r.HostWaited == nil {
		return
	}
	b.n++
	if !*r.HostWaited {
		return
	}
	b.waited++
	if r.MBU != nil && (r.ModelEstimated == nil || !*r.ModelEstimated) {
		b.mbu += *r.MBU
		b.mbuN++
	}
}

// typical is the usual time of a decode step of so many requests: of the nearest
// number that enough steps had; 0: not known.
func (f *figures) typical(requests int32) float64 {
	const enough, reach = 8, 64
	for d := range int32(reach) {
		for _, n := range []int32{requests - d, requests + d} {
			if s := f.decode[n]; s != nil && s.Count() >= enough {
				return s.Percentile(50)
			}
		}
	}
	return 0
}

// surplus is what a mixed step takes longer than a decode step would.
func (f *figures) surplus(s mixedStep) {
	usual := f.typical(s.decode)
	if usual == 0 {
		return
	}
	m, extra := &f.mixed, max(float64(s.ns)-usual, 0)
	m.n++
	m.outputs += int64(s.decode)
	m.extra += extra * float64(s.decode)
	m.surplus += extra
	m.tokens += float64(s.prefill)
	m.time.Add(s.ns)
}

func (f *figures) request(r *record.RequestRow) {
	f.requests++
	var from, to *int64
	if from = r.ArrivalNS; from == nil {
		from = r.ScheduledNS
	}
	if to = r.FinishedNS; to == nil {
		last := f.facts.DurationNS()
		to = &last
	}
	if from != nil && *to > *from {
		f.total += float64(*to - max(*from, 0)) // of the session alone
	}
	if r.PreemptedNS != nil {
		f.preempted += float64(*r.PreemptedNS)
	}
	if r.PromptTokens != nil {
		f.prompt += int64(*r.PromptTokens)
		out := int64(0)
		if r.OutputTokens != nil {
			out = int64(*r.OutputTokens)
		}
		f.longest = max(f.longest, int64(*r.PromptTokens)+out)
	}
	if r.CachedTokens != nil {
		f.cached += int64(*r.CachedTokens)
	}
}

// eviction counts blocks whose content was lost: others had none.
func (f *figures) eviction(r *record.KVEvictionRow) {
	if r.HadHash {
		f.evictions++
	}
}

// sample counts what a busy GPU was held back by.
func (f *figures) sample(r *record.GPUSampleRow) {
	busy := r.SMPct != nil && *r.SMPct > 5 || r.SMPct == nil && r.UtilPct != nil && *r.UtilPct > 5
	if !busy {
		return
	}
	f.gpu.n++
	if r.OthersSMPct != nil && *r.OthersSMPct > 0 {
		f.gpu.shared++
	}
	if r.Throttle == nil {
		return
	}
	held := false
	for reason := range strings.SplitSeq(*r.Throttle, "|") {
		if reason == "" || reason == "gpu_idle" || reason == "applications_clocks_setting" {
			continue
		}
		f.gpu.reasons[reason]++
		held = true
	}
	if held {
		f.gpu.throttled++
	}
}

func (f *figures) operation(r *record.CPUOperationRow) {
	if r.Operation == "model_execution" || r.Operation == "output_wait" { // they hold others, or wait for the GPU
		return
	}
	s := f.operations[r.Operation]
	if s == nil {
		s = new(session.Stat)
		f.operations[r.Operation] = s
	}
	s.Add(r.DurNS)
}

// loss counts what is missing. Choices of experts that nobody can attribute are not, and neither
// are times of replays that were under way as kernels were switched on or off: they have those
// that are seen from outside.
func (f *figures) loss(r *record.LossRow) {
	switch {
	case r.Probe == "moe" && (r.Reason == "layers_unknown" || r.Reason == "draft_model"):
	case strings.HasPrefix(r.Probe, "cupti/") && r.Reason == "not_timed":
	default:
		f.lost += r.Count
	}
}

func (f *figures) activation(r *record.MoEActivationRow) {
	l := f.experts[r.Layer]
	if l == nil {
		l = map[int32]int64{}
		f.experts[r.Layer] = l
	}
	l[r.Expert] += r.Activations
}
