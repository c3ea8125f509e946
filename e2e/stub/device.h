/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What kernels of the stub do to memory, besides taking their time: those that choose
 * experts, as vLLM's do, and pmtrace's own behind them (cupti/inject/cuda). A thread does
 * it when the device's clock is there; a host that is late delays that, and no time that
 * the kernels tell.
 */
#ifndef PMTRACE_STUB_DEVICE_H
#define PMTRACE_STUB_DEVICE_H

#include <stdio.h>

#include "gpu.h"

struct effect;

/* kernel_name is the mangled name of a kernel with an effect; NULL: it has none. */
const char *kernel_name(CUfunction f);
/* effect_of takes the arguments of a launch; NULL: the kernel has no effect. */
struct effect *effect_of(CUfunction f, void **params);
/* effect_at has it happen, which frees it: in a step (-1: none) of so many tokens. */
void effect_at(struct effect *effect, uint64_t due, int step, uint32_t tokens);
/* effect_clock does so at once, where the kernel is one that reads the clock. */
int effect_clock(CUfunction f, void **params, uint64_t time);

/* The effects of a graph's nodes, each so many ns from its begin. */
void effect_add(struct effect **list, struct effect *effect, uint64_t after);
struct effect *effects_copy(const struct effect *list);
void effects_free(struct effect *list);
/* effects_at has those of a replay happen, which takes `is` ns and was captured as `was`. */
void effects_at(const struct effect *list, uint64_t start, uint64_t is, uint64_t was, int step,
		uint32_t tokens);

/* effects_truth waits for all, and writes what was chosen for the tokens of steps. */
void effects_truth(FILE *f);

#endif
