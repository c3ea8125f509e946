//go:build cgo

#include "nvperf.h"

#include <time.h>

#include "calls.h"

int pm_call(void *function, void *params)
{
	return ((pm_function)function)(params);
}

static int64_t monotonic(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int pm_clock(void *function, size_t device, int64_t *before, uint64_t *gpu, int64_t *after)
{
	struct nvpw_timestamp p = { .structSize = nvpw_timestamp_size, .deviceIndex = device };
	*before = monotonic();
	int status = pm_call(function, &p);
	*after = monotonic();
	*gpu = p.timestamp;
	return status;
}

int pm_samples(struct pm_samples *s)
{
	struct nvpw_sample_time t = { .structSize = nvpw_sample_time_size,
				      .image = s->evaluate.image };
	for (s->done = 0; s->done < s->count; s->done++) {
		t.rangeIndex = (s->first + s->done) % s->total;
		int status = pm_call(s->get_time, &t);
		if (status)
			return status;
		s->starts[s->done] = t.start;
		s->ends[s->done] = t.end;
		s->evaluate.rangeIndex = t.rangeIndex;
		s->evaluate.values = s->values + s->done * s->evaluate.numMetrics;
		status = pm_call(s->evaluate_values, &s->evaluate);
		if (status)
			return status;
	}
	return 0;
}
