/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a key means: Request objects of new, resumed and running requests, and
 * the blocks that they found in the prefix cache.
 */
#ifndef PMTRACE_REQUESTS_H
#define PMTRACE_REQUESTS_H

#include "attributes.h"

static __always_inline __u32 found_long(struct pm_engine *e, struct scratch *s, int which)
{
	return read_long(&e->py, s->found[which]);
}

/* Announces a Request: what its key means. Returns its key. */
__noinline __u64 send_request(struct self *caller, __u64 object, __u32 why)
{
	struct self me, *self = &me; /* repeat takes a pointer to the stack */
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

LOOP_BODY(prefix_one, struct self)(__u32 i, struct self *self)
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

/*
 * Sends the ids of the blocks that a new or resumed request found computed:
 * the first `computed` tokens' worth of each KV cache group. block_ids is a
 * tuple of lists.
 */
__noinline int send_prefix(struct self *caller, __u64 key, __u64 block_ids, __u32 computed)
{
	struct self me, *self = &me; /* repeat takes a pointer to the stack */
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
	if (groups == PM_UNKNOWN) {
		lose(self->engine, self->probe, PM_LOST_FAULT);
		return -1;
	}
	if (groups > PM_MAX_GROUPS) {
		lose(self->engine, self->probe, PM_LOST_LIMIT);
		groups = PM_MAX_GROUPS;
	}
	if (blocks > PM_MAX_PREFIX) {
		lose(self->engine, self->probe, PM_LOST_LIMIT);
		blocks = PM_MAX_PREFIX;
	}
	for (__u32 g = 0; g < PM_MAX_GROUPS; g++) {
		if (g >= groups)
			break;
		if (read_ptr(block_ids + e->py.tuple_items + 8ull * g, &list))
			list = 0;
		n = read_len(list, OB_SIZE);
		if (n == PM_UNKNOWN || read_ptr(list + e->py.list_items, &s->walk.entries)) {
			lose(self->engine, self->probe, PM_LOST_FAULT);
			return -1;
		}
		s->walk.count = n < blocks ? n : blocks;
		s->walk.rows = 0;
		s->walk.first = 0;
		s->walk.bad = 0;
		s->prefix.head.key = key;
		s->prefix.head.step = e->step;
		s->prefix.head.group = g;
		repeat(PM_MAX_PREFIX, prefix_one, self);
		if (s->walk.rows)
			flush_prefix(e, s, self);
	}
	return 0;
}

/* An entry of scheduled_new_reqs: the Request is in the items a, its NewRequestData
 * in the items b. */
LOOP_BODY(new_one, struct self)(__u32 i, struct self *self)
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
	if (!self->b || read_ptr(self->b + 8ull * i, &data)) {
		lose(self->engine, self->probe, PM_LOST_FAULT);
		return 0;
	}
	if (learn(self, data, e->nrd_keys, e->nrd_at, &e->nrd_known))
		return 0;
	if (read_values(e, self, data, e->nrd_keys, s->other, e->nrd_known)) {
		lose(self->engine, self->probe, PM_LOST_LAYOUT);
		return 0;
	}
	send_prefix(self, key, value(s->other, e->nrd_at, PM_NRD_BLOCKS),
		    read_long(&e->py, value(s->other, e->nrd_at, PM_NRD_COMPUTED)));
	return 0;
}

/* A scheduled_resumed_reqs entry; a is the list's items, b the place of the first
 * resumed request in CachedRequestData. */
LOOP_BODY(resumed_one, struct self)(__u32 i, struct self *self)
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
	if (i >= s->walk.cached) /* CachedRequestData could not be read: PM_BAD_COMPUTED */
		return 0;
	if (read_ptr(s->walk.blocks + 8ull * i, &blocks) ||
	    read_ptr(s->walk.computed + 8ull * i, &computed)) {
		lose(self->engine, self->probe, PM_LOST_FAULT);
		return 0;
	}
	if (blocks != e->none)
		send_prefix(self, key, blocks, read_long(&e->py, computed));
	return 0;
}

LOOP_BODY(sync_one, struct self)(__u32 i, struct self *self)
{
	__u64 object;

	if (read_ptr(self->a + 8ull * i, &object)) {
		lose(self->engine, self->probe, PM_LOST_FAULT);
		return 1;
	}
	send_request(self, object, PM_REQ_SYNC);
	return 0;
}

#endif
