package session

import (
	"slices"
	"time"

	"github.com/pmtrace/pmtrace/decode/record"
)

// metadata is metadata.json: profilemate's keys, then ours.
type metadata struct {
	SessionID      string  `json:"session_id"`
	StartTime      *string `json:"start_time"` // null: the journal's beginning is damaged
	OutputDir      string  `json:"output_dir"`
	CUDAGraph      bool    `json:"cuda_graph_tracking"`
	KVCache        bool    `json:"kv_cache_tracking"`
	MoE            bool    `json:"moe_expert_tracking"`
	ForwardPass    bool    `json:"forward_pass_timing"`
	CPU            bool    `json:"cpu_timing"`
	Batch          bool    `json:"batch_utilization_tracking"`
	Preemption     bool    `json:"preemption_tracking"`
	EncoderDecoder bool    `json:"encoder_decoder_timing"`
	// No CUDA events are put into the server.
	CUDAEvents bool `json:"cuda_events_enabled"`
	GPU        bool `json:"gpu_tracking"`

	SchemaVersion       int                  `json:"schema_version"`
	StartMonoNS         *int64               `json:"start_mono_ns"` // CLOCK_MONOTONIC at start_time
	Mode                string               `json:"mode"`
	Profilers           []string             `json:"profilers"` // switched on; null: the journal's beginning is damaged
	Command             []string             `json:"command"`
	Versions            versions             `json:"versions"`
	Host                host                 `json:"host"`
	EndTime             *string              `json:"end_time"` // null: the end was not recorded
	End                 *record.End          `json:"end"`
	DurationS           *seconds             `json:"duration_s"`
	Engines             []record.Engine      `json:"engines"`
	Processes           []record.Process     `json:"processes"`
	ForwardTimingSource *string              `json:"forward_timing_source"`
	ForwardTimings      map[string]int64     `json:"forward_timings"`
	ForwardColumns      map[string]int64     `json:"forward_timing_columns"` // of steps
	GPUs                []record.GPU         `json:"gpus"`
	GPUSampling         string               `json:"gpu_sampling"` // mode of the hardware counters; off
	GPUSamplers         []record.Sampler     `json:"gpu_samplers"`
	EventBoundCheck     *BoundCheck          `json:"event_bound_check"` // null: no step whose times the counters have as well
	CUPTI               []record.Injected    `json:"cupti"`             // processes with pmtrace's library in them
	Workers             []record.Worker      `json:"workers"`           // with the CUDA libraries, and the probes in force
	GraphReadings       []GraphReading       `json:"graph_readings"`
	GraphCoverage       *graphCoverage       `json:"graph_coverage"` // null: no step whose graphs are known
	Experts             *expertsInfo         `json:"moe"`            // null: no choice of an expert was seen
	Hooks               []record.Hook        `json:"hooks"`
	HookCounts          []record.HookCount   `json:"hook_counts"`
	Steps               int64                `json:"steps"`
	Requests            int64                `json:"requests"`
	NeverScheduled      int64                `json:"requests_never_scheduled"`
	Unavailable         []record.Unavailable `json:"unavailable"`
	Events              *uint64              `json:"events_seen"`
	Unreadable          map[string]int64     `json:"unreadable"` // parts of events: their columns are null
	Lost                uint64               `json:"events_lost"`
	Losses              []record.Loss        `json:"losses"` // what was left out rightly, too
	Damage              []string             `json:"journal_damage"`
}

// graphCoverage says how steps with tokens ran, by cudagraph_mode.
type graphCoverage struct {
	Steps           map[string]int64 `json:"steps"`
	Tokens          map[string]int64 `json:"tokens"` // scheduled
	PaddedTokens    int64            `json:"padded_tokens"`
	PaddingPct      percent          `json:"padding_pct"` // of the padded tokens
	Launches        int64            `json:"launches"`
	UnknownLaunches int64            `json:"unknown_launches"`
}

// expertsInfo says how evenly experts were chosen.
type expertsInfo struct {
	Source        string  `json:"source"` // as in moe_activations
	Layers        int     `json:"layers"`
	Experts       int64   `json:"num_experts"`
	TopK          int64   `json:"top_k"`
	Activations   int64   `json:"total_activations"`
	WorstLayer    int32   `json:"worst_layer"`
	MaxMeanRatio  rounded `json:"worst_max_mean_ratio"`
	ColdExperts   int64   `json:"cold_experts"` // never chosen, of all layers
	DummyPasses   int64   `json:"dummy_passes"`
	MissingLayers int64   `json:"missing_layers"` // of steps
}

type versions struct {
	Pmtrace string `json:"pmtrace"`
	Kernel  string `json:"kernel"`
	Python  string `json:"python,omitempty"`
	VLLM    string `json:"vllm,omitempty"`
	Torch   string `json:"torch,omitempty"`
	CUDA    string `json:"cuda,omitempty"`
}

type host struct {
	Name string `json:"name"`
	Arch string `json:"arch"`
}

