// A process for tests that loads the injection library as CUDA's driver does, and then
// does what standard input says, a command a line, with a line of answer each:
//
//	load                      cuInit: calls InitializeInjection of CUDA_INJECTION64_PATH
//	launch N EXEC GRAPH NS KERNELS RESULT
//	copy KIND BYTES NS
//	kernel NAME NS
//	threads T N               T threads launch N graphs each, at the same time
//	fork                      a child launches, and ends by exit
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

#include "cupti.h"

static __typeof__(&mock_launch) launch;
static __typeof__(&mock_copy) copy;
static __typeof__(&mock_kernel) kernel;
static __typeof__(&mock_enabled) enabled;
static int per_thread;

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
		copy = (__typeof__(copy))dlsym(h, "mock_copy");
		kernel = (__typeof__(kernel))dlsym(h, "mock_kernel");
		enabled = (__typeof__(enabled))dlsym(h, "mock_enabled");
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
	int n, k;

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
		} else if (sscanf(line, "threads %d %d", &n, &per_thread) == 2) {
			threads(n);
			printf("done\n");
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
