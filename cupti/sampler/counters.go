//go:build cgo

package sampler

// #include <stdlib.h>
// #include "calls.h"
import "C"

import (
	"fmt"
	"math"
	"sync/atomic"
	"time"
	"unsafe"
)

// How much the GPU may be ahead of us. What it writes meanwhile waits in host
// memory, 2 to 6 KB a sample; a busy machine may keep us from the CPU for long.
const (
	headroom   = time.Second
	minSamples = 1024
	maxRecords = 160 << 20 // bytes of host memory, at most
)

// counters is a session with a device's counters. One thread uses it, but for
// read, which another may call meanwhile: decode writes only what of the ring was
// read.
type counters struct {
	*device
	config   *config
	interval time.Duration
	image    buffer // samples, decoded: a ring
	options  []C.struct_nvpw_image_options
	ring     int // samples in it
	records  int // bytes that the record buffer holds
	sample   int // bytes of records of a sample, at most
	complete int // where the next complete sample will be
	begun    bool
	sampling bool

	decoded  uint64        // samples
	taken    atomic.Uint64 // samples read of them
	merged   uint64        // samples that became part of the next
	breaks   uint64        // times that sampling broke off
	decoding time.Duration // in the library
	unread   int           // most bytes found unread

	// The reader's.
	next       int // sample to be read
	samples    []C.struct_pm_samples
	starts     []C.uint64_t
	ends       []C.uint64_t
	values     []C.double
	evaluating time.Duration
}

// readAtOnce is how many samples are evaluated in a call.
const readAtOnce = 1024

// begin takes the device's counters: the GPU stalls for 2 to 3 ms.
func (d *device) begin(c *config, interval time.Duration) (*counters, error) {
	s := &counters{device: d, config: c, interval: interval}
	samples := max(minSamples, int(headroom/interval))
	if err := s.size(samples); err != nil {
		return nil, err
	}
	if s.records > maxRecords {
		samples = max(minSamples, maxRecords/s.sample)
		if err := s.size(samples); err != nil {
			return nil, err
		}
	}
	if err := s.beginSession(samples); err != nil {
		return nil, err
	}
	s.begun = true
	if err := s.prepare(); err != nil {
		_ = s.end()
		return nil, err
	}
	return s, nil
}

// size asks how many bytes the records of samples take.
func (s *counters) size(samples int) error {
	const call = "NVPW_GPU_PeriodicSampler_CalculateRecordBufferSize"
	p := C.struct_nvpw_record_buffer_size{
		structSize: C.nvpw_record_buffer_size_size, deviceIndex: s.index,
		config: s.config.image.at, configSize: s.config.image.size, maxUndecodedSamples: C.size_t(samples),
	}
	if err := s.call(call, unsafe.Pointer(&p)); err != nil {
		return err
	}
	if p.recordBufferSize < C.size_t(samples) || p.recordBufferSize > 1<<32 {
		return &Error{Broken, fmt.Sprintf("%s: %d bytes for %d samples", call, p.recordBufferSize, samples)}
	}
	s.records, s.sample, s.ring = int(p.recordBufferSize), int(p.recordBufferSize)/samples, samples
	return nil
}

// beginSession takes less host memory where the driver does not have it.
func (s *counters) beginSession(samples int) error {
	trigger := array[C.uint32_t](1)
	defer release(trigger)
	trigger[0] = C.nvpw_trigger_gpu_time
	for {
		p := C.struct_nvpw_begin_session{
			structSize: C.nvpw_begin_session_size, deviceIndex: s.index, maxUndecodedRanges: 1,
			triggerSources: &trigger[0], numTriggerSources: 1, samplingInterval: C.uint64_t(s.interval),
			recordBufferSize: C.size_t(s.records), recordBufferMode: C.nvpw_buffer_keep_oldest,
		}
		err := s.call("NVPW_GPU_PeriodicSampler_BeginSession_V2", unsafe.Pointer(&p))
		if err == nil || !tooMuch(statusOf(err)) || samples/2 < minSamples {
			return err
		}
		samples /= 2
		if err := s.size(samples); err != nil {
			return err
		}
	}
}

// tooMuch are the statuses that less memory may cure.
func tooMuch(status int) bool {
	return status == statusFailed || status == statusInternal || status == statusOutOfMemory
}

func (s *counters) prepare() error {
	if err := s.setConfig(); err != nil {
		return err
	}
	if err := s.makeImage(); err != nil {
		return err
	}
	a := C.struct_nvpw_device_attributes{
		structSize: C.nvpw_device_attributes_size, evaluator: s.config.evaluator,
		image: s.image.at, imageSize: s.image.size,
	}
	if err := s.call("NVPW_MetricsEvaluator_SetDeviceAttributes", unsafe.Pointer(&a)); err != nil {
		return err
	}
	requests := array[C.struct_nvpw_metric](len(s.config.requests))
	copy(requests, s.config.requests)
	s.starts, s.ends = array[C.uint64_t](readAtOnce), array[C.uint64_t](readAtOnce)
	s.values = array[C.double](readAtOnce * len(requests))
	s.samples = array[C.struct_pm_samples](1)
	s.samples[0] = C.struct_pm_samples{
		get_time:        s.function("NVPW_PeriodicSampler_CounterData_GetSampleTime"),
		evaluate_values: s.function("NVPW_MetricsEvaluator_EvaluateToGpuValues"),
		evaluate: C.struct_nvpw_evaluate{
			structSize: C.nvpw_evaluate_size, evaluator: s.config.evaluator,
			metrics: &requests[0], numMetrics: C.size_t(len(requests)),
			metricSize: C.nvpw_metric_size, metricStride: C.sizeof_struct_nvpw_metric,
			image: s.image.at, imageSize: s.image.size,
		},
		total:  C.size_t(s.ring),
		starts: &s.starts[0], ends: &s.ends[0], values: &s.values[0],
	}
	return nil
}

