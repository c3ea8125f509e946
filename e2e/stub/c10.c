/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* libc10_cuda.so of the stub: what of torch links libcudart, and a thread of its
 * own that no interpreter knows. */
#include <pthread.h>
#include <time.h>

#include "gpu.h"

API int cudaGraphLaunch(CUgraphExec exec, CUstream stream);

struct replays {
	CUgraphExec exec;
	CUstream stream;
	int times;
	int failed;
};

static void *replay(void *arg)
{
	struct replays *r = arg;

	for (int i = 0; i < r->times; i++) {
		nanosleep(&(struct timespec){ 0, 200000 }, NULL);
		r->failed |= cudaGraphLaunch(r->exec, r->stream);
	}
	return NULL;
}

/* c10_replay_on_thread launches a graph some times on a native thread; 0 or an
 * error of CUDA's. */
API int c10_replay_on_thread(CUgraphExec exec, CUstream stream, int times);
int c10_replay_on_thread(CUgraphExec exec, CUstream stream, int times)
{
	struct replays r = { exec, stream, times, 0 };
	pthread_t thread;

	if (pthread_create(&thread, NULL, replay, &r))
		return -1;
	pthread_join(thread, NULL);
	return r.failed;
}
