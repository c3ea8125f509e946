/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * libcupti.so.13 of the stub: tells of the stub's GPU what the real one tells of a real
 * one, in its layouts (cupti/inject/c/abi.h). Records are handed on when the work is
 * done, a buffer at a time, and none before those of earlier work.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gpu.h"
#include "../../cupti/inject/c/abi.h"

enum { KINDS = 64, RECORD = 256, ROOM = 1 << 16 };

struct record {
	uint64_t end;
	union {
		struct cupti_graph graph;
		struct cupti_memcpy copy;
		struct cupti_kernel kernel;
	};
};

static struct {
	pthread_mutex_t lock, delivering;
	cupti_clock now;
	cupti_requested requested;
	cupti_completed completed;
	cupti_callback callback;
	int enabled[KINDS], wanted[3][1024];
	struct record *records;
	uint64_t first, last, dropped; /* counts of records */
} cupti = { .lock = PTHREAD_MUTEX_INITIALIZER, .delivering = PTHREAD_MUTEX_INITIALIZER };

static void put(struct record *r)
{
	pthread_mutex_lock(&cupti.lock);
	if (cupti.last - cupti.first < ROOM)
		cupti.records[cupti.last++ % ROOM] = *r;
	else
		cupti.dropped++;
	pthread_mutex_unlock(&cupti.lock);
}

static void tell(uint32_t id, const struct cupti_call *c)
{
	cupti_callback f = __atomic_load_n(&cupti.callback, __ATOMIC_ACQUIRE);

	if (f && cupti.wanted[DOMAIN_DRIVER][id])
		f(NULL, DOMAIN_DRIVER, id, c);
}

static void called(int left, uint32_t number, CUgraphExec exec, CUstream stream, int result)
{
	struct cupti_graph_launch p = { (uint64_t)exec, (uint64_t)stream };
	struct cupti_call c = { .site = left ? SITE_EXIT : SITE_ENTER,
				.params = &p,
				.result = left ? &result : NULL,
				.correlation = number };

	tell(DRIVER_GRAPH_LAUNCH, &c);
}

_Static_assert(offsetof(CUlaunchConfig, hStream) == offsetof(struct cupti_launch_config, stream),
	       "hStream");

/* The name of a kernel that was launched by cuLaunchKernelEx is not said, as may be. */
static void launching(int left, uint32_t number, const CUlaunchConfig *config, CUfunction f,
		      void **params, int extended, int result)
{
	const char *name = NULL;
	struct cupti_launch p = {
		.function = f,
		.grid = { config->gridDimX, config->gridDimY, config->gridDimZ },
		.block = { config->blockDimX, config->blockDimY, config->blockDimZ },
		.shared = config->sharedMemBytes,
		.stream = config->hStream,
		.arguments = params,
	};
	struct cupti_launch_ex e = { (const void *)config, f, params };
	struct cupti_call c = { .site = left ? SITE_EXIT : SITE_ENTER,
				.params = extended ? (void *)&e : (void *)&p,
				.result = left ? &result : NULL,
				.correlation = number };

	if (!extended && !cuFuncGetName(&name, f))
		c.symbol = name;
	tell(extended ? DRIVER_LAUNCH_EX : DRIVER_LAUNCH, &c);
}

static void kernel_ran(const char *name, uint32_t number, uint32_t graph, uint64_t node,
		       uint32_t stream, uint64_t start, uint64_t end)
{
	struct record r = { .end = end,
			    .kernel = { .kind = KIND_CONCURRENT_KERNEL,
					.registers = 32,
					.start = start,
					.end = end,
					.context = 1,
					.stream = stream,
					.grid = { 8, 1, 1 },
					.block = { 512, 1, 1 },
					.correlation = number,
					.name = name,
					.node = node,
					.graph = graph } };

	put(&r);
}

static void graph_ran(uint32_t number, uint32_t graph, uint32_t nodes, uint32_t stream,
		      uint64_t start, uint64_t end)
{
	struct record r = {
		.end = end, .graph = { KIND_GRAPH_TRACE, number, start, end, 0, graph, 1, stream }
	};

	if (cupti.enabled[KIND_GRAPH_TRACE]) {
		put(&r);
		return;
	}
	for (uint32_t i = 0; cupti.enabled[KIND_CONCURRENT_KERNEL] && i < nodes; i++)
		kernel_ran("_Z12stub_in_graphi", number, graph, ((uint64_t)graph << 32) + i, stream,
			   start + (end - start) * i / nodes,
			   start + (end - start) * (i + 1) / nodes);
}

