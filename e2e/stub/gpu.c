/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* libcuda.so.1 of the stub: the driver API on a GPU that is a clock (gpu.h). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "device.h"

#define LAUNCH_LATENCY 3000 /* ns, from the call to the start on an idle device */
#define EVENT_BLOCKING 1 /* CU_EVENT_BLOCKING_SYNC */

enum magic {
	STREAM = 0x57,
	EVENT = 0xe7,
	GRAPH = 0x67,
	EXEC = 0xec,
};

struct stream {
	unsigned magic;
	unsigned id;
	uint64_t tail; /* when all that was enqueued is done */
	struct graph *capture; /* where calls go instead */
	int origin; /* capture began on this stream */
	uint64_t capture_began;
	struct stream *next;
};

struct event {
	unsigned magic;
	unsigned flags;
	uint64_t done; /* of the newest record; 0: never recorded */
	struct graph *capture;
};

struct graph {
	unsigned magic;
	unsigned nodes;
	uint64_t duration;
	struct effect *effects;
};

struct exec {
	unsigned magic;
	unsigned id; /* never used again, as handles are */
	unsigned nodes;
	uint64_t duration, captured; /* the second: of its kernels as they were captured */
	struct effect *effects;
	struct exec *next; /* among destroyed ones */
};

/* An entry of the truth. */
struct entry {
	uint8_t work; /* enum work */
	uint8_t captured;
	int16_t result;
	int32_t step, phase;
	uint32_t thread, stream, id;
	uint64_t handle, amount; /* bytes of a copy, nodes of a graph, elements */
	const char *name;
	int detail; /* kind of a copy, type of a collective */
	uint64_t called, start, end; /* of a sync: called, its return, when the work was done */
};

struct counter {
	const char *function;
	uint64_t *count;
};

static struct {
	pthread_mutex_t lock;
	struct stream legacy, per_thread;
	struct stream *streams;
	struct exec *destroyed; /* whose handles are given out again, newest first */
	unsigned ids, execs;
	uint64_t kernel_ns;
	struct entry *truth;
	size_t entries, room;
	struct counter counters[128];
	size_t functions;
} gpu = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.legacy = { .magic = STREAM, .next = &gpu.per_thread },
	.per_thread = { .magic = STREAM, .id = 2 },
	.streams = &gpu.legacy,
	.ids = 2,
	.kernel_ns = 2000,
};

static __thread struct {
	int step, phase;
	uint32_t tokens;
	uint64_t next;
	uint32_t tid;
} mine = { .step = -1 };

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static void lock(void)
{
	pthread_mutex_lock(&gpu.lock);
}

static int unlock(int result)
{
	pthread_mutex_unlock(&gpu.lock);
	return result;
}

static struct stream *stream_of(CUstream s)
{
	if ((uintptr_t)s < 2)
		return &gpu.legacy;
	if ((uintptr_t)s == 2)
		return &gpu.per_thread;
	return s->magic == STREAM ? s : NULL;
}

/* Adds an entry; the caller has the lock. */
static struct entry *say(enum work work, const struct stream *s, uint64_t handle)
{
	struct entry *e;

	if (gpu.entries == gpu.room) {
		gpu.room = gpu.room ? gpu.room * 2 : 1 << 14;
		gpu.truth = realloc(gpu.truth, gpu.room * sizeof(*gpu.truth));
		if (!gpu.truth)
			abort();
	}
	if (!mine.tid)
		mine.tid = (uint32_t)syscall(SYS_gettid);
	e = &gpu.truth[gpu.entries++];
	*e = (struct entry){
		.work = (uint8_t)work,
		.step = mine.step,
		.phase = mine.phase,
		.thread = mine.tid,
		.stream = s ? s->id : 0,
		.handle = handle,
		.called = now(),
	};
	return e;
}

static const struct stub_hooks *hooks; /* NULL: nobody wants to be told */
static uint32_t numbers; /* of calls */

void stub_hook(const struct stub_hooks *h)
{
	hooks = h;
}

static uint32_t number(void)
{
	return __atomic_add_fetch(&numbers, 1, __ATOMIC_RELAXED);
}

