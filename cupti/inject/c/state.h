/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of libpmtrace_cupti.so share. */
#ifndef PMTRACE_STATE_H
#define PMTRACE_STATE_H

#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

#include "abi.h"
#include "ring.h"

typedef uint8_t __u8;
typedef uint16_t __u16;
typedef uint32_t __u32;
typedef uint64_t __u64;
typedef int32_t __s32;
typedef int16_t __s16;
#include "../../../bpf/cupti.h"

#define NS_PER_S 1000000000ull
#define NS_PER_MS 1000000ull

/* CUPTI's functions, in the process's own libcupti. */
#define DECLARE(name, parameters) int(*name) parameters;
struct cupti {
	CUPTI_FUNCTIONS(DECLARE)
};
#undef DECLARE
extern struct cupti cupti;

static inline uint64_t monotonic(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* ring.c */

/* ring_create makes DIR/PID.ring. size 0: a header alone, to say why there is no more. */
struct pm_ring *ring_create(const char *dir, uint64_t size, uint64_t session);
/* ring_open lets records be written from now on, or no more. */
void ring_open(int open);
/* ring_put writes a record whose header is in `record`; 0: it was. */
int ring_put(int kind, void *record, uint32_t n, const void *more, uint32_t m);
void ring_lost(enum pm_ring_loss why, uint64_t n);

/* find.c */

/* cupti_find opens the process's libcupti and fills `cupti`; path: which it is. NULL, or
 * what is missing. */
const char *cupti_find(const char *wish, char *path, size_t room);

/* activity.c */

/* activity_buffers gets the memory for CUPTI's records; 0: it is there. */
int activity_buffers(void);
/* activity_kernels says whether the many records of kernels come. */
void activity_kernels(int on);
void activity_requested(uint8_t **buffer, size_t *size, size_t *records);
void activity_completed(void *context, uint32_t stream, uint8_t *buffer, size_t size, size_t valid);

/* moe.c */

/* moe_prepare wishes choices of experts to be told, weights of one in `every` runs (0:
 * none); note: is told what cannot be had. 0: they will be. */
int moe_prepare(uint64_t size, uint32_t every, void (*note)(const char *));
/* moe_launched takes the return of a kernel launch (abi.h). */
void moe_launched(uint32_t id, const struct cupti_call *call);
/* moe_drain hands on what the GPU has told, and reads its clock unless now is 0; one
 * thread's at a time. */
void moe_drain(uint64_t now);

/* calls.c */
void calls_callback(void *data, int domain, uint32_t id, const void *call);
/* calls_hold keeps all threads out of graph launches until calls_release; own: the caller
 * goes into one itself, or comes out of it. 0: some thread is within one. Whoever calls has the lock of
 * those who switch activities. */
int calls_hold(int own);
void calls_release(void);
/* calls_making_graphs reports whether graphs are being captured or instantiated. */
int calls_making_graphs(uint64_t now);

/* inject.c */

/* inject_between is called by a thread that is about to launch a graph, or has just done so. */
void inject_between(void);
/* inject_graph is called before a graph is captured or instantiated. */
void inject_graph(void);

#endif
