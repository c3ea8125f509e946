package record

// Phase says what the requests of a step do (VLLM-HOOKS §3.3).
const (
	PhasePrefill = "prefill"
	PhaseDecode  = "decode"
	PhaseMixed   = "mixed"
	PhaseEmpty   = "empty"   // no token scheduled
	PhaseUnknown = "unknown" // after lost events
)

// Kind says what a request does in a step.
const (
	KindPrefill   = "prefill"   // computes prompt tokens
	KindDecode    = "decode"    // computes its newest token (and drafts)
	KindRecompute = "recompute" // computes again what a preemption threw away
	KindUnknown   = "unknown"   // after lost events
)

// TimingSource says how a GPU or forward time was got.
const (
	// TimingCPUBound: schedule's return to update's entry, on the CPU's clock.
	TimingCPUBound = "cpu_bound"
	// TimingEventBound: between a launch or the completion before it and the return
	// of the wait for the step's output event, on the CPU's clock.
	TimingEventBound = "event_bound"
	// TimingGPUSampled: edges in samples of the GPU's hardware counters.
	TimingGPUSampled = "gpu_sampled"
	// TimingCUPTI: NVIDIA's own records, from within the process (record).
	TimingCUPTI = "cupti"
)

// ProcessRow is a row of the table processes.
type ProcessRow struct {
	PID      int32   `parquet:"pid"`       // in the tracer's PID namespace
	Role     string  `parquet:"role,dict"` // api_server, engine, worker, coordinator, other
	Engine   *int32  `parquet:"engine,optional"`
	Rank     *int32  `parquet:"rank,optional"`
	Title    string  `parquet:"title"`   // comm or process title
	Command  string  `parquet:"command"` // command line, secrets removed
	Python   *string `parquet:"python_version,optional"`
	VLLM     *string `parquet:"vllm_version,optional"`
	Torch    *string `parquet:"torch_version,optional"`
	StartNS  int64   `parquet:"start_ns"`  // the process's start
	TracedNS int64   `parquet:"traced_ns"` // when tracing it began
}

