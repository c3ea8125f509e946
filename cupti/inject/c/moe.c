/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which experts each token chose: behind each routing kernel a small kernel of ours
 * (cuda/choices.cu) is launched on the same stream, which copies what that wrote. While a
 * graph is captured it becomes part of the graph, so that replays tell as well.
 *
 * The ring, the module and the GPU's memory for it are made at the first routing kernel
 * outside of a capture: within one, most of that is not allowed. vLLM runs its model once
 * before it captures.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "choices.h"
#include "choices_ptx.h"
#include "moe.h"
#include "state.h"

#define CLOCK_NS NS_PER_S
#define CLOCK_WAIT_NS (300 * 1000ull) /* for its answer; a later one is no good */
#define NONE_BYTE 256 /* ids below fit a byte, with room for none */

enum {
	CU_STREAM_CAPTURE_NONE = 0,
	CU_CAPTURE_RELAXED = 2,
	CU_HOST_PORTABLE = 1,
	CU_HOST_MAPPED = 2,
	CU_STREAM_NON_BLOCKING = 1,
	HIGHEST = -100 /* as far as there is */
};

#define DRIVER_FUNCTIONS(X)                                                                    \
	X(cuCtxGetCurrent, (void **))                                                          \
	X(cuCtxSetCurrent, (void *))                                                           \
	X(cuStreamIsCapturing, (void *, int *))                                                \
	X(cuThreadExchangeStreamCaptureMode, (int *))                                          \
	X(cuModuleLoadData, (void **, const void *))                                           \
	X(cuModuleGetFunction, (void **, void *, const char *))                                \
	X(cuMemHostRegister_v2, (void *, size_t, unsigned))                                    \
	X(cuMemHostGetDevicePointer_v2, (uint64_t *, void *, unsigned))                        \
	X(cuMemAlloc_v2, (uint64_t *, size_t))                                                 \
	X(cuMemsetD8_v2, (uint64_t, unsigned char, size_t))                                    \
	X(cuStreamCreateWithPriority, (void **, unsigned, int))                                \
	X(cuLaunchKernel, (void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, \
			   unsigned, void *, void **, void **))

#define DECLARE(name, parameters) int(*name) parameters;
static struct {
	DRIVER_FUNCTIONS(DECLARE)
	int (*cuFuncGetName)(const char **, const void *); /* CUDA 12.3 and later */
	int (*cuKernelGetName)(const char **, const void *);
} cu;
#undef DECLARE

static struct {
	uint64_t size; /* of the ring; 0: no choices are told */
	uint32_t every;
	void (*note)(const char *);
	pthread_mutex_t lock;
	void *context; /* NULL: nothing is made yet */
	int failed;
	void *choices, *clock;
	uint8_t *ring;
	uint64_t device_ring, state;
	_Atomic uint32_t ordinal;

	/* Of the thread that drains alone. */
	uint64_t tail, clocked;
	uint32_t next; /* run */
	int asked; /* for the clock, and not answered yet */
	void *stream;
	uint64_t *stamp, device_stamp;
} moe = { .lock = PTHREAD_MUTEX_INITIALIZER };

static __thread int within; /* a call of ours */

/* Verdicts on kernels, by function handle and name. */
enum { VERDICTS = 1 << 12 };
static struct verdict {
	_Atomic(const void *) function;
	const char *name;
	struct routing_kernel kernel;
} verdicts[VERDICTS];

int moe_prepare(uint64_t size, uint32_t every, void (*note)(const char *))
{
	void *cuda = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);

	if (!cuda)
		return -1;
