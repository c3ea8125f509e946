//go:build gpu && cgo

package sampler

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/cupti/gpu"
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/decode/wire"
)

// These run on a machine with a GPU, python3 and torch, and need no network:
//
//	go test -c -tags gpu -o sampler.test ./cupti/sampler
//	./sampler.test -test.v -test.run 'Real'

//go:embed testdata/load.py
var loadScript string

// load is the Python program that works on the GPU.
type load struct {
	cmd *exec.Cmd
	in  io.Writer
	out *bufio.Reader
}

type replays struct {
	Replays [][3]int64 `json:"replays"` // launched, done: CLOCK_MONOTONIC; duration by events: ns
	Bytes   float64    `json:"bytes"`   // read by a replay, and written
}

func startLoad(t *testing.T) *load {
	t.Helper()
	script := filepath.Join(t.TempDir(), "load.py")
	qt.Assert(t, qt.IsNil(os.WriteFile(script, []byte(loadScript), 0o644)))
	l := &load{cmd: exec.Command("python3", script)}
	in, err := l.cmd.StdinPipe()
	qt.Assert(t, qt.IsNil(err))
	out, err := l.cmd.StdoutPipe()
	qt.Assert(t, qt.IsNil(err))
	l.cmd.Stderr = os.Stderr
	l.in, l.out = in, bufio.NewReader(out)
	qt.Assert(t, qt.IsNil(l.cmd.Start()))
	t.Cleanup(func() {
		in.Close()
		l.cmd.Wait()
	})
	line, err := l.out.ReadString('\n')
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.Equals(line, "ready\n"))
	return l
}

func (l *load) run(t *testing.T, n int) replays {
	t.Helper()
	fmt.Fprintln(l.in, n)
	line, err := l.out.ReadBytes('\n')
	qt.Assert(t, qt.IsNil(err))
	var r replays
	qt.Assert(t, qt.IsNil(json.Unmarshal(line, &r)))
	return r
}

func (l *load) pid() int { return l.cmd.Process.Pid }

