//go:build cgo

package gpu

import (
	"fmt"
	"slices"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"golang.org/x/sys/unix"

	"github.com/pmtrace/pmtrace/decode/record"
)

// patience is how long Sample waits for a device's calls. They take 1 ms; a
// device in trouble can hold one for seconds.
const patience = 50 * time.Millisecond

// Monitor watches devices. Its methods are for one goroutine.
type Monitor struct {
	lib       nvml.Interface
	now       func() int64
	late      func() <-chan time.Time
	devices   []*device
	notes     []string
	unmatched string // note of the last Use
	failed    *failures
	last      int64 // time of the last sample, ns
	sampled   bool
}

// Open loads the driver's library and finds its devices. An error is a *NotAvailable.
func Open(o Options) (*Monitor, error) {
	var opts []nvml.LibraryOption
	if o.Library != "" {
		opts = append(opts, nvml.WithLibraryPath(o.Library))
	}
	return open(nvml.New(opts...), monotonic)
}

func monotonic() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0
	}
	return t.Nano()
}

func open(lib nvml.Interface, now func() int64) (*Monitor, error) {
	if ret := lib.Init(); ret != nvml.SUCCESS {
		return nil, notInitialized(ret)
	}
	m := &Monitor{
		lib:    lib,
		now:    now,
		late:   func() <-chan time.Time { return time.After(patience) },
		failed: newFailures(),
	}
	if err := m.findDevices(); err != nil {
		_ = lib.Shutdown()
		return nil, err
	}
	return m, nil
}

func notInitialized(ret nvml.Return) *NotAvailable {
	e := &NotAvailable{What: "GPU samples", Why: reason(ret)}
	switch ret {
	case nvml.ERROR_LIBRARY_NOT_FOUND:
		e.Why = "libnvidia-ml.so.1 of NVIDIA's driver is not to be found"
		e.How = "on a machine with a GPU install the driver; in a container give it the utility capability (NVIDIA_DRIVER_CAPABILITIES)"
	case nvml.ERROR_DRIVER_NOT_LOADED:
		e.How = "load the driver (modprobe nvidia); in a container pass the devices /dev/nvidia*"
	case nvml.ERROR_NO_PERMISSION:
		e.How = "run as a user who may open /dev/nvidiactl and /dev/nvidia*"
	case nvml.ERROR_LIB_RM_VERSION_MISMATCH:
		e.How = "the driver was updated under the running kernel module: reboot, or load the module again"
	default:
		e.How = "see whether nvidia-smi works, and the kernel's log"
	}
	return e
}

// findDevices keeps those that may be opened: a container's are often fewer than
// the driver counts.
func (m *Monitor) findDevices() error {
	n, ret := m.lib.DeviceGetCount()
	if ret != nvml.SUCCESS {
		return &NotAvailable{What: "GPU samples", Why: "nvmlDeviceGetCount: " + reason(ret), How: "see whether nvidia-smi works"}
	}
	driver, cuda := m.versions()
	gpm := newTurn()
	why := "the driver counts no device"
	for i := range n {
		handle, ret := m.lib.DeviceGetHandleByIndex(i)
		if ret != nvml.SUCCESS {
			why = fmt.Sprintf("GPU %d: %s", i, reason(ret))
			m.notes = append(m.notes, why)
			continue
		}
		d := newDevice(m.lib, i, handle, m.failed, gpm)
		d.GPU.Driver, d.GPU.CUDA = driver, cuda
		if d.MIG {
			m.notes = append(m.notes, fmt.Sprintf("GPU %d is in MIG mode: GPM counts an instance at a time and is left out; clocks, power and memory are the whole device's", i))
		}
		m.devices = append(m.devices, d)
	}
	if len(m.devices) == 0 {
		return &NotAvailable{What: "GPU samples", Why: why, How: "in a container pass the devices; else see whether nvidia-smi lists one"}
	}
	return nil
}

