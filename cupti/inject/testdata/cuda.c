// A libcuda.so.1 for tests: memory is the host's, a kernel runs as it is launched, or in a
// capture as the graph is replayed, and the library's own kernels are its real ones,
// compiled for the host, one thread wide. MOCK_CUDA in the environment says what is to go
// wrong: fail:FUNCTION.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cuda.h"
#include "host_cuda.h"

// The GPU's clock goes its own way.
static unsigned long long gpu_clock(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return MOCK_GPU_CLOCK + (unsigned long long)t.tv_sec * 1000000000u +
	       (unsigned long long)t.tv_nsec;
}

#include "../cuda/choices.cu"

enum { NODES = 256, CHOICES = 1, CLOCK = 2 };

static int capturing, nodes;
static struct pm_choices graph[NODES];
static void *context = (void *)0xc0;

static int fails(const char *function)
{
	const char *m = getenv("MOCK_CUDA");

	return m && !strncmp(m, "fail:", 5) && !strcmp(m + 5, function);
}

#define ENTER()              \
	if (fails(__func__)) \
	return 999

int cuCtxGetCurrent(void **c)
{
	ENTER();
	*c = context;
	return 0;
}

int cuCtxSetCurrent(void *c)
{
	ENTER();
	(void)c;
	return 0;
}

int cuStreamIsCapturing(void *stream, int *status)
{
	ENTER();
	(void)stream;
	*status = capturing;
	return 0;
}

int cuThreadExchangeStreamCaptureMode(int *mode)
{
	ENTER();
	(void)mode;
	return 0;
}

// What a capture forbids.
static void forbidden(const char *what)
{
	if (capturing) {
		fprintf(stderr, "mock cuda: %s in a capture\n", what);
		abort();
	}
}

int cuModuleLoadData(void **module, const void *image)
{
	ENTER();
	forbidden(__func__);
	if (!strstr(image, ".visible .entry pmtrace_choices("))
		return 1;
	*module = (void *)1;
	return 0;
}

int cuModuleGetFunction(void **f, void *module, const char *name)
{
	ENTER();
	(void)module;
	*f = !strcmp(name, "pmtrace_choices") ? (void *)CHOICES :
	     !strcmp(name, "pmtrace_clock")   ? (void *)CLOCK :
						NULL;
	return !*f;
}

int cuMemHostRegister_v2(void *p, size_t bytes, unsigned flags)
{
	ENTER();
	(void)p, (void)bytes, (void)flags;
	forbidden(__func__);
	return 0;
}

int cuMemHostGetDevicePointer_v2(uint64_t *device, void *p, unsigned flags)
{
	ENTER();
	(void)flags;
	*device = (uint64_t)p;
	return 0;
}

int cuMemAlloc_v2(uint64_t *p, size_t bytes)
{
	ENTER();
	forbidden(__func__);
	*p = (uint64_t)malloc(bytes);
	return 0;
}

int cuMemsetD8_v2(uint64_t p, unsigned char c, size_t bytes)
{
	ENTER();
	memset((void *)p, c, bytes);
	return 0;
}

int cuStreamCreateWithPriority(void **stream, unsigned flags, int priority)
{
	ENTER();
	(void)flags, (void)priority;
	*stream = (void *)0x57;
	return 0;
}

int cuLaunchKernel(void *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
		   unsigned bz, unsigned shared, void *stream, void **arguments, void **extra)
{
	ENTER();
	(void)gx, (void)gy, (void)gz, (void)bx, (void)by, (void)bz, (void)shared, (void)extra;
	if (f == (void *)CLOCK) {
		pmtrace_clock(*(unsigned long long **)arguments[0]);
	} else if (capturing && stream != (void *)0x57) {
		if (nodes == NODES)
			return 1;
		graph[nodes++] = *(struct pm_choices *)arguments[0];
	} else {
		pmtrace_choices(*(struct pm_choices *)arguments[0]);
	}
	return 0;
}

void mock_capture(int on)
{
	if (on)
		nodes = 0;
	capturing = on;
}

void mock_replay(void (*before)(int node))
{
	for (int i = 0; i < nodes; i++) {
		before(i);
		pmtrace_choices(graph[i]);
	}
}

void mock_context(void *c)
{
	context = c;
}