// StepRow is a row of the table steps: one call of Scheduler.schedule.
// Key: (engine, step_id). Where events were lost, the split by kind counts what
// is known and adds up to less than requests and tokens.
type StepRow struct {
	Engine    int32  `parquet:"engine"` // its number in its data-parallel group; one that was started again has the next free one
	StepID    int64  `parquet:"step_id,delta"`
	Iteration *int64 `parquet:"iteration,optional"` // vLLM's own number; null for steps of 0 tokens or where it is unknown

	StartNS       int64   `parquet:"start_ns,delta"`           // schedule entered
	ScheduledNS   int64   `parquet:"scheduled_ns,delta"`       // schedule returned
	UpdateNS      *int64  `parquet:"update_start_ns,optional"` // update_from_output entered
	EndNS         *int64  `parquet:"end_ns,optional"`          // update_from_output returned
	ScheduleDurNS *int64  `parquet:"schedule_ns,optional"`     // time inside schedule
	UpdateDurNS   *int64  `parquet:"update_ns,optional"`       // time inside update_from_output
	ForwardNS     *int64  `parquet:"forward_ns,optional"`      // forward pass, see timing_source
	TimingSource  *string `parquet:"timing_source,optional,dict"`
	ErrorBoundNS  *int64  `parquet:"error_bound_ns,optional"`

	Phase             string `parquet:"phase,dict"`
	Requests          int32  `parquet:"requests"`
	PrefillRequests   int32  `parquet:"prefill_requests"`
	DecodeRequests    int32  `parquet:"decode_requests"`
	RecomputeRequests int32  `parquet:"recompute_requests"`
	Tokens            int32  `parquet:"tokens,plain"` // scheduled
	PrefillTokens     int32  `parquet:"prefill_tokens,plain"`
	DecodeTokens      int32  `parquet:"decode_tokens"`
	RecomputeTokens   int32  `parquet:"recompute_tokens"`
	DraftTokens       int32  `parquet:"draft_tokens"`
	OutputTokens      *int32 `parquet:"output_tokens,optional"` // handed out by update_from_output
	EncoderInputs     int32  `parquet:"encoder_inputs"`         // requests with encoder inputs

	NewRequests      int32  `parquet:"new_requests"`     // scheduled for the first time
	ResumedRequests  int32  `parquet:"resumed_requests"` // scheduled again after a preemption
	Preempted        int32  `parquet:"preempted"`
	FinishedRequests *int32 `parquet:"finished_requests,optional"` // by this step's outputs

	Running *int32 `parquet:"running,optional"` // queue lengths as schedule returned
	Waiting *int32 `parquet:"waiting,optional"`
	KVUsed  *int32 `parquet:"kv_used_blocks,optional"`
	KVTotal *int32 `parquet:"kv_total_blocks,optional"` // without the null block

	// As vLLM's iteration log counts them (compute_iteration_details), which
	// is not by the same rule as prefill and decode above: context is what was
	// taken from waiting (V1 runner: for the first time) or has no output yet.
	ContextRequests    *int32 `parquet:"ctx_requests,optional"`
	ContextTokens      *int32 `parquet:"ctx_tokens,optional,plain"`
	GenerationRequests *int32 `parquet:"gen_requests,optional"`
	GenerationTokens   *int32 `parquet:"gen_tokens,optional"`

	// The GPU's side, where CUDA calls are probed (profilers cuda_graph and
	// forward_pass). The step's GPU time is from the start of its first model
	// launch (the later of the call and the completion of the step before) to the
	// completion of its output event, so sampling and the copy to the host are in it.
	LaunchNS        *int64  `parquet:"launch_ns,optional"` // first launch of the model: the call
	GPUStartNS      *int64  `parquet:"gpu_start_ns,optional"`
	GPUEndNS        *int64  `parquet:"gpu_end_ns,optional"`
	StepGPUNS       *int64  `parquet:"step_gpu_ns,optional"`
	GPUTimingSource *string `parquet:"gpu_timing_source,optional,dict"`
	GPUErrorNS      *int64  `parquet:"gpu_error_bound_ns,optional"` // of step_gpu_ns; null: no bound, other processes ran on the GPU
	GPUIdleNS       *int64  `parquet:"gpu_idle_ns,optional"`        // before the step: completion of the one before to gpu_start_ns
	// Where the host waited for the GPU (true) the step was bound by the GPU.
	HostWaited *bool `parquet:"host_waited,optional"`

	GraphMode      *string `parquet:"cudagraph_mode,optional,dict"`    // FULL, PIECEWISE, NONE: the model's launches of the step
	Descriptor     *string `parquet:"descriptor,optional,dict"`        // FULL:BatchDescriptor(num_tokens=8, …)
	GraphLaunches  *int32  `parquet:"graph_launches,optional"`         // all, drafter's and encoder's too
	UnknownGraphs  *int32  `parquet:"unknown_graph_launches,optional"` // of them without a name
	PaddedTokens   *int32  `parquet:"padded_tokens,optional"`          // the graph's num_tokens; scheduled tokens where no graph ran
	KernelLaunches *int32  `parquet:"kernel_launches,optional"`        // outside graphs, as counted at the probed calls; with record --moe on pmtrace's own as well; null out of the windows of record --cpu-windows
	Copies         *int32  `parquet:"copies,optional"`                 // cudaMemcpyAsync calls; null as kernel_launches is
	CopiedBytes    *int64  `parquet:"copied_bytes,optional"`
	GPUBusyNS      *int64  `parquet:"gpu_busy_ns,optional"`     // within the step's GPU time, by samples of SM activity
	DRAMReadBytes  *int64  `parquet:"dram_read_bytes,optional"` // of the whole device in that time
	DRAMWriteBytes *int64  `parquet:"dram_write_bytes,optional"`

	// What the model must do at least on each GPU, by its config: bytes of weights and
	// of KV cache to be read and written once, operations of matrix products; and the
	// shares of the GPU's peak memory bandwidth and arithmetic that this is in
	// step_gpu_ns (1: all of it). Padding, activations, encoders and drafts are not in it.
	ModelBytes     *int64   `parquet:"model_bytes,optional"`
	ModelFLOPs     *float64 `parquet:"model_flops,optional"`
	ModelEstimated *bool    `parquet:"model_estimated,optional"` // rests on an assumption: which experts were chosen, say
	MBU            *float64 `parquet:"mbu,optional"`
	MFU            *float64 `parquet:"mfu,optional"`
}