func (m *Monitor) versions() (driver, cuda string) {
	driver, _ = m.lib.SystemGetDriverVersion()
	if v, ret := m.lib.SystemGetCudaDriverVersion(); ret == nvml.SUCCESS {
		cuda = fmt.Sprintf("%d.%d", v/1000, v%1000/10)
	}
	return driver, cuda
}

// Devices describes the devices in use.
func (m *Monitor) Devices() []record.GPU {
	var out []record.GPU
	for _, d := range m.devices {
		if d.used {
			g := d.GPU
			g.PIDs = slices.Clone(g.PIDs)
			out = append(out, g)
		}
	}
	return out
}

// Use narrows the devices down to those that the processes compute on. Where the
// driver names none of them, as in another PID namespace and before they compute,
// all stay in use and Notes says so. Before the first call all are in use.
func (m *Monitor) Use(pids []int) {
	matched := false
	var why string
	for _, d := range m.devices {
		running, ret := d.running(pids)
		if ret != nvml.SUCCESS {
			why = fmt.Sprintf("; GPU %d: nvmlDeviceGetComputeRunningProcesses: %s", d.Index, reason(ret))
		}
		d.GPU.PIDs = running
		matched = matched || len(running) > 0
	}
	for _, d := range m.devices {
		d.used = !matched || len(d.GPU.PIDs) > 0
	}
	m.unmatched = ""
	if !matched {
		m.unmatched = "NVML names none of the traced processes on a device (another PID namespace, or no CUDA context yet): all devices are sampled" + why
	}
}

// Sample reads the devices in use, all at the same time; nothing where the last
// sample is less than MinInterval old. A device that does not answer in time is
// left out and its sample handed out with the next ones.
func (m *Monitor) Sample() []record.GPUSample {
	now := m.now()
	if m.sampled && now-m.last < int64(MinInterval) {
		return nil
	}
	m.last, m.sampled = now, true
	var out []record.GPUSample
	for _, d := range m.devices {
		out = d.take(out)
		if d.used && !d.ask(m.now) {
			m.failed.add(d.Index, CallSample, "calls of the sample before have not returned")
		}
	}
	late := m.late()
	for _, d := range m.devices {
		if !d.asked {
			continue
		}
		select {
		case s := <-d.samples:
			d.asked = false
			out = append(out, s)
		case <-late:
			late = closed // for the devices that follow, too
			out = d.take(out)
		}
	}
	return out
}

// closed is a deadline that has passed.
var closed = func() <-chan time.Time {
	c := make(chan time.Time)
	close(c)
	return c
}()

// Notes say what the devices or this place do not allow.
func (m *Monitor) Notes() []string {
	notes := slices.Clone(m.notes)
	if m.unmatched != "" {
		notes = append(notes, m.unmatched)
	}
	return notes
}

// Failures counts the calls that failed since Open, by device, call and reason.
// A call that a device does not support is counted once and not made again.
func (m *Monitor) Failures() []Failure { return m.failed.list() }

// Address returns where the device of that index sits.
func (m *Monitor) Address(index int) (Address, bool) {
	for _, d := range m.devices {
		if d.Index == index {
			return d.address()
		}
	}
	return Address{}, false
}

// PeakDRAM returns the memory bandwidth of the device of that index by its bus
// and highest clock, bytes/s; 0: not known.
func (m *Monitor) PeakDRAM(index int) float64 {
	for _, d := range m.devices {
		if d.Index == index {
			return d.peakDRAM()
		}
	}
	return 0
}

// Close ends the sampling. With a call still in the driver its library stays
// loaded, and that is the error.
func (m *Monitor) Close() error {
	late := m.late()
	for _, d := range m.devices {
		close(d.requests)
		select {
		case <-d.ended:
		case <-late:
			return fmt.Errorf("GPU %d: a call of NVML has not returned", d.Index)
		}
	}
	if ret := m.lib.Shutdown(); ret != nvml.SUCCESS {
		return fmt.Errorf("nvmlShutdown: %s", reason(ret))
	}
	return nil
}
