package join

import (
	"math"
	"slices"
	"sort"
	"strings"

	"github.com/pmtrace/pmtrace/decode/model"
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/decode/wire"
)

// device is a GPU: the samples of its counters, and its clock.
type device struct {
	j       *Joiner
	index   int32
	pids    []int
	model   *model.GPU // nil: not known
	sampler record.Sampler
	sampled bool // a Sampler fact was seen
	metrics [len(metricNames)]int
	clock   gpuClock
	lost    uint64
	last    int64 // end of the newest sample; unset: none
	samples []sample

	sharedFrom, sharedTo int64 // other processes ran on it; unset: never
}

// metricNames are the metrics that have a column, in the columns' order.
var metricNames = [...]string{
	wire.MetricSMActivePct, wire.MetricTensorPct, wire.MetricDRAMReadBytes,
	wire.MetricDRAMWriteBytes, wire.MetricPCIeReadBytes, wire.MetricPCIeWriteBytes,
}

// sample is what steps need of a sample. NaN: not known.
type sample struct {
	begin, end                    int64
	active, read, written, tensor float32
}

func (s *sample) busy() bool { return s.active > busyPct }

func (j *Joiner) device(i int) *device {
	if i < 0 || i >= len(j.devices) {
		return nil
	}
	if j.devices[i] == nil {
		j.devices[i] = &device{j: j, index: int32(i), last: unset, sharedFrom: unset, sharedTo: unset}
	}
	return j.devices[i]
}

// session takes a Sampler fact: samples from now on have its metrics.
func (d *device) session(f *record.Sampler) {
	d.sampler, d.sampled, d.lost = *f, true, 0
	for i, name := range metricNames {
		d.metrics[i] = slices.Index(f.Metrics, name)
	}
}

// reading takes a reading of the GPU's timer.
func (d *device) reading(f *record.GPUClock) {
	if f.AfterNS < f.BeforeNS || f.AfterNS-f.BeforeNS > 1e9 {
		d.j.losses.add(lossKey{-1, "gpu_clock", "unusable"}, d.j.now, d.j.now, 1)
		return
	}
	d.clock.read(f.GPUNS, f.BeforeNS-d.j.base, f.AfterNS-d.j.base)
}

// Counters takes samples of a GPU's hardware counters.
func (j *Joiner) Counters(c *wire.Counters) error {
	d := j.device(int(c.GPU))
	lost := func(reason string, n int64) { j.losses.add(lossKey{-1, "gpu_counters", reason}, j.now, j.now, n) }
	if c.Lost > d.lost {
		lost("lost", positive(c.Lost-d.lost))
		d.lost = c.Lost
	}
	switch {
	case !d.sampled || c.Metrics != len(d.sampler.Metrics):
		lost("unknown_metrics", int64(c.Samples))
		return j.err
	case !d.clock.known():
		lost("no_clock", int64(c.Samples))
		return j.err
	}
	for i := range c.Samples {
		d.sample(c, i)
	}
	j.settle()
	return j.err
}

func (d *device) sample(c *wire.Counters, i int) {
	j := d.j
	end := d.clock.time(int64(c.End(i)))
	if d.last != unset && end <= d.last {
		if d.last-end > 1_000_000 { // more than a new reading of the clock explains
			j.losses.add(lossKey{-1, "gpu_counters", "time_went_back"}, d.last, d.last, 1)
			return
		}
		end = d.last + 1
	}
	length := int64(min(c.Length(i), math.MaxInt32))
	begin := end - length
	if d.last != unset && begin-d.last < length/2 && d.last-begin < length/2 {
		begin = d.last // samples follow each other; the rest is the clock's rounding
	}
	d.last = end
	value := func(m int) float32 {
		if d.metrics[m] < 0 {
			return float32(math.NaN())
		}
		return c.Value(d.metrics[m], i)
	}
	j.rows.counter = record.GPUCounterRow{
		GPU: d.index, TimeNS: end, DurNS: int32(length),
		SMActivePct: j.ptr.float32(value(0)), TensorPct: j.ptr.float32(value(1)),
		DRAMReadBytes: j.ptr.float32(value(2)), DRAMWriteBytes: j.ptr.float32(value(3)),
		PCIeReadBytes: j.ptr.float32(value(4)), PCIeWriteBytes: j.ptr.float32(value(5)),
	}
	j.stats.CounterSamples++
	j.check(j.sink.GPUCounter(&j.rows.counter))
	if len(d.samples) == maxSamples {
		d.samples = append(d.samples[:0], d.samples[maxSamples/4:]...)
	}
	s := sample{begin, end, value(0), value(2), value(3), value(1)}
	d.samples = append(d.samples, s)
	j.ofWindows(d, s)
}

