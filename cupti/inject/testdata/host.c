// A process for tests that loads the injection library as CUDA's driver does, and then
// does what standard input says, a command a line, with a line of answer each:
//
//	load                      cuInit: calls InitializeInjection of CUDA_INJECTION64_PATH
//	launch N EXEC GRAPH NS KERNELS RESULT
//	copy KIND BYTES NS
//	kernel NAME NS
//	make N                    captures and instantiates N graphs
//	threads T N               T threads launch N graphs each, at the same time
//	fork                      a child launches, and ends by exit
//	cuda                      loads the tests' libcuda
//	route NAME LAYER ROWS K EXPERTS SEED EX
//	                          a routing kernel: of a layer, by cuLaunchKernelEx if EX
//	capture 1|0               a graph begins, or ends: layers are its nodes
//	replay SEED               runs it; each layer has the seed and its number added
//	context C                 another CUDA context is current
//	enabled                   what is switched on in CUPTI
//	exit CODE | _exit CODE
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../c/abi.h"
#include "cuda.h"
#include "cupti.h"

static __typeof__(&mock_launch) launch;
static __typeof__(&mock_make) make;
static __typeof__(&mock_copy) copy;
static __typeof__(&mock_kernel) kernel;
static __typeof__(&mock_enabled) enabled;
static __typeof__(&mock_called) called;
static __typeof__(&mock_capture) capture;
static __typeof__(&mock_replay) replay;
static __typeof__(&mock_context) context;
static int per_thread;

// What routing kernels write: a layer's ids and weights, as the tests know them.
enum { LAYERS = 16, CHOSEN = 1 << 17 };
static struct layer {
	int rows, k, experts, wide;
	uint64_t wide_ids[CHOSEN];
	uint32_t ids[CHOSEN];
	float weights[CHOSEN];
} layers[LAYERS];
static int captured[LAYERS], nodes, in_capture;
static unsigned seed;

static void choose(struct layer *l, unsigned s)
{
	for (int row = 0; row < l->rows; row++)
		for (int i = 0; i < l->k; i++) {
			unsigned at = (unsigned)(row * l->k + i),
				 id = (s * 7 + (unsigned)row * 13 + (unsigned)i * 5) %
				      (unsigned)l->experts;

			l->ids[at] = id;
			l->wide_ids[at] = id;
			l->weights[at] = 1.0f / (float)(1 + i) + (float)(row % 4);
		}
}

static void before(int node)
{
	choose(&layers[captured[node]], seed + (unsigned)captured[node]);
}

static void route(const char *name, int layer, int rows, int k, int experts, unsigned s, int ex)
{
	struct layer *l = &layers[layer];
	int start = 0, grouped = strstr(name, "grouped") != NULL,
	    by_blocks = strstr(name, "moeTopK") != NULL;
	uint64_t wide_rows = (uint64_t)rows, wide_k = (uint64_t)k, wide_experts = (uint64_t)experts,
		 other = 1;
	void *none = NULL, *weights = l->weights,
	     *ids = strstr(name, "ELl") || strstr(name, "El1") || strstr(name, "ElE") ?
			    (void *)l->wide_ids :
			    (void *)l->ids;
	void *gating[] = { &none, &none,  &weights, &rows,  &ids,  &none,
			   &k,	  &start, &experts, &start, &none, &none };
	void *topk[] = { &none, &none,	&weights, &ids,	  &none, &experts,
			 &k,	&start, &experts, &start, &none, &none };
	void *group[] = { &none,  &weights, &ids,	   &none,  &wide_rows, &other,
			  &other, &wide_k,  &wide_experts, &other, &start,     &none };
	void *single[] = { &none,	  &weights, &ids,   &none, &wide_rows,
			   &wide_experts, &wide_k,  &start, &none, &start };
	void *single_block[] = { &none,	  &weights, &ids,  &none, &wide_experts,
				 &wide_k, &start,   &none, &start };
	void **arguments = grouped				   ? group :
			   strstr(name, "single_group_topk_warp")  ? single :
			   strstr(name, "single_group_topk_block") ? single_block :
			   by_blocks				   ? topk :
								     gating;
	struct cupti_launch_config config = { .grid = { (uint32_t)rows, 1, 1 },
					      .stream = (void *)2 };
	struct cupti_launch p = { .function = name,
				  .grid = { (uint32_t)rows, 1, 1 },
				  .stream = (void *)2,
				  .arguments = arguments };
	struct cupti_launch_ex e = { .config = &config, .function = name, .arguments = arguments };

	l->rows = rows;
	l->k = k;
	l->experts = experts;
	if (in_capture)
		captured[nodes++] = layer;
	else
		choose(l, s);
	if (called)
		called(ex ? DRIVER_LAUNCH_EX : DRIVER_LAUNCH, ex ? (void *)&e : (void *)&p, name);
}

