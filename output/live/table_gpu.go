package live

import (
	"strings"

	"github.com/pmtrace/pmtrace/decode/record"
)

// gpuMetrics are what NVML and GPM say of a device: of the whole of it, whoever uses it.
func gpuMetrics() []Metric {
	return []Metric{
		{
			Name: "pmtrace.gpu.samples", Kind: Counter, Unit: "{sample}", Labels: []string{labelGPU},
			Help:   "Samples of the GPU by NVML and GPM.",
			sample: func(v *vector, r *record.GPUSampleRow) { v.add(1, labels{number(r.GPU)}) },
		},
		gpuGauge("sm_active", "1", "Mean SM activity between the two newest samples, by GPM.",
			func(r *record.GPUSampleRow) *float64 { return share(r.SMPct) }),
		gpuGauge("dram_active", "1", "Share of the peak DRAM bandwidth between the two newest samples, by GPM.",
			func(r *record.GPUSampleRow) *float64 { return share(r.DRAMPct) }),
		gpuGauge("tensor_active", "1", "Mean activity of the tensor cores between the two newest samples, by GPM.",
			func(r *record.GPUSampleRow) *float64 { return share(r.TensorPct) }),
		gpuGauge("utilization", "1", "Share of the driver's last interval in which a kernel ran, by NVML.",
			func(r *record.GPUSampleRow) *float64 { return share(r.UtilPct) }),
		gpuGauge("power", "W", "Power that the GPU draws, by NVML.",
			func(r *record.GPUSampleRow) *float64 { return r.PowerW }),
		gpuGauge("temperature", "Cel", "Temperature of the GPU, by NVML.",
			func(r *record.GPUSampleRow) *float64 { return r.TemperatureC }),
		gpuGauge("sm_clock", "Hz", "Clock of the SMs, by NVML.",
			func(r *record.GPUSampleRow) *float64 { return times(r.SMClockMHz, 1e6) }),
		gpuGauge("memory_clock", "Hz", "Clock of the memory, by NVML.",
			func(r *record.GPUSampleRow) *float64 { return times(r.MemClockMHz, 1e6) }),
		gpuGauge("memory_used", "By", "Memory of the GPU in use, by NVML.",
			func(r *record.GPUSampleRow) *float64 { return bytesOf(r.MemoryUsed) }),
		gpuGauge("process_memory_used", "By", "Memory of the GPU that the traced processes use, by NVML.",
			func(r *record.GPUSampleRow) *float64 { return bytesOf(r.ProcessMemory) }),
		{
			Name: "pmtrace.gpu.throttled_samples", Kind: Counter, Unit: "{sample}", Labels: []string{labelGPU, labelReason},
			Help: "Samples in which the GPU's clocks were held down, by NVML's reason.",
			sample: func(v *vector, r *record.GPUSampleRow) {
				if r.Throttle == nil {
					return
				}
				for reason := range strings.SplitSeq(*r.Throttle, "|") {
					if reason != "" {
						v.add(1, labels{number(r.GPU), reason})
					}
				}
			},
		},
	}
}

func gpuGauge(name, unit, help string, of func(*record.GPUSampleRow) *float64) Metric {
	return Metric{
		Name: "pmtrace.gpu." + name, Kind: Gauge, Unit: unit, Labels: []string{labelGPU}, Help: help,
		sample: func(v *vector, r *record.GPUSampleRow) {
			if x := of(r); x != nil {
				v.set(*x, labels{number(r.GPU)})
			}
		},
	}
}

func share(pct *float64) *float64 {
	if pct == nil {
		return nil
	}
	x := *pct / 100
	return &x
}

func times(x *float64, factor float64) *float64 {
	if x == nil {
		return nil
	}
	y := *x * factor
	return &y
}

func bytesOf(n *int64) *float64 {
	if n == nil {
		return nil
	}
	x := float64(*n)
	return &x
}
