/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libpmtrace_cupti.so: `pmtrace record` lets CUDA load it into the server
 * (CUDA_INJECTION64_PATH), where it hands on what CUPTI says of the GPU's work.
 *
 * The server must not notice. So: nothing here waits for pmtrace, a call of CUPTI's that
 * fails ends the library and not the server, there is no output, and a forked child
 * does nothing. What went wrong stands in the ring's header.
 *
 *	PMTRACE_CUPTI_DIR       where the ring goes; not set: nothing is done
 *	PMTRACE_CUPTI_PROTOCOL  version that pmtrace speaks: PM_RING_VERSION
 *	PMTRACE_CUPTI_SESSION   its number of the session
 *	PMTRACE_CUPTI_RING      bytes, a power of two
 *	PMTRACE_CUPTI_KERNELS   off, always, or WINDOW/PERIOD in ns
 *	PMTRACE_CUPTI_COPIES    windows: copies come with kernels alone; else they come always
 *	PMTRACE_CUPTI_MOE       1/N: choices of experts, and the weights of one in N (0: none)
 *	PMTRACE_CUPTI_MOE_RING  bytes in which the GPU tells them, a power of two
 *	PMTRACE_CUPTI_PATIENCE  ns without a heartbeat until pmtrace is taken for dead
 *	PMTRACE_CUPTI_LIBRARY   a libcupti to take, whatever else there is
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "state.h"

/* Which sources this was built from (build.sh). */
__attribute__((used)) static const char built_from[] = "libpmtrace_cupti sources " PM_SOURCES;

#define FLUSH_NS (200 * NS_PER_MS)
#define EXIT_NS (2 * NS_PER_S) /* how long the process's end may wait for us */
#define TICK_NS (50 * NS_PER_MS) /* how soon a wish of pmtrace's is seen */
#define MOE_RING (32ull << 20) /* bytes of pinned memory */
#define FLUSHES_FAILED 25 /* in a row, until CUPTI is taken for broken */
#define IDLE_NS (100 * NS_PER_MS) /* nobody launches graphs, and we switch ourselves */
#define FORCE_NS (2 * NS_PER_S)
#define GRAPH_NS (100 * NS_PER_MS) /* how long a graph in the making waits for us */
#define HOLD_NS (2 * NS_PER_S) /* how long we wait for the end of a launch */

static struct {
	struct pm_ring *ring;
	pthread_mutex_t lock; /* whoever switches activities has it */
	pid_t pid;
	_Atomic int forked, exiting;
	uint64_t patience, window, period; /* window 0: no windows */
	int copies; /* they come outside of windows as well */
	void *subscriber;
	uint32_t windows; /* begun */
	_Atomic int open; /* a window is */
	_Atomic int due; /* 1: a window is to be opened; -1: to be closed */
	uint64_t asked; /* since when it is due */
	int broken; /* CUPTI's error: nothing can be switched on any more */
	uint64_t forced; /* when CUPTI was last forced to hand on what it has */
	int late; /* the heartbeat was late when last looked at */
	int failures;
	_Atomic int over;
} self = { .lock = PTHREAD_MUTEX_INITIALIZER };

static uint64_t number(const char *name, uint64_t otherwise)
{
	const char *s = getenv(name);
	char *end;
	unsigned long long n;

	if (!s || !*s)
		return otherwise;
	errno = 0;
	n = strtoull(s, &end, 10);
	return errno || *end ? otherwise : n;
}

/* A state only rises. */
static void set_state(enum pm_ring_state s)
{
	_Atomic uint32_t *state = (_Atomic uint32_t *)&self.ring->state;

	if (atomic_load(state) < s)
		atomic_store_explicit(state, s, memory_order_release);
}

