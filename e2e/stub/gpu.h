/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A GPU for machines without one: what libcuda.so.1 of the stub runs its calls
 * on, and what libcudart and libnccl of the stub share with it.
 *
 * The device has its own clock, CLOCK_MONOTONIC: as work is enqueued, its start
 * (when the stream is free and the events it waits for are complete) and its end
 * are settled, and a host that waits sleeps or spins until then. So, as with a
 * real GPU, no load on this machine's cores delays the device, and the truth is
 * exact: only the host is ever late.
 */
#ifndef PMTRACE_STUB_GPU_H
#define PMTRACE_STUB_GPU_H

#include <stddef.h>
#include <stdint.h>

#define API __attribute__((visibility("default")))

typedef uint64_t CUdeviceptr;
typedef struct stream *CUstream;
typedef struct event *CUevent;
typedef struct graph *CUgraph;
typedef struct exec *CUgraphExec;
typedef void *CUfunction;

/* CUresult and cudaError_t have the same numbers for these. */
enum result {
	OK = 0,
	INVALID_VALUE = 1,
	OUT_OF_MEMORY = 2,
	INVALID_HANDLE = 400,
	NOT_READY = 600,
	CAPTURE_UNSUPPORTED = 900,
	CAPTURE_INVALID = 901,
};

/* What an entry of the truth is about. */
enum work {
	WORK_KERNEL,
	WORK_GRAPH,
	WORK_COPY,
	WORK_EVENT,
	WORK_SYNC, /* a host's wait, not the device's work */
	WORK_QUERY,
	WORK_CAPTURE,
	WORK_INSTANTIATE,
	WORK_DESTROY,
	WORK_COLLECTIVE,
};

typedef struct {
	unsigned gridDimX, gridDimY, gridDimZ;
	unsigned blockDimX, blockDimY, blockDimZ;
	unsigned sharedMemBytes;
	CUstream hStream;
	void *attrs;
	unsigned numAttrs;
} CUlaunchConfig;

typedef struct {
	uint64_t flags;
	CUstream hUploadStream;
	CUgraph hErrNode_out;
	int result_out;
} CUgraphInstantiateParams;

/* The driver's functions that the other libraries of the stub call. */
API int cuLaunchKernel(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
		       unsigned by, unsigned bz, unsigned shared, CUstream stream, void **params,
		       void **extra);
API int cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction f, void **params, void **extra);
API int cuGraphLaunch(CUgraphExec exec, CUstream stream);
API int cuGraphUpload(CUgraphExec exec, CUstream stream);
API int cuGraphInstantiateWithFlags(CUgraphExec *exec, CUgraph graph, unsigned long long flags);
API int cuGraphInstantiateWithParams(CUgraphExec *exec, CUgraph graph,
				     CUgraphInstantiateParams *params);
API int cuGraphExecDestroy(CUgraphExec exec);
API int cuGraphDestroy(CUgraph graph);
API int cuStreamCreate(CUstream *stream, unsigned flags);
API int cuStreamDestroy_v2(CUstream stream);
API int cuStreamBeginCapture_v2(CUstream stream, int mode);
API int cuStreamEndCapture(CUstream stream, CUgraph *graph);
API int cuStreamIsCapturing(CUstream stream, int *status);
API int cuStreamSynchronize(CUstream stream);
API int cuStreamQuery(CUstream stream);
API int cuStreamWaitEvent(CUstream stream, CUevent event, unsigned flags);
API int cuCtxSynchronize(void);
API int cuEventCreate(CUevent *event, unsigned flags);
API int cuEventRecord(CUevent event, CUstream stream);
API int cuEventRecordWithFlags(CUevent event, CUstream stream, unsigned flags);
API int cuEventSynchronize(CUevent event);
API int cuEventQuery(CUevent event);
API int cuEventDestroy_v2(CUevent event);
API int cuFuncGetName(const char **name, CUfunction f);
API int cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream);
API int cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes, CUstream stream);
API int cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, CUstream stream);
API int cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream);
API int cuMemAlloc_v2(CUdeviceptr *address, size_t bytes);
API int cuMemFree_v2(CUdeviceptr address);
API int cuMemAllocAsync(CUdeviceptr *address, size_t bytes, CUstream stream);
API int cuMemFreeAsync(CUdeviceptr address, CUstream stream);

/* How the program says what is to happen, and asks what did. */

/* stub_mark: from now on this thread's calls are of a step and a phase, both as
 * the program counts them. */
API void stub_mark(int step, int phase);
/* stub_tokens: a step of this thread's has so many tokens; what follows them is padding. */
API void stub_tokens(int tokens);
/* stub_next: this thread's next kernel, copy or graph (to be instantiated) takes
 * so long. */
API void stub_next(uint64_t ns);
/* stub_set_duration: each replay of a graph takes so long. */
API int stub_set_duration(CUgraphExec exec, uint64_t ns);
/* stub_set_kernel: kernels take so long if nothing else is said. */
API void stub_set_kernel(uint64_t ns);
/* stub_graph is the number of an exec, which no other gets; -1: it is none. */
API int stub_graph(CUgraphExec exec);
/* stub_routing_kernel is one of vLLM's that choose experts, whose ids have 64 bits or 32. */
API CUfunction stub_routing_kernel(int wide);
/* stub_truth writes what happened since the last time as JSON lines; 0 or errno. */
API int stub_truth(const char *path);

/* For the other libraries of the stub only. */
API void stub_called(const char *function, uint64_t *count);
API void stub_collective(const char *name, uint64_t count, int type, CUstream stream);

/* stub_captures reports whether any stream is captured, which forbids much. */
API int stub_captures(void);

/* What libcupti of the stub is told: each call that launches a graph or a kernel, as it is
 * entered and left, and the work on the device, as soon as its times are settled. number is the
 * call's, from 1. */
struct stub_hooks {
	void (*call)(int left, uint32_t number, CUgraphExec exec, CUstream stream, int result);
	void (*launch)(int left, uint32_t number, const CUlaunchConfig *config, CUfunction f,
		       void **params, int extended, int result);
	void (*graph)(uint32_t number, uint32_t graph, uint32_t nodes, uint32_t stream,
		      uint64_t start, uint64_t end);
	void (*copy)(uint32_t number, int kind, uint64_t bytes, uint32_t stream, uint64_t start,
		     uint64_t end);
	void (*kernel)(uint32_t number, const char *name, uint32_t stream, uint64_t start,
		       uint64_t end);
};
API void stub_hook(const struct stub_hooks *hooks);

/* CALLED counts calls of the function it stands in. */
#define CALLED()                               \
	do {                                   \
		static uint64_t count;         \
		stub_called(__func__, &count); \
	} while (0)

#endif
