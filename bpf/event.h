/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The wire between the BPF programs and user space: what lies in the ring
 * buffer, byte for byte. Go's view of it is generated from this file (bpf2go),
 * so this is the only place where a layout is written down.
 *
 * Every event begins with struct pm_hdr. All events of one engine come from
 * one thread, so their seq numbers rise by one an event; an event that found
 * no room in the ring still takes its number, and the gap shows what was lost.
 *
 * A request is identified by `key`: the address of its request_id str object,
 * which lives as long as the request. PM_EV_REQUEST says which request a key
 * means from then on; it comes before the first event that uses the key.
 *
 * One schedule call sends PM_EV_STEP, then, each only where there is something:
 * KEYS (finished, preempted, victims), REQUEST and its PREFIX for each new or
 * resumed request, STEP_ROWS, DRAFTS. One update sends OUTPUT_ROWS, then
 * UPDATE_END.
 */
#ifndef PMTRACE_EVENT_H
#define PMTRACE_EVENT_H

/* Longest request id that is sent; a longer one is cut (PM_REQ_ID_CUT). */
#define PM_MAX_ID 256
/* Rows in one event; longer lists go on in further events of the same kind. */
#define PM_MAX_ROWS 128
/* A number that could not be read. */
#define PM_UNKNOWN 0xffffffffu
/* Set in a block's id in struct pm_kv: the block carried a prefix-cache hash. */
#define PM_BLOCK_HASHED 0x80000000u

enum pm_kind {
	PM_EV_NONE = 0,
	PM_EV_STEP = 1, /* Scheduler.schedule returns: struct pm_step */
	PM_EV_STEP_ROWS = 2, /* its requests: struct pm_rows + pm_step_row[] */
	PM_EV_REQUEST = 3, /* what a key means: struct pm_request + id bytes */
	PM_EV_PREFIX = 4, /* cached blocks of a new request: struct pm_prefix + u32[] */
	PM_EV_KEYS = 5, /* finished or preempted requests: struct pm_rows + u64[] */
	PM_EV_DRAFTS = 6, /* draft tokens: struct pm_rows + pm_draft_row[] */
	PM_EV_UPDATE_BEGIN = 7, /* Scheduler.update_from_output entered: struct pm_update */
	PM_EV_UPDATE_END = 8, /* ... returns: struct pm_update */
	PM_EV_OUTPUT_ROWS = 9, /* its outputs: struct pm_rows + pm_output_row[] */
	PM_EV_KV = 10, /* the free block queue changed: struct pm_kv + u32[] */
	PM_EV_ROUTED = 11, /* experts that a step's tokens chose: struct pm_routed + ids */

	/* Calls into CUDA and NCCL. Here hdr.engine is the index of the worker
	 * process, and seq counts the events of one thread (field `thread`). */
	PM_EV_CALL = 32, /* a call that is recorded one by one: struct pm_call */
	PM_EV_PHASE = 33, /* the thread went on to another phase: struct pm_phase_change */
	PM_EV_WORKER_STEP = 34, /* execute_model of a worker process: struct pm_worker_step */

	/* Calls of functions that the user named. hdr.engine is the hook's index. */
	PM_EV_HOOK = 40, /* struct pm_hook_call + u64[] */
};

/* The calls that are probed; the attach cookie names one (calls.h). What a, b and c
 * of struct pm_call mean stands beside each; (r): sent as the call returns. */
enum pm_row {
	PM_ROW_NONE = 0,
	PM_ROW_GRAPH_LAUNCH = 1, /* a exec, b stream */
	PM_ROW_CAPTURE_BEGIN = 2, /* a stream, b mode */
	PM_ROW_CAPTURE_END = 3, /* a stream, b graph (r) */
	PM_ROW_GRAPH_INSTANTIATE = 4, /* a exec, b graph (r) */
	PM_ROW_GRAPH_UPLOAD = 5, /* a exec, b stream */
	PM_ROW_GRAPH_DESTROY = 6, /* a exec */
	PM_ROW_EVENT_CREATE = 7, /* a event, b flags (r) */
	PM_ROW_EVENT_RECORD = 8, /* a event, b stream */
	PM_ROW_EVENT_SYNC = 9, /* a event (r) */
	PM_ROW_EVENT_QUERY = 10, /* a event (r) */
	PM_ROW_EVENT_DESTROY = 11, /* a event */
	PM_ROW_STREAM_SYNC = 12, /* a stream (r) */
	PM_ROW_DEVICE_SYNC = 13, /* (r) */
	PM_ROW_STREAM_WAIT = 14, /* a stream, b event */
	PM_ROW_COPY = 15, /* a bytes, b cudaMemcpyKind, c stream */
	PM_ROW_MALLOC = 16, /* a bytes, b address (r) */
	PM_ROW_FREE = 17, /* a address */
	PM_ROW_MALLOC_ASYNC = 18, /* a bytes, b address, c stream (r) */
	PM_ROW_FREE_ASYNC = 19, /* a address, b stream */
	PM_ROW_LAUNCH = 20, /* a function, b grid (x | y << 32), c stream */
	PM_ROW_ALL_REDUCE = 21, /* NCCL: a elements, b ncclDataType_t, c stream */
	PM_ROW_ALL_GATHER = 22,
	PM_ROW_REDUCE_SCATTER = 23,
	PM_ROW_BROADCAST = 24,
	PM_ROW_REDUCE = 25,
	PM_ROW_SEND = 26,
	PM_ROW_RECV = 27,
	PM_ROWS = 32,
};

