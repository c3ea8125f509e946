/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What runs on the GPU behind each routing kernel of an MoE layer, eagerly and in graphs:
 * it copies which experts the tokens chose to a ring in the host's memory. It never waits
 * for the host: who reads too late finds that the ring has gone on. ptx.sh makes
 * ../c/choices_ptx.h of this.
 */
#include <stdint.h>

#include "../c/choices.h"

#ifdef __CUDACC__
#define ENTRY extern "C" __global__

/* What half-precision makes of a weight; the nearest. */
static __device__ unsigned half_of(float f)
{
	unsigned short h;

	asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(f));
	return h;
}

static __device__ unsigned long long gpu_clock(void)
{
	unsigned long long now;

	asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
	return now;
}
#endif /* else a test runs it on the host: testdata/cuda.c */

static __device__ unsigned long long word(unsigned long long at, unsigned n)
{
	return ((at / 8 + 1) * 0x9e3779b97f4a7c15ull & ~0xffffffffull) | n;
}

static __device__ unsigned id_of(const struct pm_choices *c, unsigned i)
{
	return c->wide ? (unsigned)((const unsigned long long *)c->ids)[i] :
			 ((const unsigned *)c->ids)[i];
}

/* An id that does not fit is none. */
static __device__ unsigned byte_of(const struct pm_choices *c, unsigned i, unsigned n)
{
	unsigned id = i < n ? id_of(c, i) : 0xff;

	return id < 0xff ? id : 0xff;
}

static __device__ unsigned short_of(const struct pm_choices *c, unsigned i, unsigned n)
{
	unsigned id = i < n ? id_of(c, i) : 0xffff;

	return id < 0xffff ? id : 0xffff;
}

ENTRY void pmtrace_choices(struct pm_choices c)
{
	__shared__ unsigned long long at;
	__shared__ unsigned run, weighed;
	unsigned n = c.rows * c.top_k, t = threadIdx.x, step = blockDim.x;
	unsigned id_bytes = (n * c.bytes + 15) & ~15u, weight_bytes = (n * 2 + 15) & ~15u;
	unsigned char *ring = (unsigned char *)c.ring + PM_CHOICES_CONTROL;
	unsigned long long from;

	if (!t) {
		struct pm_choices_state *s = (struct pm_choices_state *)c.state;
		unsigned all;

		run = atomicAdd(&s->run, 1u);
		weighed = c.every && c.weights && (run * 2654435761u >> 8) % c.every == 0;
		all = PM_CHOICES_HEADER + id_bytes + (weighed ? weight_bytes : 0);
		at = atomicAdd(&s->head, (unsigned long long)all);
	}
	__syncthreads();
	from = at + PM_CHOICES_HEADER;
	for (unsigned unit = t; unit < id_bytes / 16; unit += step) {
		unsigned v[4];

		for (unsigned w = 0; w < 4; w++) {
			unsigned i = c.bytes == 1 ? unit * 16 + w * 4 : unit * 8 + w * 2;

			if (c.bytes == 1)
				v[w] = byte_of(&c, i, n) | byte_of(&c, i + 1, n) << 8 |
				       byte_of(&c, i + 2, n) << 16 | byte_of(&c, i + 3, n) << 24;
			else
				v[w] = short_of(&c, i, n) | short_of(&c, i + 1, n) << 16;
		}
		*(uint4 *)(ring + ((from + unit * 16) & c.mask)) = make_uint4(v[0], v[1], v[2],
									      v[3]);
	}
	if (weighed) {
		const float *weights = (const float *)c.weights;

		from += id_bytes;
		for (unsigned unit = t; unit < weight_bytes / 16; unit += step) {
			unsigned v[4];

			for (unsigned w = 0; w < 4; w++) {
				unsigned i = unit * 8 + w * 2;

				v[w] = (i < n ? half_of(weights[i]) : 0) |
				       (i + 1 < n ? half_of(weights[i + 1]) : 0) << 16;
			}
			*(uint4 *)(ring + ((from + unit * 16) & c.mask)) = make_uint4(v[0], v[1],
										      v[2], v[3]);
		}
	}
	__threadfence_system();
	__syncthreads();
	if (!t) {
		unsigned flags = weighed ? PM_CHOICES_WEIGHED : 0;
		unsigned all = PM_CHOICES_HEADER + id_bytes + (weighed ? weight_bytes : 0);

		*(volatile unsigned long long *)(ring + ((at + 8) & c.mask)) = gpu_clock();
		*(uint4 *)(ring + ((at + 16) & c.mask)) =
			make_uint4(c.ordinal, run, c.rows, c.top_k | c.bytes << 8 | flags << 16);
		*(uint4 *)(ring + ((at + 32) & c.mask)) = make_uint4(c.experts, 0, 0, 0);
		__threadfence_system();
		*(volatile unsigned long long *)(ring + (at & c.mask)) = word(at, all);
		*(volatile unsigned long long *)c.ring = at; /* a record begins there */
	}
}

/* The GPU's clock, for the host. */
ENTRY void pmtrace_clock(unsigned long long *to)
{
	*(volatile unsigned long long *)to = gpu_clock();
	__threadfence_system();
}