static uint64_t duration(uint64_t usual)
{
	uint64_t ns = mine.next ? mine.next : usual;

	mine.next = 0;
	return ns;
}

/* Enqueues work, or puts it into the graph that is being captured. */
static struct entry *enqueue(enum work work, struct stream *s, uint64_t handle, uint64_t ns)
{
	struct entry *e = say(work, s, handle);

	if (s->capture) {
		e->captured = 1;
		s->capture->nodes++;
		s->capture->duration += ns;
		return e;
	}
	e->start = later(s->tail, e->called + LAUNCH_LATENCY);
	e->end = e->start + ns;
	s->tail = e->end;
	return e;
}

static void wait_until(uint64_t done, int sleeping)
{
	struct timespec t = { (time_t)(done / 1000000000), (long)(done % 1000000000) };

	if (done <= now()) /* a look at a word of memory, and no call of the kernel's */
		return;
	if (!sleeping) {
		while (now() < done)
			__builtin_ia32_pause();
		return;
	}
	prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0); /* an interrupt comes at once */
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
		;
}

/* The host waits, without the lock, and says so after. */
static int waited(const char *name, uint64_t handle, const struct stream *s, uint64_t done,
		  int sleeping)
{
	uint64_t called = now();
	struct entry *e;

	unlock(OK);
	wait_until(done, sleeping);
	lock();
	e = say(WORK_SYNC, s, handle);
	e->start = e->called;
	e->called = called;
	e->end = done;
	e->name = name;
	e->detail = sleeping;
	return unlock(OK);
}

/* Kernels. */

/* What the kernel of a launch does to memory, in the graph or when it is done. */
static int affect(CUfunction f, void **params, struct stream *s, const struct entry *e)
{
	struct effect *effect = effect_of(f, params);
	uint64_t done = e->end;

	if (effect && s->capture)
		effect_add(&s->capture->effects, effect, s->capture->duration);
	else if (effect)
		effect_at(effect, done, mine.step, mine.tokens);
	unlock(OK);
	if (kernel_name(f) && !effect) { /* who reads the clock is told at once */
		wait_until(done, 0);
		effect_clock(f, params, done);
	}
	return OK;
}

static int launch(CUfunction f, CUstream stream, void **params, uint32_t number, const char *name,
		  uint64_t amount, int type)
{
	struct stream *s;
	struct entry *e;

	lock();
	s = stream_of(stream);
	if (!s)
		return unlock(INVALID_HANDLE);
	e = enqueue(name ? WORK_COLLECTIVE : WORK_KERNEL, s, (uint64_t)f, duration(gpu.kernel_ns));
	e->name = name ? name : kernel_name(f);
	e->amount = amount;
	e->detail = type;
	if (hooks && !e->captured)
		hooks->kernel(number, kernel_name(f), s->id, e->start, e->end);
	return affect(f, params, s, e);
}

/* A collective's name for the kernel that comes next on this thread. */
static __thread struct {
	const char *name;
	uint64_t count;
	int type;
} collective;

static int launch_named(const CUlaunchConfig *config, CUfunction f, void **params, int extended)
{
	uint32_t n = number();
	int result;

	if (hooks)
		hooks->launch(0, n, config, f, params, extended, OK);
	result = launch(f, config->hStream, params, n, collective.name, collective.count,
			collective.type);
	collective.name = NULL;
	if (hooks)
		hooks->launch(1, n, config, f, params, extended, result);
	return result;
}

int cuLaunchKernel(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
		   unsigned bz, unsigned shared, CUstream stream, void **params, void **extra)
{
	CUlaunchConfig config = { gx, gy, gz, bx, by, bz, shared, stream, NULL, 0 };

	(void)extra;
	CALLED();
	return launch_named(&config, f, params, 0);
}

int cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction f, void **params, void **extra)
{
	(void)extra;
	CALLED();
	return config ? launch_named(config, f, params, 1) : INVALID_VALUE;
}

