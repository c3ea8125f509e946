package record

// Worker is a process whose CUDA calls are probed: with one GPU the engine's own.
type Worker struct {
	Worker int  `json:"worker"` // index in the events of calls
	PID    int  `json:"pid"`
	Engine *int `json:"engine,omitempty"` // index of its engine; absent: not known (yet)
	Rank   *int `json:"rank,omitempty"`   // among the engine's workers
	// EngineThread is the thread that runs the scheduler, where this process is the
	// engine's own: calls and schedule events of it are in the order of their
	// happening. 0: another process, steps are matched by PM_EV_WORKER_STEP.
	EngineThread int    `json:"engine_thread,omitempty"`
	MonoNS       int64  `json:"mono_ns"` // probed from then on
	Runner       string `json:"runner,omitempty"`
	// FromStart: probed before the process could capture a graph.
	FromStart bool      `json:"from_start"`
	Libraries []Library `json:"libraries"`
	// Probes in force.
	Probes []string `json:"probes"`
	// CallsInWindows: launches and copies are seen in CallWindows alone.
	CallsInWindows bool `json:"calls_in_windows,omitempty"`
}

// CallWindow is a time in which all launches and copies of a worker are seen. It is told as
// it begins, with no end, and as it ends.
type CallWindow struct {
	Worker  int   `json:"worker"`
	BeginNS int64 `json:"begin_ns"` // CLOCK_MONOTONIC
	EndNS   int64 `json:"end_ns,omitempty"`
}

// Library is a shared object whose functions are probed, or which was passed over.
type Library struct {
	Path string `json:"path"` // as the process sees it
	Kind string `json:"kind"` // cudart, cuda, nccl
	// Skipped says why it is not probed; empty: it is.
	Skipped string `json:"skipped,omitempty"`
}

// Graphs are the CUDA graphs that a worker's Python objects hold, as read at
// one moment. A newer reading takes the older one's place for the handles in it.
type Graphs struct {
	Worker int   `json:"worker"`
	MonoNS int64 `json:"mono_ns"`
	// Offset of the cudaGraphExec_t in at::cuda::CUDAGraph, as found by handles
	// that were launched or instantiated.
	Offset int     `json:"offset"`
	Graphs []Graph `json:"graphs"`
	// MoELayers are the layers with experts of the process's model, as in Engine.
	MoELayers []int32 `json:"moe_layers,omitempty"`
}

// Graph is one torch.cuda.CUDAGraph with the descriptor that vLLM keeps it under.
// Numbers that a version does not have are absent.
type Graph struct {
	Exec   uint64 `json:"exec"`            // cudaGraphExec_t
	Holder string `json:"holder"`          // model, piecewise, breakable, ubatch, encoder, speculator, other
	Mode   string `json:"mode"`            // FULL, PIECEWISE
	Piece  *int   `json:"piece,omitempty"` // of a piecewise graph, from 0 in the order of execution
	Pieces *int   `json:"pieces,omitempty"`

	NumTokens         *int   `json:"num_tokens,omitempty"`
	NumReqs           *int   `json:"num_reqs,omitempty"`
	Uniform           *bool  `json:"uniform,omitempty"` // V2: uniform_token_count is set
	HasLora           *bool  `json:"has_lora,omitempty"`
	UniformTokenCount *int   `json:"uniform_token_count,omitempty"`
	NumActiveLoras    *int   `json:"num_active_loras,omitempty"`
	MaxQueryLen       *int   `json:"max_query_len,omitempty"`
	NumUbatches       *int   `json:"num_ubatches,omitempty"`
	Key               string `json:"key,omitempty"` // of an encoder's budget graph and the like
}

// GPU is a device as NVML describes it.
type GPU struct {
	Index       int     `json:"index"`
	UUID        string  `json:"uuid"`
	Name        string  `json:"name"`
	MemoryBytes uint64  `json:"memory_bytes"`
	Driver      string  `json:"driver"`
	CUDA        string  `json:"cuda"`
	MIG         bool    `json:"mig"`
	PowerLimitW float64 `json:"power_limit_w,omitempty"`
	GPM         bool    `json:"gpm"`
	// PIDs of traced processes on it, in the tracer's namespace.
	PIDs []int `json:"pids"`
}

