package live

import (
	"slices"
	"strconv"

	"github.com/pmtrace/pmtrace/decode/record"
)

// Names of labels.
const (
	labelEngine     = "engine" // data-parallel index
	labelPhase      = "phase"
	labelSource     = "timing_source"
	labelKind       = "kind"
	labelMode       = "mode"
	labelReason     = "reason"
	labelGPU        = "gpu" // NVML's index
	labelRank       = "rank"
	labelOperation  = "operation"
	labelCollective = "collective"
	labelProbe      = "probe"
	labelState      = "state"
	labelExporter   = "exporter"
	labelSignal     = "signal"
)

// Metrics is the table: all that exporters tell. A series' labels are never of a request,
// so that their number does not grow with the load.
func Metrics() []Metric {
	return slices.Concat(stepMetrics(), gpuTimeMetrics(), graphMetrics(), requestMetrics(), cacheMetrics(), hostMetrics(), gpuMetrics(), ownMetrics())
}

func stepMetrics() []Metric {
	return []Metric{
		{
			Name: "pmtrace.steps", Kind: Counter, Unit: "{step}", Labels: []string{labelEngine, labelPhase},
			Help: "Calls of the scheduler, by what their requests do; empty: no token was scheduled.",
			step: func(v *vector, r *record.StepRow) { v.add(1, labels{number(r.Engine), r.Phase}) },
		},
		{
			Name: "pmtrace.step.duration", Kind: Histogram, Unit: "s", Labels: []string{labelEngine, labelPhase}, Bounds: stepBounds(),
			Help: "Time from schedule entered to update_from_output returned, of steps with tokens; steps overlap where scheduling is asynchronous. Exact, on the CPU's clock.",
			step: func(v *vector, r *record.StepRow) {
				if r.Tokens > 0 && r.EndNS != nil {
					v.observe(*r.EndNS-r.StartNS, labels{number(r.Engine), r.Phase})
				}
			},
		},
		{
			Name: "pmtrace.step.batch_requests", Kind: Histogram, Unit: "{request}", Labels: []string{labelEngine, labelPhase}, Bounds: countBounds(4096),
			Help: "Requests in a step with tokens.",
			step: func(v *vector, r *record.StepRow) {
				if r.Tokens > 0 {
					v.observe(int64(r.Requests), labels{number(r.Engine), r.Phase})
				}
			},
		},
		{
			Name: "pmtrace.step.batch_tokens", Kind: Histogram, Unit: "{token}", Labels: []string{labelEngine, labelPhase}, Bounds: countBounds(65536),
			Help: "Tokens scheduled in a step with tokens.",
			step: func(v *vector, r *record.StepRow) {
				if r.Tokens > 0 {
					v.observe(int64(r.Tokens), labels{number(r.Engine), r.Phase})
				}
			},
		},
		{
			Name: "pmtrace.scheduled_tokens", Kind: Counter, Unit: "{token}", Labels: []string{labelEngine, labelKind},
			Help: "Tokens scheduled: of prompts, of decoding (drafts included), computed again after preemptions, or unknown after lost events.",
			step: scheduledTokens,
		},
		{
			Name: "pmtrace.draft_tokens", Kind: Counter, Unit: "{token}", Labels: []string{labelEngine},
			Help: "Draft tokens scheduled for verification.",
			step: func(v *vector, r *record.StepRow) { v.add(int64(r.DraftTokens), labels{number(r.Engine)}) },
		},
		{
			Name: "pmtrace.output_tokens", Kind: Counter, Unit: "{token}", Labels: []string{labelEngine},
			Help: "Tokens that update_from_output handed out.",
			step: func(v *vector, r *record.StepRow) { addKnown(v, r.OutputTokens, labels{number(r.Engine)}) },
		},
		{
			Name: "pmtrace.requests.running", Kind: Gauge, Unit: "{request}", Labels: []string{labelEngine},
			Help: "Length of the scheduler's running queue as the newest step was scheduled.",
			step: func(v *vector, r *record.StepRow) { setKnown(v, r.Running, labels{number(r.Engine)}) },
		},
		{
			Name: "pmtrace.requests.waiting", Kind: Gauge, Unit: "{request}", Labels: []string{labelEngine},
			Help: "Length of the scheduler's waiting queue as the newest step was scheduled.",
			step: func(v *vector, r *record.StepRow) { setKnown(v, r.Waiting, labels{number(r.Engine)}) },
		},
	}
}

