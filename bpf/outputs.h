/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What update_from_output hands out: the EngineCoreOutputs of each client.
 */
#ifndef PMTRACE_OUTPUTS_H
#define PMTRACE_OUTPUTS_H

#include "work.h"

/* One EngineCoreOutput. */
LOOP_BODY(output_one, struct self)(__u32 i, struct self *self)
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
	object = e->out_finish ? s->object[e->out_finish / 8 & 31] : 0;
	if (object && object != e->none) {
		finish = read_long(&e->py, object);
		row->finish = finish > 0x7fff ? 0x7fff : (__s16)finish;
	}
	return 0;
}

#define PM_MAX_CLIENTS 64

/* The EngineCoreOutputs of one client: an entry of the dict in a, with entries
 * of size b. */
LOOP_BODY(client_one, struct self)(__u32 i, struct self *self)
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
	if (!at)
		return 0; /* deleted */
	if (read_ptr(at + e->outputs_list, &at)) {
		note_bad(self, &s->update.bad, PM_BAD_ROWS);
		return 0;
	}
	n = list_items(e, at, &s->walk.entries);
	if (n == PM_UNKNOWN) {
		note_bad(self, &s->update.bad, PM_BAD_ROWS);
		return 0;
	}
	/* Of all clients together: a request is one client's. */
	if (n > PM_MAX_REQUESTS - s->update.rows) {
		note_bad(self, &s->update.bad, PM_BAD_CUT);
		n = PM_MAX_REQUESTS - s->update.rows;
	}
	s->walk.count = n;
	s->walk.client = self->b == 24 ? read_long(&e->py, entry[1]) : i;
	s->update.rows += n;
	repeat(n, output_one, self);
	return 0;
}

#endif
