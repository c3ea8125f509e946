/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The events that come from inside a recorded process: what CUPTI says, as
 * libpmtrace_cupti.so (cupti/inject) hands it on. They share the header of event.h and
 * its numbers of kinds; no BPF program sends them.
 *
 * hdr.ktime is when the event was handed on, hdr.seq counts the events of one process,
 * those included that found no room, and hdr.engine is the index of the process's ring,
 * which the reader puts there. All times are CLOCK_MONOTONIC, ns.
 *
 * correlation is CUPTI's number of the call that caused the work: what a call launched
 * has the call's number, in a replay each kernel and copy that of the launch.
 */
#ifndef PMTRACE_CUPTI_H
#define PMTRACE_CUPTI_H

#include "event.h"

enum pm_cupti_kind {
	PM_EV_CUPTI_CALL = 48, /* a graph launch returned: struct pm_cupti_call */
	PM_EV_CUPTI_REPLAY = 49, /* a graph ran: struct pm_cupti_replay */
	PM_EV_CUPTI_KERNEL = 50, /* a kernel ran: struct pm_cupti_kernel */
	PM_EV_CUPTI_COPY = 51, /* a copy ran: struct pm_cupti_copy */
	PM_EV_CUPTI_NAME = 52, /* what pm_cupti_kernel.name means: struct pm_cupti_name + bytes */
	PM_EV_CUPTI_WINDOW =
		53, /* kernels are told from now on, or no more: struct pm_cupti_window */
	PM_EV_CUPTI_MOE = 54, /* experts that tokens chose: struct pm_cupti_moe + ids + weights */
	PM_EV_CUPTI_CLOCK = 55, /* the GPU's clock: struct pm_cupti_clock */
};

/* Longest kernel name that is sent; a longer one is cut (PM_CUPTI_NAME_CUT). */
#define PM_CUPTI_MAX_NAME 4000
#define PM_CUPTI_NAME_CUT 1 /* pm_cupti_name.flags */

struct pm_cupti_call {
	struct pm_hdr hdr;
	__u64 began, ended; /* the driver's function, or the runtime's where that is all */
	__u64 exec; /* CUgraphExec */
	__u64 stream; /* CUstream */
	__u32 thread; /* the kernel's id, in the process's namespace */
	__u32 correlation; /* of the driver's function; 0: it was not seen */
	__u32 runtime; /* of the runtime's function around it; 0: none */
	__u32 spare;
};

struct pm_cupti_replay {
	struct pm_hdr hdr;
	__u64 start, end;
	__u32 correlation;
	__u32 graph; /* CUPTI's number of the executable graph */
	__u32 device;
	__u32 context;
	__u32 stream; /* CUPTI's number */
	__u32 spare;
};

struct pm_cupti_kernel {
	struct pm_hdr hdr;
	__u64 start, end;
	__u64 node; /* CUPTI's number of the graph's node; 0: no graph's */
	__u32 name; /* pm_cupti_name.id; 0: none */
	__u32 correlation;
	__u32 graph; /* 0: no graph's */
	__u32 device;
	__u32 context;
	__u32 stream;
	__u32 grid[3];
	__u16 block[3];
	__u16 registers;
	__u32 shared; /* bytes, static and dynamic */
};

struct pm_cupti_copy {
	struct pm_hdr hdr;
	__u64 start, end;
	__u64 node;
	__u64 bytes;
	__u32 correlation;
	__u32 graph;
	__u32 device;
	__u32 context;
	__u32 stream;
	__u32 kind; /* CUpti_ActivityMemcpyKind */
};

struct pm_cupti_name {
	struct pm_hdr hdr;
	__u32 id; /* counts from 1 */
	__u16 bytes; /* that follow */
	__u16 flags;
};

/* Between two states CUPTI may tell neither of replays nor of kernels: from began to
 * ended it was asked to switch. */
struct pm_cupti_window {
	struct pm_hdr hdr;
	__u64 began, ended;
	__u32 number; /* counts windows, from 1 */
	__u32 on;
};

/* A routing kernel of an MoE layer has run, eagerly or in a graph. What it chose may take
 * several events, which follow each other. The ids follow the struct, row by row, and
 * behind them, where PM_CUPTI_MOE_WEIGHTS says so, as many weights (binary16). */
#define PM_CUPTI_MOE_WEIGHTS 1 /* pm_cupti_moe.flags */

struct pm_cupti_moe {
	struct pm_hdr hdr;
	__u64 time; /* when it was done, by the GPU's clock: see pm_cupti_clock */
	__u32 ordinal; /* of the launch among all of the process's routing kernels, from 0; in a graph of the one that was captured */
	__u32 run; /* counts the runs on the GPU, from 0, those lost included */
	__u32 rows; /* tokens, padding included */
	__u32 first; /* row of the first id here */
	__u16 count; /* rows here */
	__u8 top_k;
	__u8 bytes; /* of an id: 1, or 2 */
	__u16 experts; /* of the kernel; 0: not known */
	__u16 flags;
};

/* Read one after the other. */
struct pm_cupti_clock {
	struct pm_hdr hdr;
	__u64 before; /* CLOCK_MONOTONIC */
	__u64 gpu; /* the GPU's clock, ns */
	__u64 after; /* CLOCK_MONOTONIC */
};

#endif
