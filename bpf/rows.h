/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The requests of one schedule call, with their tokens and drafts.
 */
#ifndef PMTRACE_ROWS_H
#define PMTRACE_ROWS_H

#include "work.h"

static __always_inline __u32 count_blocks(struct pm_engine *e, __u64 tuple)
{
	__u64 list;
	__u32 groups, n, sum = 0;

	if (!tuple || tuple == e->none)
		return 0;
	groups = read_len(tuple, OB_SIZE);
	if (groups > PM_MAX_GROUPS)
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

LOOP_BODY(row_one, struct self)(__u32 i, struct self *self)
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

LOOP_BODY(draft_one, struct self)(__u32 i, struct self *self)
{
	struct pm_engine *e = engine(self->engine);
	struct scratch *s = scratch();
	__u64 entry[2], at;
	__u32 n;

	if (!e || !s || i >= s->walk.count)
		return 1;
	at = s->walk.entries + (__u64)s->walk.size * i + (s->walk.size == 24 ? 8 : 0);
	if (read_mem(entry, 16, at)) {
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

#endif