void stub_collective(const char *name, uint64_t count, int type, CUstream stream)
{
	CUlaunchConfig config = {
		.gridDimX = 8,
		.gridDimY = 1,
		.gridDimZ = 1,
		.blockDimX = 512,
		.blockDimY = 1,
		.blockDimZ = 1,
		.hStream = stream,
	};

	collective.name = name;
	collective.count = count;
	collective.type = type;
	cuLaunchKernelEx(&config, (CUfunction)stub_collective, NULL, NULL);
}

/* Graphs. */

int cuStreamBeginCapture_v2(CUstream stream, int mode)
{
	struct stream *s;

	(void)mode;
	CALLED();
	lock();
	s = stream_of(stream);
	if (!s)
		return unlock(INVALID_HANDLE);
	if (s == &gpu.legacy || s->capture) /* the legacy stream cannot be captured */
		return unlock(CAPTURE_UNSUPPORTED);
	s->capture = calloc(1, sizeof(*s->capture));
	if (!s->capture)
		return unlock(OUT_OF_MEMORY);
	s->capture->magic = GRAPH;
	s->origin = 1;
	s->capture_began = now();
	return unlock(OK);
}

int cuStreamEndCapture(CUstream stream, CUgraph *graph)
{
	struct stream *s, *other;
	struct entry *e;

	CALLED();
	lock();
	s = stream_of(stream);
	if (!s || !graph)
		return unlock(INVALID_VALUE);
	if (!s->capture || !s->origin)
		return unlock(CAPTURE_INVALID);
	*graph = s->capture;
	for (other = gpu.streams; other; other = other->next)
		if (other->capture == *graph)
			other->capture = NULL;
	s->origin = 0;
	e = say(WORK_CAPTURE, s, (uint64_t)*graph);
	e->amount = (*graph)->nodes;
	e->start = s->capture_began;
	e->end = e->called;
	return unlock(OK);
}

int cuStreamIsCapturing(CUstream stream, int *status)
{
	struct stream *s;

	CALLED();
	lock();
	s = stream_of(stream);
	if (!s || !status)
		return unlock(INVALID_VALUE);
	*status = s->capture ? 1 : 0;
	return unlock(OK);
}

int stub_captures(void)
{
	struct stream *s;

	lock();
	for (s = gpu.streams; s && !s->capture; s = s->next)
		;
	return unlock(s != NULL);
}

static int instantiate(CUgraphExec *exec, CUgraph graph)
{
	struct entry *e;
	uint64_t called = now();

	if (!exec || !graph || graph->magic != GRAPH)
		return INVALID_VALUE;
	lock();
	*exec = gpu.destroyed;
	if (*exec)
		gpu.destroyed = (*exec)->next;
	else
		*exec = calloc(1, sizeof(**exec));
	if (!*exec)
		return unlock(OUT_OF_MEMORY);
	**exec = (struct exec){
		.magic = EXEC,
		.id = gpu.execs++,
		.nodes = graph->nodes,
		.duration = duration(graph->duration),
		.captured = graph->duration,
		.effects = effects_copy(graph->effects),
	};
	e = say(WORK_INSTANTIATE, NULL, (uint64_t)*exec);
	e->id = (*exec)->id;
	e->amount = (*exec)->nodes;
	e->start = called;
	e->end = e->called;
	e->called = called;
	return unlock(OK);
}

int cuGraphInstantiateWithFlags(CUgraphExec *exec, CUgraph graph, unsigned long long flags)
{
	(void)flags;
	CALLED();
	return instantiate(exec, graph);
}

int cuGraphInstantiateWithParams(CUgraphExec *exec, CUgraph graph, CUgraphInstantiateParams *params)
{
	(void)params;
	CALLED();
	return instantiate(exec, graph);
}

int cuGraphUpload(CUgraphExec exec, CUstream stream)
{
	CALLED();
	return exec && exec->magic == EXEC && stream_of(stream) ? OK : INVALID_VALUE;
}

