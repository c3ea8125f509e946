package sampler

import (
	"errors"
	"fmt"
	"strings"
)

// maxDevices bounds what the library may claim.
const maxDevices = 256

// Statuses of the library that are told apart.
const (
	statusFailed           = 1
	statusInternal         = 2
	statusFunctionNotFound = 5
	statusNotSupported     = 6
	statusNotImplemented   = 7
	statusInvalidArgument  = 8
	statusDriverNotLoaded  = 10
	statusOutOfMemory      = 11
	statusUnsupportedGPU   = 14
	statusOldDriver        = 15
	statusNoPrivilege      = 17
	statusTaken            = 20
	statusVirtual          = 24
	statusNotAllowed       = 25
)

func statusName(status int) string {
	names := [...]string{
		"SUCCESS", "ERROR", "INTERNAL_ERROR", "NOT_INITIALIZED", "NOT_LOADED", "FUNCTION_NOT_FOUND",
		"NOT_SUPPORTED", "NOT_IMPLEMENTED", "INVALID_ARGUMENT", "INVALID_METRIC_ID", "DRIVER_NOT_LOADED",
		"OUT_OF_MEMORY", "INVALID_THREAD_STATE", "FAILED_CONTEXT_ALLOC", "UNSUPPORTED_GPU",
		"INSUFFICIENT_DRIVER_VERSION", "OBJECT_NOT_REGISTERED", "INSUFFICIENT_PRIVILEGE",
		"INVALID_CONTEXT_STATE", "INVALID_OBJECT_STATE", "RESOURCE_UNAVAILABLE", "DRIVER_LOADED_TOO_LATE",
		"INSUFFICIENT_SPACE", "OBJECT_MISMATCH", "VIRTUALIZED_DEVICE_NOT_SUPPORTED", "PROFILING_NOT_ALLOWED",
	}
	if status >= 0 && status < len(names) {
		return names[status]
	}
	return fmt.Sprintf("status %d", status)
}

// statusError is an error with a status of the library.
type statusError interface {
	error
	status() int
}

// statusOf is 0 where an error is none of the library's.
func statusOf(err error) int {
	var e statusError
	if errors.As(err, &e) {
		return e.status()
	}
	return 0
}

// explain makes of an error one that says why there are no samples.
func explain(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	reasons := map[int]Reason{
		statusFunctionNotFound: NoLibrary,
		statusNotSupported:     Unsupported,
		statusNotImplemented:   Unsupported,
		statusDriverNotLoaded:  NoDevice,
		statusUnsupportedGPU:   Unsupported,
		statusOldDriver:        Unsupported,
		statusNoPrivilege:      NoPermission,
		statusTaken:            Taken,
		statusVirtual:          Unsupported,
		statusNotAllowed:       NoPermission,
	}
	reason, ok := reasons[statusOf(err)]
	if !ok {
		reason = Broken
	}
	return &Error{reason, err.Error()}
}

// neededSymbols are those without which a library is of no use: the stub
// versions that some packages ship lack them.
var neededSymbols = []string{
	"NVPW_InitializeHost",
	"NVPW_InitializeTarget",
	"NVPW_CUDA_LoadDriver",
	"NVPW_GetDeviceCount",
	"NVPW_Device_GetNames",
	"NVPW_Device_MetricsEvaluator_CalculateScratchBufferSize",
	"NVPW_Device_MetricsEvaluator_Initialize",
	"NVPW_MetricsEvaluator_ConvertMetricNameToMetricEvalRequest",
	"NVPW_MetricsEvaluator_GetMetricRawDependencies",
	"NVPW_MetricsEvaluator_SetDeviceAttributes",
	"NVPW_MetricsEvaluator_EvaluateToGpuValues",
	"NVPW_CounterDataBuilder_Create",
	"NVPW_CounterDataBuilder_GetCounterDataPrefix",
	"NVPW_Config_GetNumPasses_V2",
	"NVPW_GPU_PeriodicSampler_IsGpuSupported",
	"NVPW_GPU_PeriodicSampler_GetSupportedTriggerSources",
	"NVPW_GPU_PeriodicSampler_CalculateRecordBufferSize",
	"NVPW_GPU_PeriodicSampler_BeginSession_V2",
	"NVPW_GPU_PeriodicSampler_EndSession",
	"NVPW_GPU_PeriodicSampler_SetConfig",
	"NVPW_GPU_PeriodicSampler_StartSampling",
	"NVPW_GPU_PeriodicSampler_StopSampling",
	"NVPW_GPU_PeriodicSampler_CounterDataImage_CalculateSize",
	"NVPW_GPU_PeriodicSampler_CounterDataImage_Initialize",
	"NVPW_GPU_PeriodicSampler_GetRecordBufferStatus_V2",
	"NVPW_GPU_PeriodicSampler_DecodeCounters_V3",
	"NVPW_GPU_PeriodicSampler_AcknowledgeRecordBuffer",
	"NVPW_GPU_PeriodicSampler_GetGpuTimestamp",
	"NVPW_PeriodicSampler_CounterData_GetInfo",
	"NVPW_PeriodicSampler_CounterData_GetSampleTime",
}

// busID is a place on the PCI bus.
type busID struct {
	Domain uint32 `json:"domain"`
	Bus    uint32 `json:"bus"`
	Device uint32 `json:"device"`
}

// sameUUID compares without the prefix and case, which tools write differently.
func sameUUID(a, b string) bool {
	bare := func(s string) string { return strings.ToLower(strings.TrimPrefix(s, "GPU-")) }
	return a != "" && bare(a) == bare(b)
}
