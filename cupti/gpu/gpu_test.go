//go:build cgo

package gpu

import (
	"errors"
	"math"
	"sync/atomic"
	"testing"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock"
	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode/record"
)

// bench is a machine with mocked devices and a clock that the test moves.
type bench struct {
	lib     *mock.Interface
	devices []*mock.Device
	lacks   map[string]bool // symbols
	now     atomic.Int64
	metrics map[nvml.GpmMetricId]nvml.GpmMetric
}

func newBench(devices int) *bench {
	b := &bench{lacks: map[string]bool{}, metrics: map[nvml.GpmMetricId]nvml.GpmMetric{}}
	for i := range devices {
		b.devices = append(b.devices, healthy(i))
	}
	b.lib = &mock.Interface{
		InitFunc:                       func() nvml.Return { return nvml.SUCCESS },
		ShutdownFunc:                   func() nvml.Return { return nvml.SUCCESS },
		DeviceGetCountFunc:             func() (int, nvml.Return) { return len(b.devices), nvml.SUCCESS },
		DeviceGetHandleByIndexFunc:     func(i int) (nvml.Device, nvml.Return) { return b.devices[i], nvml.SUCCESS },
		SystemGetDriverVersionFunc:     func() (string, nvml.Return) { return "580.159.04", nvml.SUCCESS },
		SystemGetCudaDriverVersionFunc: func() (int, nvml.Return) { return 13010, nvml.SUCCESS },
		ExtensionsFunc: func() nvml.ExtendedInterface {
			return &mock.ExtendedInterface{LookupSymbolFunc: func(s string) error {
				if b.lacks[s] {
					return errors.New("undefined symbol")
				}
				return nil
			}}
		},
		GpmSampleAllocFunc: func() (nvml.GpmSample, nvml.Return) {
			return &mock.GpmSample{FreeFunc: func() nvml.Return { return nvml.SUCCESS }}, nvml.SUCCESS
		},
		GpmMetricsGetFunc: func(g *nvml.GpmMetricsGetType) nvml.Return {
			for i := range g.NumMetrics {
				m := b.metrics[nvml.GpmMetricId(g.Metrics[i].MetricId)]
				g.Metrics[i].Value, g.Metrics[i].NvmlReturn = m.Value, m.NvmlReturn
			}
			return nvml.SUCCESS
		},
	}
	return b
}

func healthy(index int) *mock.Device {
	return &mock.Device{
		GetUUIDFunc:                 func() (string, nvml.Return) { return "GPU-" + string(rune('a'+index)), nvml.SUCCESS },
		GetNameFunc:                 func() (string, nvml.Return) { return "NVIDIA H200", nvml.SUCCESS },
		GetMemoryInfoFunc:           func() (nvml.Memory, nvml.Return) { return nvml.Memory{Total: 150e9, Used: 9e9}, nvml.SUCCESS },
		GetMigModeFunc:              func() (int, int, nvml.Return) { return nvml.DEVICE_MIG_DISABLE, 0, nvml.SUCCESS },
		GetPowerManagementLimitFunc: func() (uint32, nvml.Return) { return 700_000, nvml.SUCCESS },
		GetPciInfoFunc: func() (nvml.PciInfo, nvml.Return) {
			return nvml.PciInfo{Bus: 0x18 + uint32(index)}, nvml.SUCCESS
		},
		GetMemoryBusWidthFunc: func() (uint32, nvml.Return) { return 6144, nvml.SUCCESS },
		GetMaxClockInfoFunc:   func(nvml.ClockType) (uint32, nvml.Return) { return 3201, nvml.SUCCESS },
		GpmQueryDeviceSupportFunc: func() (nvml.GpmSupport, nvml.Return) {
			return nvml.GpmSupport{IsSupportedDevice: 1}, nvml.SUCCESS
		},
		GpmSampleGetFunc:        func(nvml.GpmSample) nvml.Return { return nvml.SUCCESS },
		GetUtilizationRatesFunc: func() (nvml.Utilization, nvml.Return) { return nvml.Utilization{Gpu: 93, Memory: 41}, nvml.SUCCESS },
		GetPowerUsageFunc:       func() (uint32, nvml.Return) { return 412_345, nvml.SUCCESS },
		GetTemperatureFunc:      func(nvml.TemperatureSensors) (uint32, nvml.Return) { return 51, nvml.SUCCESS },
		GetClockInfoFunc:        clocks,
		GetProcessUtilizationFunc: func(uint64) ([]nvml.ProcessUtilizationSample, nvml.Return) {
			return nil, nvml.ERROR_NOT_FOUND
		},
		GetCurrentClocksThrottleReasonsFunc: func() (uint64, nvml.Return) { return 0, nvml.SUCCESS },
		GetComputeRunningProcessesFunc:      func() ([]nvml.ProcessInfo, nvml.Return) { return nil, nvml.SUCCESS },
	}
}

