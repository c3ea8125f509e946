// A libcupti.so.13 for tests: the entry points that the library uses, on work that a test
// makes up (mock_…). MOCK_CUPTI in the environment says what is to go wrong:
//
//	fail:FUNCTION        that function fails with 999
//	fail:FUNCTION:KIND   cuptiActivityEnable or Disable of that kind alone
//	subscribed           another tool has CUPTI's callbacks
//	invalid              a record in the middle of each buffer is invalid
//	dropped              each buffer says that 3 records were dropped
//	cuda12               of CUDA 12: graphs are told only if it is forced to
//	hangs                replays are switched off in 2 s
//	slow                 launches take 100 µs
//
// What is told of graphs must not be switched while a thread is within a launch, and no
// graph be made in a window: the real one crashes then.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../c/abi.h"
#include "cupti.h"

enum { UNKNOWN = 999, INVALID_KIND = 21, KINDS = 64, SIZES = 256 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t delivering = PTHREAD_MUTEX_INITIALIZER;
static cupti_clock now;
static cupti_requested requested;
static cupti_completed completed;
static cupti_callback callback;
static int enabled[KINDS], wanted[3][1024];
static uint32_t correlations, launching;
static uint8_t *buffer;
static size_t size, used;

static int fails(const char *function, int kind)
{
	const char *m = getenv("MOCK_CUPTI");
	char with[256];

	if (!m)
		return 0;
	snprintf(with, sizeof(with), "fail:%s", function);
	if (!strcmp(m, with))
		return 1;
	snprintf(with, sizeof(with), "fail:%s:%d", function, kind);
	return kind && !strcmp(m, with);
}

static int mode(const char *name)
{
	const char *m = getenv("MOCK_CUPTI");

	return m && !strcmp(m, name);
}

static void misused(const char *what)
{
	fprintf(stderr, "mock cupti: %s\n", what);
	abort();
}

static void switched(int kind)
{
	if ((kind == KIND_GRAPH_TRACE || kind == KIND_CONCURRENT_KERNEL) &&
	    __atomic_load_n(&launching, __ATOMIC_SEQ_CST))
		misused("switched within a launch");
}

#define ENTER(kind)                  \
	if (fails(__func__, (kind))) \
	return UNKNOWN

int cuptiGetVersion(uint32_t *version)
{
	ENTER(0);
	*version = mode("cuda12") ? 28 : 130001;
	return CUPTI_OK;
}

int cuptiActivityRegisterTimestampCallback(cupti_clock f)
{
	ENTER(0);
	now = f;
	return CUPTI_OK;
}

int cuptiActivityRegisterCallbacks(cupti_requested r, cupti_completed c)
{
	ENTER(0);
	requested = r;
	completed = c;
	return CUPTI_OK;
}

int cuptiActivityEnable(int kind)
{
	ENTER(kind);
	if (!now || !requested)
		misused("enabled before there is a clock and a place for records");
	switched(kind);
	enabled[kind] = 1;
	return CUPTI_OK;
}

int cuptiActivityDisable(int kind)
{
	ENTER(kind);
	switched(kind);
	if (mode("hangs") && kind == KIND_GRAPH_TRACE)
		sleep(2);
	enabled[kind] = 0;
	return CUPTI_OK;
}

int cuptiSubscribe(void **subscriber, cupti_callback f, void *data)
{
	ENTER(0);
	if (mode("subscribed"))
		return CUPTI_MULTIPLE_SUBSCRIBERS;
	if (data)
		misused("data");
	*subscriber = wanted;
	callback = f;
	return CUPTI_OK;
}

int cuptiUnsubscribe(void *subscriber)
{
	if (subscriber != wanted)
		misused("unsubscribe");
	callback = NULL;
	return CUPTI_OK;
}

int cuptiEnableCallback(uint32_t enable, void *subscriber, int domain, uint32_t id)
{
	ENTER(0);
	if (subscriber != wanted)
		misused("enable callback");
	wanted[domain][id] = (int)enable;
	return CUPTI_OK;
}

int cuptiActivityGetNextRecord(uint8_t *b, size_t valid, void **record)
{
	uint8_t *next = *record ? (uint8_t *)*record + SIZES : b;

	ENTER(0);
	if (next >= b + valid)
		return CUPTI_MAX_LIMIT_REACHED;
	if (mode("invalid") && next >= b + 2 * SIZES)
		return INVALID_KIND;
	*record = next;
	return CUPTI_OK;
}

int cuptiActivityGetNumDroppedRecords(void *context, uint32_t stream, size_t *dropped)
{
	ENTER(0);
	(void)context, (void)stream;
	*dropped = mode("dropped") ? 3 : 0;
	return CUPTI_OK;
}

static void deliver(void)
{
	uint8_t *b;
	size_t n, s;

	pthread_mutex_lock(&delivering);
	pthread_mutex_lock(&lock);
	b = buffer, n = used, s = size;
	buffer = NULL;
	used = size = 0;
	pthread_mutex_unlock(&lock);
	if (b)
		completed(NULL, 0, b, s, n);
	pthread_mutex_unlock(&delivering);
}

int cuptiActivityFlushAll(uint32_t flag)
{
	ENTER(0);
	if (completed && !(mode("cuda12") && enabled[KIND_GRAPH_TRACE] && flag != FLUSH_FORCED))
		deliver();
	return CUPTI_OK;
}

// put takes a record, as CUPTI's newest layouts have it: longer than what is read.
static void put(const void *record, size_t n)
{
	size_t records = 1;

	pthread_mutex_lock(&lock);
	while (!buffer || used + SIZES > size) {
		pthread_mutex_unlock(&lock);
		deliver();
		pthread_mutex_lock(&lock);
		if (buffer)
			continue;
		requested(&buffer, &size, &records);
		if (records)
			misused("records");
		if (!buffer) { // declined
			pthread_mutex_unlock(&lock);
			return;
		}
	}
	memset(buffer + used, 0xff, SIZES);
	memcpy(buffer + used, record, n);
	used += SIZES;
	pthread_mutex_unlock(&lock);
}

static void call(int domain, uint32_t id, uint32_t site, uint32_t correlation,
		 struct cupti_graph_launch *p, const int *result)
{
	struct cupti_call c = {
		.site = site, .params = p, .result = result, .correlation = correlation
	};