/* What the thread was doing, by its innermost known Python frame. */
enum pm_phase {
	PM_PHASE_NONE = 0, /* no Python frames, or a thread we do not know (yet) */
	PM_PHASE_OTHER = 1, /* Python, but no function that we know */
	PM_PHASE_EXECUTE = 2, /* execute_model, and nothing finer */
	PM_PHASE_PREPARE = 3, /* states, inputs, attention metadata */
	PM_PHASE_ENCODER = 4,
	PM_PHASE_FORWARD = 5,
	PM_PHASE_CROSS_ATTENTION = 6, /* in a decoder that runs eagerly */
	PM_PHASE_LOGITS = 7,
	PM_PHASE_SAMPLE = 8,
	PM_PHASE_DRAFT = 9,
	PM_PHASE_OUTPUT_COPY = 10, /* results to the host */
	PM_PHASE_OUTPUT_WAIT = 11, /* waiting for them */
	PM_PHASE_POSTPROCESS = 12, /* sample_tokens, and nothing finer */
	PM_PHASE_SYNC_RANKS = 13, /* with other ranks */
	PM_PHASE_CAPTURE = 14, /* capture_model and what it calls */
	PM_PHASE_DUMMY = 15, /* a dummy or profiling run: no step */
	PM_PHASES = 16,
};

/* Which list a PM_EV_KEYS event carries (pm_rows.what). */
enum pm_keys {
	PM_KEYS_FINISHED = 1, /* SchedulerOutput.finished_req_ids */
	PM_KEYS_PREEMPTED = 2, /* SchedulerOutput.preempted_req_ids */
	PM_KEYS_VICTIMS = 3, /* schedule()'s local preempted_reqs: out of KV blocks */
};

/* Why a PM_EV_REQUEST was sent (pm_request.why). */
enum pm_request_why {
	PM_REQ_NEW = 1, /* scheduled for the first time */
	PM_REQ_RESUMED = 2, /* scheduled again after a preemption */
	PM_REQ_SYNC = 3, /* ran when tracing began (or after a loss), until this call */
};

/* What was done to the free block queue (pm_kv.op). */
enum pm_kv_op {
	PM_KV_ALLOC = 1, /* popleft, popleft_n: blocks leave the front */
	PM_KV_REUSE = 2, /* remove: a cached free block is used again */
	PM_KV_FREE = 3, /* append, append_n: to the back */
	PM_KV_FREE_FRONT = 4, /* prepend_n: to the front */
	PM_KV_OTHER = 5, /* the counter changed in a function we do not know */
};

/* Bits of `bad`: which part of an event could not be read. */
enum pm_bad {
	PM_BAD_ROWS = 1 << 0, /* num_scheduled_tokens (or the outputs) */
	PM_BAD_COMPUTED = 1 << 1, /* num_computed_tokens of cached requests */
	PM_BAD_BLOCKS = 1 << 2, /* new_block_ids, or a block's id */
	PM_BAD_REQUESTS = 1 << 3, /* Request objects of new or resumed ones */
	PM_BAD_FINISHED = 1 << 4, /* finished_req_ids */
	PM_BAD_PREEMPTED = 1 << 5, /* preempted_req_ids */
	PM_BAD_QUEUES = 1 << 6, /* running, waiting */
	PM_BAD_DRAFTS = 1 << 7, /* scheduled_spec_decode_tokens */
	PM_BAD_TOTALS = 1 << 8, /* total_num_scheduled_tokens */
	PM_BAD_CUT = 1 << 9, /* a list was longer than the bound */
	PM_BAD_FREE = 1 << 10, /* num_free_blocks */
	PM_BAD_TIME = 1 << 11, /* scheduled_timestamp */
	PM_BAD_ID = 1 << 12, /* request_id */
};

#define PM_REQ_ID_CUT 1 /* pm_request.id_flags */