// GraphRow is a row of the table graphs: a CUDA graph (for PIECEWISE, one piece
// of one) that was captured, launched or found in the server's objects.
type GraphRow struct {
	GraphID int32  `parquet:"graph_id"` // of the session; handles are used again
	Worker  int32  `parquet:"worker"`
	Engine  *int32 `parquet:"engine,optional"`
	Rank    *int32 `parquet:"rank,optional"`
	Exec    uint64 `parquet:"exec"` // cudaGraphExec_t

	// Null where no holder of the handle was found.
	Holder            *string `parquet:"holder,optional,dict"` // model, piecewise, breakable, ubatch, encoder, speculator, other
	Mode              *string `parquet:"runtime_mode,optional,dict"`
	Descriptor        *string `parquet:"descriptor,optional,dict"`
	NumTokens         *int32  `parquet:"num_tokens,optional"`
	NumReqs           *int32  `parquet:"num_reqs,optional"`
	Uniform           *bool   `parquet:"uniform,optional"`
	HasLora           *bool   `parquet:"has_lora,optional"`
	UniformTokenCount *int32  `parquet:"uniform_token_count,optional"`
	NumActiveLoras    *int32  `parquet:"num_active_loras,optional"`
	MaxQueryLen       *int32  `parquet:"max_query_len,optional"`
	NumUbatches       *int32  `parquet:"num_ubatches,optional"`
	Piece             *int32  `parquet:"piece,optional"`
	Pieces            *int32  `parquet:"pieces,optional"`
	Key               *string `parquet:"key,optional,dict"`

	CaptureNS      *int64 `parquet:"capture_start_ns,optional"` // null: captured before tracing
	CapturedNS     *int64 `parquet:"capture_end_ns,optional"`
	InstantiatedNS *int64 `parquet:"instantiated_ns,optional"`
	DestroyedNS    *int64 `parquet:"destroyed_ns,optional"`
	Throwaway      bool   `parquet:"throwaway"` // captured to measure memory, not to be used
	Launches       int64  `parquet:"launches"`
}

// GraphLaunchRow is a row of the table graph_launches: one replay.
type GraphLaunchRow struct {
	Worker         int32   `parquet:"worker"`
	Engine         *int32  `parquet:"engine,optional"`
	StepID         *int64  `parquet:"step_id,optional"` // null: no step (a warm-up, or not known)
	GraphID        int32   `parquet:"graph_id"`
	LaunchNS       int64   `parquet:"launch_ns,delta"` // the call
	StartNS        *int64  `parquet:"start_ns,optional"`
	EndNS          *int64  `parquet:"end_ns,optional"`
	DurNS          *int64  `parquet:"duration_ns,optional"`
	TimingSource   *string `parquet:"timing_source,optional,dict"`
	ErrorNS        *int64  `parquet:"error_bound_ns,optional"`
	Mode           *string `parquet:"runtime_mode,optional,dict"`
	Descriptor     *string `parquet:"descriptor,optional,dict"`
	Piece          *int32  `parquet:"piece,optional"`
	Tokens         *int32  `parquet:"tokens,optional"`        // scheduled in the step; model graphs only
	PaddedTokens   *int32  `parquet:"padded_tokens,optional"` // what the graph computes
	Phase          string  `parquet:"phase,dict"`             // forward, draft, encoder, …: by the caller's Python frame
	Thread         int32   `parquet:"thread"`
	DRAMReadBytes  *int64  `parquet:"dram_read_bytes,optional"`
	DRAMWriteBytes *int64  `parquet:"dram_write_bytes,optional"`
}

// Components of EncoderDecoderRow.
const (
	ComponentEncoder        = "encoder"
	ComponentDecoder        = "decoder"
	ComponentCrossAttention = "cross_attention"
)

// EncoderDecoderRow is a row of the table encoder_decoder: a component's run in a
// step. CPU times are of its CUDA calls; GPU times where a source can tell.
type EncoderDecoderRow struct {
	Engine       int32  `parquet:"engine"`
	Worker       int32  `parquet:"worker"`
	StepID       *int64 `parquet:"step_id,optional"`
	TimeNS       int64  `parquet:"time_ns,delta"`
	DurNS        int64  `parquet:"duration_ns,plain"`
	Component    string `parquet:"component,dict"`
	TimingSource string `parquet:"timing_source,dict"`
	ErrorNS      *int64 `parquet:"error_bound_ns,optional"`
	Context      string `parquet:"context,dict"`
}

