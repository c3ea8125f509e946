// What cuda/choices.cu needs to be compiled for the host, one thread wide; whoever includes
// it gives it a gpu_clock().
#ifndef HOST_CUDA_H
#define HOST_CUDA_H

#include <string.h>

typedef struct {
	unsigned x, y, z, w;
} uint4;

static uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w)
{
	return (uint4){ x, y, z, w };
}

static const struct {
	unsigned x;
} threadIdx = { 0 }, blockDim = { 1 };

#define ENTRY static
#define __device__
#define __shared__
#define __syncthreads()
#define __threadfence_system() __sync_synchronize()
#define atomicAdd(p, v) __sync_fetch_and_add(p, v)

static unsigned half_of(float f)
{
	_Float16 h = (_Float16)f;
	unsigned short bits;

	memcpy(&bits, &h, sizeof(bits));
	return bits;
}

#endif
