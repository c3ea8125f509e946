/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What all programs share: the maps, the room to work in, sending an event,
 * counting a loss, entering the frame of a watched function.
 */
#ifndef PMTRACE_WORK_H
#define PMTRACE_WORK_H

#define PM_MAX_TURNS (1 << 17)

#include "loop.h"
#include "event.h"
#include "config.h"
#include "python.h"
#include "frames.h"
#include "ids.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PM_MAX_SLOTS);
	__type(key, __u32);
	__type(value, struct pm_engine);
} engines SEC(".maps");

/* [engine][probe][reason] */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PM_MAX_SLOTS * PM_PROBES * PM_REASONS);
	__type(key, __u32);
	__type(value, __u64);
} losses SEC(".maps");

struct walk {
	__u64 entries; /* or items of a list, or table of a set */
	__u64 ids, computed, blocks; /* items of the lists in CachedRequestData */
	__u64 last_int;
	__u64 cursor; /* block of a linked list */
	__u32 last_value;
	__u32 count, cached;
	__u32 next, base; /* in the CachedRequestData lists */
	__u32 rows, first, bad, step;
	__u32 size; /* of an entry */
	__u32 client, spare;
};

/* Room to work in; too much for a stack of 512 bytes. */
struct scratch {
	__u64 frame; /* of the watched function */
	struct holder holder;
	__u64 so[PM_MAX_VALUES];
	__u64 other[PM_MAX_VALUES];
	__u64 want[PM_MAX_KEYS];
	__u64 found[PM_MAX_KEYS];
	__u32 found_at[PM_MAX_KEYS];
	__u64 entries[3 * PM_BATCH];
	__u64 ids[PM_BATCH];
	__u64 computed[PM_BATCH];
	__u64 blocks[PM_BATCH];
	__u64 object[32];
	struct keys find; /* count: 0 once it failed */
	struct walk walk;
	struct pm_step step;
	struct {
		struct pm_rows head;
		union {
			struct pm_step_row step[PM_MAX_ROWS];
			struct pm_output_row output[PM_MAX_ROWS];
			struct pm_draft_row draft[PM_MAX_ROWS];
			__u64 key[PM_MAX_ROWS];
		};
	} rows;
	struct {
		struct pm_request head;
		__u8 id[PM_MAX_ID];
	} request;
	struct {
		struct pm_prefix head;
		__u32 id[PM_MAX_ROWS];
	} prefix;
	struct {
		struct pm_kv head;
		__u32 id[PM_MAX_ROWS];
	} kv;
	struct pm_update update;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

/* What the body of a loop is given: which engine and probe it works for. */
struct self {
	__u32 engine;
	__u32 probe;
	__u64 a, b;
	__u32 turns, spare;
};

static __always_inline struct scratch *scratch(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&scratches, &zero);
}

static __always_inline struct pm_engine *engine(__u32 i)
{
	return bpf_map_lookup_elem(&engines, &i);
}

static __always_inline void lose(__u32 engine, __u32 probe, __u32 reason)
{
	__u32 i = (engine * PM_PROBES + probe) * PM_REASONS + reason;
	__u64 *n = bpf_map_lookup_elem(&losses, &i);

	if (n)
		__sync_fetch_and_add(n, 1);
}

/* Whether less than half of the ring waits to be read. */
static __always_inline int ring_has_room(void)
{
	return bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) <
	       bpf_ringbuf_query(&events, BPF_RB_RING_SIZE) / 2;
}

/* Names, numbers and sends an event. User space looks into the ring two
 * times a second by itself; it is woken only when the ring fills. */
static __always_inline void send_at(struct pm_engine *e, struct self *self, struct pm_hdr *hdr,
				    __u16 kind, __u32 size, __u64 time)
{
	__u64 wake = BPF_RB_NO_WAKEUP;

	hdr->ktime = time;
	hdr->seq = e->seq++;
	hdr->kind = kind;
	hdr->engine = self->engine & (PM_MAX_ENGINES - 1);
	hdr->version = PM_WIRE_VERSION;
	if ((hdr->seq & 31) == 0 && bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) > (1 << 20))
		wake = BPF_RB_FORCE_WAKEUP;
	if (bpf_ringbuf_output(&events, hdr, size, wake)) {
		lose(self->engine, self->probe, PM_LOST_RING_FULL);
		e->sync = 1; /* it may have been one that told a key's meaning */
	}
}

static __always_inline void send(struct pm_engine *e, struct self *self, struct pm_hdr *hdr,
				 __u16 kind, __u32 size)
{
	send_at(e, self, hdr, kind, size, bpf_ktime_get_ns());
}

