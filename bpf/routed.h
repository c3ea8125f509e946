/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The experts that a step's tokens chose, where vLLM copies them to the host itself
 * (--enable-return-routed-experts). As update_from_output is entered the step's array
 * is complete and held by an object that the caller has: what is copied here, while the
 * thread stands still, cannot be written over meanwhile.
 */
#ifndef PMTRACE_ROUTED_H
#define PMTRACE_ROUTED_H

#include "attributes.h"

#define PM_ROUTED_PIECE 8192 /* bytes of ids in an event */
#define PM_ROUTED_PIECES 8192 /* of a step, at most */
#define PM_ROUTED_CALLERS 8 /* frames from update_from_output outwards */
#define PM_ROUTED_REQUESTS 64 /* outputs that are looked at for one that has the array */

#define PM_ROUTED_LAYERS 1024
#define PM_ROUTED_TOP_K 64
#define PM_ROUTED_ROWS (1 << 20)

/* PyArrayObject_fields, behind the object's head; the same in numpy 1 and 2. */
#define ARRAY_HEAD 16
#define DESCR_KIND 24 /* of PyArray_Descr: char kind, type, byteorder */

struct array_head {
	__u64 data;
	__u32 dimensions;
	__u32 spare;
	__u64 shape;
	__u64 strides;
	__u64 base;
	__u64 descr;
};

struct routed_room {
	struct pm_routed head;
	__u8 ids[PM_ROUTED_PIECE];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct routed_room);
} routed_rooms SEC(".maps");

static __always_inline struct routed_room *routed_room(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&routed_rooms, &zero);
}

/* An attribute of an object, by its name; 0: it has none, or None. */
static __always_inline __u64 routed_attribute(struct pm_engine *e, struct scratch *s,
					      struct self *self, __u64 object, int which)
{
	if (!object || object == e->none)
		return 0;
	copy_keys(s, e->routed_keys);
	if (find_values(self, object) < 0 || s->found[which] == e->none)
		return 0;
	return s->found[which];
}

/* The frame behind the one in a; where it is the caller's, b becomes its future. */
LOOP_BODY(caller_one, struct self)(__u32 i, struct self *self)
{
	struct pm_engine *e = engine(self->engine);

	if (!e || read_ptr(self->a + e->py.frame_previous, &self->a) || !self->a)
		return 1;
	if (frame_code(e, self->a) != e->routed_caller)
		return 0;
	if (read_ptr(self->a + e->py.frame_locals + 8ull * (e->l_future & 0x7fff), &self->b))
		self->b = 0;
	self->b &= e->py.ref_mask;
	if (e->l_future & PM_LOCAL_CELL &&
	    (!self->b || read_ptr(self->b + e->py.cell_ref, &self->b)))
		self->b = 0;
	return 1;
}

static __always_inline int is_array(const struct pm_engine *e, __u64 object, struct array_head *h)
{
	__u64 type;

	return object && !read_ptr(object + OB_TYPE, &type) && type == e->ndarray &&
	       !read_mem(h, sizeof(*h), object + ARRAY_HEAD);
}

/*
 * The output of one request: an entry, of size b, of the dict whose entries begin at a.
 * Where its rows are a part of the step's own array and no copy, the cursor becomes that
 * one: it is of three dimensions, and a tensor's. What comes out of a store is of one.
 */
LOOP_BODY(output_rows_one, struct self)(__u32 i, struct self *self)
{
	struct pm_engine *e = engine(self->engine);
	struct scratch *s = scratch();
	struct array_head h = {};
	__u64 entry[3], array, type;

	if (!e || !s || i >= s->walk.count || read_mem(entry, 24, self->a + self->b * i))
		return 1;
	array = routed_attribute(e, s, self, self->b == 24 ? entry[2] : entry[1], PM_RE_ROWS);
	if (!is_array(e, array, &h))
		return 0;
	array = h.base;
	if (!is_array(e, array, &h) || h.dimensions != 3 || !h.base ||
	    read_ptr(h.base + OB_TYPE, &type) || type == e->ndarray)
		return 0;
	s->walk.cursor = array;
	return 1;
}

/* The step's array by the outputs of its requests, of which one has rows of it. */
static __always_inline __u64 array_of_outputs(struct pm_engine *e, struct scratch *s,
					      struct self *self, __u64 outputs)
{
	if (!outputs || open_dict(e, s, outputs) == PM_UNKNOWN)
		return 0;
	self->a = s->walk.entries;
	self->b = s->walk.size;
	s->walk.cursor = 0;
	repeat(PM_ROUTED_REQUESTS, output_rows_one, self);
	return s->walk.cursor;
}