// LaunchRow is a row of the table launches (--launches): a kernel launch outside
// of graphs.
type LaunchRow struct {
	Worker   int32  `parquet:"worker"`
	Engine   *int32 `parquet:"engine,optional"`
	StepID   *int64 `parquet:"step_id,optional"`
	TimeNS   int64  `parquet:"time_ns,delta"`
	Function uint64 `parquet:"function,dict"` // CUfunction, or the host's function of cudaLaunchKernel
	GridX    int32  `parquet:"grid_x"`
	GridY    int32  `parquet:"grid_y"`
	Stream   uint64 `parquet:"stream,dict"`
	Phase    string `parquet:"phase,dict"`
	Thread   int32  `parquet:"thread"`
}

// CopyRow is a row of the table copies (--copies): a cudaMemcpyAsync.
type CopyRow struct {
	Worker int32  `parquet:"worker"`
	Engine *int32 `parquet:"engine,optional"`
	StepID *int64 `parquet:"step_id,optional"`
	TimeNS int64  `parquet:"time_ns,delta"`
	Bytes  int64  `parquet:"bytes"`
	Kind   string `parquet:"kind,dict"` // host_to_device, device_to_host, device_to_device, host_to_host, default
	Stream uint64 `parquet:"stream,dict"`
	Phase  string `parquet:"phase,dict"`
	Thread int32  `parquet:"thread"`
}

// CollectiveRow is a row of the table collectives: a call of NCCL.
type CollectiveRow struct {
	Worker     int32  `parquet:"worker"`
	Engine     *int32 `parquet:"engine,optional"`
	Rank       *int32 `parquet:"rank,optional"`
	StepID     *int64 `parquet:"step_id,optional"`
	TimeNS     int64  `parquet:"time_ns,delta"`
	Collective string `parquet:"collective,dict"` // all_reduce, all_gather, …
	Count      int64  `parquet:"count"`           // elements
	Type       string `parquet:"type,dict"`       // bfloat16, …
	Bytes      int64  `parquet:"bytes"`           // count times the type's size; 0: a type that is not known
	Stream     uint64 `parquet:"stream,dict"`
	Phase      string `parquet:"phase,dict"`
	Thread     int32  `parquet:"thread"`
}

// GPUSampleRow is a row of the table gpu_samples: see GPUSample for the columns.
type GPUSampleRow struct {
	GPU           int32    `parquet:"gpu"` // NVML index
	TimeNS        int64    `parquet:"time_ns,delta"`
	IntervalNS    *int64   `parquet:"interval_ns,optional"`
	SMPct         *float64 `parquet:"sm_pct,optional"`
	OccupancyPct  *float64 `parquet:"occupancy_pct,optional"`
	TensorPct     *float64 `parquet:"tensor_pct,optional"`
	DRAMPct       *float64 `parquet:"dram_pct,optional"`
	PCIeRx        *float64 `parquet:"pcie_rx_bytes_per_s,optional"`
	PCIeTx        *float64 `parquet:"pcie_tx_bytes_per_s,optional"`
	NVLinkRx      *float64 `parquet:"nvlink_rx_bytes_per_s,optional"`
	NVLinkTx      *float64 `parquet:"nvlink_tx_bytes_per_s,optional"`
	UtilPct       *float64 `parquet:"util_pct,optional"`
	MemUtilPct    *float64 `parquet:"mem_util_pct,optional"`
	PowerW        *float64 `parquet:"power_w,optional"`
	TemperatureC  *float64 `parquet:"temperature_c,optional"`
	SMClockMHz    *float64 `parquet:"sm_clock_mhz,optional"`
	MemClockMHz   *float64 `parquet:"mem_clock_mhz,optional"`
	MemoryUsed    *int64   `parquet:"memory_used_bytes,optional"`
	ProcessMemory *int64   `parquet:"process_memory_bytes,optional"`
	ProcessSMPct  *float64 `parquet:"process_sm_pct,optional"`
	OthersSMPct   *float64 `parquet:"others_sm_pct,optional"`         // processes that are not traced
	Throttle      *string  `parquet:"throttle_reasons,optional,dict"` // joined by "|"; empty: none
}

