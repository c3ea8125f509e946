/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* libcudart.so.13 of the stub: as the real one, each call that makes the GPU work
 * or waits for it is one call of libcuda's exported function. */
#include "gpu.h"

typedef struct {
	unsigned x, y, z;
} dim3;

typedef struct {
	dim3 gridDim, blockDim;
	size_t dynamicSmemBytes;
	CUstream stream;
	void *attrs;
	unsigned numAttrs;
} cudaLaunchConfig_t;

API int cudaLaunchKernel(const void *f, dim3 grid, dim3 block, void **args, size_t shared,
			 CUstream stream);
int cudaLaunchKernel(const void *f, dim3 grid, dim3 block, void **args, size_t shared,
		     CUstream stream)
{
	CALLED();
	return cuLaunchKernel((CUfunction)f, grid.x, grid.y, grid.z, block.x, block.y, block.z,
			      (unsigned)shared, stream, args, NULL);
}

API int cudaLaunchKernelExC(const cudaLaunchConfig_t *config, const void *f, void **args);
int cudaLaunchKernelExC(const cudaLaunchConfig_t *config, const void *f, void **args)
{
	CUlaunchConfig c = {
		.gridDimX = config->gridDim.x,
		.gridDimY = config->gridDim.y,
		.gridDimZ = config->gridDim.z,
		.blockDimX = config->blockDim.x,
		.blockDimY = config->blockDim.y,
		.blockDimZ = config->blockDim.z,
		.sharedMemBytes = (unsigned)config->dynamicSmemBytes,
		.hStream = config->stream,
	};

	CALLED();
	return cuLaunchKernelEx(&c, (CUfunction)f, args, NULL);
}

API int cudaGraphLaunch(CUgraphExec exec, CUstream stream);
int cudaGraphLaunch(CUgraphExec exec, CUstream stream)
{
	CALLED();
	return cuGraphLaunch(exec, stream);
}

API int cudaGraphUpload(CUgraphExec exec, CUstream stream);
int cudaGraphUpload(CUgraphExec exec, CUstream stream)
{
	CALLED();
	return cuGraphUpload(exec, stream);
}

API int cudaGraphInstantiate(CUgraphExec *exec, CUgraph graph, unsigned long long flags);
int cudaGraphInstantiate(CUgraphExec *exec, CUgraph graph, unsigned long long flags)
{
	CALLED();
	return cuGraphInstantiateWithFlags(exec, graph, flags);
}

API int cudaGraphInstantiateWithFlags(CUgraphExec *exec, CUgraph graph, unsigned long long flags);
int cudaGraphInstantiateWithFlags(CUgraphExec *exec, CUgraph graph, unsigned long long flags)
{
	CALLED();
	return cuGraphInstantiateWithFlags(exec, graph, flags);
}

API int cudaGraphInstantiateWithParams(CUgraphExec *exec, CUgraph graph,
				       CUgraphInstantiateParams *params);
int cudaGraphInstantiateWithParams(CUgraphExec *exec, CUgraph graph,
				   CUgraphInstantiateParams *params)
{
	CALLED();
	return cuGraphInstantiateWithParams(exec, graph, params);
}

API int cudaGraphExecDestroy(CUgraphExec exec);
int cudaGraphExecDestroy(CUgraphExec exec)
{
	CALLED();
	return cuGraphExecDestroy(exec);
}

API int cudaGraphDestroy(CUgraph graph);
int cudaGraphDestroy(CUgraph graph)
{
	CALLED();
	return cuGraphDestroy(graph);
}

API int cudaStreamCreateWithFlags(CUstream *stream, unsigned flags);
int cudaStreamCreateWithFlags(CUstream *stream, unsigned flags)
{
	CALLED();
	return cuStreamCreate(stream, flags);
}

API int cudaStreamDestroy(CUstream stream);
int cudaStreamDestroy(CUstream stream)
{
	CALLED();
	return cuStreamDestroy_v2(stream);
}

API int cudaStreamBeginCapture(CUstream stream, int mode);
int cudaStreamBeginCapture(CUstream stream, int mode)
{
	CALLED();
	return cuStreamBeginCapture_v2(stream, mode);
}

API int cudaStreamEndCapture(CUstream stream, CUgraph *graph);
int cudaStreamEndCapture(CUstream stream, CUgraph *graph)
{
	CALLED();
	return cuStreamEndCapture(stream, graph);
}