func (s *counters) setConfig() error {
	p := C.struct_nvpw_set_config{
		structSize: C.nvpw_set_config_size, deviceIndex: s.index,
		config: s.config.image.at, configSize: s.config.image.size,
	}
	return s.call("NVPW_GPU_PeriodicSampler_SetConfig", unsafe.Pointer(&p))
}

func (s *counters) makeImage() error {
	s.options = array[C.struct_nvpw_image_options](1)
	s.options[0] = C.struct_nvpw_image_options{
		structSize: C.nvpw_image_options_size, prefix: s.config.prefix.at, prefixSize: s.config.prefix.size,
		maxSamples: C.uint32_t(s.ring), mode: C.nvpw_image_circular,
	}
	p := C.struct_nvpw_image_size{structSize: C.nvpw_image_size_size, deviceIndex: s.index, options: &s.options[0]}
	if err := s.call("NVPW_GPU_PeriodicSampler_CounterDataImage_CalculateSize", unsafe.Pointer(&p)); err != nil {
		return err
	}
	var err error
	if s.image, err = newBuffer(p.imageSize); err != nil {
		return err
	}
	return s.emptyImage()
}

func (s *counters) emptyImage() error {
	p := C.struct_nvpw_image_initialize{
		structSize: C.nvpw_image_initialize_size, deviceIndex: s.index,
		options: &s.options[0], image: s.image.at, imageSize: s.image.size,
	}
	s.complete = 0
	return s.call("NVPW_GPU_PeriodicSampler_CounterDataImage_Initialize", unsafe.Pointer(&p))
}

func (s *counters) onDevice(call string) error {
	p := C.struct_nvpw_device{structSize: C.nvpw_device_size, deviceIndex: s.index}
	return s.call(call, unsafe.Pointer(&p))
}

func (s *counters) start() error {
	err := s.onDevice("NVPW_GPU_PeriodicSampler_StartSampling")
	s.sampling = err == nil
	return err
}

func (s *counters) stop() error {
	if !s.sampling {
		return nil
	}
	s.sampling = false
	return s.onDevice("NVPW_GPU_PeriodicSampler_StopSampling")
}

// reset makes ready to start again after the record buffer was full or its
// records did not follow each other: the library wants the configuration set
// again. The session stays.
func (s *counters) reset() error {
	s.breaks++
	if err := s.stop(); err != nil {
		return err
	}
	return s.setConfig()
}

// end gives the counters back: the GPU stalls for 2 to 3 ms.
func (s *counters) end() error {
	if !s.begun {
		return nil
	}
	s.begun = false
	stopped := s.stop()
	if err := s.onDevice("NVPW_GPU_PeriodicSampler_EndSession"); err != nil {
		return err
	}
	return stopped
}

// drained is what decode found.
type drained struct {
	samples  int // complete ones
	upTo     int // where in the ring the next one will be
	unread   int // bytes before
	left     int // bytes after
	noRoom   bool
	overflow bool
	stop     int // why decoding stopped
}

// done: nothing is left that can be decoded now.
func (d drained) done() bool { return !d.noRoom && (d.left == 0 || d.left == d.unread) }

// broken: sampling has ended on its own, and no more can be decoded.
func (d drained) broken() bool { return d.disorder() || d.overflow && d.done() }

// disorder: the records do not follow each other.
func (d drained) disorder() bool {
	return d.stop == C.nvpw_stop_unexpected_record || d.stop == C.nvpw_stop_out_of_order || d.stop == C.nvpw_stop_backpressure
}

func (d drained) cause() string {
	switch d.stop {
	case C.nvpw_stop_unexpected_record:
		return "unexpected record"
	case C.nvpw_stop_out_of_order:
		return "records out of order"
	case C.nvpw_stop_backpressure:
		return "the GPU held records back"
	}
	return "record buffer full"
}

// decodeAtOnce bounds the samples that decode takes, so that they are evaluated
// while more are decoded.
const decodeAtOnce = 4096

