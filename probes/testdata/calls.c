/* Functions with the names and signatures of libcudart, libcuda or libnccl that do
 * nothing: which of them, the macro says. What they were called with is the tests'
 * own affair. A negative graph or stream makes a call fail. */
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#define API __attribute__((visibility("default"), noinline))
typedef void *P;

#ifdef RUNTIME
typedef struct {
	unsigned x, y, z;
} dim3;

API int cudaGraphLaunch(P exec, P stream)
{
	return 0;
}
API int cudaGraphLaunch_ptsz(P exec, P stream)
{
	return 0;
}
API int cudaGraphUpload(P exec, P stream)
{
	return 0;
}
API int cudaGraphExecDestroy(P exec)
{
	return 0;
}
API int cudaStreamBeginCapture(P stream, int mode)
{
	return 0;
}
API int cudaStreamBeginCaptureToGraph(P stream, P graph, P deps, P data, size_t n, int mode)
{
	return 0;
}
API int cudaStreamEndCapture(P stream, P *graph)
{
	*graph = (char *)stream + 1;
	return 0;
}
API int cudaGraphInstantiate(P *exec, P graph, unsigned long long flags)
{
	*exec = (char *)graph + 1;
	return (intptr_t)graph < 0 ? 900 : 0;
}
API int cudaGraphInstantiateWithFlags(P *exec, P graph, unsigned long long flags)
	__attribute__((alias("cudaGraphInstantiate")));
API int cudaGraphInstantiateWithParams(P *exec, P graph, P params)
{
	*exec = (char *)graph + 2;
	return 0;
}
API int cudaEventCreate(P *event)
{
	*event = (P)0x1001;
	return 0;
}
API int cudaEventCreateWithFlags(P *event, unsigned flags)
{
	*event = (P)0x1002;
	return 0;
}
API int cudaEventRecord(P event, P stream)
{
	return 0;
}
API int cudaEventRecordWithFlags(P event, P stream, unsigned flags)
{
	return 0;
}
API int cudaEventSynchronize(P event)
{
	return 0;
}
API int cudaEventQuery(P event)
{
	return 600;
}
API int cudaEventDestroy(P event)
{
	return 0;
}
API int cudaStreamSynchronize(P stream)
{
	return 0;
}
API int cudaDeviceSynchronize(void)
{
	return 0;
}
API int cudaStreamWaitEvent(P stream, P event, unsigned flags)
{
	return 0;
}
API int cudaMemcpyAsync(P to, P from, size_t n, int kind, P stream)
{
	return 0;
}
API int cudaMemcpy2DAsync(P to, size_t tp, P from, size_t fp, size_t w, size_t h, int kind,
			  P stream)
{
	return 0;
}
API int cudaMemcpyPeerAsync(P to, int td, P from, int fd, size_t n, P stream)
{
	return 0;
}
API int cudaMalloc(P *at, size_t n)
{
	*at = (P)0x2001;
	return 0;
}
API int cudaFree(P at)
{
	return 0;
}
API int cudaMallocAsync(P *at, size_t n, P stream)
{
	*at = (P)0x2002;
	return 0;
}
API int cudaMallocFromPoolAsync(P *at, size_t n, P pool, P stream)
{
	*at = (P)0x2003;
	return 0;
}
API int cudaFreeAsync(P at, P stream)
{
	return 0;
}

static void *launch(void *n)
{
	for (intptr_t i = 0; i < (intptr_t)n; i++)
		cudaGraphLaunch((P)(0x7000 + i), NULL);
	return NULL;
}

/* Launches from a thread that has no Python frames. */
API int launch_apart(intptr_t n)
{
	pthread_t t;

	return pthread_create(&t, NULL, launch, (void *)n) || pthread_join(t, NULL);
}
#endif

#ifdef DRIVER
typedef struct {
	unsigned gx, gy, gz, bx, by, bz, shared;
	P stream, attrs;
	unsigned n;
} Config;

API int cuLaunchKernel(P f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
		       unsigned bz, unsigned shared, P stream, P *args, P *extra)
{
	return 0;
}
API int cuLaunchCooperativeKernel(P f, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
				  unsigned by, unsigned bz, unsigned shared, P stream, P *args)
{
	return 0;
}
API int cuLaunchKernelEx(const Config *config, P f, P *args, P *extra)
{
	return 0;
}
API int cuGraphLaunch(P exec, P stream)
{
	return 0;
}
API int cuGraphInstantiateWithFlags(P *exec, P graph, unsigned long long flags)
{
	*exec = (char *)graph + 1;
	return 0;
}
API int cuGraphExecDestroy(P exec)
{
	return 0;
}
API int cuStreamBeginCapture_v2(P stream, int mode)
{
	return 0;
}
API int cuStreamEndCapture(P stream, P *graph)
{
	*graph = (char *)stream + 1;
	return 0;
}
API int cuEventRecordWithFlags(P event, P stream, unsigned flags)
{
	return 0;
}
API int cuEventSynchronize(P event)
{
	return 0;
}
API int cuStreamSynchronize(P stream)
{
	return 0;
}
API int cuCtxSynchronize(void)
{
	return 0;
}
API int cuMemcpyHtoDAsync_v2(P to, P from, size_t n, P stream)
{
	return 0;
}
API int cuMemcpyDtoHAsync_v2(P to, P from, size_t n, P stream)
{
	return 0;
}

/* Through the compiler, not ctypes: what a real caller's arguments look like. */
API int kernel(P f, unsigned gx, unsigned gy, P stream)
{
	return cuLaunchKernel(f, gx, gy, 3, 4, 5, 6, 7, stream, NULL, NULL);
}

API int kernel_ex(P f, unsigned gx, unsigned gy, P stream)
{
	Config c = { .gx = gx, .gy = gy, .gz = 1, .stream = stream };

	return cuLaunchKernelEx(&c, f, NULL, NULL);
}
#endif

#ifdef NCCL
API int ncclAllReduce(P from, P to, size_t n, int type, int op, P comm, P stream)
{
	return 0;
}
API int ncclAllGather(P from, P to, size_t n, int type, P comm, P stream)
{
	return 0;
}
API int ncclReduceScatter(P from, P to, size_t n, int type, int op, P comm, P stream)
{
	return 0;
}
API int ncclBroadcast(P from, P to, size_t n, int type, int root, P comm, P stream)
{
	return 0;
}
API int ncclReduce(P from, P to, size_t n, int type, int op, int root, P comm, P stream)
{
	return 0;
}
API int ncclSend(P from, size_t n, int type, int peer, P comm, P stream)
{
	return 0;
}
API int ncclRecv(P to, size_t n, int type, int peer, P comm, P stream)
{
	return 0;
}
#endif
