/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Graph launches, by CUPTI's callbacks: they tell which call (thread, time, handle) a
 * correlation number means. The runtime's function calls the driver's; CUPTI numbers
 * both, and work on the GPU has one of these numbers.
 */
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <unistd.h>

#include "state.h"

static __thread struct {
	uint32_t tid;
	struct pm_cupti_call call;
	uint64_t outer; /* the runtime's function was entered; 0: we are in none */
	int told; /* of the driver's function within it */
	int launching; /* counted below */
} mine;

static _Atomic int launching; /* threads within a graph launch */
static _Atomic int held; /* none may begin one */
static _Atomic int stuck; /* a switch has not come back: nobody waits any more */

/* How long a launch may have to wait for a switch, which takes some 50 µs: 100 ms, once. */
enum { HELD_TRIES = 2000, HELD_NS = 50000 };

int calls_hold(int own)
{
	if (atomic_load(&stuck))
		return 0;
	atomic_store(&held, 1);
	if (atomic_load(&launching) == own)
		return 1;
	atomic_store(&held, 0);
	return 0;
}

void calls_release(void)
{
	atomic_store(&held, 0);
}

static void begin(void)
{
	const struct timespec pause = { 0, HELD_NS };

	mine.launching = 1;
	atomic_fetch_add(&launching, 1);
	for (int i = 0; atomic_load(&held) && !atomic_load(&stuck); i++) {
		if (i == HELD_TRIES)
			atomic_store(&stuck, 1);
		nanosleep(&pause, NULL);
	}
}

static void end(void)
{
	if (mine.launching)
		atomic_fetch_sub(&launching, 1);
	mine.launching = 0;
}

static uint32_t tid(void)
{
	if (!mine.tid)
		mine.tid = (uint32_t)syscall(SYS_gettid);
	return mine.tid;
}

static int is_driver(uint32_t id)
{
	return id == DRIVER_GRAPH_LAUNCH || id == DRIVER_GRAPH_LAUNCH_PTSZ;
}

static int is_runtime(uint32_t id)
{
	return id == RUNTIME_GRAPH_LAUNCH || id == RUNTIME_GRAPH_LAUNCH_PTSZ;
}

static int is_launch(uint32_t id)
{
	return id == DRIVER_LAUNCH || id == DRIVER_LAUNCH_PTSZ || id == DRIVER_LAUNCH_EX ||
	       id == DRIVER_LAUNCH_EX_PTSZ;
}

/* Graphs in the making. */
static _Atomic int capturing;
static _Atomic uint64_t made; /* when one was last seen */

enum making { NOTHING, BEGINS_CAPTURE, ENDS_CAPTURE, MAKES };

static enum making making(uint32_t id)
{
#define CASE(call, what, newer) \
	case call:              \
		return what;
	switch (id) {
		GRAPH_CALLS(CASE)
	}
#undef CASE
	return NOTHING;
}

static void one_less(_Atomic int *n)
{
	int have = atomic_load(n);

	while (have > 0 && !atomic_compare_exchange_weak(n, &have, have - 1))
		;
}

static void graph(enum making what, const struct cupti_call *c)
{
	int failed = c->site == SITE_EXIT && c->result && *(const int *)c->result;

	atomic_store(&made, monotonic());
	if (c->site == SITE_ENTER) {
		if (what == BEGINS_CAPTURE)
			atomic_fetch_add(&capturing, 1);
		inject_graph();
	} else if (what == ENDS_CAPTURE || (what == BEGINS_CAPTURE && failed)) {
		one_less(&capturing);
	}
}

/* How long none must have been made for kernels to be switched on. */
#define MADE_NS (2 * NS_PER_S)

int calls_making_graphs(uint64_t now)
{
	uint64_t last = atomic_load(&made);

	return atomic_load(&capturing) > 0 || (last && now < last + MADE_NS);
}

static void enter(const struct cupti_call *c)
{
	const struct cupti_graph_launch *p = c->params;

	mine.call.began = monotonic();
	mine.call.exec = p->exec;
	mine.call.stream = p->stream;
}

static void leave(const struct cupti_call *c)
{
	if (c->result && *(const int *)c->result) /* nothing will run */
		return;
	mine.call.ended = monotonic();
	mine.call.thread = tid();
	ring_put(PM_EV_CUPTI_CALL, &mine.call, sizeof(mine.call), NULL, 0);
}

void calls_callback(void *data, int domain, uint32_t id, const void *call)
{
	const struct cupti_call *c = call;

	(void)data;
	if (!c || !c->params)
		return;
	if (domain == DOMAIN_DRIVER && is_launch(id)) {
		if (c->site == SITE_EXIT)
			moe_launched(id, c);
		return;
	}
	if (domain == DOMAIN_DRIVER && making(id)) {
		graph(making(id), c);
		return;
	}
	if (domain == DOMAIN_DRIVER && is_driver(id)) {
		if (c->site == SITE_ENTER) {
			if (!mine.outer)
				begin();
			enter(c);
			mine.call.correlation = c->correlation;
			if (!mine.outer)
				mine.call.runtime = 0;
		} else if (c->site == SITE_EXIT) {
			mine.told = mine.outer != 0;
			leave(c);
			if (!mine.outer) {
				inject_between();
				end();
			}
		}
	} else if (domain == DOMAIN_RUNTIME && is_runtime(id)) {
		if (c->site == SITE_ENTER) {
			begin();
			inject_between(); /* by now the replay before is done, more often than not */
			enter(c);
			mine.outer = mine.call.began;
			mine.told = 0;
			mine.call.correlation = 0;
			mine.call.runtime = c->correlation;
		} else if (c->site == SITE_EXIT) {
			if (mine.outer && !mine.told)
				leave(c);
			mine.outer = 0;
			end();
		}
	}
}