func clocks(c nvml.ClockType) (uint32, nvml.Return) {
	if c == nvml.CLOCK_MEM {
		return 3201, nvml.SUCCESS
	}
	return 1980, nvml.SUCCESS
}

func (b *bench) open(t *testing.T) *Monitor {
	t.Helper()
	m, err := open(b.lib, b.now.Load)
	qt.Assert(t, qt.IsNil(err))
	m.late = func() <-chan time.Time { return nil } // the mock always answers
	t.Cleanup(func() { qt.Check(t, qt.IsNil(m.Close())) })
	return m
}

func (b *bench) next(m *Monitor) []record.GPUSample {
	b.now.Add(int64(Interval))
	return m.Sample()
}

func running(pids ...uint32) func() ([]nvml.ProcessInfo, nvml.Return) {
	return func() ([]nvml.ProcessInfo, nvml.Return) {
		var out []nvml.ProcessInfo
		for _, p := range pids {
			out = append(out, nvml.ProcessInfo{Pid: p, UsedGpuMemory: uint64(p) << 20})
		}
		return out, nvml.SUCCESS
	}
}

func TestDevice(t *testing.T) {
	m := newBench(1).open(t)
	qt.Assert(t, qt.DeepEquals(m.Devices(), []record.GPU{{
		UUID: "GPU-a", Name: "NVIDIA H200", MemoryBytes: 150e9, Driver: "580.159.04", CUDA: "13.1",
		PowerLimitW: 700, GPM: true,
	}}))
	a, ok := m.Address(0)
	qt.Check(t, qt.IsTrue(ok))
	qt.Check(t, qt.Equals(a.String(), "00000000:18:00.0"))
	qt.Check(t, qt.Equals(m.PeakDRAM(0), 3201e6*2*6144/8))
	qt.Check(t, qt.Equals(m.PeakDRAM(7), 0.0))
	qt.Check(t, qt.HasLen(m.Notes(), 0))
}