// decode takes what the GPU has written into the ring, as far as there is room.
func (s *counters) decode() (drained, error) {
	status := C.struct_nvpw_buffer_status{
		structSize: C.nvpw_buffer_status_size, deviceIndex: s.index, queryUnread: 1, queryOverflow: 1,
	}
	if err := s.quietly("NVPW_GPU_PeriodicSampler_GetRecordBufferStatus_V2", unsafe.Pointer(&status)); err != nil {
		return drained{}, err
	}
	d := drained{unread: int(status.unreadBytes), overflow: status.overflow != 0, upTo: s.complete}
	d.left = d.unread
	s.unread = max(s.unread, d.unread)
	bytes := min(d.unread, s.room())
	if bytes == 0 {
		d.noRoom = d.unread > 0
		return d, nil
	}
	p := C.struct_nvpw_decode{
		structSize: C.nvpw_decode_size, deviceIndex: s.index,
		image: s.image.at, imageSize: s.image.size, bytesToRead: C.size_t(bytes),
	}
	begin := time.Now()
	if err := s.quietly("NVPW_GPU_PeriodicSampler_DecodeCounters_V3", unsafe.Pointer(&p)); err != nil {
		return d, err
	}
	s.decoding += time.Since(begin)
	s.merged += uint64(p.samplesMerged)
	d.stop, d.left = int(p.stopReason), d.unread-min(int(p.bytesConsumed), d.unread)
	ack := C.struct_nvpw_acknowledge{structSize: C.nvpw_acknowledge_size, deviceIndex: s.index, numBytes: p.bytesConsumed}
	if err := s.quietly("NVPW_GPU_PeriodicSampler_AcknowledgeRecordBuffer", unsafe.Pointer(&ack)); err != nil {
		return d, err
	}
	return d, s.count(&d)
}

// recordAlign: records have sizes that divide it, and reading ends between two.
const recordAlign = 4096

// room is how many bytes of records surely fit into the ring: samples may take
// half of what the library reckons with.
func (s *counters) room() int {
	free := s.ring - int(s.decoded-s.taken.Load())
	return max(0, min(free/2-1, decodeAtOnce)) * s.sample &^ (recordAlign - 1)
}

// count finds the samples that have become complete.
func (s *counters) count(d *drained) error {
	info := C.struct_nvpw_image_info{structSize: C.nvpw_image_info_size, image: s.image.at, imageSize: s.image.size}
	if err := s.quietly("NVPW_PeriodicSampler_CounterData_GetInfo", unsafe.Pointer(&info)); err != nil {
		return err
	}
	if int(info.totalRanges) != s.ring || int(info.completedRanges) > s.ring {
		return &Error{Broken, fmt.Sprintf("an image of %d samples says %d, %d complete", s.ring, info.totalRanges, info.completedRanges)}
	}
	if info.completedRanges == 0 {
		return nil // none yet
	}
	d.upTo = int(info.completedRanges) % s.ring
	d.samples = (d.upTo - s.complete + s.ring) % s.ring
	s.complete = d.upTo
	s.decoded += uint64(d.samples)
	return nil
}

// quietly is call without a trace, for what is called many times a second.
func (s *counters) quietly(name string, params unsafe.Pointer) error {
	if status := int(C.pm_call(s.function(name), params)); status != 0 {
		return &callError{name, status}
	}
	return nil
}

// read hands on the complete samples of the ring that were not read before.
// values holds one for each of config.metrics and is valid during the call.
func (s *counters) read(upTo int, each func(start, end uint64, values []float32)) error {
	for s.next != upTo {
		count := min((upTo-s.next+s.ring)%s.ring, readAtOnce)
		p := &s.samples[0]
		p.first, p.count = C.size_t(s.next), C.size_t(count)
		begin := time.Now()
		status := int(C.pm_samples(p))
		s.evaluating += time.Since(begin)
		s.hand(int(p.done), each)
		if status != 0 {
			return &callError{"NVPW_MetricsEvaluator_EvaluateToGpuValues", status}
		}
		s.next = (s.next + count) % s.ring
		s.taken.Add(uint64(count))
	}
	return nil
}

func (s *counters) hand(n int, each func(start, end uint64, values []float32)) {
	width := len(s.config.requests)
	out := make([]float32, len(s.config.metrics))
	for i := range n {
		v := s.values[i*width : (i+1)*width]
		for j, m := range s.config.metrics {
			out[j] = float32(v[1+j])
			if m.percent {
				out[j] = percent(float64(v[1+j]), float64(v[0]))
			}
		}
		each(uint64(s.starts[i]), uint64(s.ends[i]), out)
	}
}

func percent(part, whole float64) float32 {
	if whole <= 0 {
		return float32(math.NaN())
	}
	return float32(100 * part / whole)
}

// clock reads the GPU's timer a few times and keeps the reading that took the
// least, ns.
func (s *counters) clock() (before int64, gpu uint64, after int64, err error) {
	const call = "NVPW_GPU_PeriodicSampler_GetGpuTimestamp"
	for range 5 {
		var b, a C.int64_t
		var g C.uint64_t
		if status := int(C.pm_clock(s.function(call), s.index, &b, &g, &a)); status != 0 {
			return 0, 0, 0, &callError{call, status}
		}
		if after == 0 || int64(a-b) < after-before {
			before, gpu, after = int64(b), uint64(g), int64(a)
		}
	}
	return before, gpu, after, nil
}
