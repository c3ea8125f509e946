//go:build cgo

package gpu

import (
	"math"
	"slices"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"github.com/pmtrace/pmtrace/decode/record"
)

// reader makes the calls of a device's samples.
type reader struct {
	*device
	failed *failures
	calls  []call
	rest   []int64 // a call is not made before, ns
	seen   uint64  // newest time stamp of GetProcessUtilization
	gpm    gpm
	turn   turn
}

// call is one call of a sample. A symbol that an older driver lacks ends the
// process when it is called, so each is looked up first.
type call struct {
	symbol string
	read   func(*reader, *record.GPUSample, []int) nvml.Return
}

var everyCall = [...]call{
	{"nvmlDeviceGetUtilizationRates", readUtilization},
	{"nvmlDeviceGetPowerUsage", readPower},
	{"nvmlDeviceGetTemperature", readTemperature},
	{"nvmlDeviceGetClockInfo", readClocks},
	{"nvmlDeviceGetMemoryInfo", readMemory},
	{"nvmlDeviceGetCurrentClocksThrottleReasons", readThrottle},
	{"nvmlDeviceGetComputeRunningProcesses", readProcessMemory},
	{"nvmlDeviceGetProcessUtilization", readProcessUtilization},
	{symbolGPM, readGPM},
}

// A call rests for restFactor times as long as it took: none takes more than 5 %
// of a processor, and a slow one does not hold the others up each time.
const restFactor = 20

func newReader(d *device, failed *failures, gpm turn) *reader {
	r := &reader{device: d, failed: failed, turn: gpm}
	for _, c := range everyCall {
		switch {
		case c.symbol == symbolGPM && !d.GPM:
		case !d.has(c.symbol):
			failed.add(d.Index, c.symbol, "the driver's library does not have it")
		default:
			r.calls = append(r.calls, c)
		}
	}
	r.rest = make([]int64, len(r.calls))
	return r
}

func (r *reader) read(q request) record.GPUSample {
	s := record.GPUSample{Index: r.Index, MonoNS: q.now()}
	for i, c := range r.calls {
		begin := q.now()
		if begin < r.rest[i] {
			continue
		}
		ret := c.read(r, &s, q.pids)
		r.rest[i] = begin + restFactor*(q.now()-begin)
		if ret != nvml.SUCCESS {
			r.failed.add(r.Index, c.symbol, reason(ret))
		}
		if forGood(ret) {
			r.rest[i] = math.MaxInt64
		}
	}
	return s
}

// forGood is a failure that the next call would meet, too.
func forGood(ret nvml.Return) bool {
	return ret == nvml.ERROR_NOT_SUPPORTED || ret == nvml.ERROR_NO_PERMISSION || ret == nvml.ERROR_FUNCTION_NOT_FOUND
}

func readUtilization(r *reader, s *record.GPUSample, _ []int) nvml.Return {
	u, ret := r.handle.GetUtilizationRates()
	if ret == nvml.SUCCESS {
		s.UtilPct, s.MemUtilPct = number(u.Gpu), number(u.Memory)
	}
	return ret
}

func readPower(r *reader, s *record.GPUSample, _ []int) nvml.Return {
	mw, ret := r.handle.GetPowerUsage()
	if ret == nvml.SUCCESS {
		w := float64(mw) / 1e3
		s.PowerW = &w
	}
	return ret
}

func readTemperature(r *reader, s *record.GPUSample, _ []int) nvml.Return {
	c, ret := r.handle.GetTemperature(nvml.TEMPERATURE_GPU)
	if ret == nvml.SUCCESS {
		s.TemperatureC = number(c)
	}
	return ret
}

func readClocks(r *reader, s *record.GPUSample, _ []int) nvml.Return {
	sm, ret := r.handle.GetClockInfo(nvml.CLOCK_SM)
	if ret != nvml.SUCCESS {
		return ret
	}
	s.SMClockMHz = number(sm)
	mem, ret := r.handle.GetClockInfo(nvml.CLOCK_MEM)
	if ret == nvml.SUCCESS {
		s.MemClockMHz = number(mem)
	}
	return ret
}

