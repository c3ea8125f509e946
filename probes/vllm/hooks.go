package vllm

// The hook map: every name that pmtrace uses of vLLM. Where versions differ,
// alternatives stand side by side and the first that the process has is taken;
// what it does not have is named in record.Engine.Missing.

// Modules and classes.
const (
	modScheduler = "vllm.v1.core.sched.scheduler"
	modOutput    = "vllm.v1.core.sched.output"
	modRequest   = "vllm.v1.request"
	modEngine    = "vllm.v1.engine"
	modKVManager = "vllm.v1.core.kv_cache_manager"
	modKVUtils   = "vllm.v1.core.kv_cache_utils"
	modVersion   = "vllm.version"
	modTorch     = "torch.version"

	clsSchedulerOutput = "SchedulerOutput"
	clsCachedRequests  = "CachedRequestData"
	clsNewRequest      = "NewRequestData"
	clsRequest         = "Request"
	clsOutputs         = "EngineCoreOutputs"
	clsOutput          = "EngineCoreOutput"
	clsFinishReason    = "FinishReason"
	clsKVManager       = "KVCacheManager"
	clsFreeQueue       = "FreeKVCacheBlockQueue"
)

// engineFrames are functions whose self leads to the engine, by the end of
// their qualified name: the attribute path from self to the EngineCore.
var engineFrames = []struct {
	qualname string
	path     []string
}{
	{"EngineCoreProc.run_busy_loop", nil},
	{"EngineCore.step", nil},
	{"EngineCore.step_with_batch_queue", nil},
	{"EngineCoreProc._process_engine_step", nil},
	{"EngineCoreProc._process_input_queue", nil},
	{"run_with_fault_tolerance", nil}, // 0.28+: decorator of run_busy_loop
	{"InprocClient.get_output", []string{"engine_core"}},
	{"InprocClient.add_request", []string{"engine_core"}},
	{"LLMEngine.step", []string{"engine_core", "engine_core"}},
}

// engineHolders are classes from whose instances, found in a local or global
// variable, an engine in the same process is reached.
var engineHolders = map[string][]string{
	"LLM":          {"llm_engine", "engine_core", "engine_core"},
	"LLMEngine":    {"engine_core", "engine_core"},
	"InprocClient": {"engine_core"},
	"EngineCore":   nil,
}

// startingFrames say that an engine is being made.
var startingFrames = []string{"EngineCoreProc.__init__", "EngineCore.__init__", "EngineCoreProc.run_engine_core"}

// Attributes of SchedulerOutput and its parts, in the order of the constants of
// bpf/config.h.
var (
	outputNames = []string{
		"scheduled_new_reqs", "scheduled_cached_reqs", "num_scheduled_tokens",
		"total_num_scheduled_tokens", "scheduled_spec_decode_tokens",
		"scheduled_encoder_inputs", "finished_req_ids", "preempted_req_ids",
	}
	cachedNames  = []string{"req_ids", "new_block_ids", "num_computed_tokens"}
	newNames     = []string{"block_ids", "num_computed_tokens"}
	requestNames = []string{
		"request_id", "arrival_time", "num_prompt_tokens", "num_computed_tokens",
		"num_preemptions", "_all_token_ids", "max_tokens", "priority",
	}
)

// queueNames are the scheduler's queues of requests that wait; vLLM's own count
// of waiting requests is the sum of those that a version has (VLLM-HOOKS §2.3).
var queueNames = []string{"waiting", "skipped_waiting", "kv_holding_waiting"}

// Blocks says how an operation on the free block queue tells its blocks.
type Blocks int

// Ways to the blocks of an Op: its argument is a number of blocks at the front
// of the list, a list of blocks, or a block.
const (
	BlocksUnknown Blocks = iota
	BlocksFront
	BlocksListed
	BlocksOne
)

// Change is what an operation does to the free block queue.
type Change int

// Changes of the free block queue.
const (
	Alloc Change = iota + 1
	Reuse
	Free
	FreeFront
)

// queueOps are the methods that write num_free_blocks (VLLM-HOOKS §4.3).
var queueOps = []struct {
	name   string
	change Change
	blocks Blocks
}{
	{"popleft_n", Alloc, BlocksFront},
	{"popleft", Alloc, BlocksUnknown},
	{"remove", Reuse, BlocksOne},
	{"append_n", Free, BlocksListed},
	{"append", Free, BlocksOne},
	{"prepend_n", FreeFront, BlocksListed}, // 0.23+
}

// ownerMethods of KVCacheManager have the Request as their first argument.
var ownerMethods = []string{"allocate_slots", "free"}