// device is the GPU that the engine's steps run on; nil: none with counters, or
// not known.
func (e *engine) device() *device {
	var found *device
	sampled := 0
	for _, d := range e.j.devices {
		if d == nil || !d.sampled {
			continue
		}
		if slices.Contains(d.pids, e.primary.fact.PID) {
			return d
		}
		sampled++
		found = d
	}
	if sampled != 1 || len(found.pids) > 0 {
		return nil
	}
	return found
}

// counted reports whether the counters' samples have passed the end of a step.
func (e *engine) counted(r *run) bool {
	d := e.device()
	if d == nil || !r.end.known || r.tokens == 0 {
		return true
	}
	return d.last != unset && d.last > r.end.hi+3*(d.sampler.IntervalNS+d.clock.err())+d.sampler.IntervalNS
}

// span is the samples that overlap a time; nil where some of it has none.
func (d *device) span(from, to int64) []sample {
	i := sort.Search(len(d.samples), func(i int) bool { return d.samples[i].end > from })
	k := i
	for at := from; ; k++ {
		if k == len(d.samples) || d.samples[k].begin > at+d.sampler.IntervalNS/2 {
			return nil
		}
		if at = d.samples[k].end; at >= to {
			return d.samples[i : k+1]
		}
	}
}

// refine puts the step's GPU time where the counters have it: the start at the
// first rise of SM activity within its bounds, the end where the GPU fell idle
// behind the output event. A GPU that goes on with other work shows neither.
func (e *engine) refine(r *run, s *replays, before *gpuEnd) {
	d := e.device()
	if d == nil || d.last == unset || !r.end.known || r.gpuStart == unset {
		return
	}
	slack := d.sampler.IntervalNS + d.clock.err()
	around := d.span(min(r.first, r.gpuStart)-3*slack, r.end.hi+3*slack)
	if around == nil {
		return
	}
	r.refineStart(around, before, slack)
	behind := int64(behindOthersNS)
	if s.full > 0 {
		behind = behindDecodeNS
	}
	r.refineEnd(around, slack, behind)
	r.sampled = r.sampled && r.startSampled
	if s.full == 1 && s.model == 1 && s.maybeModel == 0 && r.startSampled {
		r.findModelEnd(around, slack)
	}
}

// refineStart finds the start of the step: an idle GPU begins soon after the first
// launch. What the step before launched last must have begun before that, or its
// rise may be taken for this step's.
func (r *run) refineStart(samples []sample, before *gpuEnd, slack int64) {
	if before.recorded != unset && r.first < before.recorded+begunNS {
		return
	}
	rise := rising(samples, r.first-slack, r.first+begunNS+slack)
	if rise != unset && rise < r.end.hi && (!before.known || rise >= before.lo-slack) {
		// The rise may be that of a small kernel that prepares the inputs.
		r.gpuStart, r.startSampled = max(rise, r.first), true
		r.startErr = max(r.first+begunNS-r.gpuStart, slack)
	}
}

// refineEnd finds the end of the step: all its work was launched when its output
// event was recorded, so it is done as soon as the GPU is idle from then on. Where the
// next step's work was launched before that, it was done no earlier than that: until
// then nothing else kept the GPU busy. behind: how long it may work for the step behind
// that event.
func (r *run) refineEnd(samples []sample, slack, behind int64) {
	if r.recorded == unset {
		return
	}
	sure := r.recorded + begunNS // what was launched has begun
	idle := int64(unset)
	for i := range samples {
		s := &samples[i]
		switch {
		case s.end <= r.recorded:
			continue
		case s.busy():
			idle = unset
			continue
		case idle == unset:
			idle = s.begin
		}
		if s.end < sure {
			continue
		}
		end, err := idle, slack+copyTailNS
		if idle <= r.recorded { // only the copy was left
			end, err = r.recorded+copyTailNS, begunNS
		}
		earliest := end - err - behind
		if r.next != unset && max(idle+slack, sure) >= r.next {
			if idle < sure { // it may have been the step's, or the next one's that was to come
				return
			}
			earliest = min(earliest, r.next-slack)
		}
		if end <= r.end.hi && end >= r.end.lo-slack && end > r.gpuStart {
			r.end.at, r.end.lo, r.end.hi, r.sampled = end, max(earliest, min(r.end.lo, end)), end+err, true
		}
		return
	}
}

// findModelEnd finds the end of the step's one graph: where the GPU fell idle
// before the host came to what runs behind it. Else what follows begins without a
// gap, and the counters do not tell one from the other.
func (r *run) findModelEnd(samples []sample, slack int64) {
	for i := 1; i < len(samples); i++ {
		fall := samples[i-1].end
		// Until the graph has begun for sure, what ends may be the inputs' kernels.
		if fall > max(r.gpuStart, r.first+begunNS) && samples[i-1].busy() && !samples[i].busy() {
			if r.after != unset && fall+slack < r.after && fall <= r.end.hi {
				r.modelEnd, r.modelErr = fall, slack
			}
			return
		}
	}
}

