/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Lists of requests' keys: finished, preempted.
 */
#ifndef PMTRACE_KEYS_H
#define PMTRACE_KEYS_H

#include "attributes.h"

static __noinline void flush_rows(struct pm_engine *e, struct scratch *s, struct self *self,
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

LOOP_BODY(set_one, struct self)(__u32 i, struct self *self)
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
	struct self me, *self = &me; /* repeat takes a pointer to the stack */
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
	begin_rows(s, what);
	s->walk.count = mask + 1;
	if (mask >= PM_MAX_SET) {
		s->walk.count = PM_MAX_SET;
		note_bad(self, &s->walk.bad, PM_BAD_CUT);
	}
	repeat(PM_MAX_SET, set_one, self);
	flush_rows(e, s, self, PM_EV_KEYS, 8);
	return (__u32)used;
}

LOOP_BODY(victim_one, struct self)(__u32 i, struct self *self)
{
	struct pm_engine *e = engine(self->engine);
	struct scratch *s = scratch();
	__u64 object;

	if (!e || !s)
		return 1;
	if (read_ptr(self->a + 8ull * i, &object)) {
		note_bad(self, &s->walk.bad, PM_BAD_PREEMPTED);
		return 1;
	}
	copy_keys(s, e->req_keys);
	if (find_values(self, object) >= 0 && s->found[PM_REQ_ID])
		add_key(e, s, self, s->found[PM_REQ_ID]);
	else
		note_bad(self, &s->walk.bad, PM_BAD_PREEMPTED);
	return 0;
}

#endif