static uint64_t earliest(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void sleep_until(uint64_t t)
{
	struct timespec until = { (time_t)(t / NS_PER_S), (long)(t % NS_PER_S) };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
		;
}

static void tell_window(struct pm_cupti_window *w, int on)
{
	w->ended = monotonic();
	w->on = (uint32_t)on;
	w->number = on ? ++self.windows : self.windows;
	self.open = on;
	ring_put(PM_EV_CUPTI_WINDOW, w, sizeof(*w), NULL, 0);
}

/* Switches all off. What CUPTI still has comes meanwhile, if it is wanted. A launch that
 * does not end keeps it on: its records go nowhere. */
static void switch_off(void)
{
	struct pm_cupti_window w = { 0 };
	static const int kinds[] = { KIND_GRAPH_TRACE, KIND_CONCURRENT_KERNEL, KIND_MEMCPY };
	uint64_t until = monotonic() + HOLD_NS;

	while (!calls_hold(0)) {
		if (monotonic() > until)
			return;
		sleep_until(monotonic() + NS_PER_MS);
	}
	w.began = monotonic();
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		cupti.cuptiActivityDisable(kinds[i]);
	if (self.subscriber)
		cupti.cuptiUnsubscribe(self.subscriber);
	self.subscriber = NULL;
	calls_release();
	if (self.open)
		tell_window(&w, 0);
}

static void fail(const char *what, int result)
{
	snprintf(self.ring->text, sizeof(self.ring->text), "%s", what);
	self.ring->error = result;
	self.over = 1;
	ring_open(0);
	set_state(PM_RING_FAILED);
}

/* Takes note of what is done without. */
static void without(uint32_t flag, const char *what, int result)
{
	snprintf(self.ring->note, sizeof(self.ring->note), "%s: CUPTI's error %d", what, result);
	__atomic_or_fetch(&self.ring->flags, flag, __ATOMIC_RELEASE);
}

/* Kernels in windows. Measured on an H100 with vLLM 0.33 and CUDA 13: at run time,
 * GRAPH_TRACE off and CONCURRENT_KERNEL on takes 20 µs and tells of the nodes of graphs
 * that were instantiated before; the way back takes 30 µs. Both on: kernels outside of
 * graphs, and replays as a whole. Graphs that are captured and instantiated while
 * CONCURRENT_KERNEL is on crash cuGraphLaunch once it is off (seen on the same machine:
 * three servers of three with windows of 200ms/1s). And a launch is not to be under way,
 * which may be asking for trouble. */
static int switch_kernels(int on)
{
	int off = on ? KIND_GRAPH_TRACE : KIND_CONCURRENT_KERNEL;
	int result = cupti.cuptiActivityDisable(off);

	activity_kernels(on);
	if (!result)
		result = cupti.cuptiActivityEnable(on ? KIND_CONCURRENT_KERNEL : KIND_GRAPH_TRACE);
	if (!result && !self.copies)
		result = on ? cupti.cuptiActivityEnable(KIND_MEMCPY) :
			      cupti.cuptiActivityDisable(KIND_MEMCPY);
	return result;
}

static void switch_window(int on)
{
	struct pm_cupti_window w = { .began = monotonic() };
	int result = switch_kernels(on);

	if (result && on) { /* replays at least */
		self.window = 0;
		self.broken = switch_kernels(0);
		without(PM_RING_NO_WINDOWS, "kernels cannot be switched on", result);
		return;
	}
	tell_window(&w, on);
	self.broken = result;
}

/* own: the thread is counted among those that launch. */
static void switch_due(int own)
{
	int due = atomic_load(&self.due);

	if (!due || !calls_hold(own))
		return;
	atomic_store(&self.due, 0);
	switch_window(due > 0);
	calls_release();
}

void inject_between(void)
{
	if (!atomic_load(&self.due) || pthread_mutex_trylock(&self.lock))
		return;
	if (!self.over)
		switch_due(1);
	pthread_mutex_unlock(&self.lock);
}

/* No window is open while graphs are made: one that was is closed before. */
void inject_graph(void)
{
	uint64_t until = monotonic() + GRAPH_NS;

	while (self.open && monotonic() < until) {
		if (!pthread_mutex_trylock(&self.lock)) {
			if (!self.over && self.open && calls_hold(0)) {
				switch_window(0);
				calls_release();
			}
			pthread_mutex_unlock(&self.lock);
		}
		if (self.open)
			sleep_until(monotonic() + NS_PER_MS / 10);
	}
}

/* Windows lie at multiples of the period, so that those of all ranks coincide; none is
 * begun late. The thread that launches graphs switches, between two of them. */
static uint64_t look_at_window(uint64_t now)
{
	uint64_t into, idle = earliest(IDLE_NS, self.window / 8);
	int on;

	if (!self.window)
		return now + FLUSH_NS;
	into = now % self.period;
	on = into < (self.open ? self.window : self.window / 2) && !calls_making_graphs(now);
	if (on == self.open) {
		atomic_store(&self.due, 0);
		return now - into + (on ? self.window : self.period);
	}
	if (!atomic_load(&self.due)) {
		self.asked = now;
		atomic_store(&self.due, on ? 1 : -1);
	} else if (now - self.asked >= idle) {
		switch_due(0);
	}
	return now + idle;
}

static void end(enum pm_ring_state state)
{
	if (state == PM_RING_QUIET)
		ring_open(0);
	switch_off();
	cupti.cuptiActivityFlushAll(FLUSH_FORCED);
	moe_drain(0);
	ring_open(0);
	set_state(state);
	self.over = 1;
}

/* The heartbeat is written by a system call, and may be seen half done: it counts when
 * it was late twice. */
static int abandoned(uint64_t now)
{
	uint64_t beat = __atomic_load_n(&self.ring->heartbeat, __ATOMIC_ACQUIRE);
	int late = now > beat && now - beat > self.patience;
	int both = late && self.late;

	self.late = late;
	return both;
}

/* CUPTI of CUDA 12 hands on records of graphs only if it is forced to (seen with 12.4 and
 * 12.9 on an H100). What is under way then comes without times, and is counted: so not often. */
static uint32_t force(uint64_t now)
{
	if (self.ring->cupti >= CUPTI_OF_13 || self.open || self.ring->flags & PM_RING_ALWAYS ||
	    now - self.forced < FORCE_NS)
		return 0;
	self.forced = now;
	return FLUSH_FORCED;
}

/* CUPTI hands on full buffers alone; a flush brings all that are done with. */
static void flush(uint64_t now)
{
	int result = cupti.cuptiActivityFlushAll(force(now));

	self.failures = result ? self.failures + 1 : 0;
	if (self.failures >= FLUSHES_FAILED) {
		switch_off();
		fail("cuptiActivityFlushAll", result);
	}
}

static void *work(void *unused)
{
	uint64_t flushed = monotonic(), next = flushed;

	(void)unused;
	for (;;) {
		uint64_t now;

		sleep_until(earliest(next, monotonic() + TICK_NS));
		pthread_mutex_lock(&self.lock);
		now = monotonic();
		if (!self.over &&
		    (self.exiting || __atomic_load_n(&self.ring->stop, __ATOMIC_ACQUIRE)))
			end(PM_RING_ENDED);
		if (!self.over && abandoned(now))
			end(PM_RING_QUIET);
		if (self.over)
			break;
		moe_drain(now);
		next = look_at_window(now);
		if (self.broken) {
			switch_off();
			fail("cuptiActivityEnable(GRAPH_TRACE) after a window", self.broken);
		}
		if (!self.over && now - flushed >= FLUSH_NS) {
			flush(now);
			flushed = now;
		}
		next = earliest(next, flushed + FLUSH_NS);
		pthread_mutex_unlock(&self.lock);
	}
	pthread_mutex_unlock(&self.lock);
	return NULL;
}

/* The process ends in order: our thread hands on what is left. One that hangs in CUPTI
 * must not keep the process. */
static void at_exit(void)
{
	uint64_t until = monotonic() + EXIT_NS;

	if (atomic_load(&self.forked) || getpid() != self.pid)
		return;
	atomic_store(&self.exiting, 1);
	while (!atomic_load(&self.over) && monotonic() < until)
		sleep_until(monotonic() + NS_PER_MS);
}

/* A child has the mapping, not the thread, and no CUDA: it is quiet. */
static void in_child(void)
{
	atomic_store(&self.forked, 1);
	atomic_store(&self.due, 0);
	ring_open(0);
}

static int start_thread(void)
{
	sigset_t all, before;
	pthread_attr_t attr;
	pthread_t thread;
	int failed;

	if (pthread_attr_init(&attr))
		return -1;
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	sigfillset(&all); /* the server's signals are its own threads' */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	failed = pthread_create(&thread, &attr, work, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	if (!failed)
		pthread_setname_np(thread, "pmtrace-cupti");
	return failed;
}

static void moe_note(const char *what)
{
	if (!*self.ring->moe_note) /* the first is what the others follow from */
		snprintf(self.ring->moe_note, sizeof(self.ring->moe_note), "%s", what);
}

/* Kernel launches: the routing kernels are among them. */
static void subscribe_moe(const char *wish)
{
	static const uint32_t calls[] = { DRIVER_LAUNCH, DRIVER_LAUNCH_PTSZ, DRIVER_LAUNCH_EX,
					  DRIVER_LAUNCH_EX_PTSZ };
	uint64_t size = number("PMTRACE_CUPTI_MOE_RING", MOE_RING);
	unsigned every = 0;
	char more;

	if (size < PM_RING_MIN || size > PM_RING_MAX || size & (size - 1))
		size = MOE_RING;
	if (!wish || !*wish)
		return;
	if (sscanf(wish, "1/%u%c", &every, &more) != 1)
		return;
	if (!self.subscriber) {
		moe_note("choices of experts: another tool has CUPTI's callbacks");
		return;
	}
	if (moe_prepare(size, every, moe_note)) {
		moe_note("choices of experts: the driver lacks a function");
		return;
	}
	for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++) {
		if (cupti.cuptiEnableCallback(1, self.subscriber, DOMAIN_DRIVER, calls[i])) {
			moe_note("choices of experts: no callbacks for kernel launches");
			return;
		}
	}
	self.ring->flags |= PM_RING_MOE;
}

/* Without callbacks replays are told from each other by their order. */
static void subscribe(void)
{
	static const struct {
		int domain;
		uint32_t id;
		int optional;
	} calls[] = { { DOMAIN_DRIVER, DRIVER_GRAPH_LAUNCH, 0 },
		      { DOMAIN_DRIVER, DRIVER_GRAPH_LAUNCH_PTSZ, 0 },
		      { DOMAIN_RUNTIME, RUNTIME_GRAPH_LAUNCH, 0 },
		      { DOMAIN_RUNTIME, RUNTIME_GRAPH_LAUNCH_PTSZ, 0 },
#define ROW(call, what, newer) { DOMAIN_DRIVER, call, newer },
		      GRAPH_CALLS(ROW)
#undef ROW
	};
	int result = cupti.cuptiSubscribe(&self.subscriber, calls_callback, NULL);

	if (result) {
		self.subscriber = NULL;
		without(0,
			result == CUPTI_MULTIPLE_SUBSCRIBERS ?
				"graph launches are told by order: another tool has CUPTI's "
				"callbacks" :
				"graph launches are told by order: no callbacks",
			result);
		return;
	}
	for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++) {
		result = cupti.cuptiEnableCallback(1, self.subscriber, calls[i].domain,
						   calls[i].id);
		if (result && !calls[i].optional) {
			cupti.cuptiUnsubscribe(self.subscriber);
			self.subscriber = NULL;
			without(0, "graph launches are told by order: no callbacks", result);
			return;
		}
	}
	self.ring->flags |= PM_RING_CALLS;
}

