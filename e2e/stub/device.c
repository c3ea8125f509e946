/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Kernels with an effect (device.h), and the driver's functions that are for such. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "device.h"
#include "../../cupti/inject/testdata/host_cuda.h"

#define GPU_CLOCK 1700000000000000000ull /* that it is ahead of CLOCK_MONOTONIC */
#define GPU_DRIFT 100000 /* it gains one ns in so many */

static __thread uint64_t device_time; /* when the kernel that runs is done */

static unsigned long long gpu_clock(void)
{
	return GPU_CLOCK + device_time + device_time / GPU_DRIFT;
}

/* pmtrace's kernels. */
#include "../../cupti/inject/cuda/choices.cu"

/* Kernels. */

enum what { ROUTING, CHOICES, CLOCK };

static const struct kernel {
	const char *name;
	enum what what;
	int wide; /* ids have 64 bits */
} kernels[] = {
	{ "_ZN4vllm3moe10topkGatingILi8ELi64ELi4ELi16ELi32Ei13__nv_bfloat16LNS0_11ScoringFuncE0EEE"
	  "vPKT5_PKbPfiPT4_PiiiibPKfdS8_",
	  ROUTING, 0 },
	{ "_ZN4vllm3moe10topkGatingILi18ELi576ELi4ELi4ELi32El13__nv_bfloat16LNS0_11ScoringFuncE1EE"
	  "EvPKT5_PKbPfiPT4_PiiiibPKfdS8_",
	  ROUTING, 1 },
	{ "pmtrace_choices", CHOICES, 0 },
	{ "pmtrace_clock", CLOCK, 0 },
};
enum { KERNELS = sizeof(kernels) / sizeof(*kernels) };

struct effect {
	struct effect *next;
	const struct kernel *kernel;
	uint64_t at; /* when; in a graph, how long after its begin */
	int step;
	uint32_t tokens;
	union {
		struct pm_choices choices;
		struct {
			uint64_t ids, weights;
			uint32_t layer, rows, top_k, experts;
		} routing;
	};
};

/* What was chosen for the tokens of a step in a layer. */
struct chosen {
	struct chosen *next;
	int step;
	uint32_t layer, n, top_k;
	uint16_t ids[];
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t more, done;
	int started;
	struct effect *first, **last;
	struct chosen *chosen, **newest;
} device = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.more = PTHREAD_COND_INITIALIZER,
	.done = PTHREAD_COND_INITIALIZER,
	.last = &device.first,
	.newest = &device.chosen,
};

static const struct kernel *kernel_of(CUfunction f)
{
	for (size_t i = 0; i < KERNELS; i++)
		if (f == &kernels[i])
			return &kernels[i];
	return NULL;
}

const char *kernel_name(CUfunction f)
{
	const struct kernel *k = kernel_of(f);

	return k ? k->name : NULL;
}

/* The arguments of topkGating. What stands in for the logits is the layer's number. */
struct effect *effect_of(CUfunction f, void **params)
{
	enum { INPUT, FINISHED, WEIGHTS, ROWS, IDS, SOURCE_ROWS, TOP_K, FIRST, EXPERTS };
	const struct kernel *k = kernel_of(f);
	struct effect *e;

	if (!k || k->what == CLOCK)
		return NULL;
	e = calloc(1, sizeof(*e));
	if (!e)
		abort();
	e->kernel = k;
	if (k->what == CHOICES) {
		e->choices = *(const struct pm_choices *)params[0];
		return e;
	}
	e->routing.layer = **(const uint32_t **)params[INPUT];
	e->routing.ids = *(const uint64_t *)params[IDS];
	e->routing.weights = *(const uint64_t *)params[WEIGHTS];
	e->routing.rows = *(const uint32_t *)params[ROWS];
	e->routing.top_k = *(const uint32_t *)params[TOP_K];
	e->routing.experts = *(const uint32_t *)params[EXPERTS];
	return e;
}

/* The i-th of the experts that a row chooses, which differ if there are seven times as
 * many as are chosen. */