int cuGraphLaunch(CUgraphExec exec, CUstream stream)
{
	struct stream *s;
	struct entry *e;
	uint32_t n = number();
	int valid;

	CALLED();
	if (hooks)
		hooks->call(0, n, exec, stream, OK);
	lock();
	s = stream_of(stream);
	valid = s && exec && exec->magic == EXEC;
	if (valid) {
		e = enqueue(WORK_GRAPH, s, (uint64_t)exec, exec->duration);
		e->id = exec->id;
		e->amount = exec->nodes;
		if (hooks && !e->captured)
			hooks->graph(n, exec->id + 1, exec->nodes, s->id, e->start, e->end);
		if (!e->captured)
			effects_at(exec->effects, e->start, exec->duration, exec->captured,
				   mine.step, mine.tokens);
	}
	unlock(OK);
	if (hooks)
		hooks->call(1, n, exec, stream, valid ? OK : INVALID_VALUE);
	return valid ? OK : INVALID_VALUE;
}

int cuGraphExecDestroy(CUgraphExec exec)
{
	CALLED();
	lock();
	if (!exec || exec->magic != EXEC)
		return unlock(INVALID_VALUE);
	say(WORK_DESTROY, NULL, (uint64_t)exec)->id = exec->id;
	effects_free(exec->effects);
	exec->magic = 0;
	exec->next = gpu.destroyed;
	gpu.destroyed = exec;
	return unlock(OK);
}

int cuGraphDestroy(CUgraph graph)
{
	CALLED();
	if (!graph || graph->magic != GRAPH)
		return INVALID_VALUE;
	effects_free(graph->effects);
	graph->magic = 0;
	free(graph);
	return OK;
}

/* Streams. */

static int create(CUstream *stream)
{
	struct stream *s = calloc(1, sizeof(*s));

	if (!s || !stream)
		return OUT_OF_MEMORY;
	lock();
	s->magic = STREAM;
	s->id = ++gpu.ids;
	s->next = gpu.streams;
	gpu.streams = s;
	*stream = s;
	return unlock(OK);
}

int cuStreamCreate(CUstream *stream, unsigned flags)
{
	(void)flags;
	CALLED();
	return create(stream);
}

API int cuStreamCreateWithPriority(CUstream *stream, unsigned flags, int priority);
int cuStreamCreateWithPriority(CUstream *stream, unsigned flags, int priority)
{
	(void)flags, (void)priority;
	CALLED();
	return create(stream);
}

int cuStreamDestroy_v2(CUstream stream)
{
	struct stream **p;

	CALLED();
	lock();
	for (p = &gpu.streams; *p && *p != stream; p = &(*p)->next)
		;
	if (!*p || stream == &gpu.legacy || stream == &gpu.per_thread)
		return unlock(INVALID_HANDLE);
	*p = stream->next;
	stream->magic = 0;
	free(stream);
	return unlock(OK);
}

int cuStreamSynchronize(CUstream stream)
{
	struct stream *s;

	CALLED();
	lock();
	s = stream_of(stream);
	if (!s)
		return unlock(INVALID_HANDLE);
	if (s->capture)
		return unlock(CAPTURE_UNSUPPORTED);
	return waited("stream", (uint64_t)stream, s, s->tail, 0);
}

int cuStreamQuery(CUstream stream)
{
	struct stream *s;

	CALLED();
	lock();
	s = stream_of(stream);
	if (!s)
		return unlock(INVALID_HANDLE);
	return unlock(s->tail <= now() ? OK : NOT_READY);
}

int cuStreamWaitEvent(CUstream stream, CUevent event, unsigned flags)
{
	struct stream *s;

	(void)flags;
	CALLED();
	lock();
	s = stream_of(stream);
	if (!s || !event || event->magic != EVENT)
		return unlock(INVALID_HANDLE);
	if (event->capture)
		s->capture = event->capture; /* the stream joins the capture */
	else
		s->tail = later(s->tail, event->done);
	return unlock(OK);
}

int cuCtxSynchronize(void)
{
	struct stream *s;
	uint64_t done = 0;

	CALLED();
	lock();
	for (s = gpu.streams; s; s = s->next)
		done = later(done, s->tail);
	return waited("device", 0, NULL, done, 0);
}

/* Events. */