/* The clock comes first: it counts for what is enabled after. */
static void enable(int always)
{
	const int main_kind = always ? KIND_CONCURRENT_KERNEL : KIND_GRAPH_TRACE;
	const char *what;
	int result;

	if ((result = cupti.cuptiGetVersion(&self.ring->cupti)) && (what = "cuptiGetVersion"))
		goto failed;
	if ((result = cupti.cuptiActivityRegisterTimestampCallback(monotonic)) &&
	    (what = "cuptiActivityRegisterTimestampCallback"))
		goto failed;
	if ((result = cupti.cuptiActivityRegisterCallbacks(activity_requested,
							   activity_completed)) &&
	    (what = "cuptiActivityRegisterCallbacks"))
		goto failed;
	ring_open(1);
	activity_kernels(always);
	subscribe();
	subscribe_moe(getenv("PMTRACE_CUPTI_MOE"));
	if (!self.subscriber &&
	    self.window) { /* a switch may hide a replay: then order tells nothing */
		self.window = 0;
		self.ring->flags |= PM_RING_NO_WINDOWS;
	}
	if ((result = cupti.cuptiActivityEnable(main_kind)) &&
	    (what = always ? "cuptiActivityEnable(CONCURRENT_KERNEL)" :
			     "cuptiActivityEnable(GRAPH_TRACE)"))
		goto failed;
	if (self.copies && (result = cupti.cuptiActivityEnable(KIND_MEMCPY)) &&
	    (what = "cuptiActivityEnable(MEMCPY)"))
		goto failed;
	return;
failed:
	switch_off();
	fail(what, result);
}