// GPUCounterRow is a row of the table gpu_counters: one sample of the device's
// hardware counters (--gpu-sampling).
type GPUCounterRow struct {
	GPU            int32    `parquet:"gpu"`
	TimeNS         int64    `parquet:"time_ns,delta"` // the sample's end
	DurNS          int32    `parquet:"duration_ns"`
	SMActivePct    *float32 `parquet:"sm_active_pct,optional"`
	TensorPct      *float32 `parquet:"tensor_active_pct,optional"`
	DRAMReadBytes  *float32 `parquet:"dram_read_bytes,optional"`
	DRAMWriteBytes *float32 `parquet:"dram_write_bytes,optional"`
	PCIeReadBytes  *float32 `parquet:"pcie_read_bytes,optional"`
	PCIeWriteBytes *float32 `parquet:"pcie_write_bytes,optional"`
}

// KernelRow is a row of the table kernels: a kernel that ran on the GPU, or, in a window, a
// copy (record with --kernels).
type KernelRow struct {
	Worker      int32   `parquet:"worker"` // -1: a process that is not probed
	Engine      *int32  `parquet:"engine,optional"`
	StepID      *int64  `parquet:"step_id,optional"`  // null: not known; outside of graphs only what lies between a graph and the copy of the results
	GraphID     *int32  `parquet:"graph_id,optional"` // of graphs; null outside of graphs, or of a launch that was not seen
	Node        *int64  `parquet:"node,optional"`     // CUPTI's number of the graph's node; null outside of graphs
	Layer       *int32  `parquet:"layer,optional"`    // transformer layer, from 0: in FULL and PIECEWISE graphs and between the pieces, by the kernels that come again for each; null: not known, or of none
	TimeNS      int64   `parquet:"time_ns,delta"`     // its start
	DurNS       int64   `parquet:"duration_ns,plain"`
	Name        string  `parquet:"name,dict"` // as the compiler mangled it; copies: "copy device_to_host"
	Class       *string `parquet:"class,optional,dict"`
	Bytes       *int64  `parquet:"bytes,optional"` // of a copy
	Device      int32   `parquet:"device"`         // CUDA's index in the process
	Stream      int32   `parquet:"stream"`         // CUPTI's number
	GridX       int32   `parquet:"grid_x"`
	GridY       int32   `parquet:"grid_y"`
	GridZ       int32   `parquet:"grid_z"`
	BlockX      int32   `parquet:"block_x"`
	BlockY      int32   `parquet:"block_y"`
	BlockZ      int32   `parquet:"block_z"`
	Registers   int32   `parquet:"registers"` // a thread
	SharedBytes int32   `parquet:"shared_bytes"`
}

// KernelWindowRow is a row of the table kernel_windows: a time in which the kernels of a
// process were told one by one, which slows it down.
type KernelWindowRow struct {
	Worker      int32  `parquet:"worker"`
	Engine      *int32 `parquet:"engine,optional"`
	Window      int32  `parquet:"window"` // of the process, from 1
	OnNS        int64  `parquet:"on_ns"`
	OffNS       *int64 `parquet:"off_ns,optional"`        // null: it was open at the end
	OnSwitchNS  int64  `parquet:"on_switch_ns"`           // for so long launches were told neither as replays nor by kernels
	OffSwitchNS *int64 `parquet:"off_switch_ns,optional"` // the same at its end
	Kernels     int64  `parquet:"kernels"`
	Replays     int64  `parquet:"replays"` // timed by their kernels: first start to last end
	// LeftOut counts the kernels of replays that were under way as CUPTI switched: their times are wrong.
	LeftOut int64 `parquet:"kernels_left_out"`
}

// KernelClassRow is a row of the table kernel_classes: the kernels of a class, or of them
// those of one name, in all windows of kernels, and what they move to and from the GPU's
// memory by samples of its counters (record with --kernels and --gpu-sampling).
type KernelClassRow struct {
	Engine  *int32  `parquet:"engine,optional"`
	Worker  int32   `parquet:"worker"`
	GPU     *int32  `parquet:"gpu,optional"` // NVML index; null: its counters are not sampled
	Class   string  `parquet:"class,dict"`
	Name    *string `parquet:"name,optional,dict"` // null: all of the class; those of little time have no row of their own
	Kernels int64   `parquet:"kernels"`
	DurNS   int64   `parquet:"duration_ns"`

	// Method says how the rest was got. folded: measured, by samples that lie within runs of
	// such kernels. regression: an estimate, by how much of each class ran in each sample,
	// where runs are shorter than samples. Null: not known, or kernels too short to be told
	// from their neighbours.
	Method          *string  `parquet:"method,optional,dict"`
	Samples         int64    `parquet:"samples"` // that it is from
	DRAMReadBps     *float64 `parquet:"dram_read_bytes_per_s,optional"`
	DRAMWriteBps    *float64 `parquet:"dram_write_bytes_per_s,optional"`
	DRAMErrorBps    *float64 `parquet:"dram_error_bytes_per_s,optional"` // of the two together: standard error, and what the clocks may be apart; regression alone
	BandwidthShare  *float64 `parquet:"bandwidth_share,optional"`        // of the peak of the GPU's memory; 1: all of it
	TensorActivePct *float64 `parquet:"tensor_active_pct,optional"`      // of their time
}

