/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tests' own witness of the GPU: an injection library (CUDA_INJECTION64_PATH)
 * that writes down every graph replay and copy, and with PMTRACE_TRUTH_KERNELS=1
 * every kernel outside of graphs, as CUPTI's activity records have them. Times are
 * CLOCK_MONOTONIC, so that they compare with pmtrace's. Not part of pmtrace.
 *
 * PMTRACE_TRUTH=PREFIX: records go to PREFIX.PID, struct record each.
 */
#include <cupti.h>

#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { GRAPH = 1, COPY = 2, KERNEL = 3, DROPPED = 4 };

struct record {
	uint32_t kind;
	uint32_t id; /* graph id; copy kind; 0 */
	uint64_t start, end;
	uint64_t value; /* correlation; bytes; correlation */
};

static FILE *out;

#define CUPTI_FUNCTIONS(X)                        \
	X(cuptiActivityEnable)                    \
	X(cuptiActivityRegisterCallbacks)         \
	X(cuptiActivityRegisterTimestampCallback) \
	X(cuptiActivityGetNextRecord)             \
	X(cuptiActivityGetNumDroppedRecords)      \
	X(cuptiActivityFlushAll)

#define DECLARE(name) static __typeof__(&name) p_##name;
CUPTI_FUNCTIONS(DECLARE)

static uint64_t CUPTIAPI monotonic(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void put(uint32_t kind, uint32_t id, uint64_t start, uint64_t end, uint64_t value)
{
	struct record r = { kind, id, start, end, value };

	fwrite(&r, sizeof(r), 1, out);
}

static void CUPTIAPI requested(uint8_t **buffer, size_t *size, size_t *records)
{
	*size = 64 << 10;
	*records = 0;
	*buffer = aligned_alloc(8, *size);
}

static void CUPTIAPI completed(CUcontext context, uint32_t stream, uint8_t *buffer, size_t size,
			       size_t valid)
{
	CUpti_Activity *record = NULL;
	size_t dropped = 0;

	(void)size;
	while (p_cuptiActivityGetNextRecord(buffer, valid, &record) == CUPTI_SUCCESS) {
		if (record->kind == CUPTI_ACTIVITY_KIND_GRAPH_TRACE) {
			CUpti_ActivityGraphTrace2 *g = (void *)record;

			put(GRAPH, g->graphId, g->start, g->end, g->correlationId);
		} else if (record->kind == CUPTI_ACTIVITY_KIND_MEMCPY) {
			CUpti_ActivityMemcpy6 *m = (void *)record;

			put(COPY, m->copyKind, m->start, m->end, m->bytes);
		} else if (record->kind == CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) {
			CUpti_ActivityKernel10 *k = (void *)record;

			put(KERNEL, 0, k->start, k->end, k->correlationId);
		}
	}
	p_cuptiActivityGetNumDroppedRecords(context, stream, &dropped);
	if (dropped)
		put(DROPPED, 0, monotonic(), 0, dropped);
	fflush(out);
	free(buffer);
}

static void finish(void)
{
	p_cuptiActivityFlushAll(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED);
}

/* CUPTI hands out full buffers only, and a server that is killed flushes none. */
static void *flush(void *unused)
{
	(void)unused;
	for (;;) {
		usleep(200 * 1000);
		p_cuptiActivityFlushAll(0); /* buffers all of whose records are complete */
	}
	return NULL;
}

static int load(void)
{
	static const char *const names[] = { "libcupti.so.13", "libcupti.so.12", "libcupti.so" };
	void *cupti = NULL;

	for (size_t i = 0; !cupti && i < sizeof(names) / sizeof(*names); i++)
		cupti = dlopen(names[i], RTLD_NOW);
	if (!cupti && getenv("PMTRACE_TRUTH_CUPTI"))
		cupti = dlopen(getenv("PMTRACE_TRUTH_CUPTI"), RTLD_NOW);
	if (!cupti)
		return -1;
#define FIND(name)                                                   \
	if (!(p_##name = (__typeof__(p_##name))dlsym(cupti, #name))) \
		return -1;
	CUPTI_FUNCTIONS(FIND)
	return 0;
}

int InitializeInjection(void)
{
	const char *prefix = getenv("PMTRACE_TRUTH");
	char name[4096];
	pthread_t flusher;

	if (!prefix || out)
		return 1;
	snprintf(name, sizeof(name), "%s.%d", prefix, getpid());
	out = fopen(name, "wb");
	if (!out)
		return 1;
	if (load()) {
		fprintf(stderr, "truth: no CUPTI: %s\n", dlerror());
		return 1;
	}
	p_cuptiActivityRegisterTimestampCallback(monotonic);
	p_cuptiActivityRegisterCallbacks(requested, completed);
	p_cuptiActivityEnable(CUPTI_ACTIVITY_KIND_GRAPH_TRACE);
	p_cuptiActivityEnable(CUPTI_ACTIVITY_KIND_MEMCPY);
	if (getenv("PMTRACE_TRUTH_KERNELS"))
		p_cuptiActivityEnable(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL);
	if (pthread_create(&flusher, NULL, flush, NULL))
		fprintf(stderr, "truth: no thread to flush with\n");
	atexit(finish);
	return 1;
}
