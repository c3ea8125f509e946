/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Blocks of the free block queue, and the request that an operation is for.
 */
#ifndef PMTRACE_BLOCKS_H
#define PMTRACE_BLOCKS_H

#include "work.h"

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
	__u64 values = 0, dict = 0, id = 0, hash = 0, next = 0;
	__u32 n = s->walk.rows, number = PM_UNKNOWN, size;

	if (n >= PM_MAX_ROWS) {
		flush_kv(e, s, self, 1);
		n = 0;
	}
	if (e->block_id.storage == PM_STORED_SLOT) {
		values = block;
	} else if (instance(&e->py, block, &values, &dict)) {
		values = 0;
	}
	size = e->block_bytes;
	if (size > sizeof(s->object))
		size = sizeof(s->object);
	if (!values && dict && e->py.values == PM_VALUES_DICT) {
		id = read_attr(e, block, &e->block_id);
		hash = read_attr(e, block, &e->block_hash);
		next = read_attr(e, block, &e->head_next);
	} else if (values && !read_mem(s->object, size, values)) {
		if (e->block_id.storage == PM_STORED_SLOT) {
			id = s->object[e->block_id.at / 8 & 15];
			hash = s->object[e->block_hash.at / 8 & 15];
			next = s->object[e->head_next.at / 8 & 15];
		} else {
			id = s->object[e->block_id.at & 15];
			hash = s->object[e->block_hash.at & 15];
			next = s->object[e->head_next.at & 15];
		}
	}
	if (id)
		number = read_long(&e->py, id);
	if (number != PM_UNKNOWN && hash && hash != e->none)
		number |= PM_BLOCK_HASHED;
	if (number == PM_UNKNOWN)
		note_bad(self, &s->walk.bad, PM_BAD_BLOCKS);
	s->kv.id[n & (PM_MAX_ROWS - 1)] = number;
	s->walk.rows = n + 1;
	return next;
}

LOOP_BODY(chain_one, struct self)(__u32 i, struct self *self)
{
	struct pm_engine *e = engine(self->engine);
	struct scratch *s = scratch();

	if (!e || !s)
		return 1;
	if (!s->walk.cursor || s->walk.cursor == e->none) {
		note_bad(self, &s->walk.bad, PM_BAD_BLOCKS); /* shorter than the count */
		return 1;
	}
	s->walk.cursor = add_block(e, s, self, s->walk.cursor);
	return 0;
}

LOOP_BODY(listed_one, struct self)(__u32 i, struct self *self)
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

#define PM_MAX_BLOCKS PM_MAX_TURNS
#define PM_MAX_DEPTH 10

/* The Request for which the queue is changed: the argument of the nearest
 * caller that has one. */
static __always_inline __u64 owner(struct pm_engine *e, __u64 frame)
{
	__u64 code, request;

	for (int depth = 0; depth < PM_MAX_DEPTH; depth++) {
		if (frame_word(frame + e->py.frame_previous, &frame) || !frame)
			return 0;
		code = frame_code(e, frame);
		if (!code)
			return 0;
		if (code == e->schedule_code || code == e->update_code)
			return 0;
		for (int i = 0; i < PM_MAX_OWNERS; i++) {
			if (code != e->owners[i])
				continue;
			if (frame_word(frame + e->py.frame_locals + 8, &request))
				return 0;
			return request & e->py.ref_mask;
		}
	}
	return 0;
}

#endif