int cuEventCreate(CUevent *event, unsigned flags)
{
	CALLED();
	if (!event)
		return INVALID_VALUE;
	*event = calloc(1, sizeof(**event));
	if (!*event)
		return OUT_OF_MEMORY;
	(*event)->magic = EVENT;
	(*event)->flags = flags;
	return OK;
}

static int record(CUevent event, CUstream stream)
{
	struct stream *s;
	struct entry *e;

	lock();
	s = stream_of(stream);
	if (!s || !event || event->magic != EVENT)
		return unlock(INVALID_HANDLE);
	event->capture = s->capture;
	e = say(WORK_EVENT, s, (uint64_t)event);
	e->captured = s->capture != NULL;
	if (!s->capture) {
		e->start = e->end = event->done = later(s->tail, e->called + LAUNCH_LATENCY);
		s->tail = event->done;
	}
	return unlock(OK);
}

int cuEventRecord(CUevent event, CUstream stream)
{
	CALLED();
	return record(event, stream);
}

int cuEventRecordWithFlags(CUevent event, CUstream stream, unsigned flags)
{
	(void)flags;
	CALLED();
	return record(event, stream);
}

int cuEventSynchronize(CUevent event)
{
	CALLED();
	lock();
	if (!event || event->magic != EVENT)
		return unlock(INVALID_HANDLE);
	if (event->capture)
		return unlock(CAPTURE_UNSUPPORTED);
	return waited("event", (uint64_t)event, NULL, event->done, event->flags & EVENT_BLOCKING);
}

int cuEventQuery(CUevent event)
{
	struct entry *e;

	CALLED();
	lock();
	if (!event || event->magic != EVENT)
		return unlock(INVALID_HANDLE);
	if (event->capture)
		return unlock(CAPTURE_UNSUPPORTED);
	e = say(WORK_QUERY, NULL, (uint64_t)event);
	e->end = event->done;
	e->result = event->done <= e->called ? OK : NOT_READY;
	return unlock(e->result);
}

int cuEventDestroy_v2(CUevent event)
{
	CALLED();
	lock();
	if (!event || event->magic != EVENT)
		return unlock(INVALID_HANDLE);
	event->magic = 0;
	free(event);
	return unlock(OK);
}

/* Memory. */

static int copy(uint64_t bytes, int kind, CUstream stream)
{
	struct stream *s;
	struct entry *e;

	lock();
	s = stream_of(stream);
	if (!s)
		return unlock(INVALID_HANDLE);
	e = enqueue(WORK_COPY, s, 0, duration(1500 + bytes / 50)); /* 50 GB/s */
	e->amount = bytes;
	e->detail = kind;
	if (hooks && !e->captured)
		hooks->copy(number(), kind, bytes, s->id, e->start, e->end);
	return unlock(OK);
}

int cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes, CUstream stream)
{
	(void)to, (void)from;
	CALLED();
	return copy(bytes, 1, stream);
}

int cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, CUstream stream)
{
	(void)to, (void)from;
	CALLED();
	return copy(bytes, 2, stream);
}

int cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream)
{
	(void)to, (void)from;
	CALLED();
	return copy(bytes, 3, stream);
}

int cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream)
{
	(void)to, (void)from;
	CALLED();
	return copy(bytes, 4, stream);
}

static int allocate(CUdeviceptr *address, size_t bytes)
{
	static uint64_t next = 0x7f0000000000;

	if (!address)
		return INVALID_VALUE;
	*address = __atomic_fetch_add(&next, (bytes + 511) & ~511ull, __ATOMIC_RELAXED);
	return OK;
}

int cuMemAlloc_v2(CUdeviceptr *address, size_t bytes)
{
	CALLED();
	if (!address)
		return INVALID_VALUE;
	if (stub_captures())
		return CAPTURE_UNSUPPORTED;
	*address = (CUdeviceptr)calloc(1, bytes);
	return *address ? OK : OUT_OF_MEMORY;
}

int cuMemFree_v2(CUdeviceptr address)
{
	CALLED();
	free((void *)address);
	return OK;
}

