package main

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/cupti/sampler"
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/session"
)

// fakeGPUs are two devices; processes come to compute on them as the test says.
type fakeGPUs struct {
	mu     sync.Mutex
	on     map[int]int // pid → device
	used   []int
	closed bool
	mute   chan struct{} // if set, Use waits for its close
	asked  atomic.Bool   // Use waits
	lesser bool          // no GPM, and MIG on one
}

func (f *fakeGPUs) put(pid, device int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.on[pid] = device
}

func (f *fakeGPUs) Use(pids []int) ([]record.GPU, string, error) {
	if f.mute != nil {
		f.asked.Store(true)
		<-f.mute
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	all := []record.GPU{{Index: 0, Name: "H", GPM: !f.lesser}, {Index: 1, Name: "H", GPM: !f.lesser, MIG: f.lesser}}
	for _, pid := range pids {
		if d, ok := f.on[pid]; ok {
			all[d].PIDs = append(all[d].PIDs, pid)
		}
	}
	list := slices.DeleteFunc(slices.Clone(all), func(g record.GPU) bool { return len(g.PIDs) == 0 })
	note := ""
	if len(list) == 0 {
		list, note = all, "no process is on a device"
	}
	f.used = nil
	for _, g := range list {
		f.used = append(f.used, g.Index)
	}
	return list, note, nil
}

func (f *fakeGPUs) Sample() []record.GPUSample {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []record.GPUSample
	for _, i := range f.used {
		out = append(out, record.GPUSample{Index: i})
	}
	return out
}

func (f *fakeGPUs) Losses() []record.Loss {
	return []record.Loss{{Engine: -1, Probe: "gpu_samples/0/sample", Reason: "slow", Count: 3, Lost: true}}
}
func (f *fakeGPUs) PeakDRAM(int) float64 { return 1 }
func (f *fakeGPUs) Close() error         { f.closed = true; return nil }

// fakeSampler remembers whose counters it was asked for.
type fakeSampler struct {
	mu     sync.Mutex
	got    map[int]int // device → pid
	refuse error
}

func (f *fakeSampler) start(_ context.Context, o samplerOptions) (gpuSampler, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse != nil {
		return nil, f.refuse
	}
	if _, twice := f.got[o.device.Index]; twice {
		return nil, errors.New("taken")
	}
	f.got[o.device.Index] = o.pid
	return f, nil
}

func (f *fakeSampler) Run(ctx context.Context, _ func(record.Fact) error, _ func([]byte) error) error {
	<-ctx.Done()
	return nil
}

func (f *fakeSampler) sampled() map[int]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[int]int{}
	for k, v := range f.got {
		out[k] = v
	}
	return out
}

func watchGPUs(t *testing.T, gpus *fakeGPUs, sampler *fakeSampler) (*gpuWatch, *testBench) {
	b := newBench(t)
	b.world.gpus = func() (gpuMonitor, error) { return gpus, nil }
	b.world.sampler = sampler.start
	tr := &trace{
		app: b.app, log: slog.New(slog.DiscardHandler), status: &status{},
		opts: &traceOptions{on: []string{session.ProfilerGPU}, gpuSampling: "100us", gpuInterval: seconds(10 * time.Millisecond)},
		rec:  &recorder{journal: fakeJournal{b.session}, pipe: fakePipeline{b.session}, clock: func() record.Clock { return record.Clock{} }},
	}
	tr.hunt, tr.workers = newHunt(tr), newWorkers(tr)
	tr.gpu = newGPUWatch(tr)
	tr.cupti = newCUPTIWatch(tr)
	tr.hooks = newHookWatch(tr)
	return tr.gpu, b
}

func (s *fakeSession) told(of func(record.Fact) bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, f := range s.facts {
		if of(f) {
			n++
		}
	}
	return n
}

func soon(t *testing.T, what string, is func() bool) {
	t.Helper()
	if !within(5*time.Second, is) {
		t.Fatalf("not within five seconds: %s", what)
	}
}

