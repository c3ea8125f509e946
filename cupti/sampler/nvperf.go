//go:build cgo

package sampler

// #cgo LDFLAGS: -ldl
// #cgo CFLAGS: -Wall -Wextra
// #include <dlfcn.h>
// #include <stdlib.h>
// #include "calls.h"
import "C"

import (
	"fmt"
	"time"
	"unsafe"
)

// library is libnvperf_host.so, loaded. Its handle is never closed: the library
// starts threads that would go on.
type library struct {
	functions map[string]unsafe.Pointer
	handle    unsafe.Pointer
	// trace, if set, is told of each call but those of the loop.
	trace func(call string, status int, took time.Duration)
}

// callError is a call that the library refused.
type callError struct {
	Call   string
	Status int
}

func (e *callError) Error() string {
	return fmt.Sprintf("%s: %s", e.Call, statusName(e.Status))
}

func openLibrary(path string) (*library, error) {
	p := C.CString(path)
	defer C.free(unsafe.Pointer(p))
	h := C.dlopen(p, C.RTLD_NOW|C.RTLD_LOCAL)
	if h == nil {
		return nil, &Error{NoLibrary, C.GoString(C.dlerror())}
	}
	l := &library{functions: map[string]unsafe.Pointer{}, handle: h}
	for _, name := range neededSymbols {
		if l.function(name) == nil {
			return nil, &Error{NoLibrary, path + " has no " + name}
		}
	}
	return l, nil
}

// function is nil where the library does not have it.
func (l *library) function(name string) unsafe.Pointer {
	f, ok := l.functions[name]
	if !ok {
		s := C.CString(name)
		defer C.free(unsafe.Pointer(s))
		f = C.dlsym(l.handle, s)
		l.functions[name] = f
	}
	return f
}

// call calls a function by its name; the params may hold pointers to C memory only.
func (l *library) call(name string, params unsafe.Pointer) error {
	f := l.function(name)
	if f == nil {
		return &callError{name, statusFunctionNotFound}
	}
	begin := time.Now()
	status := int(C.pm_call(f, params))
	if l.trace != nil {
		l.trace(name, status, time.Since(begin))
	}
	if status != 0 {
		return &callError{name, status}
	}
	return nil
}

// initialize loads the driver. NVPW_CUDA_LoadDriver is the one that the library
// of CUPTI has; it makes no context.
func (l *library) initialize() error {
	if err := l.initializeHost(); err != nil {
		return err
	}
	if err := l.callBare("NVPW_InitializeTarget"); err != nil {
		return err
	}
	return l.callBare("NVPW_CUDA_LoadDriver")
}

// initializeHost is enough for what needs no device.
func (l *library) initializeHost() error { return l.callBare("NVPW_InitializeHost") }

func (l *library) callBare(name string) error {
	p := C.struct_nvpw_no_params{structSize: C.nvpw_no_params_size}
	return l.call(name, unsafe.Pointer(&p))
}

// buffer is C memory: the library keeps pointers into it, and wants it aligned.
type buffer struct {
	at   *C.uint8_t
	size C.size_t
}

// newBuffer allocates as much as the library says.
func newBuffer(size C.size_t) (buffer, error) {
	at := (*C.uint8_t)(C.calloc(1, max(size, 1)))
	if at == nil {
		return buffer{}, &Error{Broken, fmt.Sprintf("no memory for %d bytes that the library wants", size)}
	}
	return buffer{at, size}, nil
}

func (b *buffer) free() {
	C.free(unsafe.Pointer(b.at))
	*b = buffer{}
}

// array allocates C memory for n values, all zero. They are few: without memory for them the
// helper process ends, as Go itself would.
func array[T any](n int) []T {
	var t T
	p := C.calloc(C.size_t(max(n, 1)), C.size_t(unsafe.Sizeof(t)))
	if p == nil {
		panic(fmt.Sprintf("no memory for %d values", n))
	}
	return unsafe.Slice((*T)(p), max(n, 1))[:n]
}

func release[T any](a []T) {
	C.free(unsafe.Pointer(unsafe.SliceData(a)))
}

// device is one that the library sees.
type device struct {
	*library
	index C.size_t
	name  string
	chip  *C.char
}

