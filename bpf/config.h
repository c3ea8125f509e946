/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What user space tells the programs of one engine, and what they remember of
 * it. Offsets of CPython and addresses of names come from the process itself;
 * nothing here knows a version.
 */
#ifndef PMTRACE_CONFIG_H
#define PMTRACE_CONFIG_H

#define PM_MAX_ENGINES 16
#define PM_MAX_KEYS 16
#define PM_MAX_QUEUES 4
#define PM_MAX_OPS 8
#define PM_MAX_OWNERS 4

/* Where the attributes of an instance lie whose type needs no dict for it (CPython). */
enum pm_values {
	PM_VALUES_POINTER = 1, /* 3.11: values pointer 4 words before the object, dict 3 */
	PM_VALUES_TAGGED = 2, /* 3.12: one word, 3 before: dict, or values | 1 */
	PM_VALUES_EMBEDDED = 3, /* 3.13 and later: after the object; dict 3 words before */
	PM_VALUES_DICT = 4, /* 3.10: in a dict, at tp_dictoffset, that may share its class's keys */
};

/* How one attribute of one known object is stored. */
enum pm_storage {
	PM_STORED_NOT = 0,
	PM_STORED_SLOT = 1, /* pointer at object + at */
	PM_STORED_INLINE = 2, /* value number `at` of the inline values */
	PM_STORED_DICT = 3, /* entry number `at` of the instance's own dict */
};

struct pm_attr {
	__u64 key; /* address of the name's str object */
	enum pm_storage storage;
	__u32 at;
};

/* CPython's layouts, bytes. */
struct pm_python {
	__u32 cframe; /* in PyThreadState; 0: it has current_frame itself */
	__u32 current_frame; /* in PyThreadState, or in the cframe */
	__u32 frame_code;
	__u32 frame_previous;
	__u32 frame_instr; /* address of an instruction, or an index where there is code_bytes */
	__u32 frame_locals;
	__u32 values; /* enum pm_values */
	__u32 values_first; /* first value after the start of a values array */
	__u32 type_basicsize;
	__u32 type_cached_keys;
	__u32 long_tagged; /* 1: lv_tag (3.12 and later); 0: ob_size */
	__u32 str_data_ascii;
	__u32 str_data;
	__u32 str_length;
	__u32 str_state;
	__u32 set_used;
	__u32 set_mask;
	__u32 set_table;
	__u32 list_items;
	__u32 float_value;
	__u32 cell_ref;
	__u32 str_kind_shift; /* of the 3 bits in state */
	__u32 str_ascii_shift;
	__u32 tuple_items;
	__u32 code_bytes; /* in a code object: pointer to the bytes with its units (3.10); 0: none */
	__u32 type_dictoffset;
	__u64 ref_mask; /* clears the tag bits of a stack reference (3.14) */
};

/* Locals of a watched function: index, or PM_NO_LOCAL. */
#define PM_NO_LOCAL 0xffffu
#define PM_LOCAL_CELL 0x8000u /* the local is a cell: its content is meant */

enum { /* indices of pm_engine.so_keys, attributes of SchedulerOutput */
       PM_SO_NEW = 0,
       PM_SO_CACHED,
       PM_SO_SCHEDULED,
       PM_SO_TOTAL,
       PM_SO_DRAFTS,
       PM_SO_ENCODER,
       PM_SO_FINISHED,
       PM_SO_PREEMPTED,
       PM_SO_KEYS,
};

enum { /* CachedRequestData */
       PM_CRD_IDS = 0,
       PM_CRD_BLOCKS,
       PM_CRD_COMPUTED,
       PM_CRD_KEYS,
};

enum { /* NewRequestData */
       PM_NRD_BLOCKS = 0,
       PM_NRD_COMPUTED,
       PM_NRD_KEYS,
};

enum { /* Request */
       PM_REQ_ID = 0,
       PM_REQ_ARRIVAL,
       PM_REQ_PROMPT,
       PM_REQ_COMPUTED,
       PM_REQ_PREEMPTIONS,
       PM_REQ_TOKENS,
       PM_REQ_MAX_TOKENS,
       PM_REQ_PRIORITY,
       PM_REQ_KEYS,
};

enum { /* what lies on the way to a step's routed experts */
       PM_RE_ROUTED = 0, /* ModelRunnerOutput.routed_experts, PendingAuxOutput.routed_experts */
       PM_RE_ASYNC, /* AsyncOutputFuture.async_output */
       PM_RE_PENDING, /* AsyncOutput.pending_aux_output */
       PM_RE_AUX, /* ModelRunnerOutput.aux_output_connector_output */
       PM_RE_ROWS, /* AuxRequestOutput.rows */
       PM_RE_KEYS,
};

/* Where vLLM has the experts that a step's tokens chose, as its output is taken. */
enum pm_routed_place {
	PM_ROUTED_NOWHERE = 0,
	PM_ROUTED_LISTS = 1, /* model_runner_output.routed_experts: a tuple, the array first */
	PM_ROUTED_PENDING = 2, /* the PendingAuxOutput that the caller's future holds */
};

/* How pm_op finds its blocks. */
enum pm_op_blocks {
	PM_OP_NONE = 0, /* not to be had */
	PM_OP_COUNT = 1, /* argument 1 is a number: blocks from the front of the list */
	PM_OP_LIST = 2, /* argument 1 is the list of blocks */
	PM_OP_ONE = 3, /* argument 1 is the block */
};