API int cudaStreamIsCapturing(CUstream stream, int *status);
int cudaStreamIsCapturing(CUstream stream, int *status)
{
	CALLED();
	return cuStreamIsCapturing(stream, status);
}

API int cudaStreamSynchronize(CUstream stream);
int cudaStreamSynchronize(CUstream stream)
{
	CALLED();
	return cuStreamSynchronize(stream);
}

API int cudaStreamQuery(CUstream stream);
int cudaStreamQuery(CUstream stream)
{
	CALLED();
	return cuStreamQuery(stream);
}

API int cudaStreamWaitEvent(CUstream stream, CUevent event, unsigned flags);
int cudaStreamWaitEvent(CUstream stream, CUevent event, unsigned flags)
{
	CALLED();
	return cuStreamWaitEvent(stream, event, flags);
}

API int cudaDeviceSynchronize(void);
int cudaDeviceSynchronize(void)
{
	CALLED();
	return cuCtxSynchronize();
}

API int cudaEventCreate(CUevent *event);
int cudaEventCreate(CUevent *event)
{
	CALLED();
	return cuEventCreate(event, 0);
}

API int cudaEventCreateWithFlags(CUevent *event, unsigned flags);
int cudaEventCreateWithFlags(CUevent *event, unsigned flags)
{
	CALLED();
	return cuEventCreate(event, flags);
}

API int cudaEventRecord(CUevent event, CUstream stream);
int cudaEventRecord(CUevent event, CUstream stream)
{
	CALLED();
	return cuEventRecord(event, stream);
}

API int cudaEventRecordWithFlags(CUevent event, CUstream stream, unsigned flags);
int cudaEventRecordWithFlags(CUevent event, CUstream stream, unsigned flags)
{
	CALLED();
	return cuEventRecordWithFlags(event, stream, flags);
}

API int cudaEventSynchronize(CUevent event);
int cudaEventSynchronize(CUevent event)
{
	CALLED();
	return cuEventSynchronize(event);
}

API int cudaEventQuery(CUevent event);
int cudaEventQuery(CUevent event)
{
	CALLED();
	return cuEventQuery(event);
}

API int cudaEventDestroy(CUevent event);
int cudaEventDestroy(CUevent event)
{
	CALLED();
	return cuEventDestroy_v2(event);
}

enum { HOST_TO_HOST, HOST_TO_DEVICE, DEVICE_TO_HOST, DEVICE_TO_DEVICE };

API int cudaMemcpyAsync(void *to, const void *from, size_t bytes, int kind, CUstream stream);
int cudaMemcpyAsync(void *to, const void *from, size_t bytes, int kind, CUstream stream)
{
	CALLED();
	switch (kind) {
	case HOST_TO_DEVICE:
		return cuMemcpyHtoDAsync_v2((CUdeviceptr)to, from, bytes, stream);
	case DEVICE_TO_HOST:
		return cuMemcpyDtoHAsync_v2(to, (CUdeviceptr)from, bytes, stream);
	case DEVICE_TO_DEVICE:
		return cuMemcpyDtoDAsync_v2((CUdeviceptr)to, (CUdeviceptr)from, bytes, stream);
	default:
		return cuMemcpyAsync((CUdeviceptr)to, (CUdeviceptr)from, bytes, stream);
	}
}

API int cudaMalloc(void **address, size_t bytes);
int cudaMalloc(void **address, size_t bytes)
{
	CALLED();
	return cuMemAlloc_v2((CUdeviceptr *)address, bytes);
}

API int cudaFree(void *address);
int cudaFree(void *address)
{
	CALLED();
	return cuMemFree_v2((CUdeviceptr)address);
}

API int cudaMallocAsync(void **address, size_t bytes, CUstream stream);
int cudaMallocAsync(void **address, size_t bytes, CUstream stream)
{
	CALLED();
	return cuMemAllocAsync((CUdeviceptr *)address, bytes, stream);
}

API int cudaFreeAsync(void *address, CUstream stream);
int cudaFreeAsync(void *address, CUstream stream)
{
	CALLED();
	return cuMemFreeAsync((CUdeviceptr)address, stream);
}

API int cudaGetDevice(int *device);
int cudaGetDevice(int *device)
{
	CALLED();
	*device = 0;
	return OK;
}

API int cudaRuntimeGetVersion(int *version);
int cudaRuntimeGetVersion(int *version)
{
	CALLED();
	*version = 13000;
	return OK;
}
