/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What user space tells the programs of hooks, which are functions that the user
 * named, and what they remember of each. A hook is on one function of one process;
 * on a Python function it is on one thread, so that its state needs no lock.
 */
#ifndef PMTRACE_HOOK_H
#define PMTRACE_HOOK_H

#define PM_MAX_TURNS 512

#include "loop.h"
#include "event.h"
#include "config.h"
#include "python.h"
#include "registers.h"
#include "ids.h"

#define PM_MAX_HOOKS 64
#define PM_HOOK_STEPS 4 /* attributes on the way to a value */
#define PM_HOOK_NAME 48 /* bytes of an attribute's name */
#define PM_HOOK_DEPTH 8 /* calls within calls whose ends are awaited */
#define PM_HOOK_FRAMES 64 /* looked at for calls that go on */
#define PM_HOOK_KNOWN 4 /* types remembered for an attribute */

/* An attribute. Its name is compared, not its address: no object is known before. */
struct pm_hook_step {
	__u64 name[PM_HOOK_NAME / 8]; /* with zeros behind */
	__u64 bytes;
};

struct pm_hook_arg {
	__u16 local; /* index, PM_LOCAL_CELL; of a C function: number of the argument */
	__u8 steps;
	__u8 length; /* len() of what is found */
	__u32 spare;
	struct pm_hook_step step[PM_HOOK_STEPS];
};

struct pm_hook {
	__u32 process;
	__u32 rate; /* calls told of in a window; 0: all */
	__u64 window; /* ns */
	__u8 args;
	__u8 returns; /* the returns are watched, too */
	__u8 spare[6];

	/* a Python function; code 0: a C function */
	__u64 code;
	__u64 first; /* address of its first instruction */
	__u64 resume; /* ... of the RESUME that begins it */
	__u64 warmup; /* ... of the counter that CPython 3.11 quickens by; 0: another version */
	__u64 thread_state;
	__u64 none;
	__u64 type_float, type_bool, type_set, type_frozenset, type_deque, type_bytearray;
	__u64 type_member; /* of descriptors of slots */
	__u32 type_flags;
	__u32 type_base;
	__u32 type_dict;
	__u32 type_mro;
	__u32 member_def;
	__u32 def_type;
	__u32 def_offset;
	__u32 managed; /* flag of types whose instances have managed attributes */
	struct pm_python py;
	struct pm_hook_arg arg[PM_HOOK_VALUES];
};

/* Where instances of a type keep an attribute. */
struct pm_hook_known {
	__u64 type;
	struct pm_attr attr; /* PM_STORED_NOT: nowhere */
};

/* A call that goes on. */
struct pm_hook_open {
	__u64 at; /* frame, or stack pointer; 0: none */
	__u64 began;
	__u32 call;
	__u32 spare;
	__u8 kinds[PM_HOOK_VALUES];
	__u64 value[PM_HOOK_VALUES];
};

struct pm_hook_state {
	__u64 calls; /* all that began */
	__u64 lost[PM_REASONS]; /* RING_FULL and RATE: calls that are not told of */
	__u64 window; /* when it began */
	__u32 used; /* calls told of in it */
	__u32 seq;

	/* of Python functions */
	__u64 fetch; /* where in the interpreter the watched instruction was fetched last */
	__u64 quickened; /* frame of the call that quickened the code, where fetch was not known */
	__u64 quickened_at;
	__u64 place[2]; /* where in the interpreter the first instruction is looked at (3.10) */
	__u64 fetches[2]; /* ... how often */
	__u32 cold; /* it is not quickened yet */
	__u32 depth;
	__u64 walk; /* frame */
	__u32 seen; /* of the open calls, those whose frame is on the stack: a bit each */
	__u32 spare;
	struct pm_hook_open open[PM_HOOK_DEPTH];
	struct pm_hook_known known[PM_HOOK_VALUES][PM_HOOK_STEPS][PM_HOOK_KNOWN];

	/* a search for a name */
	__u64 entries;
	__u32 count, size;
	__u32 arg, step;
	__u32 found; /* PM_UNKNOWN: not found */
	__u32 spare2;
	__u64 key, value;
	__u64 room[PM_HOOK_NAME / 8];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PM_MAX_HOOKS);
	__type(key, __u32);
	__type(value, struct pm_hook);
} hooks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PM_MAX_HOOKS);
	__type(key, __u32);
	__type(value, struct pm_hook_state);
} hook_states SEC(".maps");

/* Open calls of C functions. */
struct pm_hook_thread {
	__u32 thread;
	__u32 hook;
};

struct pm_hook_calls {
	struct pm_hook_open open[PM_HOOK_DEPTH];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct pm_hook_thread);
	__type(value, struct pm_hook_calls);
} open_calls SEC(".maps");

/* What a new thread's entry begins as. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct pm_hook_calls);
} no_calls SEC(".maps");

static __always_inline struct pm_hook *hook(__u32 i)
{
	return bpf_map_lookup_elem(&hooks, &i);
}

static __always_inline struct pm_hook_state *hook_state(__u32 i)
{
	return bpf_map_lookup_elem(&hook_states, &i);
}

static __always_inline void hook_lost(struct pm_hook_state *s, __u32 reason)
{
	__sync_fetch_and_add(&s->lost[reason & (PM_REASONS - 1)], 1);
}

/* Whether another call is told of. Threads that begin a window at once may let some
 * more through: each is counted all the same. */
static __always_inline int told(const struct pm_hook *h, struct pm_hook_state *s, __u64 now)
{
	if (!h->rate)
		return 1;
	if (now - s->window >= h->window) {
		s->window = now;
		s->used = 0;
	}
	if (__sync_fetch_and_add(&s->used, 1) < h->rate)
		return 1;
	hook_lost(s, PM_LOST_RATE);
	return 0;
}

static __always_inline void send_hook(__u32 index, struct pm_hook_state *s, __u32 values,
				      __u32 thread, const struct pm_hook_open *o, __u64 duration,
				      __u64 result, __u8 flags)
{
	struct {
		struct pm_hook_call head;
		__u64 value[PM_HOOK_VALUES];
	} ev = {};
	__u64 wake = BPF_RB_NO_WAKEUP;
	__u32 size;

	ev.head.hdr.ktime = o->began;
	ev.head.hdr.seq = __sync_fetch_and_add(&s->seq, 1);
	ev.head.hdr.kind = PM_EV_HOOK;
	ev.head.hdr.engine = index;
	ev.head.hdr.version = PM_WIRE_VERSION;
	ev.head.duration = duration;
	ev.head.result = result;
	ev.head.thread = thread;
	ev.head.call = o->call;
	ev.head.flags = flags;
	for (int i = 0; i < PM_HOOK_VALUES; i++) {
		ev.head.kinds[i] = o->kinds[i];
		ev.value[i] = o->value[i];
	}
	if (values > PM_HOOK_VALUES)
		values = PM_HOOK_VALUES;
	ev.head.values = values;
	size = sizeof(ev.head) + 8 * values;
	if ((ev.head.hdr.seq & 31) == 0 &&
	    bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) > (1 << 20))
		wake = BPF_RB_FORCE_WAKEUP;
	if (bpf_ringbuf_output(&events, &ev, size, wake))
		hook_lost(s, PM_LOST_RING_FULL);
}

#endif
