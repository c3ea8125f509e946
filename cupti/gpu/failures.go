//go:build cgo

package gpu

import (
	"cmp"
	"fmt"
	"slices"
	"sync"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

// failures counts failed calls of all devices' goroutines.
type failures struct {
	mu    sync.Mutex
	count map[Failure]uint64 // key: with Count 0
}

func newFailures() *failures {
	return &failures{count: map[Failure]uint64{}}
}

func (f *failures) add(index int, call, reason string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count[Failure{Index: index, Call: call, Reason: reason}]++
}

func (f *failures) list() []Failure {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []Failure
	for k, n := range f.count {
		k.Count = n
		out = append(out, k)
	}
	slices.SortFunc(out, func(a, b Failure) int {
		return cmp.Or(cmp.Compare(a.Index, b.Index), cmp.Compare(a.Call, b.Call), cmp.Compare(a.Reason, b.Reason))
	})
	return out
}

// reason names a status without asking the library, which may not be loaded.
func reason(ret nvml.Return) string {
	names := map[nvml.Return]string{
		nvml.ERROR_UNINITIALIZED:           "not initialized",
		nvml.ERROR_INVALID_ARGUMENT:        "invalid argument",
		nvml.ERROR_NOT_SUPPORTED:           "not supported",
		nvml.ERROR_NO_PERMISSION:           "no permission",
		nvml.ERROR_NOT_FOUND:               "not found",
		nvml.ERROR_INSUFFICIENT_SIZE:       "insufficient size",
		nvml.ERROR_INSUFFICIENT_POWER:      "a power cable is not attached",
		nvml.ERROR_DRIVER_NOT_LOADED:       "the driver is not loaded",
		nvml.ERROR_TIMEOUT:                 "timeout",
		nvml.ERROR_IRQ_ISSUE:               "interrupt trouble",
		nvml.ERROR_LIBRARY_NOT_FOUND:       "library not found",
		nvml.ERROR_FUNCTION_NOT_FOUND:      "function not found",
		nvml.ERROR_GPU_IS_LOST:             "the GPU is lost",
		nvml.ERROR_RESET_REQUIRED:          "the GPU needs a reset",
		nvml.ERROR_OPERATING_SYSTEM:        "blocked by the operating system",
		nvml.ERROR_LIB_RM_VERSION_MISMATCH: "library and kernel module are of different versions",
		nvml.ERROR_IN_USE:                  "in use",
		nvml.ERROR_MEMORY:                  "out of memory",
		nvml.ERROR_NO_DATA:                 "no data",
		nvml.ERROR_INSUFFICIENT_RESOURCES:  "insufficient resources",
		nvml.ERROR_NOT_READY:               "not ready",
		nvml.ERROR_GPU_NOT_FOUND:           "no GPU found",
		nvml.ERROR_INVALID_STATE:           "invalid state",
		nvml.ERROR_UNKNOWN:                 "unknown error",
	}
	if n, ok := names[ret]; ok {
		return n
	}
	return fmt.Sprintf("NVML error %d", int32(ret))
}
