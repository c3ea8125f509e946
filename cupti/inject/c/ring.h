/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ring between a recorded process and pmtrace: a file that the process maps and
 * pmtrace reads. One page of header, then `size` bytes of records; a power of two.
 *
 * A record begins at a multiple of 8 with a word that says its length and where it is,
 * see pm_ring_word: it is there as soon as that word fits its place, which the bytes of
 * an earlier lap do not. Many threads write, none waits for another: each takes its
 * place by moving `reserved`, fills it, and writes the word last. A record for which
 * there is no room is counted and dropped.
 *
 * Go's view: cupti/layout.go, compared with this file by a test.
 */
#ifndef PMTRACE_RING_H
#define PMTRACE_RING_H

#include <stdint.h>

#define PM_RING_MAGIC 0x474e49524d50f501ull
#define PM_RING_VERSION 1
#define PM_RING_HEADER 4096
#define PM_RING_MIN (64u << 10)
#define PM_RING_MAX (1u << 30)

/* pm_ring.state: it only rises. */
enum pm_ring_state {
	PM_RING_STARTING = 0,
	PM_RING_RUNNING = 1,
	PM_RING_ENDED = 2, /* by pmtrace's wish, or with the process: all is handed on */
	PM_RING_QUIET = 3, /* pmtrace does not read any more */
	PM_RING_FAILED = 4, /* text says why */
};

/* Why a record was dropped. */
enum pm_ring_loss {
	PM_LOST_FULL = 0, /* no room in the ring */
	PM_LOST_CUPTI = 1, /* CUPTI dropped it */
	PM_LOST_BUFFER = 2, /* no buffer for CUPTI */
	PM_LOST_NAME = 3, /* more kernel names than fit the table: their kernels have none */
	PM_LOST_TIME = 4, /* CUPTI could not time it */
	PM_LOST_RECORD = 5, /* a record that CUPTI calls invalid, and the rest of its buffer */
	PM_LOST_MOE = 6, /* choices of experts that were overwritten before they were read */
	PM_LOSSES = 8,
};

/* pm_ring.flags */
#define PM_RING_CALLS 1u /* graph launches are told of by CUPTI's callbacks */
#define PM_RING_WINDOWS 2u /* kernels come in windows */
#define PM_RING_ALWAYS 4u /* kernels come always, and replays never */
#define PM_RING_NO_WINDOWS 8u /* windows were asked for and cannot be had: note says why */
#define PM_RING_COPIES_WINDOWS 32u /* copies come in windows alone */
#define PM_RING_MOE 16u /* choices of experts are told; but what moe_note says is not */

struct pm_ring {
	/* Of every version. */
	uint64_t magic;
	uint32_t version;
	uint32_t header; /* bytes */
	uint64_t size; /* of what follows the header */
	uint64_t session; /* pmtrace's number of it */
	uint64_t started; /* CLOCK_MONOTONIC, ns */
	uint32_t pid; /* in the process's namespace */
	uint32_t state; /* enum pm_ring_state */

	uint32_t flags;
	uint32_t cupti; /* cuptiGetVersion */
	int32_t error; /* CUptiResult of what failed; 0: it was no call of CUPTI's */
	uint32_t spare;
	char text[160]; /* what failed */
	char note[160]; /* what is done without */
	char library[512]; /* CUPTI's */

	_Alignas(64) uint64_t lost[PM_LOSSES];
	_Alignas(64) uint64_t reserved; /* bytes that were ever given to records */
	uint64_t records; /* that were ever written or dropped */

	/* What pmtrace writes. tail counts twice, the second time inverted: it is written
	 * by a system call, which may be seen half done. */
	_Alignas(64) uint64_t tail; /* bytes that were ever read */
	uint64_t not_tail;
	uint64_t heartbeat; /* CLOCK_MONOTONIC, ns */
	uint64_t stop; /* 1: pmtrace wants no more */

	_Alignas(64) char moe_note[160]; /* what is done without in telling choices of experts */
};

_Static_assert(sizeof(struct pm_ring) <= PM_RING_HEADER, "the header is one page");

/* The word at the beginning of a record of n bytes that lies at byte `at` of all that
 * were ever written. */
static inline uint64_t pm_ring_word(uint64_t at, uint32_t n)
{
	return ((at / 8 + 1) * 0x9e3779b97f4a7c15ull & ~0xffffffffull) | n;
}

#endif