// rising is the first time within the bounds at which the GPU came to be busy.
func rising(samples []sample, from, to int64) int64 {
	for i := 1; i < len(samples); i++ {
		if t := samples[i].begin; t >= from && t <= to && samples[i].busy() && !samples[i-1].busy() {
			return t
		}
	}
	return unset
}

// fillCounters is what the counters say of the step's GPU time.
func (e *engine) fillCounters(r *run, row *record.StepRow) {
	d := e.device()
	if d == nil || d.last == unset || !r.end.known || r.gpuStart == unset || r.end.at <= r.gpuStart {
		return
	}
	if !r.sampled && !r.end.waited {
		return // its end is known too badly
	}
	in := d.span(r.gpuStart, r.end.at)
	if in == nil {
		return
	}
	ptr := e.j.ptr
	row.GPUBusyNS, row.DRAMReadBytes, row.DRAMWriteBytes = totals(in, r.gpuStart, r.end.at, ptr)
	e.j.stats.SampledSteps++
	if r.modelEnd == unset {
		return
	}
	_, r.read, r.written = totals(d.span(r.gpuStart, r.modelEnd), r.gpuStart, r.modelEnd, ptr)
	row.ForwardNS, row.TimingSource = ptr.int64(r.modelEnd-r.gpuStart), &e.j.gpuSampled
	row.ErrorBoundNS = r.bound(r.startErr + r.modelErr)
}

// totals are the busy time and the bytes of samples between two times; null where
// a sample does not have them.
func totals(in []sample, from, to int64, ptr *nullable) (busy, read, written *int64) {
	var ns int64
	var active, r, w float64
	for i := range in {
		s := &in[i]
		part := max(min(s.end, to)-max(s.begin, from), 0)
		if s.busy() {
			ns += part
		}
		share := float64(part) / float64(max(s.end-s.begin, 1))
		active += float64(s.active)
		r += float64(s.read) * share
		w += float64(s.written) * share
	}
	if !math.IsNaN(active) {
		busy = ptr.int64(ns)
	}
	return busy, ptr.rounded(r), ptr.rounded(w)
}

// gpuSample makes a row of what NVML and GPM said.
func (j *Joiner) gpuSample(f *record.GPUSample) {
	row := &j.rows.gpu
	*row = record.GPUSampleRow{
		GPU: int32(f.Index), TimeNS: f.MonoNS - j.base,
		SMPct: f.SMPct, OccupancyPct: f.OccupancyPct, TensorPct: f.TensorPct, DRAMPct: f.DRAMPct,
		PCIeRx: f.PCIeRxBytes, PCIeTx: f.PCIeTxBytes, NVLinkRx: f.NVLinkRxBytes, NVLinkTx: f.NVLinkTxBytes,
		UtilPct: f.UtilPct, MemUtilPct: f.MemUtilPct, PowerW: f.PowerW, TemperatureC: f.TemperatureC,
		SMClockMHz: f.SMClockMHz, MemClockMHz: f.MemClockMHz, MemoryUsed: j.ptr.bytes(f.MemoryUsed),
		ProcessMemory: j.ptr.bytes(f.ProcessMemory), ProcessSMPct: f.ProcessSMPct, OthersSMPct: f.OthersSMPct,
	}
	if f.IntervalNS > 0 {
		row.IntervalNS = j.ptr.int64(f.IntervalNS)
	}
	if f.ThrottleKnown {
		reasons := strings.Join(f.Throttle, "|")
		row.Throttle = &reasons
	}
	j.check(j.sink.GPUSample(row))
	if d := j.device(f.Index); d != nil {
		d.share(row.TimeNS, f.OthersSMPct)
	}
}

// utilizationNS is what the driver's utilisation of a process may be of: up to that
// long before it was read.
const utilizationNS = 2_000_000_000

// share takes note of whether other processes ran on the device. Of a sample without
// the number nothing is concluded: the driver makes it slower than it is asked.
func (d *device) share(at int64, others *float64) {
	switch {
	case others == nil:
	case *others > 0:
		if d.sharedFrom == unset || d.sharedTo < at-utilizationNS {
			d.sharedFrom = at - utilizationNS
		}
		d.sharedTo = at + utilizationNS
	case d.sharedTo > at:
		d.sharedTo = at
	}
}

// shared reports whether other processes may have run on the worker's GPU at a time:
// they share it by slices of time, and no wait on the host tells when a slice was whose.
func (w *worker) shared(at int64) bool {
	for _, d := range w.j.devices {
		if d != nil && d.sharedFrom != unset && at >= d.sharedFrom && at <= d.sharedTo && slices.Contains(d.pids, w.fact.PID) {
			return true
		}
	}
	return false
}