func TestSample(t *testing.T) {
	b := newBench(1)
	b.devices[0].GetComputeRunningProcessesFunc = running(7, 8, 9)
	b.devices[0].GetCurrentClocksThrottleReasonsFunc = func() (uint64, nvml.Return) {
		return nvml.ClocksEventReasonSwPowerCap | nvml.ClocksEventReasonGpuIdle | 1<<40, nvml.SUCCESS
	}
	b.devices[0].GetProcessUtilizationFunc = func(seen uint64) ([]nvml.ProcessUtilizationSample, nvml.Return) {
		return []nvml.ProcessUtilizationSample{
			{Pid: 7, TimeStamp: seen + 1, SmUtil: 10}, {Pid: 7, TimeStamp: seen + 2, SmUtil: 30},
			{Pid: 8, TimeStamp: seen + 2, SmUtil: 50}, {Pid: 5, TimeStamp: seen + 2, SmUtil: 99},
			{Pid: 8, TimeStamp: seen + 3, SmUtil: 1 << 31}, {},
		}, nvml.SUCCESS
	}
	b.metrics[nvml.GPM_METRIC_SM_UTIL] = nvml.GpmMetric{Value: 88.5}
	b.metrics[nvml.GPM_METRIC_PCIE_RX_PER_SEC] = nvml.GpmMetric{Value: 2}
	b.metrics[nvml.GPM_METRIC_DRAM_BW_UTIL] = nvml.GpmMetric{Value: math.NaN()}
	b.metrics[nvml.GPM_METRIC_ANY_TENSOR_UTIL] = nvml.GpmMetric{Value: 3, NvmlReturn: uint32(nvml.ERROR_NOT_SUPPORTED)}
	m := b.open(t)
	m.Use([]int{7, 8})

	first := b.next(m)
	qt.Assert(t, qt.HasLen(first, 1))
	qt.Check(t, qt.IsNil(first[0].SMPct))
	qt.Check(t, qt.Equals(first[0].IntervalNS, 0))

	s := b.next(m)
	qt.Assert(t, qt.HasLen(s, 1))
	got := s[0]
	qt.Check(t, qt.Equals(got.MonoNS, b.now.Load()))
	qt.Check(t, qt.Equals(got.IntervalNS, int64(Interval)))
	for _, c := range []struct {
		name string
		got  *float64
		want float64
	}{
		{"util", got.UtilPct, 93}, {"mem util", got.MemUtilPct, 41}, {"power", got.PowerW, 412.345},
		{"temperature", got.TemperatureC, 51}, {"sm clock", got.SMClockMHz, 1980}, {"mem clock", got.MemClockMHz, 3201},
		{"sm", got.SMPct, 88.5}, {"pcie rx", got.PCIeRxBytes, 2 << 20}, {"process sm", got.ProcessSMPct, 80}, {"others sm", got.OthersSMPct, 99},
	} {
		qt.Assert(t, qt.IsNotNil(c.got), qt.Commentf(c.name))
		qt.Check(t, qt.Equals(*c.got, c.want), qt.Commentf(c.name))
	}
	qt.Check(t, qt.IsNil(got.DRAMPct))   // NaN
	qt.Check(t, qt.IsNil(got.TensorPct)) // failed on its own
	qt.Check(t, qt.Equals(*got.MemoryUsed, 9e9))
	qt.Check(t, qt.Equals(*got.ProcessMemory, 15<<20))
	qt.Check(t, qt.IsTrue(got.ThrottleKnown))
	qt.Check(t, qt.DeepEquals(got.Throttle, []string{"sw_power_cap", "unknown"}))
	qt.Check(t, qt.HasLen(m.Failures(), 0))
}

// TestOneGPMAtATime: of several GPUs no two are asked for GPM's metrics at once, and each is.
func TestOneGPMAtATime(t *testing.T) {
	b := newBench(4)
	var inside, most, calls atomic.Int64
	get := b.lib.GpmMetricsGetFunc
	b.lib.GpmMetricsGetFunc = func(g *nvml.GpmMetricsGetType) nvml.Return {
		most.Store(max(most.Load(), inside.Add(1)))
		time.Sleep(3 * time.Millisecond)
		calls.Add(1)
		inside.Add(-1)
		return get(g)
	}
	m := b.open(t)
	for range 10 {
		qt.Assert(t, qt.HasLen(b.next(m), 4))
	}
	qt.Assert(t, qt.Equals(most.Load(), 1))
	qt.Assert(t, qt.IsTrue(calls.Load() >= 4*8), qt.Commentf("%d", calls.Load()))
	qt.Assert(t, qt.HasLen(m.Failures(), 0))
}

func TestNotFasterThanTenASecond(t *testing.T) {
	b := newBench(1)
	m := b.open(t)
	qt.Check(t, qt.HasLen(b.next(m), 1))
	b.now.Add(int64(MinInterval) - 1)
	qt.Check(t, qt.HasLen(m.Sample(), 0))
	b.now.Add(1)
	qt.Check(t, qt.HasLen(m.Sample(), 1))
}