func metadataOf(f *Facts, s *Summary) metadata {
	m := metadata{
		SessionID: f.Start.SessionID, OutputDir: f.Start.OutputDir,
		CUDAGraph: f.Works(ProfilerCUDAGraph), KVCache: f.Works(ProfilerKVCache), MoE: f.Works(ProfilerMoE),
		ForwardPass: f.Works(ProfilerForwardPass), CPU: f.Works(ProfilerCPU), Batch: f.Works(ProfilerBatch),
		Preemption: f.Works(ProfilerPreemption), EncoderDecoder: f.Works(ProfilerEncoderDecoder),

		SchemaVersion: SchemaVersion,
		Mode:          f.Start.Mode,
		Profilers:     f.Start.Profilers,
		Command:       notNil(f.Start.Command),
		Versions:      versions{Pmtrace: f.Start.Version, Kernel: f.Start.Kernel},
		Host:          host{f.Start.Host, f.Start.Arch},
		End:           f.End,
		Engines:       notNil(f.Engines),
		Processes:     notNil(f.Processes),
		GPU:           f.Works(ProfilerGPU), GPUs: notNil(f.GPUs), GPUSampling: samplingMode(f.Samplers), GPUSamplers: notNil(f.Samplers), CUPTI: notNil(f.Injected),
		Workers: notNil(f.Workers), GraphReadings: notNil(f.Readings), GraphCoverage: coverageOf(&s.Graphs),
		ForwardTimings: s.TimingSources, ForwardColumns: s.TimingColumns,
		Experts:        expertsOf(f, &s.MoE),
		Hooks:          notNil(f.Hooks),
		HookCounts:     notNil(f.HookCounts),
		Steps:          s.Steps + s.EmptySteps,
		Requests:       s.Requests,
		NeverScheduled: f.NeverScheduled,
		Unavailable:    notNil(slices.Concat(f.Missing(), withoutCounters(f, s), withoutWeights(f, s))),
		Unreadable:     f.Unreadable,
		Losses:         notNil(slices.Clone(s.Lost)),
		Damage:         notNil(f.Damage),
	}
	if f.Start.WallNS != 0 {
		m.StartTime = new(f.Began().Format(time.RFC3339Nano))
		m.StartMonoNS = new(f.Start.MonoNS)
	}
	for _, e := range f.Engines {
		m.Versions.Python = first(m.Versions.Python, e.Python)
		m.Versions.VLLM = first(m.Versions.VLLM, e.VLLM)
	}
	for _, p := range f.Processes {
		m.Versions.Python = first(m.Versions.Python, p.Python)
		m.Versions.VLLM = first(m.Versions.VLLM, p.VLLM)
		m.Versions.Torch = first(m.Versions.Torch, p.Torch)
		m.Versions.CUDA = first(m.Versions.CUDA, p.CUDA)
	}
	if f.End != nil {
		end := time.Unix(0, f.End.WallNS).UTC().Format(time.RFC3339Nano)
		m.EndTime = &end
		m.Events = &f.End.Events
		if ns := f.DurationNS(); ns > 0 {
			m.DurationS = new(seconds(ns))
		}
	}
	if source := s.Dominant(); source != "" {
		m.ForwardTimingSource = &source
	}
	for _, l := range s.Lost {
		m.Lost += l.Count
	}
	for _, l := range f.Losses {
		if !l.Lost && l.Count > 0 {
			m.Losses = put(m.Losses, l, compareLosses)
		}
	}
	if f.Bounds.Steps > 0 {
		m.EventBoundCheck = &f.Bounds
	}
	if m.Unreadable == nil {
		m.Unreadable = map[string]int64{}
	}
	return m
}

func samplingMode(samplers []record.Sampler) string {
	if len(samplers) == 0 {
		return "off"
	}
	return samplers[0].Mode // one mode a session
}

func coverageOf(g *GraphSummary) *graphCoverage {
	if g.Known == 0 {
		return nil
	}
	return &graphCoverage{
		Steps: g.Steps, Tokens: g.Tokens, PaddedTokens: g.PaddedTokens, PaddingPct: percent(g.PaddingPct()),
		Launches: g.Launches, UnknownLaunches: g.UnknownLaunches,
	}
}

func expertsOf(f *Facts, m *MoESummary) *expertsInfo {
	if m.Activations == 0 {
		return nil
	}
	source := record.ExpertsFromKernels
	if slices.ContainsFunc(f.Engines, buffered) {
		source = record.ExpertsFromBuffers
	}
	return &expertsInfo{
		Source: source, Layers: m.Layers, Experts: m.Experts, TopK: m.TopK, Activations: m.Activations, WorstLayer: m.Worst, MaxMeanRatio: rounded(m.Balance),
		ColdExperts: m.Cold, DummyPasses: f.DummyPasses, MissingLayers: f.MissingLayers,
	}
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// notNil makes an empty list [] and not null in JSON.
func notNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// withoutCounters says why replays have no times of their own.
func withoutCounters(f *Facts, s *Summary) []record.Unavailable {
	if s.Graphs.Launches == 0 || len(f.Samplers) > 0 || slices.ContainsFunc(f.Injected, tells) {
		return nil
	}
	return []record.Unavailable{{
		Profiler: ProfilerCUDAGraph,
		Columns:  []string{"graph_launches.start_ns", "graph_launches.end_ns", "graph_launches.duration_ns"},
		Reason:   "calls on the CPU tell when a replay was launched, and when its step was complete, not when it ran itself",
		Remedy:   "pmtrace record tells of every replay, --gpu-sampling 20us of steps with one FULL graph",
	}}
}

// withoutWeights says why there are no weights of experts.
func withoutWeights(f *Facts, s *Summary) []record.Unavailable {
	if s.MoE.Activations == 0 || !slices.ContainsFunc(f.Engines, buffered) || slices.ContainsFunc(f.Injected, func(i record.Injected) bool { return i.MoE }) {
		return nil
	}
	return []record.Unavailable{{
		Profiler: ProfilerMoE, Columns: []string{TableMoEWeights},
		Reason: "what vLLM copies to the host of its routed experts has no weights",
		Remedy: "pmtrace record --moe on",
	}}
}

// tells reports whether CUPTI works in a process.
func tells(i record.Injected) bool { return i.CUPTI != 0 && i.State != record.InjectedFailed }
