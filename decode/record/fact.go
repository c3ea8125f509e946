package record

import "encoding/json"

// Facts are the journal's records that are not raw events: JSON objects, one of
// these structs in a Fact. Times in facts are CLOCK_MONOTONIC ns as read
// (absolute, not yet counted from the session's start).
type Fact struct {
	Start       *Start       `json:"start,omitempty"`
	Clock       *Clock       `json:"clock,omitempty"`
	Process     *Process     `json:"process,omitempty"`
	Engine      *Engine      `json:"engine,omitempty"`
	Worker      *Worker      `json:"worker,omitempty"`
	CallWindow  *CallWindow  `json:"call_window,omitempty"`
	Graphs      *Graphs      `json:"graphs,omitempty"`
	GPU         *GPU         `json:"gpu,omitempty"`
	GPUSample   *GPUSample   `json:"gpu_sample,omitempty"`
	Sampler     *Sampler     `json:"gpu_sampler,omitempty"`
	GPUClock    *GPUClock    `json:"gpu_clock,omitempty"`
	Injected    *Injected    `json:"injected,omitempty"`
	Hook        *Hook        `json:"hook,omitempty"`
	HookCounts  *HookCounts  `json:"hook_counts,omitempty"`
	Losses      *Losses      `json:"losses,omitempty"`
	Unavailable *Unavailable `json:"unavailable,omitempty"`
	Cut         *Cut         `json:"cut,omitempty"`
	End         *End         `json:"end,omitempty"`
}

// Start is the first record of a session.
type Start struct {
	SchemaVersion int      `json:"schema_version"`
	SessionID     string   `json:"session_id"`
	Version       string   `json:"pmtrace_version"`
	Mode          string   `json:"mode"`               // attach, record
	Injected      bool     `json:"injected,omitempty"` // pmtrace's library may be in the server
	Command       []string `json:"command"`
	Host          string   `json:"host"`
	Kernel        string   `json:"kernel"`
	Arch          string   `json:"arch"`
	MonoNS        int64    `json:"mono_ns"`
	WallNS        int64    `json:"wall_ns"`   // UNIX time
	Profilers     []string `json:"profilers"` // switched on
	OutputDir     string   `json:"output_dir"`
	NoCSV         bool     `json:"no_csv,omitempty"`
}

// Clock is a pair of readings taken at the same moment.
type Clock struct {
	MonoNS int64 `json:"mono_ns"`
	WallNS int64 `json:"wall_ns"`
}

// Cut says that the tables' open parts were completed here, so that they could be read
// while tracing went on. Decoding the journal cuts at the same place.
type Cut struct {
	MonoNS int64 `json:"mono_ns"`
}

// Process is a process of the server's tree.
type Process struct {
	PID      int    `json:"pid"`
	Role     string `json:"role"`
	Engine   *int   `json:"engine,omitempty"`
	Rank     *int   `json:"rank,omitempty"`
	Title    string `json:"title"`
	Command  string `json:"command"`
	Python   string `json:"python,omitempty"`
	VLLM     string `json:"vllm,omitempty"`
	Torch    string `json:"torch,omitempty"`
	CUDA     string `json:"cuda,omitempty"`
	StartNS  int64  `json:"start_ns"`
	TracedNS int64  `json:"traced_ns"`
}

// Engine is what was found of an engine at attach. Numbers that could not be
// read are 0, strings empty; Missing names them.
type Engine struct {
	Engine       int    `json:"engine"`             // index in the events: DataParallel, unless an engine before it has that
	DataParallel int    `json:"data_parallel_rank"` // its number in the group, also where its ranks share nothing
	PID          int    `json:"pid"`
	Thread       int    `json:"thread"`
	MonoNS       int64  `json:"mono_ns"` // armed
	Python       string `json:"python"`
	VLLM         string `json:"vllm"`
	Model        string `json:"model"`
	// ModelConfig is what transformers' config.json has, as the engine runs it.
	ModelConfig json.RawMessage `json:"model_config,omitempty"`
	KVCacheType string          `json:"kv_cache_dtype,omitempty"` // auto: the model's
	Scheduler   string          `json:"scheduler"`                // class name
	AsyncSched  bool            `json:"async_scheduling"`
	V2Runner    bool            `json:"v2_model_runner"`
	Device      string          `json:"device"` // cpu, cuda, …
	TP          int             `json:"tensor_parallel"`
	PP          int             `json:"pipeline_parallel"`
	DP          int             `json:"data_parallel"`
	MaxSeqs     int             `json:"max_num_seqs"`
	MaxTokens   int             `json:"max_num_batched_tokens"`
	MaxModelLen int             `json:"max_model_len"`
	BlockSize   int             `json:"block_size"`
	Blocks      int             `json:"num_gpu_blocks"` // the null block included
	FreeBlocks  int             `json:"free_blocks"`    // when read at attach
	Caching     bool            `json:"prefix_caching"`
	SpecTokens  int             `json:"num_spec_tokens"`
	// MoELayers are the indices of the transformer layers with experts, in the order of
	// their execution; absent: there are none, or they could not be read.
	MoELayers []int32 `json:"moe_layers,omitempty"`
	// Experts of such a layer; 0: not known.
	Experts int `json:"num_experts,omitempty"`
	// RoutedExperts is where the experts that tokens chose are read, which vLLM itself copies
	// to the host (--enable-return-routed-experts); empty: they are not.
	RoutedExperts string `json:"routed_experts,omitempty"`
	// DraftMoELayers is how many the draft model has; absent: not known. Without one, 0.
	DraftMoELayers *int   `json:"draft_moe_layers,omitempty"`
	Policy         string `json:"policy"`
	LogStats       bool   `json:"log_stats"`
	// Iteration is vLLM's number of the next non-empty step, where the engine
	// was idle at attach or was followed from its start; nil: not known.
	Iteration *int64 `json:"iteration,omitempty"`
	// FromStart: the engine was followed from before its first request.
	FromStart bool `json:"from_start"`
	// FinishReasons maps FinishReason's numbers to names.
	FinishReasons map[int]string `json:"finish_reasons"`
	// Watches in force, in the order of their worth: schedule_return,
	// free_blocks, update_return, update_entry.
	Watches []string `json:"watches"`
	Missing []string `json:"missing,omitempty"`
}

// Losses are counters as read from the kernel and the reader: they only rise.
type Losses struct {
	MonoNS int64  `json:"mono_ns"`
	Counts []Loss `json:"counts"`
}

// Loss is one counter. Engine -1: not of one engine.
type Loss struct {
	Engine int    `json:"engine"`
	Probe  string `json:"probe"`
	Reason string `json:"reason"`
	Count  uint64 `json:"count"`
	// Lost: events are missing because of it; false: seen and left out rightly
	// (hits of other code on a watched address, say).
	Lost bool `json:"lost"`
}

// Unavailable says that a profiler or columns could not be filled, and why.
type Unavailable struct {
	Profiler string   `json:"profiler"`
	Engine   *int     `json:"engine,omitempty"`
	Columns  []string `json:"columns,omitempty"` // table.column; empty: the whole profiler
	Reason   string   `json:"reason"`
	Remedy   string   `json:"remedy,omitempty"`
}

// End is the last record of a session that ended in order.
type End struct {
	MonoNS     int64   `json:"mono_ns"`
	WallNS     int64   `json:"wall_ns"`
	Reason     string  `json:"reason"` // interrupted, duration, server_exited, disk_full, …
	CPUSeconds float64 `json:"tracer_cpu_s"`
	MaxRSS     int64   `json:"tracer_max_rss_bytes"`
	Events     uint64  `json:"events"`
}