static void copied(uint32_t number, int kind, uint64_t bytes, uint32_t stream, uint64_t start,
		   uint64_t end)
{
	/* cudaMemcpyKind to CUpti_ActivityMemcpyKind */
	static const uint8_t kinds[] = { 9, 1, 2, 8, 0 };
	struct record r = { .end = end,
			    .copy = { .kind = KIND_MEMCPY,
				      .copy_kind = kinds[kind],
				      .bytes = bytes,
				      .start = start,
				      .end = end,
				      .context = 1,
				      .stream = stream,
				      .correlation = number } };

	if (cupti.enabled[KIND_MEMCPY])
		put(&r);
}

static void launched(uint32_t number, const char *name, uint32_t stream, uint64_t start,
		     uint64_t end)
{
	if (cupti.enabled[KIND_CONCURRENT_KERNEL])
		kernel_ran(name ? name : "_Z9stub_kernv", number, 0, 0, stream, start, end);
}

static const struct stub_hooks hooks = { called, launching, graph_ran, copied, launched };

API int cuptiGetVersion(uint32_t *version)
{
	*version = 130001;
	return CUPTI_OK;
}

API int cuptiActivityRegisterTimestampCallback(cupti_clock f)
{
	cupti.now = f;
	return CUPTI_OK;
}

API int cuptiActivityRegisterCallbacks(cupti_requested r, cupti_completed c)
{
	cupti.requested = r;
	cupti.completed = c;
	cupti.records = calloc(ROOM, sizeof(*cupti.records));
	if (!cupti.records)
		return 8;
	stub_hook(&hooks);
	return CUPTI_OK;
}

API int cuptiActivityEnable(int kind)
{
	cupti.enabled[kind] = 1;
	return CUPTI_OK;
}

API int cuptiActivityDisable(int kind)
{
	cupti.enabled[kind] = 0;
	return CUPTI_OK;
}

API int cuptiSubscribe(void **subscriber, cupti_callback f, void *data)
{
	(void)data;
	if (getenv("STUB_CUPTI_SUBSCRIBED"))
		return CUPTI_MULTIPLE_SUBSCRIBERS;
	*subscriber = &cupti;
	cupti.callback = f;
	return CUPTI_OK;
}

API int cuptiUnsubscribe(void *subscriber)
{
	(void)subscriber;
	cupti.callback = NULL;
	return CUPTI_OK;
}

API int cuptiEnableCallback(uint32_t enable, void *subscriber, int domain, uint32_t id)
{
	(void)subscriber;
	cupti.wanted[domain][id] = (int)enable;
	return CUPTI_OK;
}

API int cuptiActivityGetNextRecord(uint8_t *buffer, size_t valid, void **record)
{
	uint8_t *next = *record ? (uint8_t *)*record + RECORD : buffer;

	if (next >= buffer + valid)
		return CUPTI_MAX_LIMIT_REACHED;
	*record = next;
	return CUPTI_OK;
}

API int cuptiActivityGetNumDroppedRecords(void *context, uint32_t stream, size_t *dropped)
{
	(void)context, (void)stream;
	*dropped = __atomic_exchange_n(&cupti.dropped, 0, __ATOMIC_RELAXED);
	return CUPTI_OK;
}

/* One buffer of what is done; 0: there is no more. */
static int deliver(uint64_t now)
{
	uint8_t *buffer = NULL;
	size_t size = 0, records = 0, used = 0;

	cupti.requested(&buffer, &size, &records);
	if (!buffer)
		return 0;
	pthread_mutex_lock(&cupti.lock);
	while (used + RECORD <= size && cupti.first < cupti.last) {
		struct record *r = &cupti.records[cupti.first % ROOM];

		if (r->end > now)
			break;
		memset(buffer + used, 0xff, RECORD);
		memcpy(buffer + used, &r->graph, sizeof(*r) - offsetof(struct record, graph));
		used += RECORD;
		cupti.first++;
	}
	pthread_mutex_unlock(&cupti.lock);
	cupti.completed(NULL, 0, buffer, size, used);
	return used > 0;
}

API int cuptiActivityFlushAll(uint32_t flag)
{
	uint64_t now = flag == FLUSH_FORCED ? UINT64_MAX : cupti.now();

	pthread_mutex_lock(&cupti.delivering);
	while (deliver(now))
		;
	pthread_mutex_unlock(&cupti.delivering);
	return CUPTI_OK;
}
