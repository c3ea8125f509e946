/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Loops of more turns than a verifier would follow one by one. bpf_loop came with
 * Linux 5.17. Before it bpf_for_each_map_elem (5.13) calls back for each element of a
 * map: here of an array that is there only to have that many. Which of both it is, user
 * space says before the verifier looks, so that only the one branch is ever loaded.
 */
#ifndef PMTRACE_LOOP_H
#define PMTRACE_LOOP_H

#include "kernel.h"

const volatile __u32 loop_by_map = 0;

/* As many as the longest loop has, where loop_by_map; each program includes this with
 * its PM_MAX_TURNS. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PM_MAX_TURNS);
	__type(key, __u32);
	__type(value, __u64);
} turns SEC(".maps");

/* What a callback of bpf_for_each_map_elem is given. */
struct bound {
	void *ctx;
	__u32 n, spare;
};

/* Declares the body of a loop: it is given the number of the turn, and ends the loop by
 * returning 1. */
#define LOOP_BODY(name, type)                                                                  \
	static __always_inline long name(__u32 i, type *ctx);                                  \
	static long name##_by_map(void *map, const __u32 *i, void *value, struct bound *bound) \
	{                                                                                      \
		return *i >= bound->n || name(*i, bound->ctx);                                 \
	}                                                                                      \
	static __always_inline long name

/* Runs a body at most n times. Its ctx is on the stack. */
#define repeat(n, name, ctx)                                                     \
	do {                                                                     \
		if (loop_by_map) {                                               \
			struct bound bound = { ctx, n, 0 };                      \
			bpf_for_each_map_elem(&turns, name##_by_map, &bound, 0); \
		} else {                                                         \
			bpf_loop(n, name, ctx, 0);                               \
		}                                                                \
	} while (0)

#endif
