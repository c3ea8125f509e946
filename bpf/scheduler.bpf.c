//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * vLLM's scheduler, seen through hardware breakpoints on the thread that runs
 * it: one program for each of the four watches. All events of an engine come
 * from that one thread, so what is kept in struct pm_engine needs no lock.
 */
#include "kernel.h"
#include "event.h"
#include "config.h"
#include "python.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Names that user space needs and no struct mentions. */
const enum pm_probe *use_probe __attribute__((unused));
const enum pm_reason *use_reason __attribute__((unused));
const enum pm_op_blocks *use_op_blocks __attribute__((unused));
const enum pm_kv_op *use_kv_op __attribute__((unused));
const enum pm_kind *use_kind __attribute__((unused));
const enum pm_queue *use_queue __attribute__((unused));

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PM_MAX_ENGINES);
	__type(key, __u32);
	__type(value, struct pm_engine);
} engines SEC(".maps");

/* [engine][probe][reason] */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PM_MAX_ENGINES * PM_PROBES * PM_REASONS);
	__type(key, __u32);
	__type(value, __u64);
} losses SEC(".maps");

struct find {
	__u64 entries, values;
	__u32 count, size;
};

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
	__u32 limit, client;
};

/* Room to work in; too much for a stack of 512 bytes. */
struct scratch {
	__u64 locals[PM_MAX_LOCALS];
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
	struct find find;
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

/* What a callback of bpf_loop is given: which engine and probe it works for. */
struct self {
	__u32 engine;
	__u32 probe;
	__u64 a, b;
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

/* Names, numbers and sends an event. User space looks into the ring some 30
 * times a second by itself; it is woken only when the ring fills. */
static __always_inline void send(struct pm_engine *e, struct self *self, struct pm_hdr *hdr,
				 __u16 kind, __u32 size)
{
	__u64 wake = BPF_RB_NO_WAKEUP;

	hdr->ktime = bpf_ktime_get_ns();
	hdr->seq = e->seq++;
	hdr->kind = kind;
	hdr->engine = self->engine;
	hdr->version = PM_WIRE_VERSION;
	if ((hdr->seq & 31) == 0 && bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) > (1 << 20))
		wake = BPF_RB_FORCE_WAKEUP;
	if (bpf_ringbuf_output(&events, hdr, size, wake))
		lose(self->engine, self->probe, PM_LOST_RING_FULL);
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

/* ---- finding attributes by the addresses of their names ---- */

static long find_one(__u32 i, struct self *self)
{
	struct scratch *s = scratch();
	__u64 key, value;
	__u32 at, left;

	if (!s || i >= s->find.count)
		return 1;
	at = i & (PM_BATCH - 1);
	if (at == 0) {
		left = s->find.count - i;
		if (left > PM_BATCH)
			left = PM_BATCH;
		if (s->find.size == 24) {
			if (read_mem(s->entries, left * 24, s->find.entries + 24ull * i))
				return 1;
		} else if (read_mem(s->entries, left * 16, s->find.entries + 16ull * i)) {
			return 1;
		}
	}
	if (s->find.size == 24) {
		key = s->entries[at * 3 + 1];
		value = s->entries[at * 3 + 2];
	} else {
		key = s->entries[at * 2];
		value = s->entries[at * 2 + 1];
	}
	if (!key)
		return 0;
	for (int j = 0; j < PM_MAX_KEYS; j++) {
		if (s->want[j] == key) {
			s->found[j] = value;
			s->found_at[j] = i;
		}
	}
	return 0;
}

/*
 * Looks for the wanted names among the attributes of an instance: found[] gets
 * the values and found_at[] where they are stored. The slow way, for objects
 * that are seen once or for the first time.
 */
__noinline int find_values(struct self *caller, __u64 object)
{
	struct self me, *self = &me; /* bpf_loop takes a pointer to the stack */
	struct scratch *s = scratch();
	__u64 values, dict, type, at;
	struct pm_engine *e;
	struct keys k;

	if (!caller)
		return -1;
	me = *caller;
	e = engine(self->engine);
	if (!e || !s)
		return -1;
	for (int j = 0; j < PM_MAX_KEYS; j++) {
		s->found[j] = 0;
		s->found_at[j] = PM_UNKNOWN;
	}
	if (!object || instance(e, object, &values, &dict))
		return -1;
	if (values) {
		if (read_ptr(object + OB_TYPE, &type) ||
		    read_ptr(type + e->py.type_cached_keys, &at))
			return -1;
	} else if (read_ptr(dict + DICT_KEYS, &at)) {
		return -1;
	}
	if (read_keys(at, &k) || k.count > PM_MAX_ENTRIES)
		return -1;
	s->find.entries = k.entries;
	s->find.count = k.count;
	s->find.size = k.size;
	bpf_loop(PM_MAX_ENTRIES, find_one, self, 0);
	if (values) {
		for (int j = 0; j < PM_MAX_KEYS; j++) {
			if (s->found_at[j] < PM_MAX_VALUES &&
			    read_ptr(values + 8ull * s->found_at[j], &s->found[j]))
				s->found[j] = 0;
		}
	}
	return values ? 1 : 0;
}

/* ---- lists of keys ---- */

static __always_inline void flush_rows(struct pm_engine *e, struct scratch *s, struct self *self,
				       __u16 kind, __u32 row_size)
{
	__u32 n = s->walk.rows;

	if (n > PM_MAX_ROWS)
		n = PM_MAX_ROWS;
	s->rows.head.step = s->walk.step;
	s->rows.head.first = s->walk.first;
	s->rows.head.rows = n;
	s->rows.head.bad = s->walk.bad;
	send(e, self, &s->rows.head.hdr, kind, sizeof(struct pm_rows) + n * row_size);
	s->walk.first += n;
	s->walk.rows = 0;
	s->walk.bad = 0;
}

static __always_inline void add_key(struct pm_engine *e, struct scratch *s, struct self *self,
				    __u64 key)
{
	__u32 n = s->walk.rows;

	if (n >= PM_MAX_ROWS) {
		flush_rows(e, s, self, PM_EV_KEYS, 8);
		n = 0;
	}
	s->rows.key[n & (PM_MAX_ROWS - 1)] = key;
	s->walk.rows = n + 1;
}

static long set_one(__u32 i, struct self *self)
{
	struct pm_engine *e = engine(self->engine);
	struct scratch *s = scratch();
	__u32 at = i & (PM_BATCH - 1);

	if (!e || !s || i >= s->walk.count)
		return 1;
	if (at == 0) {
		__u32 left = s->walk.count - i;

		if (left > PM_BATCH)
			left = PM_BATCH;
		if (read_mem(s->entries, left * 16, s->walk.entries + 16ull * i)) {
			note_bad(self, &s->walk.bad, PM_BAD_FINISHED);
			return 1;
		}
	}
	/* An entry is key and hash; a deleted one has the hash -1. */
	if (s->entries[at * 2] && s->entries[at * 2 + 1] != ~0ull)
		add_key(e, s, self, s->entries[at * 2]);
	return 0;
}

#define PM_MAX_SET (1 << 13)

/* Sends the members of a set of request ids. Returns their number. */
__noinline __u32 send_set(struct self *caller, __u64 set, __u32 what)
{
	struct self me, *self = &me; /* bpf_loop takes a pointer to the stack */
	struct scratch *s = scratch();
	struct pm_engine *e;
	__u64 used, mask;

	if (!caller)
		return PM_UNKNOWN;
	me = *caller;
	e = engine(self->engine);
	if (!e || !s)
		return PM_UNKNOWN;
	if (!set || set == e->none)
		return 0;
	if (read_ptr(set + e->py.set_used, &used) || used > 0x7fffffff)
		return PM_UNKNOWN;
	if (used == 0)
		return 0;
	if (read_ptr(set + e->py.set_mask, &mask) ||
	    read_ptr(set + e->py.set_table, &s->walk.entries))
		return PM_UNKNOWN;
	s->walk.rows = 0;
	s->walk.first = 0;
	s->walk.bad = 0;
	s->walk.count = mask + 1;
	if (mask >= PM_MAX_SET) {
		s->walk.count = PM_MAX_SET;
		note_bad(self, &s->walk.bad, PM_BAD_CUT);
	}
	s->rows.head.what = what;
	bpf_loop(PM_MAX_SET, set_one, self, 0);
	flush_rows(e, s, self, PM_EV_KEYS, 8);
	return (__u32)used;
}

/* ---- requests ---- */

static __always_inline void copy_keys(struct scratch *s, const __u64 *keys)
{
	for (int j = 0; j < PM_MAX_KEYS; j++)
		s->want[j] = keys[j] ? keys[j] : ~0ull;
}

static __always_inline __u32 found_long(struct pm_engine *e, struct scratch *s, int which)
{
	return read_long(&e->py, s->found[which]);
}

/* Announces a Request: what its key means. Returns its key. */
__noinline __u64 send_request(struct self *caller, __u64 object, __u32 why)
{
	struct self me, *self = &me; /* bpf_loop takes a pointer to the stack */
	struct scratch *s = scratch();
	struct pm_request *r;
	struct pm_engine *e;
	__u64 id, length;
	__u32 state, kind, size;

	if (!caller)
		return 0;
	me = *caller;
	e = engine(self->engine);
	if (!e || !s)
		return 0;
	r = &s->request.head;
	copy_keys(s, e->req_keys);
	r->bad = 0;
	if (find_values(self, object) < 0)
		note_bad(self, &r->bad, PM_BAD_REQUESTS);
	id = s->found[PM_REQ_ID];
	r->key = id;
	r->object = object;
	r->step = e->step;
	r->why = why;
	r->arrival = 0;
	if (s->found[PM_REQ_ARRIVAL])
		read_ptr(s->found[PM_REQ_ARRIVAL] + e->py.float_value, &r->arrival);
	r->prompt_tokens = found_long(e, s, PM_REQ_PROMPT);
	r->computed = found_long(e, s, PM_REQ_COMPUTED);
	r->preemptions = found_long(e, s, PM_REQ_PREEMPTIONS);
	r->max_tokens = found_long(e, s, PM_REQ_MAX_TOKENS);
	r->priority = (__s32)found_long(e, s, PM_REQ_PRIORITY);
	if (r->priority == -1)
		r->priority = 0;
	r->tokens = read_len(s->found[PM_REQ_TOKENS], OB_SIZE);
	r->id_bytes = 0;
	r->id_kind = 1;
	r->id_flags = 0;
	if (id && !read_ptr(id + e->py.str_length, &length) &&
	    !read_mem(&state, 4, id + e->py.str_state)) {
		kind = state >> e->py.str_kind_shift & 7;
		if (kind != 2 && kind != 4)
			kind = 1;
		if (length > PM_MAX_ID / kind) {
			length = PM_MAX_ID / kind;
			r->id_flags = PM_REQ_ID_CUT;
		}
		size = (__u32)length * kind;
		if (size > PM_MAX_ID)
			size = PM_MAX_ID;
		id += state >> e->py.str_ascii_shift & 1 ? e->py.str_data_ascii : e->py.str_data;
		if (read_mem(s->request.id, size, id)) {
			note_bad(self, &r->bad, PM_BAD_ID);
			size = 0;
		}
		r->id_bytes = size;
		r->id_kind = kind;
	} else {
		note_bad(self, &r->bad, PM_BAD_ID);
	}
	size = r->id_bytes;
	if (size > PM_MAX_ID)
		size = PM_MAX_ID;
	send(e, self, &r->hdr, PM_EV_REQUEST, sizeof(*r) + size);
	return r->key;
}

static __always_inline void flush_prefix(struct pm_engine *e, struct scratch *s, struct self *self)
{
	__u32 n = s->walk.rows;

	if (n > PM_MAX_ROWS)
		n = PM_MAX_ROWS;
	s->prefix.head.rows = n;
	s->prefix.head.first = s->walk.first;
	s->prefix.head.bad = s->walk.bad;
	send(e, self, &s->prefix.head.hdr, PM_EV_PREFIX, sizeof(struct pm_prefix) + n * 4);
	s->walk.first += n;
	s->walk.rows = 0;
	s->walk.bad = 0;
}

static long prefix_one(__u32 i, struct self *self)
{
	struct pm_engine *e = engine(self->engine);
	struct scratch *s = scratch();
	__u32 at = i & (PM_BATCH - 1), n;

	if (!e || !s || i >= s->walk.count)
		return 1;
	if (at == 0 && read_batch(s->ids, s->walk.entries + 8ull * i, s->walk.count - i)) {
		note_bad(self, &s->walk.bad, PM_BAD_BLOCKS);
		return 1;
	}
	n = s->walk.rows;
	if (n >= PM_MAX_ROWS) {
		flush_prefix(e, s, self);
		n = 0;
	}
	s->prefix.id[n & (PM_MAX_ROWS - 1)] = read_long(&e->py, s->ids[at]);
	s->walk.rows = n + 1;
	return 0;
}

#define PM_MAX_PREFIX (1 << 15)
#define PM_MAX_GROUPS 4

/*
 * Sends the ids of the blocks that a new or resumed request found computed:
 * the first `computed` tokens' worth of each KV cache group. block_ids is a
 * tuple of lists.
 */
__noinline int send_prefix(struct self *caller, __u64 key, __u64 block_ids, __u32 computed)
{
	struct self me, *self = &me; /* bpf_loop takes a pointer to the stack */
	struct scratch *s = scratch();
	struct pm_engine *e;
	__u32 groups, blocks, n;
	__u64 list;

	if (!caller)
		return -1;
	me = *caller;
	e = engine(self->engine);
	if (!e || !s || !e->block_size || computed == PM_UNKNOWN || !computed)
		return 0;
	blocks = (computed + e->block_size - 1) / e->block_size;
	groups = read_len(block_ids, OB_SIZE);
	if (groups == PM_UNKNOWN)
		return -1;
	if (groups > PM_MAX_GROUPS)
		groups = PM_MAX_GROUPS;
	for (__u32 g = 0; g < PM_MAX_GROUPS; g++) {
		if (g >= groups)
			break;
		if (read_ptr(block_ids + e->py.tuple_items + 8ull * g, &list))
			return -1;
		n = read_len(list, OB_SIZE);
		if (n == PM_UNKNOWN || read_ptr(list + e->py.list_items, &s->walk.entries))
			return -1;
		s->walk.count = n < blocks ? n : blocks;
		s->walk.rows = 0;
		s->walk.first = 0;
		s->walk.bad = 0;
		s->prefix.head.key = key;
		s->prefix.head.step = e->step;
		s->prefix.head.group = g;
		bpf_loop(PM_MAX_PREFIX, prefix_one, self, 0);
		if (s->walk.rows)
			flush_prefix(e, s, self);
	}
	return 0;
}

/* Numbers of the inline values of a class's instances, remembered. */
static __always_inline int learn(struct self *self, __u64 object, const __u64 *keys, __u8 *at,
				 __u32 *known)
{
	struct scratch *s = scratch();

	if (*known)
		return 0;
	if (!s)
		return -1;
	copy_keys(s, keys);
	if (find_values(self, object) != 1) {
		lose(self->engine, self->probe, PM_LOST_LAYOUT);
		return -1;
	}
	for (int j = 0; j < PM_MAX_KEYS; j++)
		at[j] = s->found_at[j] < PM_MAX_VALUES ? s->found_at[j] : 255;
	*known = s->find.count;
	return 0;
}

/* All n inline values of an instance at once, and not a byte more: the next
 * page may never have been touched. */
static __always_inline int read_values(struct pm_engine *e, __u64 object, __u64 *to, __u32 n)
{
	__u64 values, dict;

	if (!object || instance(e, object, &values, &dict) || !values)
		return -1;
	if (n > PM_MAX_VALUES)
		n = PM_MAX_VALUES;
	return read_mem(to, n * 8, values);
}

static __always_inline __u64 value(const __u64 *values, const __u8 *at, int which)
{
	__u32 i = at[which];

	return i < PM_MAX_VALUES ? values[i] : 0;
}

/* A scheduled_new_reqs entry i of both lists: the Request and its NewRequestData. */
static long new_one(__u32 i, struct self *self)
{
	struct pm_engine *e = engine(self->engine);
	struct scratch *s = scratch();
	__u64 object, data, key;

	if (!e || !s)
		return 1;
	if (read_ptr(self->a + 8ull * i, &object)) {
		lose(self->engine, self->probe, PM_LOST_FAULT);
		return 1;
	}
	key = send_request(self, object, PM_REQ_NEW);
	if (!self->b || read_ptr(self->b + 8ull * i, &data))
		return 0;
	if (learn(self, data, e->nrd_keys, e->nrd_at, &e->nrd_known))
		return 0;
	if (read_values(e, data, s->other, e->nrd_known)) {
		lose(self->engine, self->probe, PM_LOST_LAYOUT);
		return 0;
	}
	send_prefix(self, key, value(s->other, e->nrd_at, PM_NRD_BLOCKS),
		    read_long(&e->py, value(s->other, e->nrd_at, PM_NRD_COMPUTED)));
	return 0;
}

/* A scheduled_resumed_reqs entry; a and b are the lists' items, c the offset of
 * the first resumed request in CachedRequestData. */
static long resumed_one(__u32 i, struct self *self)
{
	struct pm_engine *e = engine(self->engine);
	struct scratch *s = scratch();
	__u64 object, blocks, computed, key;

	if (!e || !s)
		return 1;
	if (read_ptr(self->a + 8ull * i, &object)) {
		lose(self->engine, self->probe, PM_LOST_FAULT);
		return 1;
	}
	key = send_request(self, object, PM_REQ_RESUMED);
	i += (__u32)self->b;
	if (read_ptr(s->walk.blocks + 8ull * i, &blocks) ||
	    read_ptr(s->walk.computed + 8ull * i, &computed))
		return 0;
	if (blocks != e->none)
		send_prefix(self, key, blocks, read_long(&e->py, computed));
	return 0;
}

static long sync_one(__u32 i, struct self *self)
{
	__u64 object;

	if (read_ptr(self->a + 8ull * i, &object)) {
		lose(self->engine, self->probe, PM_LOST_FAULT);
		return 1;
	}
	send_request(self, object, PM_REQ_SYNC);
	return 0;
}

static long victim_one(__u32 i, struct self *self)
{
	struct pm_engine *e = engine(self->engine);
	struct scratch *s = scratch();
	__u64 object;

	if (!e || !s)
		return 1;
	if (read_ptr(self->a + 8ull * i, &object))
		return 1;
	copy_keys(s, e->req_keys);
	if (find_values(self, object) >= 0 && s->found[PM_REQ_ID])
		add_key(e, s, self, s->found[PM_REQ_ID]);
	return 0;
}

#define PM_MAX_REQUESTS (1 << 12)

/* The items and length of a list; 0 where there are none. */
static __always_inline __u32 list_items(struct pm_engine *e, __u64 list, __u64 *items)
{
	__u32 n = list && list != e->none ? read_len(list, OB_SIZE) : 0;

	*items = 0;
	if (n == 0 || n == PM_UNKNOWN || read_ptr(list + e->py.list_items, items))
		return 0;
	return n;
}

/* ---- the rows of a step ---- */

static __always_inline __u32 count_blocks(struct pm_engine *e, __u64 tuple)
{
	__u64 list;
	__u32 groups, n, sum = 0;

	if (!tuple || tuple == e->none)
		return 0;
	groups = read_len(tuple, OB_SIZE);
	if (groups == PM_UNKNOWN)
		return PM_UNKNOWN;
	for (__u32 g = 0; g < PM_MAX_GROUPS; g++) {
		if (g >= groups)
			break;
		if (read_ptr(tuple + e->py.tuple_items + 8ull * g, &list))
			return PM_UNKNOWN;
		n = read_len(list, OB_SIZE);
		if (n == PM_UNKNOWN)
			return PM_UNKNOWN;
		sum += n;
	}
	return sum;
}

static long row_one(__u32 i, struct self *self)
{
	struct pm_engine *e = engine(self->engine);
	struct scratch *s = scratch();
	struct pm_step_row *row;
	struct walk *w;
	__u32 at = i & (PM_BATCH - 1), left, n, j;
	__u64 key, number;

	if (!e || !s)
		return 1;
	w = &s->walk;
	if (i >= w->count)
		return 1;
	if (at == 0) {
		left = w->count - i;
		if (left > PM_BATCH)
			left = PM_BATCH;
		if (w->size == 24) {
			if (read_mem(s->entries, left * 24, w->entries + 24ull * i)) {
				note_bad(self, &w->bad, PM_BAD_ROWS);
				return 1;
			}
		} else if (read_mem(s->entries, left * 16, w->entries + 16ull * i)) {
			note_bad(self, &w->bad, PM_BAD_ROWS);
			return 1;
		}
		w->base = w->next;
		left = w->cached - w->next;
		if (left > PM_BATCH)
			left = PM_BATCH;
		if (left && (read_batch(s->ids, w->ids + 8ull * w->next, left) ||
			     read_batch(s->computed, w->computed + 8ull * w->next, left) ||
			     read_batch(s->blocks, w->blocks + 8ull * w->next, left))) {
			note_bad(self, &w->bad, PM_BAD_COMPUTED);
			w->cached = w->next;
		}
	}
	if (w->size == 24) {
		key = s->entries[at * 3 + 1];
		number = s->entries[at * 3 + 2];
	} else {
		key = s->entries[at * 2];
		number = s->entries[at * 2 + 1];
	}
	if (!key || !number)
		return 0; /* deleted: a request that was preempted in this call */
	n = w->rows;
	if (n >= PM_MAX_ROWS) {
		flush_rows(e, s, self, PM_EV_STEP_ROWS, sizeof(*row));
		n = 0;
	}
	row = &s->rows.step[n & (PM_MAX_ROWS - 1)];
	w->rows = n + 1;
	row->key = key;
	row->bad = 0;
	if (number != w->last_int) {
		w->last_value = read_long(&e->py, number);
		w->last_int = number;
		if (w->last_value == PM_UNKNOWN)
			note_bad(self, &row->bad, PM_BAD_ROWS);
	}
	row->scheduled = w->last_value;
	row->computed = PM_UNKNOWN;
	row->new_blocks = PM_UNKNOWN;
	j = (w->next - w->base) & (PM_BATCH - 1);
	if (w->next < w->cached && s->ids[j] == key) {
		w->next++;
		row->computed = read_long(&e->py, s->computed[j]);
		if (row->computed == PM_UNKNOWN)
			note_bad(self, &row->bad, PM_BAD_COMPUTED);
		row->new_blocks = count_blocks(e, s->blocks[j]);
		if (row->new_blocks == PM_UNKNOWN)
			note_bad(self, &row->bad, PM_BAD_BLOCKS);
	}
	return 0;
}

static long draft_one(__u32 i, struct self *self)
{
	struct pm_engine *e = engine(self->engine);
	struct scratch *s = scratch();
	__u64 entry[2];
	__u32 n;

	if (!e || !s || i >= s->walk.count)
		return 1;
	if (read_mem(entry, 16, s->walk.entries + 16ull * i)) {
		note_bad(self, &s->walk.bad, PM_BAD_DRAFTS);
		return 1;
	}
	if (!entry[0] || !entry[1])
		return 0;
	n = s->walk.rows;
	if (n >= PM_MAX_ROWS) {
		flush_rows(e, s, self, PM_EV_DRAFTS, sizeof(struct pm_draft_row));
		n = 0;
	}
	s->rows.draft[n & (PM_MAX_ROWS - 1)].key = entry[0];
	s->rows.draft[n & (PM_MAX_ROWS - 1)].drafts = read_len(entry[1], OB_SIZE);
	s->rows.draft[n & (PM_MAX_ROWS - 1)].spare = 0;
	s->walk.rows = n + 1;
	return 0;
}

/* Prepares to walk a dict; returns the number of its items. */
static __always_inline __u32 open_dict(struct scratch *s, __u64 dict)
{
	__u64 used, at;
	struct keys k;

	s->walk.count = 0;
	if (!dict || read_ptr(dict + DICT_USED, &used) || used > 0x7fffffff)
		return PM_UNKNOWN;
	if (used == 0)
		return 0;
	if (read_ptr(dict + DICT_KEYS, &at) || read_keys(at, &k))
		return PM_UNKNOWN;
	s->walk.entries = k.entries;
	s->walk.count = k.count;
	s->walk.size = k.size;
	return (__u32)used;
}

static __always_inline __u32 dict_len(__u64 dict)
{
	return read_len(dict, DICT_USED);
}

/* ---- Scheduler.schedule returns ---- */

/* The frame and locals of a watched function, or 0 for a foreign hit. */
static __always_inline __u64 enter(struct pm_engine *e, struct scratch *s, struct self *self,
				   __u64 code, __u64 instruction, __u32 locals)
{
	__u64 frame = current_frame(e), at;

	if (!frame || frame_code(e, frame) != code) {
		lose(self->engine, self->probe, PM_SEEN_FOREIGN);
		return 0;
	}
	/* The interpreter is at this instruction or has just left the one before
	 * it; an instruction far off means that something else touched the code
	 * (quickening, a copy of co_code). */
	if (read_ptr(frame + e->py.frame_instr, &at) || at + 64 < instruction ||
	    at > instruction + 8) {
		lose(self->engine, self->probe, PM_SEEN_FOREIGN);
		return 0;
	}
	if (locals > PM_MAX_LOCALS)
		locals = PM_MAX_LOCALS;
	if (read_mem(s->locals, locals * 8, frame + e->py.frame_locals)) {
		lose(self->engine, self->probe, PM_LOST_FAULT);
		return 0;
	}
	return frame;
}

static __always_inline __u32 queue_len(struct pm_engine *e, __u64 scheduler)
{
	__u32 sum = 0, n;
	__u64 queue;

	for (int q = 0; q < PM_MAX_QUEUES; q++) {
		if (e->queue_kind[q] == PM_QUEUE_NONE)
			continue;
		queue = read_attr(e, scheduler, &e->queues[q]);
		if (e->queue_kind[q] == PM_QUEUE_HEAP)
			queue = read_attr(e, queue, &e->heap);
		n = read_len(queue, OB_SIZE);
		if (n == PM_UNKNOWN)
			return PM_UNKNOWN;
		sum += n;
	}
	return sum;
}

static __always_inline __u32 read_counter(struct pm_engine *e)
{
	__u64 number;

	if (!e->counter || read_ptr(e->counter, &number))
		return PM_UNKNOWN;
	return read_long(&e->py, number);
}

SEC("perf_event")
int schedule_return(void *ctx)
{
	struct self self = { .probe = PM_PROBE_SCHEDULE_RETURN };
	struct scratch *s = scratch();
	struct pm_engine *e;
	struct pm_step *st;
	__u64 scheduler, output, cached, list, items, began, type;
	__u32 n, resumed, cached_blocks_ok;

	self.engine = (__u32)bpf_get_attach_cookie(ctx);
	e = engine(self.engine);
	if (!e || !s || !e->schedule_code) {
		lose(self.engine & (PM_MAX_ENGINES - 1), self.probe, PM_LOST_NOT_CONFIGURED);
		return 0;
	}
	if (!enter(e, s, &self, e->schedule_code, e->schedule_return, e->schedule_locals))
		return 0;
	output = local(e, s->locals, e->l_output);
	if (!output || read_ptr(output + OB_TYPE, &type) ||
	    (e->output_type && type != e->output_type)) {
		lose(self.engine, self.probe, PM_SEEN_FOREIGN);
		return 0;
	}
	e->hits[PM_PROBE_SCHEDULE_RETURN]++;
	scheduler = local(e, s->locals, e->l_self);

	st = &s->step;
	st->bad = 0;
	st->output = output;
	st->step = e->step;
	s->walk.step = e->step;
	st->began = 0;
	began = local(e, s->locals, e->l_began);
	if (!began || read_ptr(began + e->py.float_value, &st->began))
		note_bad(&self, &st->bad, PM_BAD_TIME);
	st->running = read_len(read_attr(e, scheduler, &e->running), OB_SIZE);
	st->waiting = queue_len(e, scheduler);
	if (st->running == PM_UNKNOWN || st->waiting == PM_UNKNOWN)
		note_bad(&self, &st->bad, PM_BAD_QUEUES);
	st->requests = dict_len(read_attr(e, scheduler, &e->requests));
	st->free_blocks = read_counter(e);
	if (st->free_blocks == PM_UNKNOWN && e->counter)
		note_bad(&self, &st->bad, PM_BAD_FREE);
	e->free_blocks = st->free_blocks;

	st->tokens = PM_UNKNOWN;
	st->rows = PM_UNKNOWN;
	st->new_requests = PM_UNKNOWN;
	st->cached_requests = PM_UNKNOWN;
	st->finished = PM_UNKNOWN;
	st->preempted = PM_UNKNOWN;
	st->drafts = PM_UNKNOWN;
	st->encoder_inputs = PM_UNKNOWN;
	st->victims = 0;
	list = local(e, s->locals, e->l_victims);
	if (list)
		st->victims = read_len(list, OB_SIZE);

	if (learn(&self, output, e->so_keys, e->so_at, &e->so_known) ||
	    read_values(e, output, s->so, e->so_known)) {
		note_bad(&self, &st->bad, PM_BAD_ROWS | PM_BAD_TOTALS);
		send(e, &self, &st->hdr, PM_EV_STEP, sizeof(*st));
		e->step++;
		return 0;
	}
	st->tokens = read_long(&e->py, value(s->so, e->so_at, PM_SO_TOTAL));
	if (st->tokens == PM_UNKNOWN)
		note_bad(&self, &st->bad, PM_BAD_TOTALS);
	st->rows = dict_len(value(s->so, e->so_at, PM_SO_SCHEDULED));
	st->new_requests = read_len(value(s->so, e->so_at, PM_SO_NEW), OB_SIZE);
	st->drafts = dict_len(value(s->so, e->so_at, PM_SO_DRAFTS));
	st->encoder_inputs = dict_len(value(s->so, e->so_at, PM_SO_ENCODER));
	st->finished = read_len(value(s->so, e->so_at, PM_SO_FINISHED), e->py.set_used);
	list = value(s->so, e->so_at, PM_SO_PREEMPTED);
	st->preempted = !list || list == e->none ? 0 : read_len(list, e->py.set_used);

	cached = value(s->so, e->so_at, PM_SO_CACHED);
	s->walk.cached = 0;
	s->walk.next = 0;
	s->walk.ids = 0;
	s->walk.computed = 0;
	s->walk.blocks = 0;
	cached_blocks_ok = 0;
	if (!learn(&self, cached, e->crd_keys, e->crd_at, &e->crd_known) &&
	    !read_values(e, cached, s->other, e->crd_known)) {
		n = list_items(e, value(s->other, e->crd_at, PM_CRD_IDS), &s->walk.ids);
		st->cached_requests = n;
		if (list_items(e, value(s->other, e->crd_at, PM_CRD_COMPUTED), &s->walk.computed) ==
			    n &&
		    list_items(e, value(s->other, e->crd_at, PM_CRD_BLOCKS), &s->walk.blocks) ==
			    n) {
			s->walk.cached = n;
			cached_blocks_ok = 1;
		}
	}
	if (!cached_blocks_ok)
		note_bad(&self, &st->bad, PM_BAD_COMPUTED);
	send(e, &self, &st->hdr, PM_EV_STEP, sizeof(*st));

	if (st->finished &&
	    send_set(&self, value(s->so, e->so_at, PM_SO_FINISHED), PM_KEYS_FINISHED) == PM_UNKNOWN)
		lose(self.engine, self.probe, PM_LOST_FAULT);
	if (st->preempted && send_set(&self, value(s->so, e->so_at, PM_SO_PREEMPTED),
				      PM_KEYS_PREEMPTED) == PM_UNKNOWN)
		lose(self.engine, self.probe, PM_LOST_FAULT);
	n = list_items(e, local(e, s->locals, e->l_victims), &items);
	if (n) {
		s->walk.rows = 0;
		s->walk.first = 0;
		s->walk.bad = 0;
		s->rows.head.what = PM_KEYS_VICTIMS;
		self.a = items;
		if (n > PM_MAX_REQUESTS) {
			n = PM_MAX_REQUESTS;
			note_bad(&self, &s->walk.bad, PM_BAD_CUT);
		}
		bpf_loop(n, victim_one, &self, 0);
		flush_rows(e, s, &self, PM_EV_KEYS, 8);
	}

	/* Requests that this call took from waiting. */
	n = list_items(e, local(e, s->locals, e->l_new), &items);
	if (n) {
		__u64 data;

		if (list_items(e, value(s->so, e->so_at, PM_SO_NEW), &data) != n)
			data = 0;
		self.a = items;
		self.b = data;
		if (n > PM_MAX_REQUESTS) {
			n = PM_MAX_REQUESTS;
			lose(self.engine, self.probe, PM_LOST_LIMIT);
		}
		bpf_loop(n, new_one, &self, 0);
	}
	resumed = list_items(e, local(e, s->locals, e->l_resumed), &items);
	if (resumed) {
		self.a = items;
		self.b = s->walk.cached - resumed;
		if (resumed > PM_MAX_REQUESTS) {
			resumed = PM_MAX_REQUESTS;
			lose(self.engine, self.probe, PM_LOST_LIMIT);
		}
		bpf_loop(resumed, resumed_one, &self, 0);
	}
	if (e->sync) {
		e->sync = 0;
		n = list_items(e, read_attr(e, scheduler, &e->running), &items);
		self.a = items;
		if (n > PM_MAX_REQUESTS) {
			n = PM_MAX_REQUESTS;
			lose(self.engine, self.probe, PM_LOST_LIMIT);
		}
		bpf_loop(n, sync_one, &self, 0);
	}

	if (st->rows && st->rows != PM_UNKNOWN) {
		s->walk.rows = 0;
		s->walk.first = 0;
		s->walk.bad = 0;
		s->walk.base = 0;
		s->walk.last_int = 0;
		s->rows.head.what = 0;
		if (open_dict(s, value(s->so, e->so_at, PM_SO_SCHEDULED)) == PM_UNKNOWN) {
			note_bad(&self, &s->walk.bad, PM_BAD_ROWS);
		} else {
			if (s->walk.count > 2 * PM_MAX_REQUESTS) {
				s->walk.count = 2 * PM_MAX_REQUESTS;
				note_bad(&self, &s->walk.bad, PM_BAD_CUT);
			}
			bpf_loop(s->walk.count, row_one, &self, 0);
		}
		if (s->walk.rows || s->walk.bad)
			flush_rows(e, s, &self, PM_EV_STEP_ROWS, sizeof(struct pm_step_row));
	}
	if (st->drafts && st->drafts != PM_UNKNOWN) {
		s->walk.rows = 0;
		s->walk.first = 0;
		s->walk.bad = 0;
		s->rows.head.what = 0;
		if (open_dict(s, value(s->so, e->so_at, PM_SO_DRAFTS)) == PM_UNKNOWN ||
		    s->walk.size != 16)
			note_bad(&self, &s->walk.bad, PM_BAD_DRAFTS);
		else
			bpf_loop(2 * PM_MAX_REQUESTS, draft_one, &self, 0);
		if (s->walk.rows || s->walk.bad)
			flush_rows(e, s, &self, PM_EV_DRAFTS, sizeof(struct pm_draft_row));
	}
	e->begun = 0;
	e->step++;
	return 0;
}

/* ---- Scheduler.update_from_output ---- */

SEC("perf_event")
int update_entry(void *ctx)
{
	struct self self = { .probe = PM_PROBE_UPDATE_ENTRY };
	struct scratch *s = scratch();
	struct pm_engine *e;
	__u64 output;

	self.engine = (__u32)bpf_get_attach_cookie(ctx);
	e = engine(self.engine);
	if (!e || !s || !e->update_code) {
		lose(self.engine & (PM_MAX_ENGINES - 1), self.probe, PM_LOST_NOT_CONFIGURED);
		return 0;
	}
	if (!enter(e, s, &self, e->update_code, e->update_resume, 4))
		return 0;
	output = local(e, s->locals, e->l_update_output);
	if (!output || output == e->begun) {
		lose(self.engine, self.probe, PM_SEEN_REPEATED);
		return 0;
	}
	e->begun = output;
	e->hits[PM_PROBE_UPDATE_ENTRY]++;
	s->update.output = output;
	s->update.update = e->update;
	s->update.rows = 0;
	s->update.bad = 0;
	send(e, &self, &s->update.hdr, PM_EV_UPDATE_BEGIN, sizeof(s->update));
	return 0;
}

/* One EngineCoreOutput. */
static long output_one(__u32 i, struct self *self)
{
	struct pm_engine *e = engine(self->engine);
	struct scratch *s = scratch();
	struct pm_output_row *row;
	__u32 at = i & (PM_BATCH - 1), n, finish;
	__u64 object;
	struct walk *w;

	if (!e || !s)
		return 1;
	w = &s->walk;
	if (i >= w->count)
		return 1;
	if (at == 0 && read_batch(s->ids, w->entries + 8ull * i, w->count - i)) {
		note_bad(self, &w->bad, PM_BAD_ROWS);
		return 1;
	}
	object = s->ids[at];
	n = e->out_bytes;
	if (n > sizeof(s->object))
		n = sizeof(s->object);
	if (read_mem(s->object, n, object)) {
		note_bad(self, &w->bad, PM_BAD_ROWS);
		return 0;
	}
	n = w->rows;
	if (n >= PM_MAX_ROWS) {
		flush_rows(e, s, self, PM_EV_OUTPUT_ROWS, sizeof(*row));
		n = 0;
	}
	row = &s->rows.output[n & (PM_MAX_ROWS - 1)];
	w->rows = n + 1;
	row->key = s->object[e->out_id / 8 & 31];
	row->tokens = read_len(s->object[e->out_tokens / 8 & 31], OB_SIZE);
	if (row->tokens == PM_UNKNOWN)
		note_bad(self, &w->bad, PM_BAD_ROWS);
	row->finish = -1;
	row->client = w->client;
	object = s->object[e->out_finish / 8 & 31];
	if (object && object != e->none) {
		finish = read_long(&e->py, object);
		row->finish = finish > 0x7fff ? 0x7fff : (__s16)finish;
	}
	return 0;
}

#define PM_MAX_CLIENTS 64

/* The EngineCoreOutputs of one client: an entry of the dict in a, with entries
 * of size b. */
static long client_one(__u32 i, struct self *self)
{
	struct pm_engine *e = engine(self->engine);
	struct scratch *s = scratch();
	__u64 entry[3], at;
	__u32 n;

	if (!e || !s)
		return 1;
	if (read_mem(entry, 24, self->a + self->b * i)) {
		note_bad(self, &s->update.bad, PM_BAD_ROWS);
		return 1;
	}
	at = self->b == 24 ? entry[2] : entry[1];
	if (!at || read_ptr(at + e->outputs_list, &at))
		return 0;
	n = list_items(e, at, &s->walk.entries);
	if (n > PM_MAX_REQUESTS) {
		n = PM_MAX_REQUESTS;
		note_bad(self, &s->update.bad, PM_BAD_CUT);
	}
	s->walk.count = n;
	s->walk.client = self->b == 24 ? read_long(&e->py, entry[1]) : i;
	s->update.rows += n;
	bpf_loop(n, output_one, self, 0);
	return 0;
}

SEC("perf_event")
int update_return(void *ctx)
{
	struct self self = { .probe = PM_PROBE_UPDATE_RETURN };
	struct scratch *s = scratch();
	struct pm_engine *e;
	struct keys k = {};
	__u64 output, outputs, at, used;

	self.engine = (__u32)bpf_get_attach_cookie(ctx);
	e = engine(self.engine);
	if (!e || !s || !e->update_code) {
		lose(self.engine & (PM_MAX_ENGINES - 1), self.probe, PM_LOST_NOT_CONFIGURED);
		return 0;
	}
	if (!enter(e, s, &self, e->update_code, e->update_return, e->update_locals))
		return 0;
	output = local(e, s->locals, e->l_update_output);
	outputs = local(e, s->locals, e->l_outputs);
	if (!output || !outputs || read_ptr(outputs + DICT_USED, &used)) {
		lose(self.engine, self.probe, PM_SEEN_FOREIGN);
		return 0;
	}
	e->hits[PM_PROBE_UPDATE_RETURN]++;
	s->walk.rows = 0;
	s->walk.first = 0;
	s->walk.bad = 0;
	s->walk.step = e->update;
	s->rows.head.what = 0;
	s->update.output = output;
	s->update.update = e->update;
	s->update.rows = 0;
	s->update.bad = 0;
	if (used && (read_ptr(outputs + DICT_KEYS, &at) || read_keys(at, &k)))
		note_bad(&self, &s->update.bad, PM_BAD_ROWS);
	if (k.count > PM_MAX_CLIENTS) {
		k.count = PM_MAX_CLIENTS;
		note_bad(&self, &s->update.bad, PM_BAD_CUT);
	}
	self.a = k.entries;
	self.b = k.size;
	bpf_loop(k.count, client_one, &self, 0);
	if (s->walk.rows || s->walk.bad)
		flush_rows(e, s, &self, PM_EV_OUTPUT_ROWS, sizeof(struct pm_output_row));
	send(e, &self, &s->update.hdr, PM_EV_UPDATE_END, sizeof(s->update));
	e->update++;
	e->begun = 0;
	return 0;
}

/* ---- FreeKVCacheBlockQueue.num_free_blocks is written ---- */

static __always_inline void flush_kv(struct pm_engine *e, struct scratch *s, struct self *self,
				     __u8 more)
{
	__u32 n = s->walk.rows;

	if (n > PM_MAX_ROWS)
		n = PM_MAX_ROWS;
	s->kv.head.rows = n;
	s->kv.head.first = s->walk.first;
	s->kv.head.bad = s->walk.bad;
	s->kv.head.more = more;
	send(e, self, &s->kv.head.hdr, PM_EV_KV, sizeof(struct pm_kv) + n * 4);
	s->walk.first += n;
	s->walk.rows = 0;
	s->walk.bad = 0;
}

/* Adds a block; returns the one behind it in the free list. */
static __always_inline __u64 add_block(struct pm_engine *e, struct scratch *s, struct self *self,
				       __u64 block)
{
	__u64 values = 0, dict, id, hash, next = 0;
	__u32 n = s->walk.rows, number = PM_UNKNOWN, size;

	if (n >= PM_MAX_ROWS) {
		flush_kv(e, s, self, 1);
		n = 0;
	}
	if (e->block_id.storage == PM_STORED_SLOT) {
		values = block;
	} else if (instance(e, block, &values, &dict)) {
		values = 0;
	}
	size = e->block_bytes;
	if (size > sizeof(s->object))
		size = sizeof(s->object);
	if (values && !read_mem(s->object, size, values)) {
		if (e->block_id.storage == PM_STORED_SLOT) {
			id = s->object[e->block_id.at / 8 & 15];
			hash = s->object[e->block_hash.at / 8 & 15];
			next = s->object[e->head_next.at / 8 & 15];
		} else {
			id = s->object[e->block_id.at & 15];
			hash = s->object[e->block_hash.at & 15];
			next = s->object[e->head_next.at & 15];
		}
		number = read_long(&e->py, id);
		if (number != PM_UNKNOWN && hash && hash != e->none)
			number |= PM_BLOCK_HASHED;
	}
	if (number == PM_UNKNOWN)
		note_bad(self, &s->walk.bad, PM_BAD_BLOCKS);
	s->kv.id[n & (PM_MAX_ROWS - 1)] = number;
	s->walk.rows = n + 1;
	return next;
}

static long chain_one(__u32 i, struct self *self)
{
	struct pm_engine *e = engine(self->engine);
	struct scratch *s = scratch();

	if (!e || !s || !s->walk.cursor || s->walk.cursor == e->none)
		return 1;
	s->walk.cursor = add_block(e, s, self, s->walk.cursor);
	return 0;
}

static long listed_one(__u32 i, struct self *self)
{
	struct pm_engine *e = engine(self->engine);
	struct scratch *s = scratch();
	__u32 at = i & (PM_BATCH - 1);

	if (!e || !s || i >= s->walk.count)
		return 1;
	if (at == 0 && read_batch(s->ids, s->walk.entries + 8ull * i, s->walk.count - i)) {
		note_bad(self, &s->walk.bad, PM_BAD_BLOCKS);
		return 1;
	}
	add_block(e, s, self, s->ids[at]);
	return 0;
}

#define PM_MAX_BLOCKS (1 << 17)
#define PM_MAX_DEPTH 10

/* The Request for which the queue is changed: the argument of the nearest
 * caller that has one. */
static __always_inline __u64 owner(struct pm_engine *e, __u64 frame)
{
	__u64 code, request;

	for (int depth = 0; depth < PM_MAX_DEPTH; depth++) {
		if (read_ptr(frame + e->py.frame_previous, &frame) || !frame)
			return 0;
		code = frame_code(e, frame);
		if (!code)
			return 0;
		if (code == e->schedule_code || code == e->update_code)
			return 0;
		for (int i = 0; i < PM_MAX_OWNERS; i++) {
			if (code != e->owners[i])
				continue;
			if (read_ptr(frame + e->py.frame_locals + 8, &request))
				return 0;
			return request & e->py.ref_mask;
		}
	}
	return 0;
}

SEC("perf_event")
int free_blocks(void *ctx)
{
	struct self self = { .probe = PM_PROBE_FREE_BLOCKS };
	struct scratch *s = scratch();
	struct pm_engine *e;
	__u64 frame, code, argument = 0;
	__u32 n = 0, op = PM_KV_OTHER, blocks = PM_OP_NONE;
	struct pm_kv *kv;

	self.engine = (__u32)bpf_get_attach_cookie(ctx);
	e = engine(self.engine);
	if (!e || !s || !e->counter) {
		lose(self.engine & (PM_MAX_ENGINES - 1), self.probe, PM_LOST_NOT_CONFIGURED);
		return 0;
	}
	e->hits[PM_PROBE_FREE_BLOCKS]++;
	kv = &s->kv.head;
	frame = current_frame(e);
	code = frame_code(e, frame);
	for (int i = 0; i < PM_MAX_OPS; i++) {
		if (code && e->ops[i].code == code) {
			op = e->ops[i].op;
			blocks = e->ops[i].blocks;
		}
	}
	s->walk.rows = 0;
	s->walk.first = 0;
	s->walk.bad = 0;
	kv->owner = frame ? owner(e, frame) : 0;
	kv->op = op;
	kv->free_before = e->free_blocks;
	kv->free_after = read_counter(e);
	if (kv->free_after == PM_UNKNOWN)
		note_bad(&self, &s->walk.bad, PM_BAD_FREE);
	e->free_blocks = kv->free_after;
	if (blocks != PM_OP_NONE) {
		if (read_ptr(frame + e->py.frame_locals + 8, &argument))
			argument = 0;
		argument &= e->py.ref_mask;
	}
	switch (blocks) {
	case PM_OP_COUNT:
		n = read_long(&e->py, argument);
		break;
	case PM_OP_LIST:
		n = list_items(e, argument, &s->walk.entries);
		break;
	case PM_OP_ONE:
		n = 1;
		break;
	default:
		if (kv->free_before != PM_UNKNOWN && kv->free_after != PM_UNKNOWN)
			n = kv->free_before > kv->free_after ? kv->free_before - kv->free_after :
							       kv->free_after - kv->free_before;
	}
	kv->blocks = n;
	if (n == PM_UNKNOWN || n > PM_MAX_BLOCKS) {
		note_bad(&self, &s->walk.bad, n == PM_UNKNOWN ? PM_BAD_BLOCKS : PM_BAD_CUT);
		n = n == PM_UNKNOWN ? 0 : PM_MAX_BLOCKS;
	}
	if (blocks == PM_OP_COUNT) {
		s->walk.cursor = read_attr(e, e->head, &e->head_next);
		bpf_loop(n, chain_one, &self, 0);
	} else if (blocks == PM_OP_LIST) {
		s->walk.count = n;
		bpf_loop(n, listed_one, &self, 0);
	} else if (blocks == PM_OP_ONE && argument) {
		add_block(e, s, &self, argument);
	}
	flush_kv(e, s, &self, 0);
	return 0;
}
