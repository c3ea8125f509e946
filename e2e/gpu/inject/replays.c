/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tests' own witness of replays where pmtrace has CUPTI (LD_PRELOAD): it records a
 * CUDA event before and after every graph launch, and writes down what lies between
 * them, and between a replay and the next. Not part of pmtrace.
 *
 * PMTRACE_REPLAYS=PREFIX: records go to PREFIX.PID, struct record each, while there is
 * a file PREFIX.on.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

struct record {
	uint64_t launched; /* CLOCK_MONOTONIC, ns: before the call */
	uint64_t exec;
	float ms, gap_ms; /* the replay; from the end of the one before; -1: not known */
	uint64_t stream;
};

enum { PAIRS = 1024, BEHIND = 256 };

static struct pair {
	void *before, *after;
	int first; /* none was watched right before */
	struct record r;
} pairs[PAIRS];

static uint64_t launched, written;
static FILE *out;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int (*event_create)(void **, unsigned), (*event_record)(void *, void *),
	(*event_query)(void *);
static int (*elapsed)(float *, void *, void *);

static uint64_t monotonic(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int ready(void)
{
	static char wish[4096];
	const char *prefix = getenv("PMTRACE_REPLAYS");
	char name[4096];
	void *cuda;

	if (!prefix)
		return 0;
	if (!*wish)
		snprintf(wish, sizeof(wish), "%s.on", prefix);
	if (access(wish, F_OK))
		return 0;
	if (out)
		return 1;
	if (!(cuda = dlopen("libcuda.so.1", RTLD_NOW)))
		return 0;
	event_create = (int (*)(void **, unsigned))dlsym(cuda, "cuEventCreate");
	event_record = (int (*)(void *, void *))dlsym(cuda, "cuEventRecord");
	event_query = (int (*)(void *))dlsym(cuda, "cuEventQuery");
	elapsed = (int (*)(float *, void *, void *))dlsym(cuda, "cuEventElapsedTime");
	if (!event_create || !event_record || !event_query || !elapsed)
		return 0;
	for (int i = 0; i < PAIRS; i++)
		if (event_create(&pairs[i].before, 0) || event_create(&pairs[i].after, 0))
			return 0;
	snprintf(name, sizeof(name), "%s.%d", prefix, getpid());
	out = fopen(name, "wb");
	return out != NULL;
}

/* Writes down what is done; one pair stays, for the gap behind it. */
static void harvest(uint64_t until)
{
	for (; written < until; written++) {
		struct pair *p = &pairs[written % PAIRS],
			    *before = &pairs[(written + PAIRS - 1) % PAIRS];

		if (event_query(p->after))
			break;
		p->r.ms = p->r.gap_ms = -1;
		elapsed(&p->r.ms, p->before, p->after);
		if (!p->first)
			elapsed(&p->r.gap_ms, before->after, p->before);
		fwrite(&p->r, sizeof(p->r), 1, out);
	}
	fflush(out);
}

static void finish(void)
{
	pthread_mutex_lock(&lock);
	harvest(launched);
	pthread_mutex_unlock(&lock);
}

int cudaGraphLaunch(void *exec, void *stream)
{
	static int (*real)(void *, void *);
	static int was_on;
	struct pair *p;
	int result, on;

	if (!real)
		real = (int (*)(void *, void *))dlsym(RTLD_NEXT, "cudaGraphLaunch");
	pthread_mutex_lock(&lock);
	on = ready();
	if (on && !launched)
		atexit(finish);
	if (on && launched - written >= BEHIND)
		harvest(launched - BEHIND / 2);
	on = on && launched - written < PAIRS - 1;
	p = &pairs[launched % PAIRS];
	if (on) {
		p->r = (struct record){ .launched = monotonic(),
					.exec = (uint64_t)exec,
					.stream = (uint64_t)stream };
		p->first = !was_on;
		event_record(p->before, stream);
	}
	result = real(exec, stream);
	if (on && !result) {
		event_record(p->after, stream);
		launched++;
	}
	was_on = on && !result;
	pthread_mutex_unlock(&lock);
	return result;
}
