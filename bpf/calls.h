/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What user space tells the programs on CUDA calls, and what they remember: the
 * processes, their threads, the functions whose code tells what a call is for.
 */
#ifndef PMTRACE_CALLS_H
#define PMTRACE_CALLS_H

#define PM_MAX_TURNS 1024

#include "loop.h"
#include "event.h"
#include "config.h"
#include "python.h"
#include "registers.h"
#include "ids.h"

#define PM_MAX_WORKERS 64
#define PM_MAX_THREADS 1024 /* that call */
#define PM_MAX_STATES 4096 /* that run Python */
#define PM_MAX_CODES (1 << 14)
#define PM_MAX_PENDING 4
#define PM_WINDOW 2048 /* bytes of a Python stack that are read at once */
#define PM_GENERATIONS 32 /* told apart; then user space empties the classes */

/* pm_worker.flags */
#define PM_WORKER_OTHER_PROCESS 1 /* not the engine's: send PM_EV_WORKER_STEP */

/* A process whose calls are wanted; key: its id. */
struct pm_worker {
	__u32 index; /* in the events */
	__u32 flags;
	__u32 record; /* a bit for each row that is recorded one by one though it needs not */
	__u32 generation; /* counts changes of the codes: what was learned before is void */
	__u32 states; /* ... of the threads' states */
	__u32 spare;
	__u64 name_tokens; /* address of the str total_num_scheduled_tokens; 0: unknown */
	__u64 name_requests; /* ... num_scheduled_tokens */
	struct pm_python py;
};

/* A thread's PyThreadState; key: the thread's id. */
struct pm_state {
	__u64 state;
	__u32 process;
	__u32 spare;
};

struct pm_code_key {
	__u64 code;
	__u32 process;
	__u32 spare;
};

/* pm_code.flags: what a function says of the calls under it. */
#define PM_CODE_WEAK 1 /* its phase counts only right under PM_PHASE_EXECUTE */
#define PM_CODE_DUMMY 2
#define PM_CODE_THROWAWAY 4

struct pm_code {
	__u8 phase; /* enum pm_phase */
	__u8 flags;
	__u16 output; /* local with the SchedulerOutput; PM_NO_LOCAL */
};

/*
 * The attach cookie: which row, and where a, b and c of struct pm_call are found.
 *
 *	bits 0-7 row, 8-23 a, 24-39 b, 40-55 c, 56 the return is probed, too
 *
 * each of a, b, c: bits 0-3 enum pm_place, 4-7 number of the argument, 8-15 offset
 */
enum pm_place {
	PM_NOWHERE = 0,
	PM_ARGUMENT = 1,
	PM_ARGUMENT_32 = 2, /* its low half */
	PM_CONSTANT = 3, /* the offset itself */
	PM_MEMORY = 4, /* 8 bytes at argument + offset */
	PM_PAIR_32 = 5, /* low halves of the argument and the next: x | y << 32 */
	PM_PRODUCT = 6, /* of the argument and the next */
	PM_RESULT = 7, /* 8 bytes at the argument, once the function has returned */
};

#define PM_COOKIE_RETURNS (1ull << 56)

/* A call whose return is awaited. */
struct pm_pending {
	__u64 stack; /* 0: none */
	__u64 began;
	__u64 a, b, c;
	__u32 step;
	__u8 row;
	__u8 phase;
	__u8 flags;
	__u8 silent; /* it is not sent */
};

/* A walk of a Python stack. In the map, not on our own stack: the verifier loses track
 * of numbers there that a loop's callback works with. */