// findDevice looks for a device by its UUID or, as CUDA 12's library does not
// say that, its place on the bus; with one device it is that.
func (l *library) findDevice(uuid string, at *busID) (*device, error) {
	count := C.struct_nvpw_device_count{structSize: C.nvpw_device_count_size}
	if err := l.call("NVPW_GetDeviceCount", unsafe.Pointer(&count)); err != nil {
		return nil, err
	}
	n := int(count.numDevices)
	if n < 1 || n > maxDevices {
		return nil, &Error{NoDevice, fmt.Sprintf("NVPW_GetDeviceCount: %d devices", n)}
	}
	index := l.indexOf(n, uuid, at)
	if index < 0 {
		return nil, &Error{NoDevice, fmt.Sprintf("none of the library's %d devices is %s", n, uuid)}
	}
	names := C.struct_nvpw_device_names{structSize: C.nvpw_device_names_size, deviceIndex: C.size_t(index)}
	if err := l.call("NVPW_Device_GetNames", unsafe.Pointer(&names)); err != nil {
		return nil, err
	}
	return l.device(index, C.GoString(names.deviceName), C.GoString(names.chipName)), nil
}

func (l *library) device(index int, name, chip string) *device {
	return &device{l, C.size_t(index), name, C.CString(chip)}
}

func (l *library) indexOf(n int, uuid string, at *busID) int {
	if i := l.indexOfUUID(n, uuid); i >= 0 {
		return i
	}
	if i := l.indexOfBusID(n, at); i >= 0 {
		return i
	}
	if n == 1 && (l.function("NVPW_Device_GetUUID") == nil || uuid == "") && at == nil {
		return 0
	}
	return -1
}

func (l *library) indexOfUUID(n int, uuid string) int {
	for i := range n {
		p := C.struct_nvpw_device_uuid{structSize: C.nvpw_device_uuid_size, deviceIndex: C.size_t(i)}
		if l.call("NVPW_Device_GetUUID", unsafe.Pointer(&p)) != nil {
			continue
		}
		if sameUUID(C.GoString(&p.uuidString[0]), uuid) {
			return i
		}
	}
	return -1
}

func (l *library) indexOfBusID(n int, at *busID) int {
	if at == nil {
		return -1
	}
	ids := array[C.struct_nvpw_bus_id](n)
	defer release(ids)
	p := C.struct_nvpw_device_bus_ids{structSize: C.nvpw_device_bus_ids_size, busIds: &ids[0], numDevices: C.size_t(n)}
	if l.call("NVPW_Device_GetPciBusIds", unsafe.Pointer(&p)) != nil {
		return -1
	}
	for i, id := range ids {
		if (busID{uint32(id.domain), uint32(id.bus), uint32(id.device)}) == *at {
			return i
		}
	}
	return -1
}

// supported asks whether the sampler works on the device, and by time.
func (d *device) supported() error {
	const call = "NVPW_GPU_PeriodicSampler_IsGpuSupported"
	p := C.struct_nvpw_is_supported{structSize: C.nvpw_is_supported_size, deviceIndex: d.index}
	err := d.call(call, unsafe.Pointer(&p))
	if err != nil && statusOf(err) == statusInvalidArgument { // CUDA 12 knows no sku
		p.structSize -= 4
		err = d.call(call, unsafe.Pointer(&p))
	}
	if err != nil {
		return err
	}
	if p.isSupported == 0 {
		levels := fmt.Sprintf("architecture %d, SLI %d, vGPU %d, confidential computing %d, CMP %d, WSL %d, SKU %d (1: not supported)",
			p.architecture, p.sli, p.vgpu, p.confidentialCompute, p.cmp, p.wsl, p.sku)
		return &Error{Unsupported, fmt.Sprintf("%s (%s): %s", d.name, C.GoString(d.chip), levels)}
	}
	return d.timeTrigger()
}

func (d *device) timeTrigger() error {
	sources := array[C.uint32_t](16)
	defer release(sources)
	p := C.struct_nvpw_trigger_sources{
		structSize: C.nvpw_trigger_sources_size, deviceIndex: d.index,
		sources: &sources[0], numSources: C.size_t(len(sources)),
	}
	if err := d.call("NVPW_GPU_PeriodicSampler_GetSupportedTriggerSources", unsafe.Pointer(&p)); err != nil {
		return err
	}
	for _, s := range sources[:min(int(p.numSources), len(sources))] {
		if s == C.nvpw_trigger_gpu_time {
			return nil
		}
	}
	return &Error{Unsupported, fmt.Sprintf("%s samples by %v, not by the GPU's time", d.name, sources[:min(int(p.numSources), len(sources))])}
}

func (e *callError) status() int { return e.Status }