static void load_cuda(void)
{
	void *h = dlopen(getenv("MOCK_CUDA_PATH"), RTLD_NOW);

	if (!h) {
		printf("%s\n", dlerror());
		return;
	}
	capture = (__typeof__(capture))dlsym(h, "mock_capture");
	replay = (__typeof__(replay))dlsym(h, "mock_replay");
	context = (__typeof__(context))dlsym(h, "mock_context");
	printf("cuda\n");
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void load(void)
{
	const char *mock = getenv("MOCK_CUPTI_PATH"), *path = getenv("CUDA_INJECTION64_PATH");
	void *h = mock && *mock ? dlopen(mock, RTLD_NOW) : NULL;
	int (*initialize)(void) = NULL;

	if (h) {
		launch = (__typeof__(launch))dlsym(h, "mock_launch");
		make = (__typeof__(make))dlsym(h, "mock_make");
		copy = (__typeof__(copy))dlsym(h, "mock_copy");
		kernel = (__typeof__(kernel))dlsym(h, "mock_kernel");
		enabled = (__typeof__(enabled))dlsym(h, "mock_enabled");
		called = (__typeof__(called))dlsym(h, "mock_called");
	}
	h = path ? dlopen(path, RTLD_NOW) : NULL;
	if (h)
		initialize = (int (*)(void))dlsym(h, "InitializeInjection");
	if (!initialize) {
		printf("no library: %s\n", dlerror());
		return;
	}
	printf("%d\n", initialize());
}

static void *many(void *arg)
{
	uint64_t exec = 0x1000 + (uint64_t)(uintptr_t)arg;

	for (int i = 0; i < per_thread; i++) {
		uint64_t t = now();

		launch(exec, 2, 1, 4, t, t + 1000, 0);
	}
	return NULL;
}

static void threads(int n)
{
	pthread_t t[64];

	for (int i = 0; i < n; i++)
		pthread_create(&t[i], NULL, many, (void *)(uintptr_t)i);
	for (int i = 0; i < n; i++)
		pthread_join(t[i], NULL);
}

static void child(void)
{
	pid_t pid;
	int status;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		if (launch)
			launch(0xbad, 2, 1, 1, now(), now() + 1, 0);
		exit(0);
	}
	waitpid(pid, &status, 0);
	printf("%d\n", status);
}

int main(void)
{
	char line[16384], word[8192];
	unsigned long long a, b, c, d;
	int n, k, rows, experts, ex;

	printf("%d %d\n", getpid(), (int)syscall(SYS_gettid));
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		if (!strncmp(line, "load", 4)) {
			load();
		} else if (sscanf(line, "launch %d %llx %llu %llu %llu %d", &n, &a, &b, &c, &d,
				  &k) == 6) {
			for (int i = 0; i < n; i++) {
				uint64_t t = now();
				uint32_t number = launch(a, 2, (uint32_t)b, (uint32_t)d, t, t + c,
							 k);

				if (i == n - 1)
					printf("%u %llu\n", number, (unsigned long long)t);
			}
		} else if (sscanf(line, "copy %d %llu %llu", &n, &a, &b) == 3) {
			uint64_t t = now();

			copy(n, a, t, t + b);
			printf("%llu\n", (unsigned long long)t);
		} else if (sscanf(line, "kernel %8191s %llu", word, &a) == 2) {
			uint64_t t = now();

			kernel(word, 0, 0, t, t + a);
			printf("%llu\n", (unsigned long long)t);
		} else if (sscanf(line, "make %d", &n) == 1) {
			while (n--)
				make();
			printf("made\n");
		} else if (sscanf(line, "threads %d %d", &n, &per_thread) == 2) {
			threads(n);
			printf("done\n");
		} else if (!strncmp(line, "cuda", 4)) {
			load_cuda();
		} else if (sscanf(line, "route %8191s %d %d %d %d %u %d", word, &n, &rows, &k,
				  &experts, &seed, &ex) == 7) {
			route(strdup(word), n, rows, k, experts, seed,
			      ex); // a name lives as long as its module
			printf("routed\n");
		} else if (sscanf(line, "capture %d", &n) == 1) {
			in_capture = n;
			nodes = n ? 0 : nodes;
			capture(n);
			printf("%d\n", nodes);
		} else if (sscanf(line, "replay %u", &seed) == 1) {
			replay(before);
			printf("replayed\n");
		} else if (sscanf(line, "context %d", &n) == 1) {
			context((void *)(uintptr_t)n);
			printf("context\n");
		} else if (!strncmp(line, "fork", 4)) {
			child();
		} else if (!strncmp(line, "enabled", 7)) {
			printf("%d\n", enabled ? enabled() : -1);
		} else if (sscanf(line, "exit %d", &n) == 1) {
			exit(n);
		} else if (sscanf(line, "_exit %d", &n) == 1) {
			_exit(n);
		} else {
			printf("what?\n");
		}
		fflush(stdout);
	}
	return 0;
}
