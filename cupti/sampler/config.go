//go:build cgo

package sampler

// #include <stdlib.h>
// #include "calls.h"
import "C"

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unsafe"

	"github.com/pmtrace/pmtrace/decode/wire"
)

// metric is what a sample says, and what it is made of.
type metric struct {
	name     string   // of record.Sampler.Metrics
	counters []string // of NVIDIA's metrics: the first that the chip has
	percent  bool     // of elapsed
}

// elapsed is what cycles are compared with: .max and sm__ ones of it are NaN or
// take a pass of their own.
const elapsed = "gpc__cycles_elapsed.avg"

// wanted are metrics in the order of worth: the first is what the sampler is for,
// the others are taken as far as the library has them and one pass allows (CUDA
// 12's has no bytes of DRAM for devices).
var wanted = []metric{
	{wire.MetricSMActivePct, []string{"sm__cycles_active.avg"}, true},
	{wire.MetricDRAMReadBytes, []string{"dram__bytes_read.sum", "dram__bytes_op_read.sum"}, false},
	{wire.MetricDRAMWriteBytes, []string{"dram__bytes_write.sum", "dram__bytes_op_write.sum"}, false},
	{wire.MetricTensorPct, []string{"sm__pipe_tensor_cycles_active.avg", "sm__pipe_tensor_cycles_active_realtime.avg"}, true},
	{wire.MetricPCIeReadBytes, []string{"pcie__read_bytes.sum"}, false},
	{wire.MetricPCIeWriteBytes, []string{"pcie__write_bytes.sum"}, false},
	{metricGRCycles, []string{"gr__cycles_active.avg"}, false},
}

// metricGRCycles are cycles in which the graphics and compute engine had work:
// a third of the records that a metric of the SMs takes, but it begins 7 to 19 µs
// before the first kernel. No mode has it; the tests on a GPU compare its cost.
const metricGRCycles = "gr_active_cycles"

// config is what the counters are set to, and how values are made of them.
type config struct {
	metrics   []metric
	requests  []C.struct_nvpw_metric // elapsed, then the metrics
	image     buffer                 // how the GPU is set up; in use until the session's end
	prefix    buffer                 // the head of a counter data image
	evaluator unsafe.Pointer
	scratch   buffer // the evaluator's
	left      []LeftOut
}

// configure finds those of the named metrics that one pass allows.
func (d *device) configure(names []string) (*config, error) {
	c := &config{}
	if err := d.newEvaluator(c); err != nil {
		return nil, err
	}
	base, err := d.request(c, elapsed)
	if err != nil {
		return nil, err
	}
	c.requests = []C.struct_nvpw_metric{base}
	for _, m := range wanted {
		if !slices.Contains(names, m.name) {
			continue
		}
		err := d.tryMetric(c, m)
		if err != nil && m.name == names[0] {
			return nil, fmt.Errorf("%s: %w", m.name, err)
		}
		if err != nil {
			c.left = append(c.left, LeftOut{m.name, strings.ReplaceAll(err.Error(), "\n", "; ")})
		}
	}
	return c, nil
}