// The ranks of a server come one after the other, each on its own device.
func TestGPUsOfLaterWorkers(t *testing.T) {
	gpus, sampler := &fakeGPUs{on: map[int]int{10: 0}}, &fakeSampler{got: map[int]int{}}
	g, b := watchGPUs(t, gpus, sampler)
	onDevice := func(i int) func() bool {
		return func() bool {
			return b.session.told(func(f record.Fact) bool { return f.GPU != nil && f.GPU.Index == i && len(f.GPU.PIDs) > 0 }) > 0 &&
				b.session.told(func(f record.Fact) bool { return f.GPUSample != nil && f.GPUSample.Index == i }) > 0
		}
	}
	g.look() // no worker yet
	qt.Check(t, qt.IsNil(g.cancel))
	g.t.workers.probed[10] = record.Worker{}
	g.look()
	soon(t, "device 0", onDevice(0))
	qt.Check(t, qt.DeepEquals(sampler.sampled(), map[int]int{0: 10}))

	gpus.put(11, 1)
	g.t.workers.probed[11] = record.Worker{}
	g.look()
	g.look()
	soon(t, "device 1", onDevice(1))
	soon(t, "both devices' counters", func() bool { return len(sampler.sampled()) == 2 })
	qt.Check(t, qt.DeepEquals(sampler.sampled(), map[int]int{0: 10, 1: 11}))
	soon(t, "losses", func() bool { return len(g.lost()) == 1 })
	g.stop()
	g.rest()
	qt.Check(t, qt.IsTrue(gpus.closed))
	qt.Check(t, qt.Equals(b.session.told(func(f record.Fact) bool { return f.Unavailable != nil }), 0))
}

// Where the driver names no process (another PID namespace), it may be any device:
// all are sampled, but no one's counters are taken.
func TestGPUsOfNobody(t *testing.T) {
	gpus, sampler := &fakeGPUs{on: map[int]int{}}, &fakeSampler{got: map[int]int{}}
	refused := func(f record.Fact) bool {
		return f.Unavailable != nil && f.Unavailable.Profiler == session.GPUSampling && f.Unavailable.Remedy != ""
	}
	for _, pause := range []time.Duration{unmatchedPause, 20 * time.Millisecond} {
		g, b := watchGPUs(t, gpus, sampler)
		g.unmatched = pause
		g.t.workers.probed[10] = record.Worker{}
		g.look()
		soon(t, "a sample of each", func() bool {
			return b.session.told(func(f record.Fact) bool { return f.GPUSample != nil && f.GPUSample.Index == 1 }) > 0
		})
		if pause < unmatchedPause { // it is not the end that says it
			soon(t, "the refusal", func() bool { return b.session.told(refused) == 1 })
		}
		g.stop()
		g.rest()
		qt.Check(t, qt.HasLen(sampler.sampled(), 0))
		qt.Check(t, qt.Equals(b.session.told(refused), 1))
		qt.Check(t, qt.StringContains(b.err.String(), "pmtrace: not available: gpu_sampling: hardware counters: the driver names none"))
	}
}

// What the devices do not have is said once, not for each of them.
func TestGPUsWithoutGPM(t *testing.T) {
	gpus := &fakeGPUs{on: map[int]int{10: 0, 11: 1}, lesser: true}
	g, b := watchGPUs(t, gpus, &fakeSampler{got: map[int]int{}})
	for pid := range gpus.on {
		g.t.workers.probed[pid] = record.Worker{}
	}
	g.look()
	said := func(why string) func(record.Fact) bool {
		return func(f record.Fact) bool {
			u := f.Unavailable
			return u != nil && u.Profiler == session.ProfilerGPU && u.Reason == why && slices.Contains(u.Columns, "gpu_samples.sm_pct")
		}
	}
	for _, why := range []string{"H has no GPM: GPUs since Hopper have it, with driver 520 or newer", "H is in MIG mode: GPM counts an instance at a time, and is left out"} {
		soon(t, why, func() bool { return b.session.told(said(why)) == 1 })
	}
	g.stop()
	g.rest()
}