struct stack {
	__u64 base; /* address of what is in pm_thread.room */
	__u64 held; /* bytes of it */
	__u64 frame;
	__u64 ref_mask;
	__u64 output; /* SchedulerOutput of the innermost function that has one */
	__u32 process;
	__u32 worker;
	__u32 generation;
	__u32 frame_words; /* where the first of them is */
	__u32 frame_locals;
	__u32 cell_ref;
	__u32 missed; /* frames in a row that were not in the room */
	__u8 code_word; /* of the words of a frame that are read, those with the code */
	__u8 previous_word; /* ... and the previous frame */
	__u8 want_output;
	__u8 phase; /* 0: not decided yet */
	__u8 weak; /* phase of the outermost weak function before phase was decided */
	__u8 dummy; /* PM_PHASE_CAPTURE or PM_PHASE_DUMMY; 0: neither */
	__u8 throwaway;
	__u8 has_output;
	__u8 failed;
	__u8 spare[3];
};

/* What is remembered of a thread; key: its id. Only the thread itself changes it. */
struct pm_thread {
	__u32 process;
	__u32 seq;
	__u64 first, last; /* call in this phase; 0: none yet */
	__u64 copied;
	__u32 calls, launches, copies;
	__u32 step; /* that the phase belongs to */
	__u8 phase;
	__u8 dummy; /* is there one; phase is that of its first call then */
	__u8 executing; /* the newest call was under a function with a SchedulerOutput */
	__u8 spare[5];
	__u64 state; /* PyThreadState; 0: none, or not known yet */
	__u32 states; /* pm_worker.states when it was learned */
	__u32 spare2;
	struct pm_pending pending[PM_MAX_PENDING];
	struct stack stack;
	/* Room to read into. Not one a CPU: another thread's call may come in between. */
	__u64 room[PM_WINDOW / 8];
};

/* How far a worker process has got. */
struct pm_progress {
	__u64 output;
	__u32 steps; /* begun */
	__u32 spare;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PM_MAX_WORKERS);
	__type(key, __u32);
	__type(value, struct pm_worker);
} workers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PM_MAX_STATES);
	__type(key, __u32);
	__type(value, struct pm_state);
} states SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PM_MAX_CODES);
	__type(key, struct pm_code_key);
	__type(value, struct pm_code);
} codes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PM_MAX_THREADS);
	__type(key, __u32);
	__type(value, struct pm_thread);
} threads SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PM_MAX_WORKERS);
	__type(key, __u32);
	__type(value, struct pm_progress);
} progress SEC(".maps");

/* What was lost of a worker, by row and reason. */
struct pm_call_losses {
	__u64 count[PM_ROWS][PM_REASONS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PM_MAX_WORKERS);
	__type(key, __u32);
	__type(value, struct pm_call_losses);
} call_losses SEC(".maps");

static __always_inline void lose_call(__u32 worker, __u32 row, __u32 reason)
{
	struct pm_call_losses *l = bpf_map_lookup_elem(&call_losses, &worker);

	if (l)
		__sync_fetch_and_add(&l->count[row & (PM_ROWS - 1)][reason & (PM_REASONS - 1)], 1);
}

/* Room for an event of a thread, named and numbered; NULL where there is none, which
 * is counted and takes a number. */
static __always_inline void *reserve(struct pm_worker *w, struct pm_thread *th, __u32 row,
				     __u16 kind, __u64 ktime, __u32 size)
{
	struct pm_hdr *hdr = bpf_ringbuf_reserve(&events, size, 0);
	__u32 seq = th->seq++;

	if (!hdr) {
		lose_call(w->index, row, PM_LOST_RING_FULL);
		return NULL;
	}
	hdr->ktime = ktime;
	hdr->seq = seq;
	hdr->kind = kind;
	hdr->engine = w->index;
	hdr->version = PM_WIRE_VERSION;
	return hdr;
}

/* As in work.h: user space is woken only when the ring fills. */
static __always_inline void submit(struct pm_hdr *hdr)
{
	__u64 wake = BPF_RB_NO_WAKEUP;

	if ((hdr->seq & 31) == 0 && bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) > (1 << 20))
		wake = BPF_RB_FORCE_WAKEUP;
	bpf_ringbuf_submit(hdr, wake);
}

#endif