func realOptions(t *testing.T, pid int, mode string) Options {
	t.Helper()
	m, err := gpu.Open(gpu.Options{})
	qt.Assert(t, qt.IsNil(err))
	defer m.Close()
	m.Use([]int{pid})
	o := options(t, "")
	o.PID, o.Mode, o.Device, o.PeakDRAM = pid, mode, m.Devices()[0], m.PeakDRAM(0)
	o.Trace = true
	o.Log = slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	return o
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

func TestRealMonitor(t *testing.T) {
	l := startLoad(t)
	m, err := gpu.Open(gpu.Options{})
	qt.Assert(t, qt.IsNil(err))
	defer m.Close()
	m.Use([]int{l.pid()})
	print := func(v any) {
		b, err := json.Marshal(v)
		qt.Assert(t, qt.IsNil(err))
		t.Logf("%s", b)
	}
	print(m.Devices())
	t.Logf("notes %q, peak DRAM %.3g bytes/s", m.Notes(), m.PeakDRAM(0))
	for i := range 12 {
		if i == 2 {
			go l.run(t, 400)
		}
		begin := time.Now()
		s := m.Sample()
		took := time.Since(begin)
		qt.Check(t, qt.HasLen(s, len(m.Devices())))
		print(s)
		t.Logf("took %v", took)
		time.Sleep(gpu.Interval)
	}
	print(m.Failures())
}

// sampled is what a session heard, and what the helper used.
type sampled struct {
	heard
	cpu   time.Duration
	rss   string
	truth replays
}

// sample runs the load under a session.
func sample(t *testing.T, o Options, l *load, n int) sampled {
	t.Helper()
	begin := time.Now()
	s, err := Start(t.Context(), o)
	qt.Assert(t, qt.IsNil(err))
	t.Logf("started in %v: %+v", time.Since(begin), s.Sampler)
	ctx, cancel := context.WithCancel(context.Background())
	var out sampled
	done := make(chan error)
	go func() { done <- s.Run(ctx, out.fact, out.counters) }()
	out.truth = l.run(t, n)
	out.cpu, out.rss = usage(s.helper.Process.Pid)
	begin = time.Now()
	cancel()
	qt.Assert(t, qt.IsNil(<-done))
	t.Logf("ended in %v", time.Since(begin))
	reportStats(t, s.Stats())
	return out
}

// reportStats says what each sample cost the helper, and how near it came to a
// full record buffer.
func reportStats(t *testing.T, st Stats) {
	t.Helper()
	n := time.Duration(max(st.Samples, 1))
	t.Logf("%d samples, lost %d, merged %d, stale %d, breaks %d, windows %d; a sample: %v decoding, %v evaluating",
		st.Samples, st.Lost, st.Merged, st.Stale, st.Breaks, st.Windows, st.Decoding/n, st.Evaluating/n)
	t.Logf("record buffer %d bytes, %d a sample at most; most unread %d (%.1f %%), longest gap between drains %v",
		st.RecordBytes, st.SampleBytes, st.MostUnread, 100*float64(st.MostUnread)/float64(max(st.RecordBytes, 1)), st.LongestGap)
}

// counted is what a session handed on, without the samples themselves.
type counted struct {
	samples, lost uint64
	cpu           time.Duration // without the start
	took          time.Duration
}

// count runs the load under a session, and says why sampling broke off where it did.
func count(t *testing.T, o Options, l *load, n int) counted {
	t.Helper()
	o.Trace = false
	s, err := Start(t.Context(), o)
	qt.Assert(t, qt.IsNil(err))
	t.Logf("metrics %v", s.Sampler.Metrics)
	ctx, cancel := context.WithCancel(context.Background())
	var out counted
	done := make(chan error)
	go func() {
		done <- s.Run(ctx, func(record.Fact) error { return nil }, func(b []byte) error {
			c, err := wire.ReadCounters(b)
			out.samples, out.lost = out.samples+uint64(c.Samples), c.Lost
			return err
		})
	}()
	before, _ := usage(s.helper.Process.Pid)
	begin := time.Now()
	l.run(t, n)
	after, rss := usage(s.helper.Process.Pid)
	took := time.Since(begin)
	cancel()
	qt.Assert(t, qt.IsNil(<-done))
	out.cpu, out.took = after-before, took
	t.Logf("%d samples in %v, lost %d; helper %.3f core, %s", out.samples, took, out.lost, out.cpu.Seconds()/took.Seconds(), rss)
	reportStats(t, s.Stats())
	return out
}

// TestRealSoak samples every 20 µs for a minute: nothing may be lost.
func TestRealSoak(t *testing.T) {
	l := startLoad(t)
	c := count(t, realOptions(t, l.pid(), Mode20us), l, 30_000)
	qt.Check(t, qt.Equals(c.lost, 0))
	qt.Check(t, qt.IsTrue(float64(c.samples) > 0.99*c.took.Seconds()*50_000))
}

// TestRealCosts says what the metrics cost: each for 3 s every 20 µs.
func TestRealCosts(t *testing.T) {
	l := startLoad(t)
	for _, metrics := range [][]string{
		{wire.MetricSMActivePct},
		fewMetrics,
		append(slices.Clone(fewMetrics), wire.MetricTensorPct),
		{metricGRCycles, wire.MetricDRAMReadBytes, wire.MetricDRAMWriteBytes},
		allMetrics,
	} {
		t.Run(strings.Join(metrics, ","), func(t *testing.T) {
			o := realOptions(t, l.pid(), Mode20us)
			o.metrics = metrics
			count(t, o, l, 1500)
		})
	}
	t.Run(Mode100us, func(t *testing.T) { count(t, realOptions(t, l.pid(), Mode100us), l, 1500) })
}

func usage(pid int) (cpu time.Duration, rss string) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(b), ") ")
	f := strings.Fields(rest)
	if len(f) > 12 {
		var user, system int64
		fmt.Sscan(f[11], &user)
		fmt.Sscan(f[12], &system)
		cpu = time.Duration(user+system) * 10 * time.Millisecond
	}
	b, _ = os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			rss = strings.TrimSpace(v)
		}
	}
	return cpu, rss
}

