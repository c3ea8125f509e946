/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is used of CUPTI, in our own words: NVIDIA's headers are not ours to hand on,
 * and one build serves CUDA 12 and 13.
 *
 * CUPTI numbers the versions of its records (CUpti_ActivityKernel4 to 10, and so on) and
 * appends what is new, so that fields keep their places. Compared by a program of
 * offsetof with the headers of CUDA 13.0 (CUPTI_API_VERSION 130001), which hold the older
 * versions as well, in cupti_activity_deprecated.h:
 *
 *   kernel     versions 5 to 10 (CUDA 11 to 13) agree in all fields below
 *   memcpy     versions 4 to 6 (CUDA 11 to 13) agree in all fields below
 *   graph      GraphTrace (CUDA 12) and GraphTrace2 agree in all fields below
 *   callback   CUpti_CallbackData, 72 bytes
 *
 * A record's whole size is never used: CUPTI itself goes from one to the next.
 */
#ifndef PMTRACE_ABI_H
#define PMTRACE_ABI_H

#include <stddef.h>
#include <stdint.h>

enum {
	CUPTI_OK = 0,
	CUPTI_MAX_LIMIT_REACHED = 12,
	CUPTI_MULTIPLE_SUBSCRIBERS = 39,
};

/* CUpti_ActivityKind */
enum { KIND_MEMCPY = 1, KIND_CONCURRENT_KERNEL = 10, KIND_GRAPH_TRACE = 51 };

/* CUpti_CallbackDomain and the ids in cupti_driver_cbid.h, cupti_runtime_cbid.h. */
enum { DOMAIN_DRIVER = 1, DOMAIN_RUNTIME = 2 };
enum {
	DRIVER_GRAPH_LAUNCH = 514, /* cuGraphLaunch */
	DRIVER_GRAPH_LAUNCH_PTSZ = 515,
	RUNTIME_GRAPH_LAUNCH = 311, /* cudaGraphLaunch_v10000 */
	RUNTIME_GRAPH_LAUNCH_PTSZ = 312,
};
/* The driver's calls that make graphs: what each does, and whether only newer versions of
 * CUDA 12 have it. */
#define GRAPH_CALLS(X)                                              \
	X(495, BEGINS_CAPTURE, 0) /* cuStreamBeginCapture */        \
	X(496, BEGINS_CAPTURE, 0) /* … _ptsz */                     \
	X(539, BEGINS_CAPTURE, 0) /* cuStreamBeginCapture_v2 */     \
	X(540, BEGINS_CAPTURE, 0) /* … _ptsz */                     \
	X(720, BEGINS_CAPTURE, 1) /* cuStreamBeginCaptureToGraph */ \
	X(721, BEGINS_CAPTURE, 1) /* … _ptsz */                     \
	X(497, ENDS_CAPTURE, 0) /* cuStreamEndCapture */            \
	X(498, ENDS_CAPTURE, 0) /* … _ptsz */                       \
	X(513, MAKES, 0) /* cuGraphInstantiate */                   \
	X(578, MAKES, 0) /* cuGraphInstantiate_v2 */                \
	X(643, MAKES, 0) /* cuGraphInstantiateWithFlags */          \
	X(656, MAKES, 0) /* cuGraphInstantiateWithParams */         \
	X(657, MAKES, 0) /* … _ptsz */                              \
	X(561, MAKES, 0) /* cuGraphExecUpdate */                    \
	X(696, MAKES, 1) /* cuGraphExecUpdate_v2 */
enum {
	DRIVER_LAUNCH = 307, /* cuLaunchKernel */
	DRIVER_LAUNCH_PTSZ = 442,
	DRIVER_LAUNCH_EX = 652, /* cuLaunchKernelEx */
	DRIVER_LAUNCH_EX_PTSZ = 653,
};
enum { SITE_ENTER = 0, SITE_EXIT = 1 };

enum { FLUSH_FORCED = 1 };
enum { CUPTI_OF_13 = 130000 }; /* CUPTI_API_VERSION from CUDA 13 on; before it was 28 at most */

struct cupti_graph {
	uint32_t kind;
	uint32_t correlation;
	uint64_t start, end;
	uint32_t device;
	uint32_t graph;
	uint32_t context;
	uint32_t stream;
};

struct cupti_memcpy {
	uint32_t kind;
	uint8_t copy_kind, src_kind, dst_kind, flags;
	uint64_t bytes;
	uint64_t start, end;
	uint32_t device;
	uint32_t context;
	uint32_t stream;
	uint32_t correlation;
	uint32_t runtime_correlation;
	uint32_t pad;
	uint64_t reserved;
	uint64_t node;
	uint32_t graph;
};