struct pm_hdr {
	__u64 ktime; /* CLOCK_MONOTONIC, ns */
	__u32 seq; /* event number of this engine */
	__u16 kind; /* enum pm_kind */
	__u8 engine; /* index of the traced engine in this session */
	__u8 version; /* of this wire: PM_WIRE_VERSION */
};
#define PM_WIRE_VERSION 1

struct pm_step {
	struct pm_hdr hdr;
	__u64 output; /* address of the SchedulerOutput */
	__u64 began; /* scheduled_timestamp: bits of a double, monotonic s; 0 unknown */
	__u32 step; /* counts schedule() calls of this engine since attach, from 0 */
	__u32 tokens; /* total_num_scheduled_tokens */
	__u32 rows; /* len(num_scheduled_tokens) */
	__u32 new_requests; /* len(scheduled_new_reqs) */
	__u32 cached_requests; /* len(scheduled_cached_reqs.req_ids) */
	__u32 finished; /* len(finished_req_ids) */
	__u32 preempted; /* len(preempted_req_ids) */
	__u32 victims; /* len(local preempted_reqs) */
	__u32 drafts; /* len(scheduled_spec_decode_tokens) */
	__u32 encoder_inputs; /* len(scheduled_encoder_inputs) */
	__u32 running; /* len(running) */
	__u32 waiting; /* len(waiting) and its sibling queues */
	__u32 requests; /* len(scheduler.requests) */
	__u32 free_blocks; /* free_block_queue.num_free_blocks */
	__u32 bad; /* enum pm_bad */
	__u32 spare;
};

/* Head of the list events. Lists of one step or update may span several events;
 * first counts the rows sent before. */
struct pm_rows {
	struct pm_hdr hdr;
	__u32 step; /* pm_step.step, or pm_update.update for PM_EV_OUTPUT_ROWS */
	__u32 first;
	__u16 rows;
	__u16 what; /* enum pm_keys, for PM_EV_KEYS */
	__u32 bad;
};

struct pm_step_row {
	__u64 key;
	__u32 scheduled; /* tokens */
	__u32 computed; /* tokens before this step; PM_UNKNOWN for new requests */
	__u32 new_blocks; /* blocks got in this step, all KV cache groups */
	__u32 bad;
};

struct pm_draft_row {
	__u64 key;
	__u32 drafts; /* draft tokens scheduled */
	__u32 spare;
};

struct pm_request {
	struct pm_hdr hdr;
	__u64 key;
	__u64 object; /* address of the Request */
	__u64 arrival; /* bits of a double: epoch s; 0 unknown */
	__u32 step;
	__u32 why; /* enum pm_request_why */
	__u32 prompt_tokens; /* num_prompt_tokens */
	__u32 tokens; /* len(_all_token_ids): prompt and output so far */
	__u32 computed; /* num_computed_tokens, already advanced by this step */
	__u32 preemptions; /* num_preemptions */
	__u32 max_tokens;
	__s32 priority;
	__u32 bad;
	__u16 id_bytes; /* that follow, UTF-8 or Latin-1/UCS by id_kind */
	__u8 id_kind; /* bytes a character: 1, 2, 4; 1 is ASCII or Latin-1 */
	__u8 id_flags;
};

/* Blocks that a new or resumed request found in the prefix cache. */
struct pm_prefix {
	struct pm_hdr hdr;
	__u64 key;
	__u32 step;
	__u16 group; /* KV cache group */
	__u16 rows;
	__u32 first;
	__u32 bad;
};

struct pm_update {
	struct pm_hdr hdr;
	__u64 output; /* address of the SchedulerOutput */
	__u32 update; /* counts PM_EV_UPDATE_END events of this engine, from 0 */
	__u32 rows; /* outputs, all clients */
	__u32 bad;
	__u32 spare;
};

struct pm_output_row {
	__u64 key;
	__u32 tokens; /* len(new_token_ids) */
	__s16 finish; /* FinishReason's number; -1: not finished */
	__u16 client; /* client_index */
};

struct pm_kv {
	struct pm_hdr hdr;
	__u64 owner; /* the Request this was done for; 0 unknown */
	__u32 free_before; /* PM_UNKNOWN at the first change seen */
	__u32 free_after;
	__u32 first;
	__u16 rows; /* block ids that follow, PM_BLOCK_HASHED set where hashed */
	__u8 op; /* enum pm_kv_op */
	__u8 more; /* 1: the list goes on in the next PM_EV_KV */
	__u32 blocks; /* blocks of the whole operation */
	__u32 bad;
};