int cuMemAllocAsync(CUdeviceptr *address, size_t bytes, CUstream stream)
{
	CALLED();
	return stream_of(stream) ? allocate(address, bytes) : INVALID_HANDLE;
}

int cuMemFreeAsync(CUdeviceptr address, CUstream stream)
{
	(void)address;
	CALLED();
	return stream_of(stream) ? OK : INVALID_HANDLE;
}

/* What a driver has besides. */

API int cuInit(unsigned flags);
int cuInit(unsigned flags)
{
	(void)flags;
	CALLED();
	return OK;
}

API int cuDriverGetVersion(int *version);
int cuDriverGetVersion(int *version)
{
	CALLED();
	*version = 13000;
	return OK;
}

/* The program's side. */

void stub_mark(int step, int phase)
{
	mine.step = step;
	mine.phase = phase;
}

void stub_next(uint64_t ns)
{
	mine.next = ns;
}

void stub_set_kernel(uint64_t ns)
{
	gpu.kernel_ns = ns;
}

int stub_set_duration(CUgraphExec exec, uint64_t ns)
{
	if (!exec || exec->magic != EXEC)
		return INVALID_VALUE;
	exec->duration = ns;
	return OK;
}

void stub_tokens(int tokens)
{
	mine.tokens = (uint32_t)tokens;
}

int stub_graph(CUgraphExec exec)
{
	return exec && exec->magic == EXEC ? (int)exec->id : -1;
}

/* The driver loads who wants to be told as it is initialised. */
static void load_injection(void)
{
	const char *path = getenv("CUDA_INJECTION64_PATH");
	void *library = path && *path ? dlopen(path, RTLD_NOW) : NULL;
	int (*initialize)(void);

	if (!library)
		return;
	*(void **)&initialize = dlsym(library, "InitializeInjection");
	if (initialize)
		initialize();
}

void stub_called(const char *function, uint64_t *count)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, load_injection);
	if (__atomic_fetch_add(count, 1, __ATOMIC_RELAXED))
		return;
	lock();
	if (gpu.functions < sizeof(gpu.counters) / sizeof(*gpu.counters))
		gpu.counters[gpu.functions++] = (struct counter){ function, count };
	unlock(OK);
}

static void write_entry(FILE *f, const struct entry *e)
{
	static const char *const names[] = {
		"kernel", "graph",   "copy",	    "event",   "sync",
		"query",  "capture", "instantiate", "destroy", "collective",
	};

	fprintf(f,
		"{\"work\":\"%s\",\"step\":%d,\"phase\":%d,\"thread\":%u,\"stream\":%u,"
		"\"handle\":%" PRIu64 ",\"called\":%" PRIu64 ",\"start\":%" PRIu64
		",\"end\":%" PRIu64,
		names[e->work], e->step, e->phase, e->thread, e->stream, e->handle, e->called,
		e->start, e->end);
	if (e->amount)
		fprintf(f, ",\"amount\":%" PRIu64, e->amount);
	if (e->name)
		fprintf(f, ",\"name\":\"%s\"", e->name);
	if (e->work == WORK_GRAPH || e->work == WORK_INSTANTIATE || e->work == WORK_DESTROY)
		fprintf(f, ",\"graph\":%u", e->id);
	fprintf(f, ",\"detail\":%d,\"captured\":%s,\"result\":%d}\n", e->detail,
		e->captured ? "true" : "false", e->result);
}

int stub_truth(const char *path)
{
	FILE *f = fopen(path, "a");
	size_t i;

	if (!f)
		return errno;
	lock();
	for (i = 0; i < gpu.entries; i++)
		write_entry(f, &gpu.truth[i]);
	gpu.entries = 0;
	effects_truth(f);
	fprintf(f, "{\"work\":\"calls\",\"calls\":{");
	for (i = 0; i < gpu.functions; i++)
		fprintf(f, "%s\"%s\":%" PRIu64, i ? "," : "", gpu.counters[i].function,
			__atomic_load_n(gpu.counters[i].count, __ATOMIC_RELAXED));
	fprintf(f, "}}\n");
	unlock(OK);
	return fclose(f) ? errno : 0;
}
