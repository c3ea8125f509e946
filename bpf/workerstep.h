/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Steps of a worker process, by the copies of the engine's SchedulerOutputs that
 * its execute_model is given.
 */
#ifndef PMTRACE_WORKERSTEP_H
#define PMTRACE_WORKERSTEP_H

#include "phase.h"

#define PM_MAX_ATTRIBUTES 64 /* SchedulerOutput has about 20 */
_Static_assert(24 * PM_MAX_ATTRIBUTES <= PM_WINDOW, "keys are read into pm_thread.room");

/* Where an object has its attributes: the keys, and the values apart from them, if
 * they are. A copy out of a pickle has a dict, which may share its class's keys. */
static __always_inline int open_object(const struct pm_worker *w, __u64 object, struct keys *k,
				       __u64 *values)
{
	__u64 dict, at;

	if (instance(&w->py, object, values, &dict) ||
	    instance_keys(&w->py, object, *values, dict, &at))
		return -1;
	return read_keys(&w->py, at, k);
}

struct search {
	__u64 *entries;
	__u64 name[2];
	__u64 found[2];
	__u64 values;
	__u32 count;
	__u32 words; /* of an entry */
};

LOOP_BODY(search_one, struct search)(__u32 i, struct search *f)
{
	__u32 at = i * f->words + (f->words == 3);
	__u64 key, v;

	if (i >= f->count || at >= 3 * PM_MAX_ATTRIBUTES - 1)
		return 1;
	key = f->entries[at];
	v = f->entries[at + 1];
	if (!key || (key != f->name[0] && key != f->name[1]))
		return 0;
	if (f->values && read_ptr(f->values + 8ull * i, &v))
		v = 0;
	f->found[key == f->name[1]] = v;
	return 0;
}

/* The totals of a SchedulerOutput. Returns enum pm_bad. */
static __always_inline __u32 read_totals(const struct pm_worker *w, struct pm_thread *th,
					 __u64 output, __u32 *tokens, __u32 *requests)
{
	struct search f = {
		.entries = th->room,
		.name = { w->name_tokens, w->name_requests },
	};
	__u32 bad = 0, n;
	struct keys k = {};

	*tokens = PM_UNKNOWN;
	*requests = PM_UNKNOWN;
	if (open_object(w, output, &k, &f.values))
		return PM_BAD_TOTALS | PM_BAD_ROWS;
	n = k.count;
	if (n > PM_MAX_ATTRIBUTES)
		n = PM_MAX_ATTRIBUTES;
	if (read_mem(f.entries, n * (k.size == 24 ? 24 : 16), k.entries))
		return PM_BAD_TOTALS | PM_BAD_ROWS;
	f.count = n;
	f.words = k.size / 8;
	repeat(PM_MAX_ATTRIBUTES, search_one, &f);
	*tokens = read_long(&w->py, f.found[0]);
	*requests = read_len(f.found[1], DICT_USED);
	if (*tokens == PM_UNKNOWN)
		bad |= PM_BAD_TOTALS;
	if (*requests == PM_UNKNOWN)
		bad |= PM_BAD_ROWS;
	return bad;
}

static __always_inline void send_step(struct pm_worker *w, struct pm_thread *th, __u32 thread,
				      __u32 row, __u64 now, __u64 output, __u32 step)
{
	__u32 tokens, requests, bad = read_totals(w, th, output, &tokens, &requests);
	struct pm_worker_step *e;

	if (bad)
		lose_call(w->index, row, PM_LOST_LAYOUT);
	e = reserve(w, th, row, PM_EV_WORKER_STEP, now, sizeof(*e));
	if (!e)
		return;
	e->output = output;
	e->thread = thread;
	e->step = step;
	e->tokens = tokens;
	e->requests = requests;
	e->bad = bad;
	e->spare = 0;
	submit(&e->hdr);
}

/*
 * Begins a step where execute_model was entered anew: it has another object, or the
 * thread was seen outside of it since (the next copy may well lie where the last
 * one was). Returns the newest step of the process; PM_UNKNOWN: none.
 */
static __always_inline __u32 find_step(struct pm_worker *w, struct pm_thread *th,
				       const struct stack *s, __u32 thread, __u32 row, __u64 now)
{
	__u32 index = w->index;
	struct pm_progress *p;
	__u8 executing = th->executing;

	if (!(w->flags & PM_WORKER_OTHER_PROCESS))
		return PM_UNKNOWN;
	p = bpf_map_lookup_elem(&progress, &index);
	if (!p)
		return PM_UNKNOWN;
	/* Nothing is known of a stack that could not be read, and a graph that is captured
	 * in the middle of a step does not end it. */
	if (s->failed || s->frame ||
	    (s->dummy == PM_PHASE_CAPTURE && s->has_output && s->output == p->output))
		return p->steps ? p->steps - 1 : PM_UNKNOWN;
	th->executing = s->has_output && !s->dummy;
	if (th->executing && (!executing || s->output != p->output)) {
		p->output = s->output;
		send_step(w, th, thread, row, now, s->output, p->steps);
		p->steps++;
	}
	return p->steps ? p->steps - 1 : PM_UNKNOWN;
}

#endif