func scheduledTokens(v *vector, r *record.StepRow) {
	engine := number(r.Engine)
	v.add(int64(r.PrefillTokens), labels{engine, record.KindPrefill})
	v.add(int64(r.DecodeTokens), labels{engine, record.KindDecode})
	v.add(int64(r.RecomputeTokens), labels{engine, record.KindRecompute})
	if rest := r.Tokens - r.PrefillTokens - r.DecodeTokens - r.RecomputeTokens; rest > 0 {
		v.add(int64(rest), labels{engine, record.KindUnknown})
	}
}

func gpuTimeMetrics() []Metric {
	return []Metric{
		{
			Name: "pmtrace.step.forward_duration", Kind: Histogram, Unit: "s", Labels: []string{labelEngine, labelPhase, labelSource}, Bounds: stepBounds(),
			Help: "Forward pass of a step with tokens. timing_source says how it was got: cpu_bound is from the scheduler's return to the update, on the CPU's clock; event_bound between CUDA calls; gpu_sampled by hardware counters; cupti by NVIDIA's own records.",
			step: func(v *vector, r *record.StepRow) {
				if r.Tokens > 0 && r.ForwardNS != nil {
					v.observe(*r.ForwardNS, labels{number(r.Engine), r.Phase, word(r.TimingSource)})
				}
			},
		},
		{
			Name: "pmtrace.step.gpu_duration", Kind: Histogram, Unit: "s", Labels: []string{labelEngine, labelPhase, labelSource}, Bounds: stepBounds(),
			Help: "GPU time of a step with tokens, sampling and the copy to the host included. timing_source says how it was got: event_bound is bounded by CUDA calls and too long where the host came late; gpu_sampled by hardware counters; cupti by NVIDIA's own records.",
			step: func(v *vector, r *record.StepRow) {
				if r.Tokens > 0 && r.StepGPUNS != nil {
					v.observe(*r.StepGPUNS, labels{number(r.Engine), r.Phase, word(r.GPUTimingSource)})
				}
			},
		},
		{
			Name: "pmtrace.gpu.idle", Kind: Counter, Unit: "s", Labels: []string{labelEngine, labelState},
			Help: "Time that the GPU idled before steps, by the step's timing source: waiting, with requests in the batch; drained, before steps of new requests alone.",
			step: func(v *vector, r *record.StepRow) {
				if r.Tokens > 0 && r.StepGPUNS != nil && r.GPUIdleNS != nil {
					v.add(*r.GPUIdleNS, labels{number(r.Engine), idleState(r)})
				}
			},
		},
	}
}

// idleState says what the GPU idled for before a step.
func idleState(r *record.StepRow) string {
	if r.NewRequests == r.Requests {
		return "drained"
	}
	return "waiting"
}

func graphMetrics() []Metric {
	return []Metric{
		{
			Name: "pmtrace.graph.steps", Kind: Counter, Unit: "{step}", Labels: []string{labelEngine, labelMode},
			Help: "Steps with tokens whose CUDA graphs are known, by the mode of the model's launches; NONE: it ran eagerly.",
			step: func(v *vector, r *record.StepRow) {
				if r.Tokens > 0 && r.GraphMode != nil {
					v.add(1, labels{number(r.Engine), *r.GraphMode})
				}
			},
		},
		{
			Name: "pmtrace.graph.computed_tokens", Kind: Counter, Unit: "{token}", Labels: []string{labelEngine, labelMode},
			Help: "Tokens computed by steps whose padding is known, padding included.",
			step: func(v *vector, r *record.StepRow) {
				if padded, ok := padding(r); ok {
					v.add(int64(r.Tokens)+padded, labels{number(r.Engine), word(r.GraphMode)})
				}
			},
		},
		{
			Name: "pmtrace.graph.padding_tokens", Kind: Counter, Unit: "{token}", Labels: []string{labelEngine, labelMode},
			Help: "Of the computed tokens those that were padding: the graph's size less what was scheduled.",
			step: func(v *vector, r *record.StepRow) {
				if padded, ok := padding(r); ok {
					v.add(padded, labels{number(r.Engine), word(r.GraphMode)})
				}
			},
		},
		{
			Name: "pmtrace.graph.launches", Kind: Counter, Unit: "{launch}", Labels: []string{labelEngine, labelMode},
			Help:   "Launches of CUDA graphs, pieces of PIECEWISE ones each; mode unknown: of a graph that nothing was found to hold.",
			launch: func(v *vector, r *record.GraphLaunchRow) { v.add(1, labels{numberOf(r.Engine), word(r.Mode)}) },
		},
	}
}