func readMemory(r *reader, s *record.GPUSample, _ []int) nvml.Return {
	m, ret := r.handle.GetMemoryInfo()
	if ret == nvml.SUCCESS {
		s.MemoryUsed = &m.Used
	}
	return ret
}

func readThrottle(r *reader, s *record.GPUSample, _ []int) nvml.Return {
	mask, ret := r.handle.GetCurrentClocksThrottleReasons()
	if ret == nvml.SUCCESS {
		s.Throttle, s.ThrottleKnown = throttles(mask), true
	}
	return ret
}

// readProcessMemory adds up the traced processes' memory; absent where the driver
// names none of them or does not say how much one uses.
func readProcessMemory(r *reader, s *record.GPUSample, pids []int) nvml.Return {
	if len(pids) == 0 {
		return nvml.SUCCESS
	}
	procs, ret := r.handle.GetComputeRunningProcesses()
	if ret != nvml.SUCCESS {
		return ret
	}
	var sum uint64
	found := false
	for _, p := range procs {
		if !slices.Contains(pids, int(p.Pid)) {
			continue
		}
		if p.UsedGpuMemory == math.MaxUint64 { // NVML_VALUE_NOT_AVAILABLE
			return nvml.SUCCESS
		}
		sum, found = sum+p.UsedGpuMemory, true
	}
	if found {
		s.ProcessMemory = &sum
	}
	return ret
}

// readProcessUtilization adds up the newest of each traced process, and of each
// other one. The driver makes them slower than we ask: nothing new is absent, not zero.
func readProcessUtilization(r *reader, s *record.GPUSample, pids []int) nvml.Return {
	if len(pids) == 0 {
		return nvml.SUCCESS
	}
	samples, ret := r.handle.GetProcessUtilization(r.seen)
	if ret == nvml.ERROR_NOT_FOUND {
		return nvml.SUCCESS
	}
	if ret != nvml.SUCCESS {
		return ret
	}
	newest := map[uint32]nvml.ProcessUtilizationSample{}
	for _, p := range samples {
		// The driver may give more entries than are of now: those before are stale.
		if p.Pid == 0 || p.TimeStamp <= r.seen || p.SmUtil > 100 {
			continue
		}
		if p.TimeStamp >= newest[p.Pid].TimeStamp {
			newest[p.Pid] = p
		}
	}
	if len(newest) == 0 {
		return ret
	}
	traced, others, found := 0.0, 0.0, false
	for _, p := range newest {
		r.seen = max(r.seen, p.TimeStamp)
		if slices.Contains(pids, int(p.Pid)) {
			traced, found = traced+float64(p.SmUtil), true
		} else {
			others += float64(p.SmUtil)
		}
	}
	if found {
		s.ProcessSMPct = &traced
	}
	s.OthersSMPct = &others
	return ret
}

func number(v uint32) *float64 {
	f := float64(v)
	return &f
}

// throttles names the reasons in a mask of nvmlClocksEventReason*. An idle GPU is
// no throttling.
func throttles(mask uint64) []string {
	names := [...]struct {
		bit  uint64
		name string
	}{
		{nvml.ClocksEventReasonSwPowerCap, "sw_power_cap"},
		{nvml.ClocksThrottleReasonHwSlowdown, "hw_slowdown"},
		{nvml.ClocksEventReasonSyncBoost, "sync_boost"},
		{nvml.ClocksEventReasonSwThermalSlowdown, "sw_thermal_slowdown"},
		{nvml.ClocksThrottleReasonHwThermalSlowdown, "hw_thermal_slowdown"},
		{nvml.ClocksThrottleReasonHwPowerBrakeSlowdown, "hw_power_brake_slowdown"},
		{nvml.ClocksEventReasonDisplayClockSetting, "display_clock_setting"},
		{nvml.ClocksEventReasonApplicationsClocksSetting, "applications_clocks_setting"},
		{nvml.ClocksEventReasonBoardLimit, "board_limit"},
		{nvml.ClocksEventReasonReliability, "reliability"},
	}
	mask &^= nvml.ClocksEventReasonGpuIdle
	var out []string
	for _, n := range names {
		if mask&n.bit != 0 {
			out = append(out, n.name)
		}
		mask &^= n.bit
	}
	if mask != 0 {
		out = append(out, "unknown")
	}
	return out
}