// metric is one metric of all samples.
func (s *sampled) metric(name string) []float64 {
	i := slices.Index(s.sampler[0].Metrics, name)
	if i < 0 {
		return nil
	}
	var out []float64
	for _, v := range s.values {
		out = append(out, float64(v[i]))
	}
	return out
}

// mono puts a time of the GPU onto CLOCK_MONOTONIC, between the two readings
// around it.
func (s *sampled) mono(gpuNS uint64) int64 {
	c := s.clocks
	i := sort.Search(len(c), func(i int) bool { return uint64(c[i].GPUNS) > gpuNS })
	i = min(max(i, 1), len(c)-1)
	a, b := c[i-1], c[i]
	mid := func(r record.GPUClock) float64 { return float64(r.BeforeNS) + float64(r.AfterNS-r.BeforeNS)/2 }
	rate := (mid(b) - mid(a)) / float64(b.GPUNS-a.GPUNS)
	return int64(mid(a) + rate*(float64(gpuNS)-float64(a.GPUNS)))
}

type busy struct{ start, end int64 }

// busy are the runs of samples with SM activity, on CLOCK_MONOTONIC.
func (s *sampled) busy() []busy {
	var out []busy
	on := false
	for i, pct := range s.metric(wire.MetricSMActivePct) {
		now := pct > 1
		start, end := s.mono(s.ends[i]-uint64(s.lengths[i])), s.mono(s.ends[i])
		switch {
		case now && on:
			out[len(out)-1].end = end
		case now:
			out = append(out, busy{start, end})
		}
		on = now
	}
	return out
}

func (s *sampled) report(t *testing.T) {
	n := len(s.ends)
	span := float64(s.ends[n-1]-s.ends[0]) / 1e9
	t.Logf("%d samples in %d batches over %.3f s, lost %d; helper %v CPU, %s", n, s.batches, span, s.lost, s.cpu, s.rss)
	var widths []float64
	for _, c := range s.clocks {
		widths = append(widths, float64(c.AfterNS-c.BeforeNS)/1e3)
	}
	first, last := s.clocks[0], s.clocks[len(s.clocks)-1]
	drift := (float64(last.GPUNS-first.GPUNS) - float64(last.BeforeNS-first.BeforeNS)) / (float64(last.BeforeNS-first.BeforeNS) / 1e9) / 1e3
	t.Logf("%d clock readings, width %s µs, drift %.2f µs/s", len(s.clocks), spread(widths), drift)
	for _, name := range s.sampler[0].Metrics {
		v := s.metric(name)
		nan := 0
		v = slices.DeleteFunc(v, func(x float64) bool {
			if math.IsNaN(x) {
				nan++
			}
			return math.IsNaN(x)
		})
		sum := 0.0
		for _, x := range v {
			sum += x
		}
		t.Logf("%-18s sum %.6g, %s, NaN %d", name, sum, spread(v), nan)
	}
}

func spread(v []float64) string {
	if len(v) == 0 {
		return "none"
	}
	v = slices.Clone(v)
	slices.Sort(v)
	at := func(q float64) float64 { return v[int(q*float64(len(v)-1))] }
	return fmt.Sprintf("min %.4g p1 %.4g median %.4g p99 %.4g max %.4g", v[0], at(0.01), at(0.5), at(0.99), v[len(v)-1])
}

func checkContiguous(t *testing.T, s *sampled) {
	t.Helper()
	gaps := 0
	for i := 1; i < len(s.ends); i++ {
		if s.ends[i]-uint64(s.lengths[i]) != s.ends[i-1] {
			if gaps++; gaps < 5 {
				t.Logf("sample %d: ends %d, length %d; the one before ended %d", i, s.ends[i], s.lengths[i], s.ends[i-1])
			}
		}
	}
	qt.Check(t, qt.Equals(gaps, 0))
	qt.Check(t, qt.Equals(s.lost, 0))
}