// padding is how many tokens a step computed beyond what was scheduled, where it is known.
func padding(r *record.StepRow) (tokens int64, known bool) {
	if r.Tokens == 0 || r.PaddedTokens == nil || *r.PaddedTokens < r.Tokens {
		return 0, false
	}
	return int64(*r.PaddedTokens - r.Tokens), true
}

func requestMetrics() []Metric {
	return []Metric{
		{
			Name: "pmtrace.requests.finished", Kind: Counter, Unit: "{request}", Labels: []string{labelEngine, labelReason},
			Help: "Requests that ended, by vLLM's finish reason; unknown: events were lost around the end.",
			request: func(v *vector, r *record.RequestRow) {
				if r.FinishedNS != nil {
					v.add(1, labels{number(r.Engine), word(r.Reason)})
				}
			},
		},
		{
			Name: "pmtrace.requests.unfinished", Kind: Counter, Unit: "{request}", Labels: []string{labelEngine},
			Help: "Requests whose end was not seen: they ran as tracing ended, or events were lost.",
			request: func(v *vector, r *record.RequestRow) {
				if r.FinishedNS == nil {
					v.add(1, labels{number(r.Engine)})
				}
			},
		},
		requestTime("time_to_first_token", "Arrival at the server's front end to first token, as the engine saw it; observed as a request ends.",
			firstToken),
		requestTime("queue_duration", "Arrival at the server's front end to first scheduled; observed as a request ends. vLLM's own queue time begins later, in the engine.",
			func(r *record.RequestRow) *int64 { return r.QueueNS }),
		requestTime("prefill_duration", "First scheduled to first token; observed as a request ends.",
			func(r *record.RequestRow) *int64 { return r.PrefillNS }),
		requestTime("decode_duration", "First token to finish; observed as a request ends.",
			func(r *record.RequestRow) *int64 { return r.DecodeNS }),
		requestTime("preempted_duration", "Sum of preempted to resumed, of requests that were preempted; observed as a request ends.",
			func(r *record.RequestRow) *int64 {
				if r.Preemptions == 0 {
					return nil
				}
				return r.PreemptedNS
			}),
		requestTime("duration", "Arrival at the server's front end to finish, as the engine saw it; observed as a request ends.",
			endToEnd),
		{
			Name: "pmtrace.request.time_per_output_token", Kind: Histogram, Unit: "s", Labels: []string{labelEngine}, Bounds: stepBounds(),
			Help: "Decode time by output token after the first; observed as a request ends.",
			request: func(v *vector, r *record.RequestRow) {
				if ns := perToken(r); ns != nil {
					v.observe(*ns, labels{number(r.Engine)})
				}
			},
		},
		requestTokens("prompt_tokens", "Prompt tokens of a request; observed as it ends.",
			func(r *record.RequestRow) *int32 { return r.PromptTokens }),
		requestTokens("output_tokens", "Tokens handed out to a request; observed as it ends.",
			func(r *record.RequestRow) *int32 { return r.OutputTokens }),
		{
			Name: "pmtrace.prefix_cache.hit_tokens", Kind: Counter, Unit: "{token}", Labels: []string{labelEngine},
			Help:    "Prompt tokens found in the prefix cache as requests were first scheduled; counted as they end.",
			request: func(v *vector, r *record.RequestRow) { addKnown(v, r.CachedTokens, labels{number(r.Engine)}) },
		},
		{
			Name: "pmtrace.preemptions", Kind: Counter, Unit: "{preemption}", Labels: []string{labelEngine, labelReason},
			Help:       "Preemptions of requests, by reason.",
			preemption: func(v *vector, r *record.PreemptionRow) { v.add(1, labels{number(r.Engine), r.Reason}) },
		},
	}
}

func requestTime(name, help string, of func(*record.RequestRow) *int64) Metric {
	return Metric{
		Name: "pmtrace.request." + name, Kind: Histogram, Unit: "s", Labels: []string{labelEngine}, Bounds: requestBounds(), Help: help,
		request: func(v *vector, r *record.RequestRow) {
			if ns := of(r); ns != nil {
				v.observe(*ns, labels{number(r.Engine)})
			}
		},
	}
}

func requestTokens(name, help string, of func(*record.RequestRow) *int32) Metric {
	return Metric{
		Name: "pmtrace.request." + name, Kind: Histogram, Unit: "{token}", Labels: []string{labelEngine}, Bounds: countBounds(1 << 20), Help: help,
		request: func(v *vector, r *record.RequestRow) {
			if n := of(r); n != nil {
				v.observe(int64(*n), labels{number(r.Engine)})
			}
		},
	}
}