// One call's failure leaves the others alone; what cannot work is not tried again.
func TestFailures(t *testing.T) {
	b := newBench(1)
	b.lacks["nvmlDeviceGetTemperature"] = true
	b.devices[0].GetPowerUsageFunc = func() (uint32, nvml.Return) { return 0, nvml.ERROR_UNKNOWN }
	b.devices[0].GetUtilizationRatesFunc = func() (nvml.Utilization, nvml.Return) {
		return nvml.Utilization{}, nvml.ERROR_NOT_SUPPORTED
	}
	m := b.open(t)
	for range 3 {
		s := b.next(m)
		qt.Assert(t, qt.HasLen(s, 1))
		qt.Check(t, qt.IsNil(s[0].PowerW))
		qt.Check(t, qt.IsNil(s[0].UtilPct))
		qt.Check(t, qt.IsNil(s[0].TemperatureC))
		qt.Check(t, qt.IsNotNil(s[0].SMClockMHz))
	}
	qt.Check(t, qt.DeepEquals(m.Failures(), []Failure{
		{0, "nvmlDeviceGetPowerUsage", "unknown error", 3},
		{0, "nvmlDeviceGetTemperature", "the driver's library does not have it", 1},
		{0, "nvmlDeviceGetUtilizationRates", "not supported", 1},
	}))
}

// A call that took long is not made each time.
func TestSlowCallRests(t *testing.T) {
	b := newBench(1)
	made := 0
	b.devices[0].GetPowerUsageFunc = func() (uint32, nvml.Return) {
		made++
		b.now.Add(int64(20 * time.Millisecond))
		return 1000, nvml.SUCCESS
	}
	m := b.open(t)
	for range 6 { // 125 ms each, and a rest of 400 ms
		qt.Check(t, qt.HasLen(b.next(m), 1))
	}
	qt.Check(t, qt.Equals(made, 2))
}

// A device whose call hangs is left out, and its sample comes later.
func TestHungDevice(t *testing.T) {
	b := newBench(2)
	hang := make(chan struct{})
	b.devices[0].GetPowerUsageFunc = func() (uint32, nvml.Return) {
		<-hang
		return 1000, nvml.SUCCESS
	}
	m := b.open(t)
	passed := make(chan time.Time, 1)
	m.late = func() <-chan time.Time { return passed }
	// The deadline passes only after the healthy device has answered.
	go func() {
		for len(m.devices[1].samples) == 0 {
			time.Sleep(time.Millisecond)
		}
		passed <- time.Time{}
	}()
	s := b.next(m)
	qt.Assert(t, qt.HasLen(s, 1))
	qt.Check(t, qt.Equals(s[0].Index, 1))

	m.late = func() <-chan time.Time { return nil }
	close(hang)
	for len(m.devices[0].samples) == 0 {
		time.Sleep(time.Millisecond)
	}
	s = b.next(m)
	qt.Assert(t, qt.HasLen(s, 3)) // the late one, too
	qt.Check(t, qt.Equals(s[0].Index, 0))
	qt.Check(t, qt.IsTrue(s[0].MonoNS < s[1].MonoNS))
}