/* The array of a step; 0: it has none. */
static __always_inline __u64 find_routed(struct pm_engine *e, struct scratch *s, struct self *self,
					 __u64 frame)
{
	__u64 result = local(e, frame, e->l_result), at = 0;

	if (e->routed == PM_ROUTED_LISTS) {
		at = routed_attribute(e, s, self, result, PM_RE_ROUTED);
		if (!at || !read_len(at, OB_SIZE) || read_ptr(at + e->py.tuple_items, &at))
			return 0;
		return at;
	}
	self->a = frame;
	self->b = 0;
	repeat(PM_ROUTED_CALLERS, caller_one, self);
	at = routed_attribute(e, s, self, self->b, PM_RE_ASYNC);
	at = routed_attribute(e, s, self, at, PM_RE_PENDING);
	at = routed_attribute(e, s, self, at, PM_RE_ROUTED);
	if (at)
		return at;
	/* There is no future where the engine waits for each step. */
	return array_of_outputs(e, s, self, routed_attribute(e, s, self, result, PM_RE_AUX));
}

/* What there is to copy: its address, and how much. */
static __always_inline __u32 measure(struct pm_engine *e, struct pm_routed *r, __u64 array,
				     __u64 *data, __u64 *bytes)
{
	__u64 shape[3], strides[3], row;
	struct array_head h;
	__u8 kind[4];

	if (!array)
		return PM_ROUTED_NONE;
	if (!is_array(e, array, &h) || h.dimensions != 3 ||
	    read_mem(shape, sizeof(shape), h.shape) ||
	    read_mem(strides, sizeof(strides), h.strides) ||
	    read_mem(kind, sizeof(kind), h.descr + DESCR_KIND))
		return PM_ROUTED_LAYOUT;
	if ((kind[0] != 'u' && kind[0] != 'i') || kind[2] == '>' || !h.data)
		return PM_ROUTED_LAYOUT;
	if (!shape[0] || shape[0] > PM_ROUTED_ROWS || !shape[1] || shape[1] > PM_ROUTED_LAYERS ||
	    !shape[2] || shape[2] > PM_ROUTED_TOP_K)
		return PM_ROUTED_LAYOUT;
	if (strides[2] != 1 && strides[2] != 2 && strides[2] != 4 && strides[2] != 8)
		return PM_ROUTED_LAYOUT;
	row = shape[1] * shape[2] * strides[2];
	if ((shape[1] > 1 && strides[1] != shape[2] * strides[2]) ||
	    (shape[0] > 1 && strides[0] != row))
		return PM_ROUTED_LAYOUT;
	r->rows = (__u32)shape[0];
	r->layers = (__u16)shape[1];
	r->top_k = (__u8)shape[2];
	r->bytes = (__u8)strides[2];
	*data = h.data;
	*bytes = shape[0] * row;
	return PM_ROUTED_SENT;
}

/* Whether the ring has room for so many bytes of ids, and a quarter to spare for all else. */
static __always_inline int routed_fits(__u64 bytes)
{
	__u64 size = bpf_ringbuf_query(&events, BPF_RB_RING_SIZE);

	bytes += (bytes / PM_ROUTED_PIECE + 1) * (sizeof(struct pm_routed) + 8);
	return bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) + bytes <= size - size / 4;
}

/* A worker's events have a kind of their own. */
static __always_inline __u16 routed_kind(const struct pm_engine *e)
{
	return e->routed == PM_ROUTED_WORKER ? PM_EV_WORKER_ROUTED : PM_EV_ROUTED;
}

/* Sends the next of the b bytes at a. */
LOOP_BODY(piece_one, struct self)(__u32 i, struct self *self)
{
	struct pm_engine *e = engine(self->engine);
	struct routed_room *room = routed_room();
	__u64 left;
	__u32 n;

	if (!e || !room || room->head.first >= self->b)
		return 1;
	left = self->b - room->head.first;
	n = left > PM_ROUTED_PIECE ? PM_ROUTED_PIECE : (__u32)left;
	if (n > PM_ROUTED_PIECE)
		return 1;
	if (read_mem(room->ids, n, self->a + room->head.first)) {
		room->head.state = PM_ROUTED_FAULT;
		return 1;
	}
	room->head.count = n;
	send_at(e, self, &room->head.hdr, routed_kind(e), sizeof(room->head) + n,
		room->head.hdr.ktime);
	room->head.first += n;
	return 0;
}

static __always_inline void routed_lost(__u32 engine, __u32 state)
{
	switch (state) {
	case PM_ROUTED_LAYOUT:
		lose(engine, PM_PROBE_ROUTED, PM_LOST_LAYOUT);
		break;
	case PM_ROUTED_LIMIT:
		lose(engine, PM_PROBE_ROUTED, PM_LOST_LIMIT);
		break;
	case PM_ROUTED_RING:
		lose(engine, PM_PROBE_ROUTED, PM_LOST_RATE);
		break;
	case PM_ROUTED_FAULT:
		lose(engine, PM_PROBE_ROUTED, PM_LOST_FAULT);
		break;
	}
}