func firstToken(r *record.RequestRow) *int64 { return between(r.ArrivalNS, r.FirstTokNS) }

func endToEnd(r *record.RequestRow) *int64 { return between(r.ArrivalNS, r.FinishedNS) }

// perToken is null where there was no token after the first.
func perToken(r *record.RequestRow) *int64 {
	if r.DecodeNS == nil || r.OutputTokens == nil || *r.OutputTokens < 2 {
		return nil
	}
	ns := *r.DecodeNS / int64(*r.OutputTokens-1)
	return &ns
}

func between(from, to *int64) *int64 {
	if from == nil || to == nil {
		return nil
	}
	ns := *to - *from
	return &ns
}

func cacheMetrics() []Metric {
	return []Metric{
		{
			Name: "pmtrace.kv_cache.used_blocks", Kind: Gauge, Unit: "{block}", Labels: []string{labelEngine},
			Help: "KV blocks in use as the newest step was scheduled.",
			step: func(v *vector, r *record.StepRow) { setKnown(v, r.KVUsed, labels{number(r.Engine)}) },
		},
		{
			Name: "pmtrace.kv_cache.blocks", Kind: Gauge, Unit: "{block}", Labels: []string{labelEngine},
			Help: "KV blocks that there are, without the null block.",
			step: func(v *vector, r *record.StepRow) { setKnown(v, r.KVTotal, labels{number(r.Engine)}) },
		},
		{
			Name: "pmtrace.kv_cache.usage", Kind: Gauge, Unit: "1", Labels: []string{labelEngine},
			Help: "Share of the KV blocks in use as the newest step was scheduled.",
			step: func(v *vector, r *record.StepRow) {
				if r.KVUsed != nil && r.KVTotal != nil && *r.KVTotal > 0 {
					v.set(float64(*r.KVUsed)/float64(*r.KVTotal), labels{number(r.Engine)})
				}
			},
		},
		{
			Name: "pmtrace.kv_cache.evictions", Kind: Counter, Unit: "{block}", Labels: []string{labelEngine},
			Help: "Cached blocks handed out again, whose content was lost.",
			eviction: func(v *vector, r *record.KVEvictionRow) {
				if r.HadHash {
					v.add(1, labels{number(r.Engine)})
				}
			},
		},
		{
			Name: "pmtrace.kv_cache.reused_blocks", Kind: Counter, Unit: "{block}", Labels: []string{labelEngine},
			Help:     "Blocks handed out again, cached or not, as vLLM's kv_block_lifetime_seconds counts them.",
			eviction: func(v *vector, r *record.KVEvictionRow) { v.add(1, labels{number(r.Engine)}) },
		},
	}
}

func hostMetrics() []Metric {
	return []Metric{
		{
			Name: "pmtrace.cpu_operation.duration", Kind: Histogram, Unit: "s", Labels: []string{labelEngine, labelOperation}, Bounds: stepBounds(),
			Help:      "Time of what the engine's threads do for a step. Exact, on the CPU's clock.",
			operation: func(v *vector, r *record.CPUOperationRow) { v.observe(r.DurNS, labels{number(r.Engine), r.Operation}) },
		},
		{
			Name: "pmtrace.collectives", Kind: Counter, Unit: "{call}", Labels: []string{labelEngine, labelRank, labelCollective},
			Help: "Calls of NCCL's collectives outside of graphs, and at capture.",
			collective: func(v *vector, r *record.CollectiveRow) {
				v.add(1, labels{numberOf(r.Engine), numberOf(r.Rank), r.Collective})
			},
		},
		{
			Name: "pmtrace.collective", Kind: Counter, Unit: "By", Labels: []string{labelEngine, labelRank, labelCollective},
			Help: "Bytes given to NCCL's collectives: elements times the type's size.",
			collective: func(v *vector, r *record.CollectiveRow) {
				v.add(r.Bytes, labels{numberOf(r.Engine), numberOf(r.Rank), r.Collective})
			},
		},
	}
}

// number is an index as a label. Small ones take no memory.
func number(n int32) string { return strconv.Itoa(int(n)) }

// numberOf is "" for what is not one's.
func numberOf(n *int32) string {
	if n == nil {
		return ""
	}
	return number(*n)
}

// word is a label that may not be known.
func word(s *string) string {
	if s == nil {
		return "unknown"
	}
	return *s
}

func addKnown(v *vector, n *int32, l labels) {
	if n != nil {
		v.add(int64(*n), l)
	}
}

func setKnown(v *vector, n *int32, l labels) {
	if n != nil {
		v.set(float64(*n), l)
	}
}