// The columns that we name are there.
func TestGPUColumns(t *testing.T) {
	columns := map[string]bool{}
	for table, row := range map[string]any{session.TableGPUSamples: record.GPUSampleRow{}, session.TableGPUCounters: record.GPUCounterRow{}} {
		for _, f := range reflect.VisibleFields(reflect.TypeOf(row)) {
			name, _, _ := strings.Cut(f.Tag.Get("parquet"), ",")
			columns[table+"."+name] = true
		}
	}
	named := gpmColumns()
	for _, u := range leftOut(1, []sampler.LeftOut{{Metric: "pcie_read_bytes", Why: "2 passes"}}) {
		qt.Check(t, qt.Equals(u.Reason, "GPU 1: 2 passes"))
		named = append(named, u.Columns...)
	}
	for _, c := range named {
		qt.Check(t, qt.IsTrue(columns[c]), qt.Commentf("%s", c))
	}
}

// A machine that keeps the counters closed is traced all the same.
func TestSamplingRefused(t *testing.T) {
	pid, end := startServer(t)
	b := newBench(t)
	gpus := &fakeGPUs{on: map[int]int{}}
	b.world.gpus = func() (gpuMonitor, error) { return gpus, nil }
	refusal := &fakeSampler{refuse: &sampler.Error{Reason: sampler.NoPermission, Detail: "INSUFFICIENT_PRIVILEGE"}}
	b.world.sampler = refusal.start
	b.world.findWorker = func(pid int, _ bool) (worker, error) {
		gpus.put(pid, 0)
		return "worker", nil
	}
	once(func() bool {
		return b.session.told(func(f record.Fact) bool { return f.GPUSample != nil }) > 1
	}, end)
	qt.Assert(t, qt.Equals(b.attachTo(t, pid, "--gpu-sampling", "20us", "--gpu-interval", "0.125"), 0), qt.Commentf("%s", b.err))
	qt.Check(t, qt.Equals(b.session.told(func(f record.Fact) bool {
		return f.Unavailable != nil && f.Unavailable.Profiler == session.GPUSampling && f.Unavailable.Remedy != ""
	}), 1))
	qt.Check(t, qt.StringContains(b.err.String(), "not available: gpu_sampling: GPU counters: no permission: INSUFFICIENT_PRIVILEGE; let users profile"))
	qt.Check(t, qt.IsTrue(b.session.told(func(f record.Fact) bool { return f.GPUSample != nil }) > 1))
	qt.Check(t, qt.Not(qt.Equals(b.end(t).Events, 0)))
	qt.Check(t, qt.IsTrue(b.session.finished && b.tracer.closed))
}

// closingTracer tells of its end.
type closingTracer struct {
	*fakeTracer
	over func()
}

func (c closingTracer) Close() error {
	c.over()
	return c.fakeTracer.Close()
}

// A driver that does not answer holds up neither the watches' end nor, for long, ours.
func TestMuteGPUs(t *testing.T) {
	for _, answers := range []bool{true, false} {
		gpus := &fakeGPUs{on: map[int]int{}, mute: make(chan struct{})}
		g, b := watchGPUs(t, gpus, &fakeSampler{got: map[int]int{}})
		answer := sync.OnceFunc(func() { close(gpus.mute) })
		b.tracer.attached = 1
		g.t.dir, g.t.tracer = b.session, closingTracer{b.tracer, answer}
		if !answers {
			g.t.tracer, g.patience = b.tracer, 50*time.Millisecond
		}
		g.t.workers.probed[10] = record.Worker{}
		g.look()
		soon(t, "a question", gpus.asked.Load)
		began := time.Now()
		r := g.t.finish(errDuration)
		qt.Check(t, qt.IsNil(r.err))
		qt.Check(t, qt.IsTrue(time.Since(began) < gpuPatience/2))
		qt.Check(t, qt.IsTrue(b.tracer.closed && b.session.finished))
		want := 1
		if answers {
			want = 0
		}
		qt.Check(t, qt.Equals(b.session.told(func(f record.Fact) bool {
			return f.Losses != nil && slices.ContainsFunc(f.Losses.Counts, func(l record.Loss) bool { return l.Probe == "gpu_samples" && l.Reason == "not_ended" })
		}), want))
		qt.Check(t, qt.Equals(strings.Contains(b.err.String(), "gpu_samples: the driver does not answer: not ended within 50ms"), !answers))

		answer()
		g.running.Wait()
		qt.Check(t, qt.IsNotNil(b.end(t))) // nothing came after it
	}
}
