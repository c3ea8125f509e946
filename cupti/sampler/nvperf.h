// What this package uses of NVIDIA's perfworks library, libnvperf_host.so. Own
// declarations after the public headers of the Nsight Perf SDK (nvperf_host.h,
// nvperf_target.h, nvperf_device_host.h, nvperf_device_target.h): the order, width
// and meaning of the fields are the library's, and it refuses a call whose first
// field, the size up to and with the last field, is none that it knows.
#pragma once

#include <stddef.h>
#include <stdint.h>

#define NVPW_SIZE(type, last) \
	enum { type##_size = offsetof(struct type, last) + sizeof(((struct type *)0)->last) }

// The head of each structure of parameters.
#define NVPW_PARAMS        \
	size_t structSize; \
	void *priv

enum {
	nvpw_activity_realtime_sampled = 2,
	nvpw_trigger_gpu_time = 3,  // interval in ns
	nvpw_buffer_keep_oldest = 0,
	nvpw_image_circular = 1,
};

// Why decoding stopped, where that breaks sampling off.
enum {
	nvpw_stop_unexpected_record = 5,
	nvpw_stop_out_of_order = 6,
	nvpw_stop_backpressure = 7,
};

// InitializeHost, InitializeTarget, CUDA_LoadDriver.
struct nvpw_no_params {
	NVPW_PARAMS;
};
NVPW_SIZE(nvpw_no_params, priv);

// GetDeviceCount.
struct nvpw_device_count {
	NVPW_PARAMS;
	size_t numDevices;
};
NVPW_SIZE(nvpw_device_count, numDevices);

// Device_GetNames.
struct nvpw_device_names {
	NVPW_PARAMS;
	size_t deviceIndex;
	const char *deviceName; // out
	const char *chipName;    // out
};
NVPW_SIZE(nvpw_device_names, chipName);

// Device_GetUUID, not in CUDA 12.
struct nvpw_device_uuid {
	NVPW_PARAMS;
	size_t deviceIndex;
	uint8_t uuid[16];	  // out
	char uuidString[41];    // out
	uint8_t isMigInstance;  // out
};
NVPW_SIZE(nvpw_device_uuid, isMigInstance);

struct nvpw_bus_id {
	uint32_t domain;
	uint16_t bus;
	uint16_t device;
};

// Device_GetPciBusIds.
struct nvpw_device_bus_ids {
	NVPW_PARAMS;
	struct nvpw_bus_id *busIds;  // numDevices of them, filled
	size_t numDevices;
};
NVPW_SIZE(nvpw_device_bus_ids, numDevices);

// GPU_PeriodicSampler_IsGpuSupported.
struct nvpw_is_supported {
	NVPW_PARAMS;
	size_t deviceIndex;
	uint8_t isSupported;  // out, as what follows: 1 is "unsupported"
	uint32_t architecture;
	uint32_t sli;
	uint32_t vgpu;
	uint32_t confidentialCompute;
	uint32_t cmp;
	uint32_t wsl;
	uint32_t sku;
};
NVPW_SIZE(nvpw_is_supported, sku);

// GPU_PeriodicSampler_GetSupportedTriggerSources.
struct nvpw_trigger_sources {
	NVPW_PARAMS;
	size_t deviceIndex;
	uint32_t *sources;
	size_t numSources;  // in: room; out: how many
};
NVPW_SIZE(nvpw_trigger_sources, numSources);

// GPU_PeriodicSampler_CalculateRecordBufferSize.
struct nvpw_record_buffer_size {
	NVPW_PARAMS;
	size_t deviceIndex;
	const uint8_t *config;
	size_t configSize;
	size_t maxUndecodedSamples;
	size_t recordBufferSize;	 // out
};
NVPW_SIZE(nvpw_record_buffer_size, recordBufferSize);

// GPU_PeriodicSampler_BeginSession_V2.
struct nvpw_begin_session {
	NVPW_PARAMS;
	size_t deviceIndex;
	size_t maxUndecodedRanges;  // 1
	const uint32_t *triggerSources;
	size_t numTriggerSources;
	uint64_t samplingInterval;
	size_t recordBufferSize;
	uint32_t recordBufferMode;
};
NVPW_SIZE(nvpw_begin_session, recordBufferMode);

// GPU_PeriodicSampler_EndSession, _StartSampling, _StopSampling.
struct nvpw_device {
	NVPW_PARAMS;
	size_t deviceIndex;
};
NVPW_SIZE(nvpw_device, deviceIndex);

// GPU_PeriodicSampler_SetConfig. The library keeps the pointer.
struct nvpw_set_config {
	NVPW_PARAMS;
	size_t deviceIndex;
	const uint8_t *config;
	size_t configSize;
	size_t passIndex;
};
NVPW_SIZE(nvpw_set_config, passIndex);

struct nvpw_image_options {
	size_t structSize;
	const uint8_t *prefix;
	size_t prefixSize;
	uint32_t maxSamples;
	uint32_t mode;
};
NVPW_SIZE(nvpw_image_options, mode);

// GPU_PeriodicSampler_CounterDataImage_CalculateSize.
struct nvpw_image_size {
	NVPW_PARAMS;
	size_t deviceIndex;
	const struct nvpw_image_options *options;
	size_t imageSize;  // out
};
NVPW_SIZE(nvpw_image_size, imageSize);

// GPU_PeriodicSampler_CounterDataImage_Initialize.
struct nvpw_image_initialize {
	NVPW_PARAMS;
	size_t deviceIndex;
	const struct nvpw_image_options *options;
	uint8_t *image;
	size_t imageSize;
};
NVPW_SIZE(nvpw_image_initialize, imageSize);

// GPU_PeriodicSampler_GetRecordBufferStatus_V2.
struct nvpw_buffer_status {
	NVPW_PARAMS;
	size_t deviceIndex;
	uint8_t queryUnread;
	uint8_t queryOverflow;
	uint8_t queryWriteOffset;
	uint8_t queryReadOffset;
	size_t totalSize;  // out, as what follows
	size_t unreadBytes;
	uint8_t overflow;
	size_t writeOffset;
	size_t readOffset;
};
NVPW_SIZE(nvpw_buffer_status, readOffset);

// GPU_PeriodicSampler_DecodeCounters_V3.
struct nvpw_decode {
	NVPW_PARAMS;
	size_t deviceIndex;
	uint8_t *image;
	size_t imageSize;
	size_t bytesToRead;
	uint64_t readStart;
	uint64_t readEnd;
	uint32_t stopReason;  // out, as what follows
	size_t samplesMerged;
	size_t bytesConsumed;
};
NVPW_SIZE(nvpw_decode, bytesConsumed);

// GPU_PeriodicSampler_AcknowledgeRecordBuffer.
struct nvpw_acknowledge {
	NVPW_PARAMS;
	size_t deviceIndex;
	size_t numBytes;
};
NVPW_SIZE(nvpw_acknowledge, numBytes);

// GPU_PeriodicSampler_GetGpuTimestamp.
struct nvpw_timestamp {
	NVPW_PARAMS;
	size_t deviceIndex;
	uint64_t timestamp;  // out
};
NVPW_SIZE(nvpw_timestamp, timestamp);

// PeriodicSampler_CounterData_GetInfo.
struct nvpw_image_info {
	NVPW_PARAMS;
	const uint8_t *image;
	size_t imageSize;
	size_t totalRanges;  // out, as what follows
	size_t populatedRanges;
	size_t completedRanges; // circular: index of the last complete one, plus 1
};
NVPW_SIZE(nvpw_image_info, completedRanges);

// PeriodicSampler_CounterData_GetSampleTime.
struct nvpw_sample_time {
	NVPW_PARAMS;
	const uint8_t *image;
	size_t rangeIndex;
	uint64_t start; // out
	uint64_t end;    // out
};
NVPW_SIZE(nvpw_sample_time, end);

// Device_MetricsEvaluator_CalculateScratchBufferSize.
struct nvpw_scratch_size {
	NVPW_PARAMS;
	const char *chipName;
	size_t scratchSize;  // out
};
NVPW_SIZE(nvpw_scratch_size, scratchSize);

// Device_MetricsEvaluator_Initialize.
struct nvpw_evaluator_initialize {
	NVPW_PARAMS;
	uint8_t *scratch;
	size_t scratchSize;
	const char *chipName;
	const uint8_t *image;
	size_t imageSize;
	void *evaluator;	 // out
};
NVPW_SIZE(nvpw_evaluator_initialize, evaluator);

// MetricsEvaluator_Destroy.
struct nvpw_evaluator {
	NVPW_PARAMS;
	void *evaluator;
};
NVPW_SIZE(nvpw_evaluator, evaluator);

struct nvpw_metric {
	size_t metricIndex;
	uint8_t metricType;
	uint8_t rollup;
	uint16_t submetric;
};
NVPW_SIZE(nvpw_metric, submetric);

// MetricsEvaluator_ConvertMetricNameToMetricEvalRequest.
struct nvpw_metric_by_name {
	NVPW_PARAMS;
	void *evaluator;
	const char *name;
	struct nvpw_metric *metric;  // filled
	size_t metricSize;
};
NVPW_SIZE(nvpw_metric_by_name, metricSize);

// MetricsEvaluator_GetMetricRawDependencies.
struct nvpw_dependencies {
	NVPW_PARAMS;
	void *evaluator;
	const struct nvpw_metric *metrics;
	size_t numMetrics;
	size_t metricSize;
	size_t metricStride;
	const char **names;
	size_t numNames;	 // in: room; out: how many
	const char **optionalNames;
	size_t numOptionalNames;
};
NVPW_SIZE(nvpw_dependencies, numOptionalNames);

// MetricsEvaluator_SetDeviceAttributes.
struct nvpw_device_attributes {
	NVPW_PARAMS;
	void *evaluator;
	const uint8_t *image;
	size_t imageSize;
};
NVPW_SIZE(nvpw_device_attributes, imageSize);

// MetricsEvaluator_EvaluateToGpuValues.
struct nvpw_evaluate {
	NVPW_PARAMS;
	void *evaluator;
	const struct nvpw_metric *metrics;
	size_t numMetrics;
	size_t metricSize;
	size_t metricStride;
	const uint8_t *image;
	size_t imageSize;
	size_t rangeIndex;
	uint8_t reserved;
	double *values; // filled
};
NVPW_SIZE(nvpw_evaluate, values);

// Device_RawCounterConfig_Create.
struct nvpw_counter_config_create {
	NVPW_PARAMS;
	const char *chipName;
	uint32_t activity;
	void *config;  // out
};
NVPW_SIZE(nvpw_counter_config_create, config);

// RawCounterConfig_Destroy, _GenerateConfigImage; RawMetricsConfig_Destroy, _EndPassGroup.
struct nvpw_config {
	NVPW_PARAMS;
	void *config;
};
NVPW_SIZE(nvpw_config, config);

// RawCounterConfig_GetAllAvailableRawCounterDomains.
struct nvpw_domains {
	NVPW_PARAMS;
	const void *config;
	size_t numDomains;  // in: room; out: how many
	uint32_t *domains;
};
NVPW_SIZE(nvpw_domains, domains);

// RawCounterConfig_BeginPassGroup, _EndPassGroup.
struct nvpw_pass_group {
	NVPW_PARAMS;
	void *config;
	size_t numDomains;
	const uint32_t *domains;
};
NVPW_SIZE(nvpw_pass_group, domains);

struct nvpw_counter_request {
	void *priv;
	const char *name;
	uint32_t domain;	 // 0: the scheduler's choice
	uint8_t keepInstances;
};
NVPW_SIZE(nvpw_counter_request, keepInstances);

// RawCounterConfig_AddRawCounters, CounterDataBuilder_AddRawCounters.
struct nvpw_add_counters {
	NVPW_PARAMS;
	void *to;
	size_t requestSize;
	size_t numRequests;
	const struct nvpw_counter_request *requests;
};
NVPW_SIZE(nvpw_add_counters, requests);

// RawCounterConfig_GetConfigImage, RawMetricsConfig_GetConfigImage,
// CounterDataBuilder_GetCounterDataPrefix.
struct nvpw_get_image {
	NVPW_PARAMS;
	void *of;
	size_t bytesAllocated;
	uint8_t *buffer;
	size_t bytesCopied;  // out
};
NVPW_SIZE(nvpw_get_image, bytesCopied);

// Config_GetNumPasses_V2.
struct nvpw_num_passes {
	NVPW_PARAMS;
	const uint8_t *config;
	size_t numPasses;  // out
};
NVPW_SIZE(nvpw_num_passes, numPasses);

// CounterDataBuilder_Create.
struct nvpw_builder_create {
	NVPW_PARAMS;
	void *builder;  // out
	const char *chipName;
};
NVPW_SIZE(nvpw_builder_create, chipName);

// CounterDataBuilder_Destroy.
struct nvpw_builder {
	NVPW_PARAMS;
	void *builder;
};
NVPW_SIZE(nvpw_builder, builder);

// The older way to a configuration, the only one of CUDA 12: RawMetricsConfig.

// Device_RawMetricsConfig_Create.
struct nvpw_metrics_config_create {
	NVPW_PARAMS;
	uint32_t activity;
	const char *chipName;
	void *config;  // out
};
NVPW_SIZE(nvpw_metrics_config_create, config);

// RawMetricsConfig_BeginPassGroup.
struct nvpw_metrics_pass_group {
	NVPW_PARAMS;
	void *config;
	size_t maxPasses;
};
NVPW_SIZE(nvpw_metrics_pass_group, maxPasses);

struct nvpw_metric_request {
	size_t structSize;
	void *priv;
	const char *name;
	uint8_t reserved;
	uint8_t keepInstances;
};
NVPW_SIZE(nvpw_metric_request, keepInstances);

// RawMetricsConfig_AddMetrics, CounterDataBuilder_AddMetrics.
struct nvpw_add_metrics {
	NVPW_PARAMS;
	void *to;
	const struct nvpw_metric_request *requests;
	size_t numRequests;
};
NVPW_SIZE(nvpw_add_metrics, numRequests);

// RawMetricsConfig_GenerateConfigImage.
struct nvpw_metrics_generate {
	NVPW_PARAMS;
	void *config;
	uint8_t mergePassGroups;
};
NVPW_SIZE(nvpw_metrics_generate, mergePassGroups);