static uint32_t choice(uint32_t step, uint32_t layer, uint32_t row, uint32_t i, uint32_t experts)
{
	uint32_t h = step * 0x9e3779b1u ^ layer * 0x85ebca6bu ^ row * 0xc2b2ae35u;

	h = (h ^ h >> 15) * 0x2c1b3c6du;
	h = (h ^ h >> 12) * 0x297a2d39u;
	h ^= h >> 15;
	return (h % experts + i * (1 + (h >> 16) % 7)) % experts;
}

/* Rows behind the tokens are padding, and choose as well. */
static void route(const struct effect *e)
{
	uint32_t k = e->routing.top_k,
		 rows = e->tokens < e->routing.rows ? e->tokens : e->routing.rows;
	struct chosen *c;

	for (uint32_t row = 0; row < e->routing.rows; row++) {
		uint32_t step = (uint32_t)(row < rows ? e->step : ~e->step);

		for (uint32_t i = 0; i < k; i++) {
			uint32_t id = choice(step, e->routing.layer, row, i, e->routing.experts);
			size_t at = (size_t)row * k + i;

			if (e->kernel->wide)
				((uint64_t *)e->routing.ids)[at] = id;
			else
				((uint32_t *)e->routing.ids)[at] = id;
			((float *)e->routing.weights)[at] = 1.0f / (float)(1 + i);
		}
	}
	if (e->step < 0)
		return;
	c = calloc(1, sizeof(*c) + (size_t)rows * k * sizeof(*c->ids));
	if (!c)
		abort();
	c->step = e->step;
	c->layer = e->routing.layer;
	c->n = rows * k;
	c->top_k = k;
	for (uint32_t i = 0; i < c->n; i++)
		c->ids[i] = (uint16_t)choice((uint32_t)e->step, c->layer, i / k, i % k,
					     e->routing.experts);
	pthread_mutex_lock(&device.lock);
	*device.newest = c;
	device.newest = &c->next;
	pthread_mutex_unlock(&device.lock);
}

static void *run(void *unused)
{
	(void)unused;
	sched_setscheduler(0, SCHED_BATCH,
			   &(struct sched_param){ 0 }); /* it takes no core from the host */
	pthread_mutex_lock(&device.lock);
	for (;;) {
		struct effect *e = device.first;
		struct timespec until;

		if (!e) {
			pthread_cond_broadcast(&device.done);
			pthread_cond_wait(&device.more, &device.lock);
			continue;
		}
		pthread_mutex_unlock(&device.lock);
		until = (struct timespec){ (time_t)(e->at / 1000000000),
					   (long)(e->at % 1000000000) };
		while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
			;
		device_time = e->at;
		if (e->kernel->what == ROUTING)
			route(e);
		else
			pmtrace_choices(e->choices);
		pthread_mutex_lock(&device.lock);
		device.first = e->next;
		if (!device.first)
			device.last = &device.first;
		free(e);
	}
	return NULL;
}

void effect_at(struct effect *effect, uint64_t due, int step, uint32_t tokens)
{
	pthread_t thread;

	effect->next = NULL;
	effect->at = due;
	effect->step = step;
	effect->tokens = tokens;
	pthread_mutex_lock(&device.lock);
	*device.last = effect;
	device.last = &effect->next;
	if (!device.started && pthread_create(&thread, NULL, run, NULL))
		abort();
	device.started = 1;
	pthread_cond_signal(&device.more);
	pthread_mutex_unlock(&device.lock);
}

int effect_clock(CUfunction f, void **params, uint64_t time)
{
	const struct kernel *k = kernel_of(f);

	if (!k || k->what != CLOCK)
		return 0;
	device_time = time;
	pmtrace_clock(*(unsigned long long **)params[0]);
	return 1;
}

void effect_add(struct effect **list, struct effect *effect, uint64_t after)
{
	while (*list)
		list = &(*list)->next;
	effect->at = after;
	*list = effect;
}

static struct effect *copy_of(const struct effect *effect)
{
	struct effect *e = malloc(sizeof(*e));

	if (!e)
		abort();
	*e = *effect;
	e->next = NULL;
	return e;
}