// GPUSample is what NVML and GPM said of a device. What it does not say is absent.
type GPUSample struct {
	Index         int      `json:"index"`
	MonoNS        int64    `json:"mono_ns"`
	IntervalNS    int64    `json:"interval_ns,omitempty"`   // that the averages are of
	SMPct         *float64 `json:"sm_pct,omitempty"`        // GPM: time-averaged SM activity
	OccupancyPct  *float64 `json:"occupancy_pct,omitempty"` // GPM
	TensorPct     *float64 `json:"tensor_pct,omitempty"`    // GPM
	DRAMPct       *float64 `json:"dram_pct,omitempty"`      // GPM: of peak bandwidth
	PCIeRxBytes   *float64 `json:"pcie_rx_bytes_per_s,omitempty"`
	PCIeTxBytes   *float64 `json:"pcie_tx_bytes_per_s,omitempty"`
	NVLinkRxBytes *float64 `json:"nvlink_rx_bytes_per_s,omitempty"`
	NVLinkTxBytes *float64 `json:"nvlink_tx_bytes_per_s,omitempty"`
	UtilPct       *float64 `json:"util_pct,omitempty"`     // nvmlDeviceGetUtilizationRates: time with a kernel running
	MemUtilPct    *float64 `json:"mem_util_pct,omitempty"` // …: time with memory traffic
	PowerW        *float64 `json:"power_w,omitempty"`
	TemperatureC  *float64 `json:"temperature_c,omitempty"`
	SMClockMHz    *float64 `json:"sm_clock_mhz,omitempty"`
	MemClockMHz   *float64 `json:"mem_clock_mhz,omitempty"`
	MemoryUsed    *uint64  `json:"memory_used_bytes,omitempty"`
	ProcessMemory *uint64  `json:"process_memory_bytes,omitempty"` // of the traced processes
	ProcessSMPct  *float64 `json:"process_sm_pct,omitempty"`
	OthersSMPct   *float64 `json:"others_sm_pct,omitempty"` // of processes that are not traced
	Throttle      []string `json:"throttle,omitempty"`      // reasons in force; gpu_idle is none
	ThrottleKnown bool     `json:"throttle_known"`
}

// Sampler describes a session with the GPU's hardware counters. The samples are
// the journal's records of kind RecordCounters.
type Sampler struct {
	Index      int      `json:"index"` // of the device, NVML's
	UUID       string   `json:"uuid,omitempty"`
	MonoNS     int64    `json:"mono_ns"`
	Mode       string   `json:"mode"` // 20us, 100us, windows
	IntervalNS int64    `json:"interval_ns"`
	Metrics    []string `json:"metrics"` // in the order of the values of a sample
	// PeakDRAM is what bytes are compared with; 0: not known.
	PeakDRAM float64 `json:"peak_dram_bytes_per_s,omitempty"`
}

// GPUClock is a reading of the GPU's timer between two of CLOCK_MONOTONIC.
type GPUClock struct {
	Index    int   `json:"index"`
	GPUNS    int64 `json:"gpu_ns"`
	BeforeNS int64 `json:"before_ns"`
	AfterNS  int64 `json:"after_ns"`
}

// States of Injected.
const (
	InjectedStarting = "starting"
	InjectedRunning  = "running"
	InjectedEnded    = "ended"
	InjectedQuiet    = "quiet"
	InjectedFailed   = "failed"
)

// Injected is a process with pmtrace's library in it (record), as its ring says. A newer
// one of the same ring takes the older one's place.
type Injected struct {
	Ring      int    `json:"ring"` // index in its events
	PID       int    `json:"pid"`  // in its own namespace
	StartedNS int64  `json:"started_ns"`
	State     string `json:"state"`         // starting, running, ended, quiet, failed
	CUPTI     int    `json:"cupti_version"` // cuptiGetVersion
	Library   string `json:"library"`       // CUPTI's
	Error     int    `json:"error,omitempty"`
	Why       string `json:"why,omitempty"`  // it failed
	Note      string `json:"note,omitempty"` // what it does without
	// Calls: each launch says the number of its replay; else replays are paired with
	// launches by their order.
	Calls     bool `json:"calls"`
	Windows   bool `json:"windows"`              // kernels come in windows
	Always    bool `json:"always,omitempty"`     // kernels come always, and replays never
	NoWindows bool `json:"no_windows,omitempty"` // asked for, and not to be had
	// CopiesInWindows: copies come with kernels alone, so that outside of windows nothing
	// says when a step's results were copied.
	CopiesInWindows bool `json:"copies_in_windows,omitempty"`
	MoE             bool `json:"moe,omitempty"` // choices of experts are told
	// MoENote says what of them is not.
	MoENote string `json:"moe_note,omitempty"`
}
