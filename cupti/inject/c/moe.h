/* SPDX-License-Identifier: Apache-2.0 */
/* Which kernels choose experts, and where among their arguments the choice is. */
#ifndef PMTRACE_MOE_H
#define PMTRACE_MOE_H

#include <stdint.h>

/* An argument's index; ROWS_ARE_BLOCKS: a block a row. */
enum { ROWS_ARE_BLOCKS = -1 };

struct routing {
	const char *name; /* in the mangled name, with its length */
	const char *arguments; /* that the mangled name goes on with, somewhere behind it */
	int8_t weights, ids, rows, top_k, experts;
	uint8_t wide; /* the numbers have 64 bits */
};

/* What is known of a kernel by its name. */
struct routing_kernel {
	const struct routing *rule; /* NULL: it chooses no experts, or not in a known way */
	uint8_t wide_ids;
	uint8_t unknown; /* it may choose experts, but in no known way */
};

struct routing_kernel routing_of(const char *mangled);

#endif