// What the choices of experts are known by (MoEActivationRow.Source).
const (
	ExpertsFromKernels = "kernel"
	ExpertsFromBuffers = "routed_experts"
)

// MoEActivationRow is a row of the table moe_activations: how often the tokens of a time
// window chose an expert of a layer. Windows of 10 s are counted from the session's zero,
// a step is in the one in which it was scheduled. Experts that none chose have no row.
type MoEActivationRow struct {
	Engine      int32 `parquet:"engine"`
	Layer       int32 `parquet:"layer_idx"` // of the model's layers, those without experts counted
	FromNS      int64 `parquet:"from_ns,delta"`
	ToNS        int64 `parquet:"to_ns,delta"`
	FirstStep   int64 `parquet:"first_step,delta"` // of the window with choices of the layer
	LastStep    int64 `parquet:"last_step,delta"`
	Expert      int32 `parquet:"expert_id"`
	Activations int64 `parquet:"activations,plain"`
	Tokens      int64 `parquet:"tokens"` // that chose, in the layer and window
	// Source is what told: kernel, the routing kernels themselves; routed_experts, the buffer
	// that vLLM copies to the host with --enable-return-routed-experts.
	Source string `parquet:"source,dict"`
}

// MoECoselectionRow is a row of the table moe_coselection: how many tokens of a window of
// 600 s chose both experts of a layer. Pairs that none chose have no row.
type MoECoselectionRow struct {
	Engine  int32  `parquet:"engine"`
	Layer   int32  `parquet:"layer_idx"`
	FromNS  int64  `parquet:"from_ns,delta"`
	ToNS    int64  `parquet:"to_ns,delta"`
	Expert1 int32  `parquet:"expert_id_1"` // the lower
	Expert2 int32  `parquet:"expert_id_2"`
	Count   int64  `parquet:"count,plain"`
	Source  string `parquet:"source,dict"` // as in moe_activations
}

// MoEWeightRow is a row of the table moe_weights: what the output of a chosen expert is
// multiplied by, of tokens that were picked.
type MoEWeightRow struct {
	Engine int32   `parquet:"engine"`
	StepID int64   `parquet:"step_id,delta"`
	Layer  int32   `parquet:"layer_idx"`
	Token  int32   `parquet:"token_idx"` // row of the step's batch
	Expert int32   `parquet:"expert_id"`
	Weight float32 `parquet:"weight"` // as the kernel wrote it, to the 11 bits of a binary16
}

// MoEImbalanceRow is a row of the table moe_imbalance: how evenly the experts of a layer
// were chosen in a window of moe_activations.
type MoEImbalanceRow struct {
	Engine      int32    `parquet:"engine"`
	Layer       int32    `parquet:"layer_idx"`
	FromNS      int64    `parquet:"from_ns,delta"`
	ToNS        int64    `parquet:"to_ns,delta"`
	Tokens      int64    `parquet:"tokens"`
	StdDev      float64  `parquet:"std_dev"`                // of the activations of all experts
	MaxMinRatio *float64 `parquet:"max_min_ratio,optional"` // of the activations; null: an expert has none
	Used        int32    `parquet:"experts_used"`           // chosen once at least
	Experts     *int32   `parquet:"experts,optional"`       // of the layer; null: not known, and those up to the highest that was chosen count as all
	TopK        int32    `parquet:"top_k"`                  // experts of a token
	Source      string   `parquet:"source,dict"`            // as in moe_activations
}