struct cupti_kernel {
	uint32_t kind;
	uint8_t cache_config, shared_config;
	uint16_t registers;
	uint32_t partitioned_cache[2];
	uint64_t start, end, completed;
	uint32_t device;
	uint32_t context;
	uint32_t stream;
	int32_t grid[3];
	int32_t block[3];
	int32_t static_shared;
	int32_t dynamic_shared;
	uint32_t local_per_thread;
	uint32_t local_total;
	uint32_t correlation;
	int64_t grid_id;
	const char *name;
	uint64_t reserved;
	uint64_t queued;
	uint64_t submitted;
	uint8_t launch[8];
	uint64_t node;
	uint32_t shared_executed;
	uint32_t graph;
};

struct cupti_call {
	uint32_t site;
	const char *function;
	const void *params;
	const void *result; /* CUresult or cudaError_t, at the exit */
	const char *symbol;
	void *context;
	uint32_t context_uid;
	uint64_t *correlation_data;
	uint32_t correlation;
};

/* cuGraphLaunch_params and cudaGraphLaunch_v10000_params. */
struct cupti_graph_launch {
	uint64_t exec;
	uint64_t stream;
};

/* cuLaunchKernel_params, cuLaunchKernelEx_params and CUlaunchConfig. */
struct cupti_launch {
	const void *function;
	uint32_t grid[3], block[3];
	uint32_t shared;
	void *stream;
	void **arguments;
};

struct cupti_launch_config {
	uint32_t grid[3], block[3];
	uint32_t shared;
	void *stream;
};

struct cupti_launch_ex {
	const struct cupti_launch_config *config;
	const void *function;
	void **arguments;
};

#define AT(type, field, offset) \
	_Static_assert(offsetof(struct type, field) == (offset), #type "." #field)

AT(cupti_graph, correlation, 4);
AT(cupti_graph, start, 8);
AT(cupti_graph, end, 16);
AT(cupti_graph, device, 24);
AT(cupti_graph, graph, 28);
AT(cupti_graph, context, 32);
AT(cupti_graph, stream, 36);
AT(cupti_memcpy, copy_kind, 4);
AT(cupti_memcpy, bytes, 8);
AT(cupti_memcpy, start, 16);
AT(cupti_memcpy, end, 24);
AT(cupti_memcpy, device, 32);
AT(cupti_memcpy, context, 36);
AT(cupti_memcpy, stream, 40);
AT(cupti_memcpy, correlation, 44);
AT(cupti_memcpy, runtime_correlation, 48);
AT(cupti_memcpy, node, 64);
AT(cupti_memcpy, graph, 72);
AT(cupti_kernel, registers, 6);
AT(cupti_kernel, start, 16);
AT(cupti_kernel, end, 24);
AT(cupti_kernel, device, 40);
AT(cupti_kernel, context, 44);
AT(cupti_kernel, stream, 48);
AT(cupti_kernel, grid, 52);
AT(cupti_kernel, block, 64);
AT(cupti_kernel, static_shared, 76);
AT(cupti_kernel, dynamic_shared, 80);
AT(cupti_kernel, correlation, 92);
AT(cupti_kernel, grid_id, 96);
AT(cupti_kernel, name, 104);
AT(cupti_kernel, node, 144);
AT(cupti_kernel, graph, 156);
AT(cupti_launch, grid, 8);
AT(cupti_launch, stream, 40);
AT(cupti_launch, arguments, 48);
AT(cupti_launch_config, stream, 32);
AT(cupti_launch_ex, function, 8);
AT(cupti_launch_ex, arguments, 16);
AT(cupti_call, symbol, 32);
AT(cupti_call, params, 16);
AT(cupti_call, result, 24);
AT(cupti_call, context, 40);
AT(cupti_call, correlation, 64);

typedef uint64_t (*cupti_clock)(void);
typedef void (*cupti_requested)(uint8_t **buffer, size_t *size, size_t *records);
typedef void (*cupti_completed)(void *context, uint32_t stream, uint8_t *buffer, size_t size,
				size_t valid);
typedef void (*cupti_callback)(void *data, int domain, uint32_t id, const void *call);

/* name, parameters: all return a CUptiResult. */
#define CUPTI_FUNCTIONS(X)                                                    \
	X(cuptiGetVersion, (uint32_t *))                                      \
	X(cuptiActivityEnable, (int))                                         \
	X(cuptiActivityDisable, (int))                                        \
	X(cuptiActivityRegisterCallbacks, (cupti_requested, cupti_completed)) \
	X(cuptiActivityRegisterTimestampCallback, (cupti_clock))              \
	X(cuptiActivityGetNextRecord, (uint8_t *, size_t, void **))           \
	X(cuptiActivityGetNumDroppedRecords, (void *, uint32_t, size_t *))    \
	X(cuptiActivityFlushAll, (uint32_t))                                  \
	X(cuptiSubscribe, (void **, cupti_callback, void *))                  \
	X(cuptiUnsubscribe, (void *))                                         \
	X(cuptiEnableCallback, (uint32_t, void *, int, uint32_t))

#endif
