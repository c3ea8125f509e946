//go:build cgo

package gpu

import (
	"slices"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"github.com/pmtrace/pmtrace/decode/record"
)

// device is one GPU. Its goroutine alone makes the calls of a sample; the rest is
// the Monitor's.
type device struct {
	record.GPU

	lib    nvml.Interface
	handle nvml.Device
	has    func(symbol string) bool
	used   bool

	asked    bool // a sample is under way
	requests chan request
	samples  chan record.GPUSample
	ended    chan struct{}
}

type request struct {
	now  func() int64
	pids []int
}

func newDevice(lib nvml.Interface, index int, handle nvml.Device, failed *failures, gpm turn) *device {
	d := &device{
		GPU:      record.GPU{Index: index},
		lib:      lib,
		handle:   handle,
		has:      func(symbol string) bool { return lib.Extensions().LookupSymbol(symbol) == nil },
		used:     true,
		requests: make(chan request, 1),
		samples:  make(chan record.GPUSample, 1),
		ended:    make(chan struct{}),
	}
	d.describe()
	go d.serve(newReader(d, failed, gpm))
	return d
}

// describe asks what does not change. What the device does not say stays empty.
func (d *device) describe() {
	d.UUID, _ = d.handle.GetUUID()
	d.Name, _ = d.handle.GetName()
	if m, ret := d.handle.GetMemoryInfo(); ret == nvml.SUCCESS {
		d.MemoryBytes = m.Total
	}
	if current, _, ret := d.handle.GetMigMode(); ret == nvml.SUCCESS {
		d.MIG = current == nvml.DEVICE_MIG_ENABLE
	}
	if mw, ret := d.handle.GetPowerManagementLimit(); ret == nvml.SUCCESS {
		d.PowerLimitW = float64(mw) / 1e3
	}
	d.GPM = !d.MIG && d.supportsGPM()
}

func (d *device) supportsGPM() bool {
	if !d.has("nvmlGpmQueryDeviceSupport") || !d.has(symbolGPM) {
		return false // driver before 520
	}
	s, ret := d.handle.GpmQueryDeviceSupport()
	return ret == nvml.SUCCESS && s.IsSupportedDevice != 0
}

func (d *device) address() (Address, bool) {
	p, ret := d.handle.GetPciInfo()
	return Address{p.Domain, p.Bus, p.Device}, ret == nvml.SUCCESS
}

// peakDRAM doubles the clock that NVML gives: GDDR and HBM move two bits a cycle
// of it and line (3,201 MHz and 6,144 lines of an H200: 4.9 TB/s).
func (d *device) peakDRAM() float64 {
	if !d.has("nvmlDeviceGetMemoryBusWidth") {
		return 0
	}
	width, ret := d.handle.GetMemoryBusWidth()
	if ret != nvml.SUCCESS {
		return 0
	}
	mhz, ret := d.handle.GetMaxClockInfo(nvml.CLOCK_MEM)
	if ret != nvml.SUCCESS {
		return 0
	}
	return float64(mhz) * 1e6 * 2 * float64(width) / 8
}

// running returns those of the processes that compute on the device.
func (d *device) running(pids []int) ([]int, nvml.Return) {
	procs, ret := d.handle.GetComputeRunningProcesses()
	var out []int
	for _, p := range procs {
		if pid := int(p.Pid); slices.Contains(pids, pid) && !slices.Contains(out, pid) {
			out = append(out, pid)
		}
	}
	return out, ret
}

// ask starts a sample, unless one is still under way.
func (d *device) ask(now func() int64) bool {
	if d.asked {
		return false
	}
	d.asked = true
	d.requests <- request{now, slices.Clone(d.GPU.PIDs)}
	return true
}

// take adds the sample under way, if it is complete.
func (d *device) take(to []record.GPUSample) []record.GPUSample {
	select {
	case s := <-d.samples:
		d.asked = false
		return append(to, s)
	default:
		return to
	}
}

func (d *device) serve(r *reader) {
	defer close(d.ended)
	defer r.gpm.free()
	for q := range d.requests {
		d.samples <- r.read(q)
	}
}