// StepRequestRow is a row of the table step_requests: a request in a step.
// Key: (engine, step_id, request_uid).
type StepRequestRow struct {
	Engine       int32  `parquet:"engine"`
	StepID       int64  `parquet:"step_id,delta"`
	RequestUID   int64  `parquet:"request_uid,dict"`
	Kind         string `parquet:"kind,dict"`
	Scheduled    int32  `parquet:"scheduled_tokens,dict"`
	Computed     *int32 `parquet:"computed_before,optional"`
	PromptTokens *int32 `parquet:"prompt_tokens,optional,plain"`
	OutputTokens *int32 `parquet:"output_tokens,optional"` // null: no output read for this step
	DraftTokens  int32  `parquet:"draft_tokens"`
	NewBlocks    *int32 `parquet:"new_blocks,optional,dict"`
}

// RequestRow is a row of the table requests: a request that was scheduled.
type RequestRow struct {
	RequestUID int64  `parquet:"request_uid,delta"`
	Engine     int32  `parquet:"engine"`
	RequestID  string `parquet:"request_id"`  // the engine's
	ExternalID string `parquet:"external_id"` // the client's: without the engine's suffix

	ArrivalUnix *float64 `parquet:"arrival_unix_s,optional"` // Request.arrival_time as it stands
	ArrivalNS   *int64   `parquet:"arrival_ns,optional"`
	ScheduledNS *int64   `parquet:"first_scheduled_ns,optional"` // null: before tracing began
	FirstTokNS  *int64   `parquet:"first_token_ns,optional"`
	FinishedNS  *int64   `parquet:"finished_ns,optional"` // null: still running at the end, or its end is lost
	// stop, length, abort, error, repetition; null though finished: events were
	// lost around its end, and finished_ns is the nearest time known.
	Reason *string `parquet:"finish_reason,optional,dict"`

	QueueNS     *int64 `parquet:"queue_ns,optional"`     // arrival to first scheduled
	PrefillNS   *int64 `parquet:"prefill_ns,optional"`   // first scheduled to first token
	DecodeNS    *int64 `parquet:"decode_ns,optional"`    // first token to finish
	PreemptedNS *int64 `parquet:"preempted_ns,optional"` // sum of preempted to resumed

	PromptTokens *int32 `parquet:"prompt_tokens,optional"`
	CachedTokens *int32 `parquet:"cached_tokens,optional"` // prefix-cache hit at first scheduling
	OutputTokens *int32 `parquet:"output_tokens,optional"` // handed out by the engine
	MaxTokens    *int32 `parquet:"max_tokens,optional"`
	Priority     int32  `parquet:"priority"`
	Preemptions  int32  `parquet:"preemptions"`
	Steps        int32  `parquet:"steps"`            // steps seen
	Scheduled    int64  `parquet:"scheduled_tokens"` // sum over steps seen
	FromStart    bool   `parquet:"seen_from_start"`  // false: was running when tracing began
}

// PreemptionRow is a row of the table preemptions.
type PreemptionRow struct {
	Engine      int32  `parquet:"engine"`
	StepID      int64  `parquet:"step_id"`
	RequestUID  int64  `parquet:"request_uid"`
	RequestID   string `parquet:"request_id"`
	TimeNS      int64  `parquet:"time_ns"`
	Reason      string `parquet:"reason,dict"`              // kv_blocks, reset_prefix_cache, unknown
	RunningNS   *int64 `parquet:"running_ns,optional"`      // since it was last scheduled from waiting
	BlocksFreed *int32 `parquet:"blocks_freed,optional"`    // returned to the pool; shared ones stay
	Computed    *int32 `parquet:"computed_tokens,optional"` // lost
	ResumedNS   *int64 `parquet:"resumed_ns,optional"`
	ResumedStep *int64 `parquet:"resumed_step_id,optional"`
}

// Operations on the free block queue.
const (
	KVAlloc = "alloc" // blocks handed out
	KVReuse = "reuse" // a free block with cached content taken back into use
	KVFree  = "free"
	KVOther = "other"
)

// KVUsageRow is a row of the table kv_usage: one change of the free block queue.
type KVUsageRow struct {
	Engine     int32  `parquet:"engine"`
	OpID       int64  `parquet:"op_id,delta"` // counts operations of the engine from 0
	TimeNS     int64  `parquet:"time_ns,delta"`
	StepID     *int64 `parquet:"step_id,optional"` // the schedule call it was part of; null between steps
	Op         string `parquet:"op,dict"`
	Blocks     int32  `parquet:"blocks,dict"`
	FreeAfter  *int32 `parquet:"free_after,optional"`
	RequestUID *int64 `parquet:"request_uid,optional"`
}

