package check

import (
	"regexp"
	"strings"
)

const (
	uprobeType   = "/sys/bus/event_source/devices/uprobe/type"
	driverFile   = "/proc/driver/nvidia/version"
	driverParams = "/proc/driver/nvidia/params"
)

// gpuFindings are about CUDA's calls and the GPU. A machine without a GPU is as it
// should be.
func gpuFindings(m Machine) []Finding {
	f := Finding{ID: "uprobes", Name: "uprobes", Needed: "probes on CUDA's libraries (CONFIG_UPROBE_EVENTS)"}
	if m.Exists(uprobeType) {
		f = f.ok("present")
	} else {
		f = f.warn("no "+uprobeType+": no CUDA graphs, no GPU times", "use a kernel built with CONFIG_UPROBE_EVENTS=y (the distributions' kernels are)")
	}
	return append([]Finding{f}, driverFindings(m)...)
}

var driverVersion = regexp.MustCompile(`\b\d{3,}\.\d+(\.\d+)?\b`)

func driverFindings(m Machine) []Finding {
	driver := Finding{ID: "gpu_driver", Name: "NVIDIA driver", Needed: "only for servers on GPUs"}
	b, err := m.Read(driverFile)
	if err != nil {
		return []Finding{driver.ok("none here")}
	}
	version := driverVersion.FindString(string(b))
	if version == "" {
		version = "of a version that pmtrace cannot read"
	}
	return []Finding{driver.ok(version), countersFinding(m)}
}

// countersFinding: the driver's permission to read hardware counters.
func countersFinding(m Machine) Finding {
	f := Finding{ID: "gpu_counters", Name: "GPU hardware counters", Needed: "the driver's permission, for --gpu-sampling"}
	b, err := m.Read(driverParams)
	switch {
	case err != nil:
		return f.warn("cannot tell: "+driverParams+" cannot be read", "")
	case strings.Contains(string(b), "RmProfilingAdminOnly: 0"):
		return f.ok("free for all users")
	case m.EUID() == 0:
		return f.warn("for root, which this is: not with a libnvperf_host.so that others than root may write or that is a container's, for which pmtrace gives up root's rights",
			"if the server's is such a one, load the driver with NVreg_RestrictProfilingToAdminUsers=0 for --gpu-sampling")
	}
	return f.warn("for root only", "run it as root for --gpu-sampling, or load the driver with NVreg_RestrictProfilingToAdminUsers=0")
}