static __always_inline void note_bad(struct self *self, __u32 *bad, __u32 bit)
{
	*bad |= bit;
	lose(self->engine, self->probe, bit == PM_BAD_CUT ? PM_LOST_LIMIT : PM_LOST_FAULT);
}

/* Reads n (at most PM_BATCH) pointers. */
static __always_inline int read_batch(__u64 *to, __u64 from, __u32 n)
{
	if (n > PM_BATCH)
		n = PM_BATCH;
	return read_mem(to, n * 8, from);
}

/* KV cache groups of a hybrid model. */
#define PM_MAX_GROUPS 16

/* Lists of requests are read up to this length. */
#define PM_MAX_REQUESTS (1 << 13)

/* How far to walk a list of n requests; PM_UNKNOWN: it could not be read. */
static __always_inline __u32 bounded(struct self *self, __u32 n)
{
	if (n <= PM_MAX_REQUESTS)
		return n;
	if (n == PM_UNKNOWN) {
		lose(self->engine, self->probe, PM_LOST_FAULT);
		return 0;
	}
	lose(self->engine, self->probe, PM_LOST_LIMIT);
	return PM_MAX_REQUESTS;
}

/* Begins a list event. */
static __always_inline void begin_rows(struct scratch *s, __u16 what)
{
	s->walk.rows = 0;
	s->walk.first = 0;
	s->walk.bad = 0;
	s->rows.head.what = what;
}

/* The items and length of a list: 0 where there is none, PM_UNKNOWN where it
 * could not be read. */
static __always_inline __u32 list_items(struct pm_engine *e, __u64 list, __u64 *items)
{
	__u64 head[2]; /* ob_size, ob_item */

	*items = 0;
	if (!list || list == e->none)
		return 0;
	if (read_mem(head, sizeof(head), list + OB_SIZE) || head[0] > 0x7fffffff)
		return PM_UNKNOWN;
	if (head[0])
		*items = head[1];
	return (__u32)head[0];
}

static __always_inline __u32 dict_len(__u64 dict)
{
	return read_len(dict, DICT_USED);
}

/* Prepares to walk a dict; returns the number of its items. */
static __always_inline __u32 open_dict(const struct pm_engine *e, struct scratch *s, __u64 dict)
{
	__u64 head[(DICT_KEYS - DICT_USED) / 8 + 1], used;
	struct keys k = {};

	s->walk.count = 0;
	if (!dict || read_mem(head, sizeof(head), dict + DICT_USED))
		return PM_UNKNOWN;
	used = head[0];
	if (used > 0x7fffffff)
		return PM_UNKNOWN;
	if (used == 0)
		return 0;
	if (read_keys(&e->py, head[(DICT_KEYS - DICT_USED) / 8], &k))
		return PM_UNKNOWN;
	s->walk.entries = k.entries;
	s->walk.count = k.count;
	s->walk.size = k.size;
	return (__u32)used;
}

/* Whether another thread than the engine's touched what is watched: on all CPUs it
 * may be any that has something at the same address. */
static __always_inline int is_foreign(const struct pm_engine *e, const struct self *self)
{
	if (!e->thread || (__u32)current_ids() == e->thread)
		return 0;
	lose(self->engine, self->probe, PM_SEEN_FOREIGN);
	return 1;
}

/* The frame of a watched function, read with its locals; 0 for a foreign hit. */
static __noinline __u64 enter(struct pm_engine *e, struct self *self, __u64 code, __u64 instruction,
			      __u32 locals)
{
	struct frames *f = frames();
	__u64 frame, at;

	if (!f || is_foreign(e, self))
		return 0;
	frame = current_frame(e);
	if (frame)
		read_frame(&e->py, frame, locals);
	if (!frame || frame_code(e, frame) != code) {
		lose(self->engine, self->probe, PM_SEEN_FOREIGN);
		return 0;
	}
	/* The interpreter is at this instruction or has just left the one before
	 * it; an instruction far off means that something else touched the code
	 * (quickening, a copy of co_code). */
	if (frame_instruction(e, frame, code, &at) || at + 64 < instruction ||
	    at > instruction + 8) {
		lose(self->engine, self->probe, PM_SEEN_FOREIGN);
		return 0;
	}
	if (!f->bytes) { /* of another function so many need not have been there */
		lose(self->engine, self->probe, PM_LOST_FAULT);
		return 0;
	}
	return frame;
}

static __always_inline __u32 read_counter(struct pm_engine *e)
{
	__u64 number;

	if (!e->counter || read_ptr(e->counter, &number))
		return PM_UNKNOWN;
	return read_long(&e->py, number);
}

#endif