// KVBlockRow is a row of the table kv_blocks: a block in an operation.
type KVBlockRow struct {
	Engine     int32  `parquet:"engine"`
	OpID       int64  `parquet:"op_id,delta"`
	TimeNS     int64  `parquet:"time_ns,delta"`
	BlockID    int32  `parquet:"block_id,plain"`
	Op         string `parquet:"op,dict"`
	HadHash    bool   `parquet:"had_hash"` // carried a prefix-cache hash
	RequestUID *int64 `parquet:"request_uid,optional"`
}

// KVEvictionRow is a row of the table kv_evictions: a block that was handed out
// again. LifetimeNS and IdleNS are as vLLM's --kv-cache-metrics defines them.
type KVEvictionRow struct {
	Engine     int32  `parquet:"engine"`
	TimeNS     int64  `parquet:"time_ns,delta"`
	OpID       int64  `parquet:"op_id"`
	BlockID    int32  `parquet:"block_id"`
	HadHash    bool   `parquet:"had_hash"`          // true: cached content was lost
	BirthKnown bool   `parquet:"birth_known"`       // false: allocated before tracing; the times are lower bounds
	LifetimeNS int64  `parquet:"lifetime_ns,plain"` // birth to this
	IdleNS     int64  `parquet:"idle_ns,plain"`     // last prefix hit (or birth) to this
	BirthNS    *int64 `parquet:"birth_ns,optional,plain"`
	ReleasedNS *int64 `parquet:"released_ns,optional,plain"` // last time its last user let go
	UnusedNS   *int64 `parquet:"unused_ns,optional,plain"`   // released to this
	Hits       int32  `parquet:"hits"`                       // prefix hits in its life
	RequestUID *int64 `parquet:"request_uid,optional"`       // who allocated it first
	TakenByUID *int64 `parquet:"taken_by_uid,optional"`
}

// CPUOperationRow is a row of the table cpu_operations.
type CPUOperationRow struct {
	Engine    int32  `parquet:"engine"`
	StepID    *int64 `parquet:"step_id,optional"`
	TimeNS    int64  `parquet:"time_ns,delta"`
	DurNS     int64  `parquet:"duration_ns,plain"`
	Operation string `parquet:"operation,dict"` // scheduling, model_execution, update_from_output
	Thread    int32  `parquet:"thread"`
	Context   string `parquet:"context,dict"` // phase=decode
}

// LossRow is a row of the table losses: an interval in which events were lost
// or could not be read.
type LossRow struct {
	Engine *int32 `parquet:"engine,optional"`
	FromNS int64  `parquet:"from_ns"`
	ToNS   int64  `parquet:"to_ns"`
	Probe  string `parquet:"probe,dict"`
	Reason string `parquet:"reason,dict"`
	Count  int64  `parquet:"count"`
}

// Sink takes the rows of all tables. Rows are valid until the call returns;
// what a pointer field points to may be kept.
type Sink interface {
	Process(*ProcessRow) error
	Step(*StepRow) error
	StepRequest(*StepRequestRow) error
	Request(*RequestRow) error
	Preemption(*PreemptionRow) error
	KVUsage(*KVUsageRow) error
	KVBlock(*KVBlockRow) error
	KVEviction(*KVEvictionRow) error
	CPUOperation(*CPUOperationRow) error
	Graph(*GraphRow) error
	GraphLaunch(*GraphLaunchRow) error
	EncoderDecoder(*EncoderDecoderRow) error
	Launch(*LaunchRow) error
	Copy(*CopyRow) error
	Collective(*CollectiveRow) error
	GPUSample(*GPUSampleRow) error
	GPUCounter(*GPUCounterRow) error
	Kernel(*KernelRow) error
	KernelWindow(*KernelWindowRow) error
	KernelClass(*KernelClassRow) error
	MoEActivation(*MoEActivationRow) error
	MoECoselection(*MoECoselectionRow) error
	MoEWeight(*MoEWeightRow) error
	MoEImbalance(*MoEImbalanceRow) error
	Hook(*HookRow) error
	Loss(*LossRow) error
}