#define FIND(name, parameters)                                    \
	if (!(cu.name = (__typeof__(cu.name))dlsym(cuda, #name))) \
		return -1;
	DRIVER_FUNCTIONS(FIND)
#undef FIND
	cu.cuFuncGetName = (__typeof__(cu.cuFuncGetName))dlsym(cuda, "cuFuncGetName");
	cu.cuKernelGetName = (__typeof__(cu.cuKernelGetName))dlsym(cuda, "cuKernelGetName");
	moe.size = size;
	moe.every = every;
	moe.note = note;
	return 0;
}

/* Makes what the kernel needs, in the current context. */
static int make(void)
{
	const size_t bytes = PM_CHOICES_CONTROL + moe.size + 64;
	void *module;

	if (cu.cuModuleLoadData(&module, choices_ptx) ||
	    cu.cuModuleGetFunction(&moe.choices, module, "pmtrace_choices") ||
	    cu.cuModuleGetFunction(&moe.clock, module, "pmtrace_clock"))
		return -1;
	/* Memory of our own: it is there for as long as the process is. */
	moe.ring = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (moe.ring == MAP_FAILED)
		return -1;
	if (cu.cuMemHostRegister_v2(moe.ring, bytes, CU_HOST_PORTABLE | CU_HOST_MAPPED) ||
	    cu.cuMemHostGetDevicePointer_v2(&moe.device_ring, moe.ring, 0)) {
		munmap(moe.ring, bytes);
		return -1;
	}
	moe.stamp = (uint64_t *)(moe.ring + PM_CHOICES_CONTROL + moe.size);
	moe.device_stamp = moe.device_ring + PM_CHOICES_CONTROL + moe.size;
	if (cu.cuMemAlloc_v2(&moe.state, sizeof(struct pm_choices_state)) ||
	    cu.cuMemsetD8_v2(moe.state, 0, sizeof(struct pm_choices_state)) ||
	    cu.cuStreamCreateWithPriority(&moe.stream, CU_STREAM_NON_BLOCKING, HIGHEST))
		return -1;
	return 0;
}

/* ready reports whether the kernel may be launched on a stream. */
static int ready(void *stream)
{
	void *context = NULL;
	int capturing = CU_STREAM_CAPTURE_NONE, ok;

	if (cu.cuCtxGetCurrent(&context) || !context)
		return 0;
	pthread_mutex_lock(&moe.lock);
	if (!moe.context && !moe.failed) {
		if (cu.cuStreamIsCapturing(stream, &capturing) ||
		    capturing != CU_STREAM_CAPTURE_NONE) {
			moe.failed = 1;
			moe.note("choices of experts: the first routing kernel was in a capture");
		} else if (make()) {
			moe.failed = 1;
			moe.note("choices of experts: CUDA refuses the memory or the kernel");
		} else {
			__atomic_store_n(&moe.context, context, __ATOMIC_RELEASE);
		}
	}
	ok = moe.context == context;
	if (moe.context && !ok && !moe.failed) {
		moe.failed = 1;
		moe.note("choices of experts: there is more than one CUDA context");
	}
	pthread_mutex_unlock(&moe.lock);
	return ok;
}

static uint64_t number(void **arguments, int i, int wide)
{
	return wide ? *(const uint64_t *)arguments[i] : *(const uint32_t *)arguments[i];
}

static void launch(const struct routing_kernel *k, unsigned blocks, void *stream, void **arguments)
{
	const struct routing *r = k->rule;
	struct pm_choices c = {
		.ids = *(const uint64_t *)arguments[r->ids],
		.weights = *(const uint64_t *)arguments[r->weights],
		.top_k = (uint32_t)number(arguments, r->top_k, r->wide),
		.rows = r->rows == ROWS_ARE_BLOCKS ? blocks :
						     (uint32_t)number(arguments, r->rows, r->wide),
		.experts = (uint32_t)number(arguments, r->experts, r->wide),
		.wide = k->wide_ids,
		.every = moe.every,
		.ring = moe.device_ring,
		.mask = moe.size - 1,
		.state = moe.state,
	};
	void *parameters[] = { &c, NULL };
	unsigned threads = 64;
	uint64_t n = (uint64_t)c.rows * c.top_k;

	c.ordinal = atomic_fetch_add(&moe.ordinal, 1);
	if (!c.ids || !c.rows || !c.top_k || c.top_k > 64 || c.experts > 0xffff ||
	    n * 4 + 1024 > moe.size)
		return;
	c.bytes = c.experts && c.experts < NONE_BYTE ? 1 : 2;
	while (threads < 1024 && threads * 16 < n)
		threads *= 2;
	if (cu.cuLaunchKernel(moe.choices, 1, 1, 1, threads, 1, 1, 0, stream, parameters, NULL))
		moe.note("choices of experts: a launch of the kernel failed");
}

/* CUPTI mostly says the name. */
static const char *name_of(const void *function, const char *name)
{
	if (!name && cu.cuFuncGetName && cu.cuFuncGetName(&name, function))
		name = NULL;
	if (!name && cu.cuKernelGetName && cu.cuKernelGetName(&name, function))
		name = NULL;
	return name ? name : "";
}

static struct routing_kernel verdict_of(const void *function, const char *name)
{
	size_t at = ((uintptr_t)function >> 4 ^ (uintptr_t)name >> 3) % VERDICTS;
	struct verdict *v = &verdicts[at];
	struct routing_kernel k;

	if (atomic_load_explicit(&v->function, memory_order_acquire) == function && v->name == name)
		return v->kernel;
	k = routing_of(name_of(function, name));
	pthread_mutex_lock(&moe.lock);
	atomic_store_explicit(&v->function, NULL, memory_order_release);
	v->name = name;
	v->kernel = k;
	atomic_store_explicit(&v->function, function, memory_order_release);
	pthread_mutex_unlock(&moe.lock);
	if (k.unknown) {
		char text[160];

		snprintf(text, sizeof(text),
			 "choices of experts: the arguments of %.100s are not known",
			 name_of(function, name));
		moe.note(text);
	}
	return k;
}

/* A kernel was launched. */
void moe_launched(uint32_t id, const struct cupti_call *c)
{
	const void *function;
	void *stream, **arguments;
	unsigned blocks;
	struct routing_kernel k;

	if (!moe.size || within || (c->result && *(const int *)c->result))
		return;
	if (id == DRIVER_LAUNCH || id == DRIVER_LAUNCH_PTSZ) {
		const struct cupti_launch *p = c->params;

		function = p->function;
		stream = p->stream;
		arguments = p->arguments;
		blocks = p->grid[0];
	} else {
		const struct cupti_launch_ex *p = c->params;

		function = p->function;
		arguments = p->arguments;
		stream = p->config->stream;
		blocks = p->config->grid[0];
	}
	k = verdict_of(function, c->symbol);
	if (!k.rule || !arguments)
		return;
	within = 1;
	if (ready(stream))
		launch(&k, blocks, stream, arguments);
	else
		atomic_fetch_add(&moe.ordinal, 1);
	within = 0;
}

/* A record of the GPU's, in our memory. */
struct choices {
	uint64_t time;
	uint32_t ordinal, run, rows;
	uint8_t top_k, bytes, flags, spare;
	uint32_t experts, more[3];
};

static void read_out(uint64_t at, void *to, uint64_t n)
{
	uint64_t place = at & (moe.size - 1), first = moe.size - place;

	if (first > n)
		first = n;
	memcpy(to, moe.ring + PM_CHOICES_CONTROL + place, first);
	memcpy((uint8_t *)to + first, moe.ring + PM_CHOICES_CONTROL, n - first);
}

static uint64_t newest(void)
{
	return __atomic_load_n((uint64_t *)moe.ring, __ATOMIC_ACQUIRE);
}

/* lapped reports whether what was read at `at` may have been written over meanwhile. */
static int lapped(uint64_t at)
{
	return newest() > at && newest() - at > moe.size - moe.size / 4;
}

/* Hands a record on, in pieces; 0: it was written over meanwhile. */
static int hand_on(uint64_t at, const struct choices *h)
{
	enum { PIECE = 8000 };
	static uint8_t piece[PIECE];
	uint64_t n = (uint64_t)h->rows * h->top_k, id_bytes = (n * h->bytes + 15) & ~15ull;
	int weighed = h->flags & PM_CHOICES_WEIGHED;
	uint32_t a_row = h->top_k * (h->bytes + (weighed ? 2u : 0)), most = PIECE / a_row;

	for (uint32_t first = 0; first < h->rows; first += most) {
		uint32_t rows = h->rows - first < most ? h->rows - first : most;
		uint64_t from = at + PM_CHOICES_HEADER, ids = (uint64_t)rows * h->top_k * h->bytes;
		struct pm_cupti_moe r = {
			.time = h->time,
			.ordinal = h->ordinal,
			.run = h->run,
			.rows = h->rows,
			.first = first,
			.count = (uint16_t)rows,
			.top_k = h->top_k,
			.bytes = h->bytes,
			.experts = (uint16_t)h->experts,
			.flags = weighed ? PM_CUPTI_MOE_WEIGHTS : 0,
		};

		read_out(from + (uint64_t)first * h->top_k * h->bytes, piece, ids);
		if (weighed)
			read_out(from + id_bytes + (uint64_t)first * h->top_k * 2, piece + ids,
				 (uint64_t)rows * h->top_k * 2);
		if (lapped(at))
			return 0;
		ring_put(PM_EV_CUPTI_MOE, &r, sizeof(r), piece, rows * a_row);
	}
	return 1;
}

static int sound(const struct choices *h, uint32_t length)
{
	uint64_t n = (uint64_t)h->rows * h->top_k;
	uint64_t want = PM_CHOICES_HEADER + ((n * h->bytes + 15) & ~15ull) +
			(h->flags & PM_CHOICES_WEIGHED ? (n * 2 + 15) & ~15ull : 0);

	return h->top_k && h->top_k <= 64 && (h->bytes == 1 || h->bytes == 2) && h->rows &&
	       want == length;
}

/* The GPU's clock against ours, now and then, by a kernel on a stream of our own. The
 * answer is awaited here and not by CUDA, whose waits may sleep. */
static void read_clock(uint64_t now)
{
	void *parameters[] = { &moe.device_stamp, NULL };
	struct pm_cupti_clock c = { 0 };
	int relaxed = CU_CAPTURE_RELAXED;

	if (moe.clocked && now - moe.clocked < CLOCK_NS)
		return;
	moe.clocked = now;
	if (moe.asked && !__atomic_load_n(moe.stamp, __ATOMIC_ACQUIRE))
		return;
	moe.asked = 0;
	*moe.stamp = 0;
	within = 1;
	if (!cu.cuCtxSetCurrent(moe.context) && !cu.cuThreadExchangeStreamCaptureMode(&relaxed)) {
		c.before = monotonic();
		moe.asked = !cu.cuLaunchKernel(moe.clock, 1, 1, 1, 1, 1, 1, 0, moe.stream,
					       parameters, NULL);
		while (moe.asked && monotonic() - c.before < CLOCK_WAIT_NS) {
			c.gpu = __atomic_load_n(moe.stamp, __ATOMIC_ACQUIRE);
			c.after = monotonic();
			if (!c.gpu)
				continue;
			moe.asked = 0;
			ring_put(PM_EV_CUPTI_CLOCK, &c, sizeof(c), NULL, 0);
		}
	}
	within = 0;
}

void moe_drain(uint64_t now)
{
	if (!__atomic_load_n(&moe.context, __ATOMIC_ACQUIRE))
		return;
	if (now)
		read_clock(now);
	for (;;) {
		uint64_t word, at = moe.tail;
		struct choices h;
		uint32_t length;

		word = __atomic_load_n(
			(uint64_t *)(moe.ring + PM_CHOICES_CONTROL + (at & (moe.size - 1))),
			__ATOMIC_ACQUIRE);
		length = (uint32_t)word;
		if (word != pm_ring_word(at, length)) {
			uint64_t latest = newest();

			if (latest <= at || latest - at < moe.size / 2)
				return; /* it is still being written, or there is none */
			moe.tail = latest;
			continue;
		}
		read_out(at + 8, &h, sizeof(h));
		if (lapped(at) || !sound(&h, length)) {
			moe.tail = newest() > at ? newest() : at + length;
			continue;
		}
		if (hand_on(at, &h)) {
			if (h.run - moe.next < 1u << 31)
				ring_lost(PM_LOST_MOE, h.run - moe.next); /* were written over */
			moe.next = h.run + 1;
		}
		moe.tail = at + length;
	}
}