struct effect *effects_copy(const struct effect *list)
{
	struct effect *copy = NULL, **last = &copy;

	for (; list; list = list->next, last = &(*last)->next)
		*last = copy_of(list);
	return copy;
}

void effects_free(struct effect *list)
{
	while (list) {
		struct effect *next = list->next;

		free(list);
		list = next;
	}
}

void effects_at(const struct effect *list, uint64_t start, uint64_t is, uint64_t was, int step,
		uint32_t tokens)
{
	for (; list; list = list->next)
		effect_at(copy_of(list), start + list->at * is / was, step, tokens);
}

void effects_truth(FILE *f)
{
	struct chosen *c;

	pthread_mutex_lock(&device.lock);
	while (device.first)
		pthread_cond_wait(&device.done, &device.lock);
	while ((c = device.chosen)) {
		fprintf(f, "{\"work\":\"routing\",\"step\":%d,\"layer\":%u,\"top_k\":%u,\"ids\":[",
			c->step, c->layer, c->top_k);
		for (uint32_t i = 0; i < c->n; i++)
			fprintf(f, "%s%u", i ? "," : "", c->ids[i]);
		fprintf(f, "]}\n");
		device.chosen = c->next;
		free(c);
	}
	device.newest = &device.chosen;
	pthread_mutex_unlock(&device.lock);
}

CUfunction stub_routing_kernel(int wide)
{
	return (CUfunction)&kernels[wide ? 1 : 0];
}

/* The driver's. */

API int cuCtxGetCurrent(void **context);
int cuCtxGetCurrent(void **context)
{
	CALLED();
	*context = &device;
	return OK;
}

API int cuCtxSetCurrent(void *context);
int cuCtxSetCurrent(void *context)
{
	CALLED();
	return context == &device ? OK : INVALID_VALUE;
}

API int cuThreadExchangeStreamCaptureMode(int *mode);
int cuThreadExchangeStreamCaptureMode(int *mode)
{
	static __thread int current;
	int before = current;

	CALLED();
	current = *mode;
	*mode = before;
	return OK;
}

API int cuModuleLoadData(void **module, const void *image);
int cuModuleLoadData(void **module, const void *image)
{
	CALLED();
	if (stub_captures())
		return CAPTURE_UNSUPPORTED;
	*module = strstr(image, ".visible .entry pmtrace_choices(") ? &device : NULL;
	return *module ? OK : INVALID_VALUE;
}

API int cuModuleGetFunction(CUfunction *f, void *module, const char *name);
int cuModuleGetFunction(CUfunction *f, void *module, const char *name)
{
	CALLED();
	for (size_t i = 0; module == &device && i < KERNELS; i++) {
		if (kernels[i].what != ROUTING && !strcmp(kernels[i].name, name)) {
			*f = (CUfunction)&kernels[i];
			return OK;
		}
	}
	return INVALID_VALUE;
}

int cuFuncGetName(const char **name, CUfunction f)
{
	CALLED();
	*name = kernel_name(f);
	return *name ? OK : INVALID_HANDLE;
}

API int cuMemHostRegister_v2(void *address, size_t bytes, unsigned flags);
int cuMemHostRegister_v2(void *address, size_t bytes, unsigned flags)
{
	(void)flags;
	CALLED();
	if (stub_captures())
		return CAPTURE_UNSUPPORTED;
	return address && bytes ? OK : INVALID_VALUE;
}

API int cuMemHostGetDevicePointer_v2(CUdeviceptr *device_pointer, void *address, unsigned flags);
int cuMemHostGetDevicePointer_v2(CUdeviceptr *device_pointer, void *address, unsigned flags)
{
	(void)flags;
	CALLED();
	*device_pointer = (CUdeviceptr)address;
	return OK;
}

API int cuMemsetD8_v2(CUdeviceptr address, unsigned char value, size_t bytes);
int cuMemsetD8_v2(CUdeviceptr address, unsigned char value, size_t bytes)
{
	CALLED();
	if (stub_captures())
		return CAPTURE_UNSUPPORTED;
	memset((void *)address, value, bytes);
	return OK;
}