func TestUse(t *testing.T) {
	b := newBench(3)
	b.devices[1].GetComputeRunningProcessesFunc = running(7, 7, 1234)
	m := b.open(t)
	qt.Check(t, qt.HasLen(m.Devices(), 3))

	b.devices[2].GetComputeRunningProcessesFunc = func() ([]nvml.ProcessInfo, nvml.Return) {
		return nil, nvml.ERROR_GPU_IS_LOST
	}
	m.Use([]int{99}) // another PID namespace
	qt.Check(t, qt.HasLen(m.Devices(), 3))
	qt.Assert(t, qt.HasLen(m.Notes(), 1))
	qt.Check(t, qt.StringContains(m.Notes()[0], "namespace"))
	qt.Check(t, qt.StringContains(m.Notes()[0], "GPU 2: nvmlDeviceGetComputeRunningProcesses: the GPU is lost"))

	m.Use([]int{7})
	d := m.Devices()
	qt.Assert(t, qt.HasLen(d, 1))
	qt.Check(t, qt.Equals(d[0].Index, 1))
	qt.Check(t, qt.DeepEquals(d[0].PIDs, []int{7}))
	qt.Check(t, qt.HasLen(m.Notes(), 0))
	s := b.next(m)
	qt.Assert(t, qt.HasLen(s, 1))
	qt.Check(t, qt.Equals(s[0].Index, 1))
}

func TestMIG(t *testing.T) {
	b := newBench(1)
	b.devices[0].GetMigModeFunc = func() (int, int, nvml.Return) { return nvml.DEVICE_MIG_ENABLE, 0, nvml.SUCCESS }
	m := b.open(t)
	qt.Check(t, qt.IsTrue(m.Devices()[0].MIG))
	qt.Check(t, qt.IsFalse(m.Devices()[0].GPM))
	qt.Assert(t, qt.HasLen(m.Notes(), 1))
	qt.Check(t, qt.StringContains(m.Notes()[0], "MIG"))
	b.next(m)
	s := b.next(m)
	qt.Check(t, qt.IsNil(s[0].SMPct))
	qt.Check(t, qt.IsNotNil(s[0].PowerW))
}

func TestNotAvailable(t *testing.T) {
	for _, c := range []struct {
		name   string
		spoil  func(*bench)
		why    string
		remedy string
	}{
		{"no library", func(b *bench) { b.lib.InitFunc = func() nvml.Return { return nvml.ERROR_LIBRARY_NOT_FOUND } }, "libnvidia-ml.so.1", "install the driver"},
		{"no driver", func(b *bench) { b.lib.InitFunc = func() nvml.Return { return nvml.ERROR_DRIVER_NOT_LOADED } }, "not loaded", "modprobe"},
		{"no permission", func(b *bench) { b.lib.InitFunc = func() nvml.Return { return nvml.ERROR_NO_PERMISSION } }, "no permission", "/dev/nvidia"},
		{"another version", func(b *bench) { b.lib.InitFunc = func() nvml.Return { return nvml.ERROR_LIB_RM_VERSION_MISMATCH } }, "different versions", "reboot"},
		{"unknown", func(b *bench) { b.lib.InitFunc = func() nvml.Return { return 77 } }, "NVML error 77", "nvidia-smi"},
		{"no device", func(b *bench) { b.devices = nil }, "no device", "nvidia-smi"},
		{"no count", func(b *bench) {
			b.lib.DeviceGetCountFunc = func() (int, nvml.Return) { return 0, nvml.ERROR_UNKNOWN }
		}, "nvmlDeviceGetCount: unknown", "nvidia-smi"},
		{"none may be opened", func(b *bench) {
			b.lib.DeviceGetHandleByIndexFunc = func(int) (nvml.Device, nvml.Return) { return nil, nvml.ERROR_NO_PERMISSION }
		}, "GPU 0: no permission", "container"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(1)
			c.spoil(b)
			_, err := open(b.lib, b.now.Load)
			var e *NotAvailable
			qt.Assert(t, qt.ErrorAs(err, &e))
			qt.Check(t, qt.StringContains(e.Why, c.why))
			qt.Check(t, qt.StringContains(e.Remedy(), c.remedy))
		})
	}
}

// The real library, which machines of tests mostly lack.
func TestOpenReal(t *testing.T) {
	m, err := Open(Options{})
	if err != nil {
		var e *NotAvailable
		qt.Assert(t, qt.ErrorAs(err, &e))
		return
	}
	qt.Check(t, qt.Not(qt.HasLen(m.Devices(), 0)))
	qt.Check(t, qt.IsNil(m.Close()))
}