/* Copies what is in an array, whose event's head is in the room. */
static __always_inline void send_array(struct pm_engine *e, struct self *self,
				       struct routed_room *room, __u64 array)
{
	__u64 data = 0, bytes = 0;
	__u32 state = measure(e, &room->head, array, &data, &bytes);

	if (state == PM_ROUTED_SENT) {
		if (bytes > e->routed_limit || bytes > (__u64)PM_ROUTED_PIECE * PM_ROUTED_PIECES)
			state = PM_ROUTED_LIMIT;
		else if (!routed_fits(bytes))
			state = PM_ROUTED_RING;
	}
	room->head.state = state;
	if (state == PM_ROUTED_SENT) {
		self->a = data;
		self->b = bytes;
		repeat(PM_ROUTED_PIECES, piece_one, self);
	}
	if (room->head.state != PM_ROUTED_SENT) {
		room->head.count = 0;
		send_at(e, self, &room->head.hdr, routed_kind(e), sizeof(room->head),
			room->head.hdr.ktime);
		routed_lost(self->engine, room->head.state);
	}
}

/* Of the step whose update begins. A global function: the verifier looks at it once. */
__noinline int send_routed(struct self *caller, __u64 frame, __u64 output, __u64 now)
{
	struct self me, *self = &me;
	struct routed_room *room = routed_room();
	struct scratch *s = scratch();
	struct pm_engine *e;

	if (!caller)
		return 0;
	me = *caller;
	me.probe = PM_PROBE_ROUTED;
	e = engine(self->engine);
	if (!e || !s || !room)
		return 0;
	room->head = (struct pm_routed){ .output = output, .update = e->update };
	room->head.hdr.ktime = now;
	send_array(e, self, room, find_routed(e, s, self, frame));
	return 0;
}

/* ---- in a worker ---- */

/* Adds up a batch of the b bytes of numbers at a, of 4 or 8 bytes each (walk.size). */
LOOP_BODY(computed_one, struct self)(__u32 i, struct self *self)
{
	struct routed_room *room = routed_room();
	struct scratch *s = scratch();
	__u64 at = (__u64)i * sizeof(s->ids);
	__u32 n;

	if (!s || !room || at >= self->b)
		return 1;
	n = self->b - at > sizeof(s->ids) ? sizeof(s->ids) : (__u32)(self->b - at);
	if (n > sizeof(s->ids) || read_mem(s->ids, n, self->a + at)) {
		s->walk.bad = 1;
		return 1;
	}
	for (__u32 j = 0; j < PM_BATCH; j++) {
		__u64 v = s->ids[j];

		if (8 * j >= n)
			break;
		if (s->walk.size == 8)
			room->head.computed += v;
		else
			room->head.computed += (__u32)v + (8 * j + 4 < n ? v >> 32 : 0);
	}
	return 0;
}

/* How many tokens the requests of a pending output had computed before. */
static __always_inline int count_computed(struct pm_engine *e, struct scratch *s, struct self *self,
					  struct routed_room *room, __u64 starts)
{
	__u64 length, stride;
	struct array_head h;

	if (!is_array(e, starts, &h) || h.dimensions != 1 || read_ptr(h.shape, &length) ||
	    read_ptr(h.strides, &stride) || (stride != 4 && stride != 8) ||
	    length < room->head.requests)
		return -1;
	s->walk.size = (__u32)stride;
	s->walk.bad = 0;
	self->a = h.data;
	self->b = room->head.requests * stride;
	repeat(PM_MAX_REQUESTS / PM_BATCH * 2, computed_one, self);
	return s->walk.bad ? -1 : 0;
}

/* The PendingAuxOutput that process_output was given. */
__noinline int send_pending(struct self *caller, __u64 pending, __u64 now)
{
	struct self me, *self = &me;
	struct routed_room *room = routed_room();
	struct scratch *s = scratch();
	struct pm_engine *e;
	__u64 array, starts, list, items;

	if (!caller)
		return 0;
	me = *caller;
	e = engine(self->engine);
	if (!e || !s || !room)
		return 0;
	room->head = (struct pm_routed){ .output = pending, .update = e->update++ };
	room->head.hdr.ktime = now;
	array = routed_attribute(e, s, self, pending, PM_RE_ROUTED);
	starts = s->found[PM_RE_COMPUTED];
	list = s->found[PM_RE_REQUESTS];
	room->head.requests = list_items(e, list, &items);
	if (room->head.requests > PM_MAX_REQUESTS || count_computed(e, s, self, room, starts))
		array = 0;
	send_array(e, self, room, array);
	return 0;
}

#endif