/* What a waiting queue is. */
enum pm_queue {
	PM_QUEUE_NONE = 0,
	PM_QUEUE_DEQUE = 1, /* a deque itself */
	PM_QUEUE_HEAP = 2, /* an object with a list in the attribute `heap` */
};

struct pm_op {
	__u64 code; /* of the function that changes the counter */
	__u16 op; /* enum pm_kv_op */
	__u16 blocks; /* enum pm_op_blocks */
	__u32 spare;
};

struct pm_engine {
	__u64 thread_state; /* PyThreadState of the watched thread */
	__u64 none; /* Py_None */
	struct pm_python py;

	/* Scheduler.schedule */
	__u64 schedule_code;
	__u64 schedule_return; /* address of the watched RETURN_VALUE */
	__u64 output_type; /* type SchedulerOutput; 0 unknown */
	__u16 schedule_locals; /* how many */
	__u16 l_self;
	__u16 l_output;
	__u16 l_began;
	__u16 l_victims;
	__u16 l_new;
	__u16 l_resumed;
	__u16 spare0;
	__u64 so_keys[PM_MAX_KEYS];
	__u64 crd_keys[PM_MAX_KEYS];
	__u64 nrd_keys[PM_MAX_KEYS];
	__u64 req_keys[PM_MAX_KEYS];

	/* Scheduler */
	struct pm_attr running;
	struct pm_attr requests;
	struct pm_attr queues[PM_MAX_QUEUES]; /* waiting and its siblings */
	struct pm_attr heap; /* the list inside a queue of kind PM_QUEUE_HEAP */
	__u32 queue_kind[PM_MAX_QUEUES]; /* enum pm_queue */
	__u64 counter; /* address of the slot of num_free_blocks; 0: none */
	__u32 block_size;
	__u32 thread; /* whose hits count, where all CPUs are watched; 0: it alone is */

	/* Scheduler.update_from_output */
	__u64 update_code;
	__u64 update_return;
	__u64 update_resume;
	__u16 update_locals;
	__u16 l_update_output; /* scheduler_output */
	__u16 l_outputs; /* engine_core_outputs */
	__u16 outputs_list; /* EngineCoreOutputs.outputs: offset in the object */
	__u16 out_id; /* EngineCoreOutput: offsets in the object */
	__u16 out_tokens;
	__u16 out_finish;
	__u16 out_bytes; /* of an EngineCoreOutput, up to the last of these */

	/* the free block queue */
	struct pm_op ops[PM_MAX_OPS];
	__u64 owners[PM_MAX_OWNERS]; /* code objects whose argument 1 is the Request */
	struct pm_attr head_next; /* KVCacheBlock.next_free_block; read at `head` */
	struct pm_attr block_id;
	struct pm_attr block_hash;
	/* routed experts */
	__u64 routed_keys[PM_MAX_KEYS];
	__u64 routed_caller; /* code that calls update_from_output, with the future */
	__u64 ndarray; /* type numpy.ndarray */
	__u32 routed; /* enum pm_routed_place */
	__u32 routed_limit; /* bytes that are copied of a step */
	__u16 l_result; /* model_runner_output, of update_from_output */
	__u16 l_future; /* of the caller */
	__u32 spare4;

	__u64 head; /* fake_free_list_head */
	__u32 block_bytes; /* of a block (or its values), up to the last of these */
	__u32 spare3;

	/* kept by the programs */
	__u32 seq;
	__u32 step;
	__u32 update;
	__u32 free_blocks; /* PM_UNKNOWN: not seen yet */
	__u32 sync; /* user space sets it: announce all running requests */
	__u32 so_known; /* inline values of an instance; 0: so_at is not filled yet */
	__u32 crd_known;
	__u32 nrd_known;
	__u64 begun; /* the SchedulerOutput whose update was last begun */
	__u8 so_at[PM_MAX_KEYS]; /* numbers of the inline values */
	__u8 crd_at[PM_MAX_KEYS];
	__u8 nrd_at[PM_MAX_KEYS];
};

enum pm_probe {
	PM_PROBE_SCHEDULE_RETURN = 0,
	PM_PROBE_FREE_BLOCKS = 1,
	PM_PROBE_UPDATE_RETURN = 2,
	PM_PROBE_UPDATE_ENTRY = 3,
	PM_PROBE_ROUTED = 4, /* what update_entry copies of routed experts */
	PM_PROBES = 5,
};

/* Why an event, or a part of one, is missing. */
enum pm_reason {
	PM_LOST_RING_FULL = 0, /* no room in the ring buffer */
	PM_LOST_FAULT = 1, /* memory of the server could not be read */
	PM_LOST_LAYOUT = 2, /* an object is not stored as expected */
	PM_LOST_LIMIT = 3, /* longer than a bound */
	PM_LOST_NOT_CONFIGURED = 4, /* a hit for an engine we were told nothing of */
	PM_SEEN_FOREIGN = 5, /* another code read the watched address: not a loss */
	PM_SEEN_REPEATED = 6, /* the same hit again (specialisation): not a loss */
	PM_LOST_RATE = 7, /* more calls of a hook than are told of */
	PM_REASONS = 8,
};

#endif
