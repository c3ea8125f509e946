package main

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/session"
)

// fakeGPUs are two devices; processes come to compute on them as the test says.
type fakeGPUs struct {
	mu     sync.Mutex
	on     map[int]int // pid → device
	used   []int
	closed bool
}

func (f *fakeGPUs) put(pid, device int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.on[pid] = device
}

func (f *fakeGPUs) Use(pids []int) ([]record.GPU, string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := []record.GPU{{Index: 0}, {Index: 1}}
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
	mu  sync.Mutex
	got map[int]int // device → pid
}

func (f *fakeSampler) start(o samplerOptions) (gpuSampler, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
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
	for range 1000 {
		if is() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("not within five seconds: %s", what)
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
	qt.Check(t, qt.IsTrue(gpus.closed))
	qt.Check(t, qt.Equals(b.session.told(func(f record.Fact) bool { return f.Unavailable != nil }), 0))
}

// Where the driver names no process (another PID namespace), it may be any device:
// all are sampled, but no one's counters are taken.
func TestGPUsOfNobody(t *testing.T) {
	gpus, sampler := &fakeGPUs{on: map[int]int{}}, &fakeSampler{got: map[int]int{}}
	g, b := watchGPUs(t, gpus, sampler)
	g.t.workers.probed[10] = record.Worker{}
	g.look()
	soon(t, "a sample of each", func() bool {
		return b.session.told(func(f record.Fact) bool { return f.GPUSample != nil && f.GPUSample.Index == 1 }) > 0
	})
	g.stop()
	qt.Check(t, qt.HasLen(sampler.sampled(), 0))
	qt.Check(t, qt.Equals(b.session.told(func(f record.Fact) bool {
		return f.Unavailable != nil && f.Unavailable.Profiler == session.GPUSampling && f.Unavailable.Remedy != ""
	}), 1))
}
