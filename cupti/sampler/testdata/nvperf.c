// A libnvperf_host.so for tests: the entry points that the sampler uses, with the
// sizes of NVIDIA's structures, the order of calls checked, and samples whose
// values are known. FAKE_NVPERF in the environment says what is to go wrong.
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../nvperf.h"

enum {
	success,
	invalid_argument = 8,
	driver_not_loaded = 10,
	insufficient_privilege = 17,
	resource_unavailable = 20,
	out_of_memory = 11,
};

static int failed(const char *call, const char *why)
{
	fprintf(stderr, "fake nvperf: %s: %s\n", call, why);
	return invalid_argument;
}

// The sizes as NVIDIA's headers have them, not as ours compute them.
#define ENTRY(name, type, size)                                        \
	static int do_##name(struct type *p);                          \
	int NVPW_##name(struct type *p)                                \
	{                                                              \
		if (p->structSize != size)                             \
			return failed(#name, "size of the structure"); \
		if (p->priv)                                           \
			return failed(#name, "priv");                  \
		return do_##name(p);                                   \
	}                                                              \
	static int do_##name(struct type *p)

static int mode(const char *name)
{
	const char *m = getenv("FAKE_NVPERF");
	return m && !strcmp(m, name);
}

// What has been done.
static int host, target, driver, session, config_set, sampling, evaluators, builders, configs;

// The GPU: seq numbers its samples, the time moves with them.
enum { samples_a_poll = 500, record = 100 };
static uint64_t now = 1000000000000, interval, seq, unread, first = 1, trailing, polls, overflowed,
		late;

ENTRY(InitializeHost, nvpw_no_params, 16)
{
	host = 1;
	return success;
}

ENTRY(InitializeTarget, nvpw_no_params, 16)
{
	if (!host)
		return failed("InitializeTarget", "order");
	target = 1;
	return success;
}

ENTRY(CUDA_LoadDriver, nvpw_no_params, 16)
{
	if (mode("crash"))
		raise(11);
	if (mode("nodriver"))
		return driver_not_loaded;
	if (!target)
		return failed("CUDA_LoadDriver", "order");
	driver = 1;
	return success;
}

ENTRY(GetDeviceCount, nvpw_device_count, 24)
{
	if (!driver)
		return failed("GetDeviceCount", "order");
	p->numDevices = 2;
	return success;
}

ENTRY(Device_GetNames, nvpw_device_names, 40)
{
	p->deviceName = "Fake H200";
	p->chipName = p->deviceIndex == 1 ? "GH100" : "GA100";
	return success;
}

#ifndef CUDA12
ENTRY(Device_GetUUID, nvpw_device_uuid, 82)
{
	strcpy(p->uuidString, p->deviceIndex == 1 ? "GPU-1111" : "GPU-0000");
	return success;
}
#endif

ENTRY(Device_GetPciBusIds, nvpw_device_bus_ids, 32)
{
	for (size_t i = 0; i < p->numDevices; i++)
		p->busIds[i] = (struct nvpw_bus_id){ 0, 0x18 + i, 0 };
	return success;
}

#ifdef CUDA12
ENTRY(GPU_PeriodicSampler_IsGpuSupported, nvpw_is_supported, 52)
#else
ENTRY(GPU_PeriodicSampler_IsGpuSupported, nvpw_is_supported, 56)
#endif
{
	p->isSupported = !mode("unsupported");
	p->architecture = 2;
	return success;
}

ENTRY(GPU_PeriodicSampler_GetSupportedTriggerSources, nvpw_trigger_sources, 40)
{
	const uint32_t have[] = { 1, 4, 2, 3 };
	if (p->numSources < 4)
		return failed("GetSupportedTriggerSources", "room");
	memcpy(p->sources, have, sizeof(have));
	p->numSources = mode("notrigger") ? 3 : 4;
	return success;
}

ENTRY(Device_MetricsEvaluator_CalculateScratchBufferSize, nvpw_scratch_size, 32)
{
	if (strcmp(p->chipName, "GH100"))
		return failed("CalculateScratchBufferSize", "chip");
	p->scratchSize = 64;
	return success;
}

ENTRY(Device_MetricsEvaluator_Initialize, nvpw_evaluator_initialize, 64)
{
	if (p->scratchSize != 64 || !p->scratch)
		return failed("MetricsEvaluator_Initialize", "scratch");
	evaluators++;
	p->evaluator = p->scratch;
	return success;
}

static const char *const metrics[] = {
	"gpc__cycles_elapsed.avg",
	"sm__cycles_active.avg",
	"dram__bytes_op_read.sum",
	"dram__bytes_write.sum",
	"sm__pipe_tensor_cycles_active.avg",
	"pcie__read_bytes.sum",
	"pcie__write_bytes.sum",
};
enum { num_metrics = sizeof(metrics) / sizeof(*metrics) };

ENTRY(MetricsEvaluator_ConvertMetricNameToMetricEvalRequest, nvpw_metric_by_name, 48)
{
	if (p->metricSize != 12 || !p->evaluator)
		return failed("ConvertMetricName", "parameters");
	for (int i = 0; i < num_metrics; i++) {
		if (!strcmp(p->name, metrics[i])) {
			p->metric->metricIndex = i;
			p->metric->submetric = 77;
			return success;
		}
	}
	return invalid_argument;
}

static int known(const struct nvpw_metric *m)
{
	return m->metricIndex < num_metrics && m->submetric == 77;
}

ENTRY(MetricsEvaluator_GetMetricRawDependencies, nvpw_dependencies, 88)
{
	if (p->metricSize != 12 || p->metricStride != 16 || p->numMetrics > num_metrics)
		return failed("GetMetricRawDependencies", "parameters");
	if (!p->names) {
		p->numNames = p->numMetrics;
		p->numOptionalNames = 1;
		return success;
	}
	for (size_t i = 0; i < p->numMetrics; i++) {
		if (!known(&p->metrics[i]))
			return failed("GetMetricRawDependencies", "metric");
		p->names[i] = metrics[p->metrics[i].metricIndex];
	}
	p->optionalNames[0] = "optional";
	return success;
}

// A configuration and a prefix are one byte for each counter.
struct fake_config {
	size_t counters;
	int open, generated;
};

static int add(struct fake_config *c, const char *name)
{
	if (!strcmp(name, "optional"))
		return invalid_argument;
	c->counters++;
	return success;
}

static struct fake_config *new_config(const char *chip, uint32_t activity)
{
	if (strcmp(chip, "GH100") || activity != 2)
		return NULL;
	configs++;
	return calloc(1, sizeof(struct fake_config));
}

static int destroy(struct nvpw_config *p)
{
	configs--;
	free(p->config);
	return success;
}

static int generate(struct fake_config *c)
{
	if (c->open || !c->counters)
		return failed("GenerateConfigImage", "order");
	c->generated = 1;
	return success;
}

static int copy_out(struct nvpw_get_image *p, size_t n)
{
	p->bytesCopied = n;
	if (p->buffer && p->bytesAllocated != n)
		return failed("GetConfigImage", "room");
	if (p->buffer)
		memset(p->buffer, 'c', n);
	return success;
}

#ifdef CUDA12
ENTRY(Device_RawMetricsConfig_Create, nvpw_metrics_config_create, 40)
{
	p->config = new_config(p->chipName, p->activity);
	return p->config ? success : failed("RawMetricsConfig_Create", "parameters");
}

ENTRY(RawMetricsConfig_Destroy, nvpw_config, 24)
{
	return destroy(p);
}

ENTRY(RawMetricsConfig_BeginPassGroup, nvpw_metrics_pass_group, 32)
{
	((struct fake_config *)p->config)->open = 1;
	return success;
}

ENTRY(RawMetricsConfig_EndPassGroup, nvpw_config, 24)
{
	((struct fake_config *)p->config)->open = 0;
	return success;
}

ENTRY(RawMetricsConfig_AddMetrics, nvpw_add_metrics, 40)
{
	if (p->numRequests != 1 || p->requests->structSize != 26)
		return failed("AddMetrics", "request");
	return add(p->to, p->requests->name);
}

ENTRY(RawMetricsConfig_GenerateConfigImage, nvpw_metrics_generate, 25)
{
	return generate(p->config);
}

ENTRY(RawMetricsConfig_GetConfigImage, nvpw_get_image, 48)
{
	return copy_out(p, ((struct fake_config *)p->of)->counters);
}

ENTRY(CounterDataBuilder_AddMetrics, nvpw_add_metrics, 40)
{
	return add(p->to, p->requests->name);
}
#else
ENTRY(Device_RawCounterConfig_Create, nvpw_counter_config_create, 40)
{
	p->config = new_config(p->chipName, p->activity);
	return p->config ? success : failed("RawCounterConfig_Create", "parameters");
}

ENTRY(RawCounterConfig_Destroy, nvpw_config, 24)
{
	return destroy(p);
}

ENTRY(RawCounterConfig_GetAllAvailableRawCounterDomains, nvpw_domains, 40)
{
	if (p->domains) {
		p->domains[0] = 3;
		p->domains[1] = 8;
	}
	p->numDomains = 2;
	return success;
}

ENTRY(RawCounterConfig_BeginPassGroup, nvpw_pass_group, 40)
{
	if (p->numDomains != 2 || p->domains[0] != 3 || p->domains[1] != 8)
		return failed("BeginPassGroup", "domains");
	((struct fake_config *)p->config)->open = 1;
	return success;
}

ENTRY(RawCounterConfig_EndPassGroup, nvpw_pass_group, 40)
{
	((struct fake_config *)p->config)->open = 0;
	return success;
}

ENTRY(RawCounterConfig_AddRawCounters, nvpw_add_counters, 48)
{
	if (p->numRequests != 1 || p->requestSize != 21 || p->requests->domain)
		return failed("AddRawCounters", "request");
	return add(p->to, p->requests->name);
}

ENTRY(RawCounterConfig_GenerateConfigImage, nvpw_config, 24)
{
	return generate(p->config);
}

ENTRY(RawCounterConfig_GetConfigImage, nvpw_get_image, 48)
{
	return copy_out(p, ((struct fake_config *)p->of)->counters);
}

ENTRY(CounterDataBuilder_AddRawCounters, nvpw_add_counters, 48)
{
	return add(p->to, p->requests->name);
}
#endif

ENTRY(CounterDataBuilder_Create, nvpw_builder_create, 32)
{
	builders++;
	p->builder = calloc(1, sizeof(struct fake_config));
	return p->builder ? success : out_of_memory;
}

ENTRY(CounterDataBuilder_Destroy, nvpw_builder, 24)
{
	builders--;
	free(p->builder);
	return success;
}

ENTRY(CounterDataBuilder_GetCounterDataPrefix, nvpw_get_image, 48)
{
	return copy_out(p, ((struct fake_config *)p->of)->counters);
}

ENTRY(Config_GetNumPasses_V2, nvpw_num_passes, 32)
{
	// Whoever wants PCIe's bytes, too, needs a second pass.
	int counters = 0;
	while (p->config[counters] == 'c')
		counters++;
	p->numPasses = mode("twopasses") && counters > 5 ? 2 : 1;
	return success;
}

ENTRY(GPU_PeriodicSampler_CalculateRecordBufferSize, nvpw_record_buffer_size, 56)
{
	if (p->deviceIndex != 1 || !p->configSize || p->config[p->configSize - 1] != 'c')
		return failed("CalculateRecordBufferSize", "parameters");
	p->recordBufferSize = p->maxUndecodedSamples * record;
	return success;
}

ENTRY(GPU_PeriodicSampler_BeginSession_V2, nvpw_begin_session, 68)
{
	if (mode("taken"))
		return resource_unavailable;
	if (mode("noprivilege"))
		return insufficient_privilege;
	if (mode("nomemory") && p->recordBufferSize > 3000 * record)
		return out_of_memory;
	if (session || p->deviceIndex != 1 || p->maxUndecodedRanges != 1 ||
	    p->numTriggerSources != 1 || *p->triggerSources != 3 || p->recordBufferMode ||
	    !p->recordBufferSize)
		return failed("BeginSession", "parameters");
	session = 1;
	interval = p->samplingInterval;
	return success;
}

ENTRY(GPU_PeriodicSampler_EndSession, nvpw_device, 24)
{
	if (!session || sampling)
		return failed("EndSession", "order");
	session = 0;
	if (builders || configs || evaluators != 1)
		return failed("EndSession", "something was not destroyed");
	const char *left = getenv("FAKE_NVPERF_ENDED");
	if (left)
		fclose(fopen(left, "w"));
	return success;
}

ENTRY(GPU_PeriodicSampler_SetConfig, nvpw_set_config, 48)
{
	if (!session || sampling || p->passIndex || p->config[p->configSize - 1] != 'c')
		return failed("SetConfig", "order");
	config_set = 1;
	overflowed = trailing = 0;
	unread = 0;
	return success;
}

ENTRY(GPU_PeriodicSampler_StartSampling, nvpw_device, 24)
{
	if (!config_set || sampling || overflowed)
		return failed("StartSampling", "order");
	sampling = 1;
	first = 1;
	now += 1000000;
	return success;
}

ENTRY(GPU_PeriodicSampler_StopSampling, nvpw_device, 24)
{
	if (!sampling)
		return failed("StopSampling", "order");
	sampling = 0;
	trailing = 1;
	if (mode("lateoverflow") && !late++) { // full since 1 ms
		overflowed = 1;
		unread = 0;
		now += 1000000;
	}
	return success;
}

// The image: a ring of samples after its head.
struct image {
	size_t total;
	size_t end;  // index of the last one, plus 1
	struct {
		uint64_t start, end, seq;
	} samples[];
};

ENTRY(GPU_PeriodicSampler_CounterDataImage_CalculateSize, nvpw_image_size, 40)
{
	if (p->options->structSize != 32 || p->options->mode != 1 || p->options->prefix[0] != 'c')
		return failed("CalculateSize", "options");
	p->imageSize = sizeof(struct image) + p->options->maxSamples * 24;
	if (mode("hugeimage"))
		p->imageSize = SIZE_MAX / 2;
	return success;
}

ENTRY(GPU_PeriodicSampler_CounterDataImage_Initialize, nvpw_image_initialize, 48)
{
	struct image *image = (void *)p->image;
	memset(image, 0, p->imageSize);
	image->total = p->options->maxSamples;
	return success;
}

ENTRY(GPU_PeriodicSampler_GetRecordBufferStatus_V2, nvpw_buffer_status, 72)
{
	if (!session || !p->queryUnread || !p->queryOverflow)
		return failed("GetRecordBufferStatus", "order");
	polls++;
	if (mode("dies") && polls == 3)
		_exit(9);
	if (sampling && !overflowed)
		unread += samples_a_poll;
	if (mode("burst") && polls == 3)
		unread += 19 * samples_a_poll; // nearly all that there is room for
	if ((mode("overflow") && polls == 3) || mode("alwaysoverflow"))
		overflowed = 1;
	if (mode("alwaysoverflow"))
		unread = 0;
	p->unreadBytes = (unread + trailing) * record;
	p->overflow = overflowed;
	return success;
}

static void put(struct image *image, uint64_t start, uint64_t end)
{
	size_t i = image->end % image->total;
	image->samples[i].start = start;
	image->samples[i].end = end;
	image->samples[i].seq = seq++;
	image->end = i + 1;
}

ENTRY(GPU_PeriodicSampler_DecodeCounters_V3, nvpw_decode, 88)
{
	struct image *image = (void *)p->image;
	// Whole samples, as far as was asked for.
	uint64_t room = p->bytesToRead / record;
	if (room > unread + trailing)
		return failed("DecodeCounters", "bytes");
	p->bytesConsumed = room * record;
	for (; unread && room; unread--, room--) {
		put(image, first ? 0 : now, now + interval);
		first = 0;
		now += interval;
	}
	if (trailing && room) {
		put(image, now, 0);
		trailing = 0;
	}
	p->stopReason = 2;
	return success;
}

ENTRY(GPU_PeriodicSampler_AcknowledgeRecordBuffer, nvpw_acknowledge, 32)
{
	return success;
}

ENTRY(GPU_PeriodicSampler_GetGpuTimestamp, nvpw_timestamp, 32)
{
	p->timestamp = now;
	return session ? success : failed("GetGpuTimestamp", "order");
}

ENTRY(PeriodicSampler_CounterData_GetInfo, nvpw_image_info, 56)
{
	const struct image *image = (const void *)p->image;
	p->totalRanges = image->total;
	p->populatedRanges = p->completedRanges = image->end;
	return success;
}

ENTRY(PeriodicSampler_CounterData_GetSampleTime, nvpw_sample_time, 48)
{
	const struct image *image = (const void *)p->image;
	if (p->rangeIndex >= image->total)
		return failed("GetSampleTime", "index");
	p->start = image->samples[p->rangeIndex].start;
	p->end = image->samples[p->rangeIndex].end;
	return success;
}

ENTRY(MetricsEvaluator_SetDeviceAttributes, nvpw_device_attributes, 40)
{
	return p->image ? success : failed("SetDeviceAttributes", "image");
}

ENTRY(MetricsEvaluator_EvaluateToGpuValues, nvpw_evaluate, 96)
{
	const struct image *image = (const void *)p->image;
	if (p->metricSize != 12 || p->metricStride != 16 || p->rangeIndex >= image->total)
		return failed("EvaluateToGpuValues", "parameters");
	double n = image->samples[p->rangeIndex].seq;
	const double values[] = { 1000, 10 * fmod(n, 100), n, 2 * n, 250, 3, 4 };
	for (size_t i = 0; i < p->numMetrics; i++) {
		if (!known(&p->metrics[i]))
			return failed("EvaluateToGpuValues", "metric");
		p->values[i] = values[p->metrics[i].metricIndex];
	}
	return success;
}