/* Why a PM_EV_ROUTED has no ids (pm_routed.state). */
enum pm_routed_state {
	PM_ROUTED_SENT = 0, /* it has, or they go on in the next one */
	PM_ROUTED_NONE = 1, /* the step has none: no model ran, or its array is not within reach */
	PM_ROUTED_LAYOUT = 2, /* the array is not laid out as expected */
	PM_ROUTED_LIMIT = 3, /* more bytes than are copied of a step */
	PM_ROUTED_RING = 4, /* no room in the ring buffer */
	PM_ROUTED_FAULT = 5, /* the array could not be read */
};

/* What vLLM itself copied to the host of the experts that the tokens of a step chose
 * (--enable-return-routed-experts): before PM_EV_UPDATE_BEGIN of the same update, one
 * event or several in a row. The ids follow, [rows][layers][top_k]; of a layer without
 * experts they mean nothing. */
struct pm_routed {
	struct pm_hdr hdr; /* ktime: when update_from_output was entered */
	__u64 output; /* address of the SchedulerOutput */
	__u32 update; /* pm_update.update */
	__u32 rows; /* tokens, in the order of the batch */
	__u16 layers; /* of the whole model */
	__u8 top_k;
	__u8 bytes; /* of an id */
	__u8 state; /* enum pm_routed_state */
	__u8 spare[3];
	__u32 first; /* bytes of ids sent before */
	__u32 count; /* bytes of ids here */
};

#define PM_CALL_FAILED 1 /* pm_call.flags: result is not 0 */
#define PM_CALL_THROWAWAY 2 /* under profile_cudagraph_memory: not a graph to keep */
#define PM_CALL_DUMMY 4 /* under a dummy or profiling run, or a capture */

struct pm_call {
	struct pm_hdr hdr; /* ktime: of the entry, or of the return where (r) */
	__u64 a, b, c; /* see enum pm_row */
	__u64 began; /* entry; 0: hdr.ktime is the entry */
	__u32 thread; /* the kernel's id */
	__u32 step; /* pm_worker_step.step of the newest; PM_UNKNOWN: none */
	__s32 result;
	__u8 row; /* enum pm_row */
	__u8 phase; /* enum pm_phase */
	__u8 flags;
	__u8 spare;
};

/* A thread makes its first call in a phase. What was counted in the phase before
 * goes with it. */
struct pm_phase_change {
	struct pm_hdr hdr; /* ktime: of the first call in the new phase */
	__u64 first; /* call in the phase before, ktime; 0: none */
	__u64 last; /* its last call's entry, or the return of a call that waited */
	__u64 copied; /* bytes, in the phase before */
	__u32 thread;
	__u32 step; /* as in pm_call, of the phase before */
	__u32 calls; /* all probed calls */
	__u32 launches; /* kernels */
	__u32 copies;
	__u8 phase; /* new */
	__u8 before;
	__u8 row; /* of the call */
	__u8 flags; /* PM_CALL_DUMMY: the new phase is under a dummy run */
};

/* A worker process other than the engine's: execute_model was seen with another
 * SchedulerOutput (a copy of the engine's) than before. */
struct pm_worker_step {
	struct pm_hdr hdr;
	__u64 output; /* address of the copy */
	__u32 thread;
	__u32 step; /* counts from 0 */
	__u32 tokens; /* total_num_scheduled_tokens */
	__u32 requests; /* len(num_scheduled_tokens) */
	__u32 bad;
	__u32 spare;
};

#define PM_HOOK_VALUES 8 /* captured of a call, at most */

/* What a captured value is. */
enum pm_value {
	PM_VALUE_NOT = 0, /* not to be had: there is no such attribute, or it could not be read */
	PM_VALUE_INT = 1, /* a signed number */
	PM_VALUE_FLOAT = 2, /* bits of a double */
	PM_VALUE_BOOL = 3,
	PM_VALUE_LENGTH = 4, /* of a str, bytes, list, tuple, dict, set or deque */
	PM_VALUE_NONE = 5, /* Python's None */
	PM_VALUE_BIG = 6, /* an int that 64 bits do not hold */
	PM_VALUE_OTHER = 7, /* an object of another kind */
	PM_VALUE_RAW = 8, /* 64 bits of a register or of the stack */
};

#define PM_HOOK_RETURNED 1 /* pm_hook_call.flags: duration and, of a C function, result are known */
#define PM_HOOK_RAISED 2 /* the function was left by an exception */

struct pm_hook_call {
	struct pm_hdr hdr; /* ktime: of the entry */
	__u64 duration;
	__u64 result;
	__u32 thread; /* 0: the one thread that the hook is on */
	__u32 call; /* counts the calls of this hook from 0, those that are not sent, too */
	__u8 kinds[PM_HOOK_VALUES]; /* enum pm_value */
	__u8 values; /* that follow */
	__u8 flags;
	__u8 spare[6];
};

#endif