static int kernels(const char *s)
{
	unsigned long long window = 0, period = 0;
	char more;

	if (!s || !*s || !strcmp(s, "off"))
		return 0;
	if (!strcmp(s, "always")) {
		self.ring->flags |= PM_RING_ALWAYS;
		return 1;
	}
	if (sscanf(s, "%llu/%llu%c", &window, &period, &more) == 2 && window && window < period) {
		self.window = window;
		self.period = period;
		self.ring->flags |= PM_RING_WINDOWS;
	}
	return 0;
}

/* A record of a copy costs the thread that makes it some µs, and a step makes a dozen. */
static void copies(const char *s, int always)
{
	self.copies = always || !s || strcmp(s, "windows");
	if (!self.copies)
		self.ring->flags |= PM_RING_COPIES_WINDOWS;
}

static void start(const char *dir)
{
	uint64_t size = number("PMTRACE_CUPTI_RING", 8 << 20);
	uint64_t protocol = number("PMTRACE_CUPTI_PROTOCOL", 0);
	const char *missing;
	int always;

	if (size < PM_RING_MIN || size > PM_RING_MAX || size & (size - 1))
		size = 8 << 20;
	self.ring = ring_create(dir, protocol == PM_RING_VERSION ? size : 0,
				number("PMTRACE_CUPTI_SESSION", 0));
	if (!self.ring)
		return;
	self.pid = getpid();
	self.patience = number("PMTRACE_CUPTI_PATIENCE", 15 * NS_PER_S);
	if (protocol != PM_RING_VERSION) {
		fail("the library and pmtrace are of different versions", 0);
		return;
	}
	if (!self.ring->size) {
		fail("no room for the ring on this file system", 0);
		return;
	}
	always = kernels(getenv("PMTRACE_CUPTI_KERNELS"));
	copies(getenv("PMTRACE_CUPTI_COPIES"), always);
	missing = cupti_find(getenv("PMTRACE_CUPTI_LIBRARY"), self.ring->library,
			     sizeof(self.ring->library));
	if (missing) {
		fail(missing, 0);
		return;
	}
	if (activity_buffers()) {
		fail("no memory for CUPTI's records", 0);
		return;
	}
	if (pthread_atfork(NULL, NULL, in_child)) {
		fail("pthread_atfork", 0);
		return;
	}
	enable(always);
	if (self.over)
		return;
	set_state(PM_RING_RUNNING);
	if (start_thread()) {
		switch_off();
		fail("no thread to flush with", 0);
		return;
	}
	atexit(at_exit);
}

/* CUDA's driver calls this as it is initialised, and goes on whatever it returns. */
__attribute__((visibility("default"))) int InitializeInjection(void)
{
	static _Atomic int begun;
	const char *dir = getenv("PMTRACE_CUPTI_DIR");

	if (dir && *dir && !atomic_exchange(&begun, 1))
		start(dir);
	return 1;
}