	if (callback && wanted[domain][id])
		callback(NULL, domain, id, &c);
}

static uint32_t number(void)
{
	return __atomic_add_fetch(&correlations, 1, __ATOMIC_RELAXED);
}

void mock_called(uint32_t id, const void *params, const char *symbol)
{
	int result = 0;
	struct cupti_call c = { .site = SITE_EXIT,
				.params = params,
				.result = &result,
				.symbol = symbol,
				.correlation = number() };

	if (callback && wanted[DOMAIN_DRIVER][id])
		callback(NULL, DOMAIN_DRIVER, id, &c);
}

uint32_t mock_launch(uint64_t exec, uint64_t stream, uint32_t graph, uint32_t kernels,
		     uint64_t start, uint64_t end, int result)
{
	struct cupti_graph_launch p = { exec, stream };
	uint32_t runtime = number(), driver = number();
	int as_graph, as_kernels;

	call(DOMAIN_RUNTIME, RUNTIME_GRAPH_LAUNCH, SITE_ENTER, runtime, &p, NULL);
	call(DOMAIN_DRIVER, DRIVER_GRAPH_LAUNCH, SITE_ENTER, driver, &p, NULL);
	__atomic_add_fetch(&launching, 1, __ATOMIC_SEQ_CST);
	as_graph = enabled[KIND_GRAPH_TRACE];
	as_kernels = enabled[KIND_CONCURRENT_KERNEL];
	if (mode("slow"))
		usleep(100);
	__atomic_sub_fetch(&launching, 1, __ATOMIC_SEQ_CST);
	call(DOMAIN_DRIVER, DRIVER_GRAPH_LAUNCH, SITE_EXIT, driver, &p, &result);
	call(DOMAIN_RUNTIME, RUNTIME_GRAPH_LAUNCH, SITE_EXIT, runtime, &p, &result);
	if (result)
		return 0;
	if (as_graph) {
		struct cupti_graph g = { KIND_GRAPH_TRACE, driver, start, end, 0, graph, 1, 13 };

		put(&g, sizeof(g));
	} else if (as_kernels) {
		for (uint32_t i = 0; i < kernels; i++) {
			char name[64];

			snprintf(name, sizeof(name), "_Z6kernel%ui", i);
			mock_kernel(name, driver, graph, start + (end - start) * i / kernels,
				    start + (end - start) * (i + 1) / kernels);
		}
	}
	return driver;
}

static void driver(uint32_t id, uint32_t site)
{
	int result = 0;
	struct cupti_call c = {
		.site = site, .params = &c, .result = &result, .correlation = number()
	};

	if (callback && wanted[DOMAIN_DRIVER][id])
		callback(NULL, DOMAIN_DRIVER, id, &c);
	if (enabled[KIND_CONCURRENT_KERNEL])
		misused("a graph is made in a window");
}

void mock_make(void)
{
	/* cuStreamBeginCapture_v2, cuStreamEndCapture, cuGraphInstantiateWithFlags */
	static const uint32_t calls[] = { 539, 497, 643 };

	for (int i = 0; i < 3; i++) {
		driver(calls[i], SITE_ENTER);
		usleep(1000);
		driver(calls[i], SITE_EXIT);
	}
}

void mock_kernel(const char *name, uint32_t correlation, uint32_t graph, uint64_t start,
		 uint64_t end)
{
	static struct {
		uint64_t hash;
		char text[8192];
	} names[64];
	static int n;
	struct cupti_kernel k = {
		.kind = KIND_CONCURRENT_KERNEL,
		.registers = 40,
		.start = start,
		.end = end,
		.device = 0,
		.context = 1,
		.stream = 13,
		.grid = { 100, 2, 1 },
		.block = { 256, 1, 1 },
		.static_shared = 1024,
		.dynamic_shared = 2048,
		.correlation = correlation ? correlation : number(),
		.node = graph ? 77 : 0,
		.graph = graph,
	};
	int i;

	if (!graph && !enabled[KIND_CONCURRENT_KERNEL])
		return;
	for (i = 0; i < n && strcmp(names[i].text, name); i++)
		;
	if (i == n && n < 64)
		snprintf(names[n++].text, sizeof(names[0].text), "%s", name);
	k.name = i < 64 ? names[i].text : NULL;
	put(&k, sizeof(k));
}

void mock_copy(int kind, uint64_t bytes, uint64_t start, uint64_t end)
{
	struct cupti_memcpy m = {
		.kind = KIND_MEMCPY,
		.copy_kind = (uint8_t)kind,
		.bytes = bytes,
		.start = start,
		.end = end,
		.context = 1,
		.stream = 14,
		.correlation = number(),
	};

	if (enabled[KIND_MEMCPY])
		put(&m, sizeof(m));
}

int mock_enabled(void)
{
	int n = callback != NULL;

	for (int i = 0; i < KINDS; i++)
		n += enabled[i];
	return n;
}