// tryMetric adds a metric where the chip has it and all still take one pass.
func (d *device) tryMetric(c *config, m metric) error {
	var errs []error
	for _, counter := range m.counters {
		err := d.tryCounter(c, counter)
		if err == nil {
			c.metrics = append(c.metrics, m)
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (d *device) tryCounter(c *config, counter string) error {
	r, err := d.request(c, counter)
	if err != nil {
		return err
	}
	requests := append(slices.Clone(c.requests), r)
	image, prefix, passes, err := d.images(c, requests)
	if err == nil && passes != 1 {
		err = &Error{Unsupported, fmt.Sprintf("%s takes it to %d passes", counter, passes)}
	}
	if err != nil {
		image.free()
		prefix.free()
		return err
	}
	c.image.free()
	c.prefix.free()
	c.image, c.prefix, c.requests = image, prefix, requests
	return nil
}

func (d *device) newEvaluator(c *config) error {
	size := C.struct_nvpw_scratch_size{structSize: C.nvpw_scratch_size_size, chipName: d.chip}
	if err := d.call("NVPW_Device_MetricsEvaluator_CalculateScratchBufferSize", unsafe.Pointer(&size)); err != nil {
		return err
	}
	var err error
	if c.scratch, err = newBuffer(size.scratchSize); err != nil {
		return err
	}
	p := C.struct_nvpw_evaluator_initialize{
		structSize: C.nvpw_evaluator_initialize_size, chipName: d.chip,
		scratch: c.scratch.at, scratchSize: c.scratch.size,
	}
	err = d.call("NVPW_Device_MetricsEvaluator_Initialize", unsafe.Pointer(&p))
	c.evaluator = p.evaluator
	return err
}

// request finds a metric by its name.
func (d *device) request(c *config, name string) (C.struct_nvpw_metric, error) {
	s := C.CString(name)
	defer C.free(unsafe.Pointer(s))
	r := array[C.struct_nvpw_metric](1)
	defer release(r)
	p := C.struct_nvpw_metric_by_name{
		structSize: C.nvpw_metric_by_name_size, evaluator: c.evaluator,
		name: s, metric: &r[0], metricSize: C.nvpw_metric_size,
	}
	err := d.call("NVPW_MetricsEvaluator_ConvertMetricNameToMetricEvalRequest", unsafe.Pointer(&p))
	return r[0], err
}

// images makes a configuration of the requests and says how many passes it takes.
func (d *device) images(c *config, requests []C.struct_nvpw_metric) (image, prefix buffer, passes int, err error) {
	names, optional, err := d.dependencies(c, requests)
	if err != nil {
		return image, prefix, 0, err
	}
	defer release(names)
	defer release(optional)
	if image, err = d.configImage(names, optional); err != nil {
		return image, prefix, 0, err
	}
	n := C.struct_nvpw_num_passes{structSize: C.nvpw_num_passes_size, config: image.at}
	if err := d.call("NVPW_Config_GetNumPasses_V2", unsafe.Pointer(&n)); err != nil {
		return image, prefix, 0, err
	}
	prefix, err = d.dataPrefix(names, optional)
	return image, prefix, int(n.numPasses), err
}

// dependencies are the names of the raw counters that metrics are made of.
func (d *device) dependencies(c *config, requests []C.struct_nvpw_metric) (names, optional []*C.char, err error) {
	rs := array[C.struct_nvpw_metric](len(requests))
	defer release(rs)
	copy(rs, requests)
	const call = "NVPW_MetricsEvaluator_GetMetricRawDependencies"
	p := C.struct_nvpw_dependencies{
		structSize: C.nvpw_dependencies_size, evaluator: c.evaluator,
		metrics: &rs[0], numMetrics: C.size_t(len(rs)),
		metricSize: C.nvpw_metric_size, metricStride: C.sizeof_struct_nvpw_metric,
	}
	if err := d.call(call, unsafe.Pointer(&p)); err != nil {
		return nil, nil, err
	}
	if p.numNames == 0 || p.numNames+p.numOptionalNames > maxCounters {
		return nil, nil, fmt.Errorf("%s: %d and %d counters", call, p.numNames, p.numOptionalNames)
	}
	names, optional = array[*C.char](int(p.numNames)), array[*C.char](int(p.numOptionalNames))
	p.names, p.optionalNames = unsafe.SliceData(names), unsafe.SliceData(optional)
	if err := d.call(call, unsafe.Pointer(&p)); err != nil {
		release(names)
		release(optional)
		return nil, nil, err
	}
	return names, optional, nil
}

const maxCounters = 10_000

// configImage schedules the raw counters; an optional one may not find its place.
func (d *device) configImage(names, optional []*C.char) (buffer, error) {
	if d.function("NVPW_Device_RawCounterConfig_Create") == nil {
		return d.olderConfigImage(names, optional)
	}
	p := C.struct_nvpw_counter_config_create{
		structSize: C.nvpw_counter_config_create_size, chipName: d.chip, activity: C.nvpw_activity_realtime_sampled,
	}
	if err := d.call("NVPW_Device_RawCounterConfig_Create", unsafe.Pointer(&p)); err != nil {
		return buffer{}, err
	}
	whole := C.struct_nvpw_config{structSize: C.nvpw_config_size, config: p.config}
	defer d.destroy("NVPW_RawCounterConfig_Destroy", unsafe.Pointer(&whole))
	domains, err := d.domains(p.config)
	if err != nil {
		return buffer{}, err
	}
	defer release(domains)
	group := C.struct_nvpw_pass_group{
		structSize: C.nvpw_pass_group_size, config: p.config,
		domains: unsafe.SliceData(domains), numDomains: C.size_t(len(domains)),
	}
	if err := d.call("NVPW_RawCounterConfig_BeginPassGroup", unsafe.Pointer(&group)); err != nil {
		return buffer{}, err
	}
	if err := d.addCounters("NVPW_RawCounterConfig_AddRawCounters", p.config, names, optional); err != nil {
		return buffer{}, err
	}
	if err := d.call("NVPW_RawCounterConfig_EndPassGroup", unsafe.Pointer(&group)); err != nil {
		return buffer{}, err
	}
	if err := d.call("NVPW_RawCounterConfig_GenerateConfigImage", unsafe.Pointer(&whole)); err != nil {
		return buffer{}, err
	}
	return d.copyOut("NVPW_RawCounterConfig_GetConfigImage", p.config)
}

// destroy frees what the library made. It cannot fail in a way that matters: the
// process ends with the session.
func (d *device) destroy(call string, params unsafe.Pointer) {
	_ = d.call(call, params)
}

func (d *device) domains(of unsafe.Pointer) ([]C.uint32_t, error) {
	const call = "NVPW_RawCounterConfig_GetAllAvailableRawCounterDomains"
	p := C.struct_nvpw_domains{structSize: C.nvpw_domains_size, config: of}
	if err := d.call(call, unsafe.Pointer(&p)); err != nil {
		return nil, err
	}
	if p.numDomains == 0 || p.numDomains > maxCounters {
		return nil, fmt.Errorf("%s: %d domains", call, p.numDomains)
	}
	out := array[C.uint32_t](int(p.numDomains))
	p.domains = &out[0]
	err := d.call(call, unsafe.Pointer(&p))
	return out, err
}

func (d *device) addCounters(call string, to unsafe.Pointer, names, optional []*C.char) error {
	r := array[C.struct_nvpw_counter_request](1)
	defer release(r)
	p := C.struct_nvpw_add_counters{
		structSize: C.nvpw_add_counters_size, to: to,
		requestSize: C.nvpw_counter_request_size, numRequests: 1, requests: &r[0],
	}
	return addEach(names, optional, func(name *C.char) error {
		r[0].name = name
		return d.call(call, unsafe.Pointer(&p))
	})
}

func addEach(names, optional []*C.char, add func(*C.char) error) error {
	for _, n := range names {
		if err := add(n); err != nil {
			return fmt.Errorf("counter %s: %w", C.GoString(n), err)
		}
	}
	for _, n := range optional {
		_ = add(n) // does without
	}
	return nil
}

// copyOut asks for an image's size and then for the image.
func (d *device) copyOut(call string, of unsafe.Pointer) (buffer, error) {
	p := C.struct_nvpw_get_image{structSize: C.nvpw_get_image_size, of: of}
	if err := d.call(call, unsafe.Pointer(&p)); err != nil {
		return buffer{}, err
	}
	b, err := newBuffer(p.bytesCopied)
	if err != nil {
		return b, err
	}
	p.buffer, p.bytesAllocated = b.at, b.size
	err = d.call(call, unsafe.Pointer(&p))
	return b, err
}

// dataPrefix is the head of the images that samples are decoded into.
func (d *device) dataPrefix(names, optional []*C.char) (buffer, error) {
	p := C.struct_nvpw_builder_create{structSize: C.nvpw_builder_create_size, chipName: d.chip}
	if err := d.call("NVPW_CounterDataBuilder_Create", unsafe.Pointer(&p)); err != nil {
		return buffer{}, err
	}
	b := C.struct_nvpw_builder{structSize: C.nvpw_builder_size, builder: p.builder}
	defer d.destroy("NVPW_CounterDataBuilder_Destroy", unsafe.Pointer(&b))
	add := d.addCounters
	call := "NVPW_CounterDataBuilder_AddRawCounters"
	if d.function(call) == nil {
		add, call = d.addMetrics, "NVPW_CounterDataBuilder_AddMetrics"
	}
	if err := add(call, p.builder, names, optional); err != nil {
		return buffer{}, err
	}
	return d.copyOut("NVPW_CounterDataBuilder_GetCounterDataPrefix", p.builder)
}

// olderConfigImage is the way of CUDA 12's library.
func (d *device) olderConfigImage(names, optional []*C.char) (buffer, error) {
	p := C.struct_nvpw_metrics_config_create{
		structSize: C.nvpw_metrics_config_create_size, chipName: d.chip, activity: C.nvpw_activity_realtime_sampled,
	}
	if err := d.call("NVPW_Device_RawMetricsConfig_Create", unsafe.Pointer(&p)); err != nil {
		return buffer{}, err
	}
	whole := C.struct_nvpw_config{structSize: C.nvpw_config_size, config: p.config}
	defer d.destroy("NVPW_RawMetricsConfig_Destroy", unsafe.Pointer(&whole))
	group := C.struct_nvpw_metrics_pass_group{structSize: C.nvpw_metrics_pass_group_size, config: p.config, maxPasses: 1}
	if err := d.call("NVPW_RawMetricsConfig_BeginPassGroup", unsafe.Pointer(&group)); err != nil {
		return buffer{}, err
	}
	if err := d.addMetrics("NVPW_RawMetricsConfig_AddMetrics", p.config, names, optional); err != nil {
		return buffer{}, err
	}
	if err := d.call("NVPW_RawMetricsConfig_EndPassGroup", unsafe.Pointer(&whole)); err != nil {
		return buffer{}, err
	}
	generate := C.struct_nvpw_metrics_generate{structSize: C.nvpw_metrics_generate_size, config: p.config}
	if err := d.call("NVPW_RawMetricsConfig_GenerateConfigImage", unsafe.Pointer(&generate)); err != nil {
		return buffer{}, err
	}
	return d.copyOut("NVPW_RawMetricsConfig_GetConfigImage", p.config)
}

func (d *device) addMetrics(call string, to unsafe.Pointer, names, optional []*C.char) error {
	r := array[C.struct_nvpw_metric_request](1)
	defer release(r)
	r[0].structSize = C.nvpw_metric_request_size
	r[0].reserved = 1 // "isolated" until CUDA 12
	p := C.struct_nvpw_add_metrics{structSize: C.nvpw_add_metrics_size, to: to, requests: &r[0], numRequests: 1}
	return addEach(names, optional, func(name *C.char) error {
		r[0].name = name
		return d.call(call, unsafe.Pointer(&p))
	})
}
