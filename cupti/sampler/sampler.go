// Package sampler reads a GPU's hardware counters from outside, through the
// device-level periodic sampler of NVIDIA's perfworks library (libnvperf_host.so,
// which comes with every torch). No CUDA context, no code in the server, no GPU
// memory: the counters are the device's own, whoever works on it.
//
// A session takes the device's one set of counters, which DCGM's profiling
// metrics, ncu and nsys need too, and stalls the GPU for 2 to 3 ms when it begins
// and when it ends; so one long session is held and sampling started and stopped
// inside it.
//
// The library takes over 100 MB, what the GPU writes before it is read up to
// 160 MB more, and the library's faults would be ours: it is loaded in a
// helper process, our own program started again with a hidden subcommand that
// calls Main. What the helper finds comes back through a pipe in frames.
package sampler

import (
	"fmt"
	"slices"
	"time"

	"github.com/pmtrace/pmtrace/decode/wire"
)

// Reason is why there are no samples.
type Reason string

// The reasons.
const (
	NoLibrary    Reason = "no library"    // libnvperf_host.so is not to be found or of no use
	NoDevice     Reason = "no device"     // the library does not see the device
	NoPermission Reason = "no permission" // the driver keeps the counters to administrators
	Taken        Reason = "taken"         // another process has the device's counters
	Unsupported  Reason = "unsupported"   // by GPU, driver or library
	MIG          Reason = "MIG"           // the device is divided
	NotBuilt     Reason = "not built"     // built without cgo
	NoAnswer     Reason = "no answer"     // in time
	Broken       Reason = "broken"        // anything else: the helper's or the library's fault
)

// Error says why there are no samples, or no more.
type Error struct {
	Reason Reason
	Detail string // what was found; names the library's call and its status
}

func (e *Error) Error() string {
	return fmt.Sprintf("GPU counters: %s: %s", e.Reason, e.Detail)
}

// Remedy says what to do.
func (e *Error) Remedy() string {
	return map[Reason]string{
		NoLibrary:    "install nvidia-cuda-cupti of the server's CUDA version where the server's torch is, or CUDA's toolkit in /usr/local",
		NoDevice:     "the driver must show pmtrace the server's device: run it where nvidia-smi lists it",
		NoPermission: "let users profile (options nvidia NVreg_RestrictProfilingToAdminUsers=0, then reload the driver), or run pmtrace as root; root's rights are kept only for a libnvperf_host.so that root alone may write, and not for a container's",
		Taken:        "DCGM's profiling metrics, nsys, ncu or another pmtrace holds the counters: end it, or pause it (dcgmi profile --pause, later --resume)",
		Unsupported:  "use a data center GPU of Turing or newer with driver 535 or newer",
		MIG:          "counters of the whole device are closed in MIG mode: use a device that is not divided",
		NotBuilt:     "build pmtrace where there is a C compiler, with CGO_ENABLED=1",
		NoAnswer:     "see whether nvidia-smi answers, and the kernel's log; a busy machine or a slow disk may do better the next time",
		Broken:       "see whether nvidia-smi works, and the kernel's log; else leave --gpu-sampling out",
	}[e.Reason]
}

// Modes of sampling, as users name them.
const (
	Mode20us    = "20us"
	Mode100us   = "100us"
	ModeWindows = "windows" // every 20 µs for 100 ms of each second
)

// plan is when samples are taken.
type plan struct {
	Mode     string        `json:"mode"`
	Interval time.Duration `json:"interval_ns"` // between samples
	On       time.Duration `json:"on_ns"`       // of a window; 0: all the time
	Off      time.Duration `json:"off_ns"`      // between windows
	Metrics  []string      `json:"metrics"`     // in the order of worth
}

// Every 20 µs only what costs least is counted: each domain of counters adds its
// records to every sample.
var (
	fewMetrics = []string{wire.MetricSMActivePct, wire.MetricDRAMReadBytes, wire.MetricDRAMWriteBytes}
	allMetrics = append(slices.Clone(fewMetrics), wire.MetricTensorPct, wire.MetricPCIeReadBytes, wire.MetricPCIeWriteBytes)
)

func planOf(mode string) (plan, error) {
	switch mode {
	case Mode20us:
		return plan{Mode: mode, Interval: 20 * time.Microsecond, Metrics: fewMetrics}, nil
	case Mode100us:
		return plan{Mode: mode, Interval: 100 * time.Microsecond, Metrics: allMetrics}, nil
	case ModeWindows:
		return plan{Mode: mode, Interval: 20 * time.Microsecond, On: 100 * time.Millisecond, Off: 900 * time.Millisecond, Metrics: fewMetrics}, nil
	}
	return plan{}, fmt.Errorf("GPU sampling: no mode %q", mode)
}
