#pragma once

#include "nvperf.h"

typedef int (*pm_function)(void *params);

// pm_call makes a call of the library: every function has this form.
int pm_call(void *function, void *params);

// pm_clock reads the GPU's timer between two readings of CLOCK_MONOTONIC.
int pm_clock(void *function, size_t device, int64_t *before, uint64_t *gpu, int64_t *after);

// pm_samples reads samples out of an image: done of them, when it returns.
struct pm_samples {
	void *get_time;
	void *evaluate_values;
	struct nvpw_evaluate evaluate;  // but rangeIndex and values
	size_t first;
	size_t count;
	size_t total;  // in the image, which is circular
	size_t done;
	uint64_t *starts;
	uint64_t *ends;
	double *values;
};
int pm_samples(struct pm_samples *s);