// checkReplays: each replay is one busy run, and the bytes of all are right.
func checkReplays(t *testing.T, s *sampled, runs []busy) {
	t.Helper()
	truth := s.truth.Replays
	from, to := truth[0][0]-50_000, truth[len(truth)-1][1]+50_000
	runs = slices.DeleteFunc(runs, func(b busy) bool { return b.end < from || b.start > to })
	t.Logf("%d replays, %d busy runs", len(truth), len(runs))
	qt.Check(t, qt.Equals(len(runs), len(truth)))
	var start, end, length, events []float64
	for i := range min(len(runs), len(truth)) {
		start = append(start, float64(runs[i].start-truth[i][0])/1e3)
		end = append(end, float64(truth[i][1]-runs[i].end)/1e3)
		length = append(length, float64(runs[i].end-runs[i].start)/1e3)
		events = append(events, float64(truth[i][2])/1e3)
	}
	t.Logf("launch to start µs: %s", spread(start))
	t.Logf("end to synchronized µs: %s", spread(end))
	t.Logf("busy µs: %s; by CUDA events %s", spread(length), spread(events))
	for _, name := range []string{wire.MetricDRAMReadBytes, wire.MetricDRAMWriteBytes} {
		sum := 0.0
		for i, v := range s.metric(name) {
			if at := s.mono(s.ends[i]); at >= from && at <= to {
				sum += v
			}
		}
		want := s.truth.Bytes * float64(len(truth))
		t.Logf("%s: %.6g of %.6g bytes: %.4f", name, sum, want, sum/want)
		qt.Check(t, qt.IsTrue(math.Abs(sum/want-1) < 0.02))
	}
}

func TestRealSampler(t *testing.T) {
	l := startLoad(t)
	lib, err := Find(l.pid())
	qt.Assert(t, qt.IsNil(err))
	t.Logf("library %s, trusted %v", lib.Path, lib.Trusted)
	lib.File.Close()
	for _, mode := range []string{Mode20us, Mode100us} {
		t.Run(mode, func(t *testing.T) {
			s := sample(t, realOptions(t, l.pid(), mode), l, 1400)
			qt.Assert(t, qt.IsTrue(len(s.ends) > 0 && len(s.clocks) > 1))
			s.report(t)
			checkContiguous(t, &s)
			checkReplays(t, &s, s.busy())
		})
	}
	t.Run(ModeWindows, func(t *testing.T) {
		s := sample(t, realOptions(t, l.pid(), ModeWindows), l, 1400)
		s.report(t)
		qt.Check(t, qt.Equals(s.lost, 0))
		on := 0
		for _, n := range s.lengths {
			on += int(n)
		}
		t.Logf("sampled %v", time.Duration(on))
	})
	t.Run("taken", func(t *testing.T) {
		first, err := Start(t.Context(), realOptions(t, l.pid(), Mode100us))
		qt.Assert(t, qt.IsNil(err))
		_, err = Start(t.Context(), realOptions(t, l.pid(), Mode100us))
		var e *Error
		qt.Assert(t, qt.IsTrue(errors.As(err, &e)), qt.Commentf("%v", err))
		t.Logf("%v; %s", e, e.Remedy())
		qt.Check(t, qt.Equals(e.Reason, Taken))
		qt.Check(t, qt.IsNil(first.helper.Process.Signal(syscall.SIGKILL)))
		var h heard
		t.Logf("killed: %v", first.Run(context.Background(), h.fact, h.counters))
	})
	t.Run("after a kill", func(t *testing.T) {
		s := sample(t, realOptions(t, l.pid(), Mode100us), l, 100)
		s.report(t)
		checkContiguous(t, &s)
	})
	t.Run("as nobody", func(t *testing.T) {
		o := realOptions(t, l.pid(), Mode100us)
		lib, err := Find(l.pid())
		qt.Assert(t, qt.IsNil(err))
		lib.UID, lib.GID = nobody, nobody
		p, err := planOf(o.Mode)
		qt.Assert(t, qt.IsNil(err))
		s, err := o.spawn(lib, p)
		qt.Assert(t, qt.IsNil(err))
		if err := s.opened(t.Context(), startWithin); err != nil {
			t.Skipf("the driver does not allow it: %v", err)
		}
		h := runUntil(t, s, func(h *heard) bool { return h.batches > 5 })
		t.Logf("%d samples, lost %d", len(h.ends), h.lost)
	})
}
