/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ring through which the GPU tells which experts were chosen. PM_CHOICES_CONTROL
 * bytes, the first 8 of which say where one of the latest records begins, then a power of
 * two bytes of records. A record begins at a multiple of 16:
 *
 *	 0  u64  pm_ring_word of where it is and its length in bytes: written last
 *	 8  u64  the GPU's clock
 *	16  u32  ordinal, run, rows
 *	28  u8   top_k, u8 bytes of an id, u8 flags
 *	32  u32  experts
 *	48       ids, from the next multiple of 16 on weights (binary16)
 */
#ifndef PMTRACE_CHOICES_H
#define PMTRACE_CHOICES_H

#include <stdint.h>

#define PM_CHOICES_CONTROL 64
#define PM_CHOICES_HEADER 48
#define PM_CHOICES_WEIGHED 1

/* What the kernel is given. */
struct pm_choices {
	uint64_t ids, weights; /* the routing kernel's results; weights 0: none */
	uint64_t ring, mask; /* bytes of records, less one */
	uint64_t state; /* struct pm_choices_state, in the GPU's memory */
	uint32_t rows, top_k;
	uint32_t wide; /* an id has 64 bits, else 32 */
	uint32_t bytes; /* that an id is sent in */
	uint32_t experts;
	uint32_t ordinal;
	uint32_t every; /* one run of so many tells its weights; 0: none */
	uint32_t spare;
};

struct pm_choices_state {
	unsigned long long head; /* bytes that were ever given to records */
	unsigned run;
};

#endif
