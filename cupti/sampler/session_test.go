//go:build cgo

package sampler

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/decode/wire"
)

// helperVariable makes of the test's binary a helper, as the hidden subcommand
// makes of the program.
const helperVariable = "PMTRACE_SAMPLER_HELPER"

func TestMain(m *testing.M) {
	if os.Getenv(helperVariable) == "" {
		os.Exit(m.Run())
	}
	if err := Main(context.Background(), os.Stdin, os.Stdout); err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

// compiled holds the fake libraries by their flags, made once.
var compiled sync.Map

// fakeLibrary is a copy of the compiled testdata/nvperf.c.
func fakeLibrary(t *testing.T, flags ...string) string {
	t.Helper()
	content, ok := compiled.Load(strings.Join(flags, " "))
	p := filepath.Join(t.TempDir(), libraryName)
	if !ok {
		cc := exec.Command("gcc", append(flags, "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror", "-shared", "-fPIC", "-o", p, "testdata/nvperf.c", "-lm")...)
		out, err := cc.CombinedOutput()
		qt.Assert(t, qt.IsNil(err), qt.Commentf("%s", out))
		content, err = os.ReadFile(p)
		qt.Assert(t, qt.IsNil(err))
		compiled.Store(strings.Join(flags, " "), content)
	}
	qt.Assert(t, qt.IsNil(os.WriteFile(p, content.([]byte), 0o755)))
	return p
}

func options(t *testing.T, library string) Options {
	t.Helper()
	t.Setenv(helperVariable, "1")
	exe, err := os.Executable()
	qt.Assert(t, qt.IsNil(err))
	return Options{
		Command: []string{exe}, Library: library, Mode: Mode100us, PeakDRAM: 4.9e12,
		Device: record.GPU{Index: 3, UUID: "GPU-1111"},
	}
}

// driverGPU is a folder as the driver's in /proc.
func driverGPU(t *testing.T, place, uuid string) string {
	t.Helper()
	dir := t.TempDir()
	qt.Assert(t, qt.IsNil(os.Mkdir(filepath.Join(dir, place), 0o755)))
	text := "Model: \t\t NVIDIA H200\nIRQ:   \t\t 1\nGPU UUID: \t " + uuid + "\nVideo BIOS: \t 96.00\n"
	qt.Assert(t, qt.IsNil(os.WriteFile(filepath.Join(dir, place, "information"), []byte(text), 0o644)))
	return dir
}

// heard is what a session handed on.
type heard struct {
	sampler []record.Sampler
	clocks  []record.GPUClock
	batches int
	lost    uint64
	ends    []uint64
	lengths []uint32
	values  [][]float32 // of a sample
}

func (h *heard) fact(f record.Fact) error {
	if f.Sampler != nil {
		h.sampler = append(h.sampler, *f.Sampler)
	}
	if f.GPUClock != nil {
		h.clocks = append(h.clocks, *f.GPUClock)
	}
	return nil
}

func (h *heard) counters(b []byte) error {
	c, err := wire.ReadCounters(b)
	if err != nil {
		return err
	}
	h.batches++
	h.lost = c.Lost
	for i := range c.Samples {
		h.ends, h.lengths = append(h.ends, c.End(i)), append(h.lengths, c.Length(i))
		var v []float32
		for m := range c.Metrics {
			v = append(v, c.Value(m, i))
		}
		h.values = append(h.values, v)
	}
	return nil
}

// runUntil runs a session until enough has been heard.
func runUntil(t *testing.T, s *Session, enough func(*heard) bool) *heard {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var h heard
	err := s.Run(ctx, h.fact, func(b []byte) error {
		err := h.counters(b)
		if enough(&h) {
			cancel()
		}
		return err
	})
	qt.Assert(t, qt.IsNil(err))
	return &h
}

func TestSession(t *testing.T) {
	for _, flags := range [][]string{nil, {"-DCUDA12"}} {
		t.Run(strings.Join(flags, ""), func(t *testing.T) {
			o := options(t, fakeLibrary(t, flags...))
			if len(flags) > 0 {
				// The library does not know UUIDs; the driver knows where the device is.
				o.driver = driverGPU(t, "0000:19:00.0", "GPU-1111")
			}
			ended := filepath.Join(t.TempDir(), "ended")
			t.Setenv("FAKE_NVPERF_ENDED", ended)
			s, err := Start(t.Context(), o)
			qt.Assert(t, qt.IsNil(err))
			h := runUntil(t, s, func(h *heard) bool { return len(h.ends) > 5000 }) // more than the ring holds

			qt.Assert(t, qt.HasLen(h.sampler, 1))
			got := h.sampler[0]
			qt.Check(t, qt.IsTrue(got.MonoNS > 0))
			got.MonoNS = 0
			qt.Check(t, qt.DeepEquals(got, record.Sampler{
				Index: 3, UUID: "GPU-1111", Mode: Mode100us, IntervalNS: 100_000, PeakDRAM: 4.9e12,
				Metrics: []string{
					wire.MetricSMActivePct, wire.MetricDRAMReadBytes, wire.MetricDRAMWriteBytes,
					wire.MetricTensorPct, wire.MetricPCIeReadBytes, wire.MetricPCIeWriteBytes,
				},
			}))
			qt.Check(t, qt.Not(qt.HasLen(h.clocks, 0)))
			for _, c := range h.clocks {
				qt.Check(t, qt.IsTrue(c.AfterNS >= c.BeforeNS && c.BeforeNS > 0 && c.GPUNS >= 1e12), qt.Commentf("%+v", c))
			}
			checkSamples(t, h, 1) // the first is not one
			qt.Check(t, qt.Equals(h.lost, 0))
			st := s.Stats()
			qt.Check(t, qt.Equals(st.Samples, uint64(len(h.ends))))
			qt.Check(t, qt.Equals(st.Lost+st.Stale+st.Breaks, 0))
			_, err = os.Stat(ended)
			qt.Check(t, qt.IsNil(err)) // the counters were given back
		})
	}
}

// checkSamples: each sample follows the one before, in time and in what the fake
// GPU counted.
func checkSamples(t *testing.T, h *heard, seq float32) {
	t.Helper()
	for i, v := range h.values {
		if i > 0 {
			qt.Assert(t, qt.Equals(h.ends[i]-h.ends[i-1], uint64(h.lengths[i])))
		}
		n := seq + float32(i)
		want := []float32{float32(int(n) % 100), n, 2 * n, 25, 3, 4}
		qt.Assert(t, qt.DeepEquals(v, want), qt.Commentf("sample %d", i))
	}
}

// Sampling that broke off goes on, and what is between is counted.
func TestOverflow(t *testing.T) {
	t.Setenv("FAKE_NVPERF", "overflow")
	o := options(t, fakeLibrary(t))
	var log bytes.Buffer
	o.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s, err := Start(t.Context(), o)
	qt.Assert(t, qt.IsNil(err))
	h := runUntil(t, s, func(h *heard) bool { return len(h.ends) > 3000 })
	qt.Check(t, qt.Equals(s.Stats().Breaks, 1))
	qt.Check(t, qt.StringContains(log.String(), "broke off: record buffer full; found 50000 unread of 1000000 bytes, 0 left"))
	// The fake's time goes on by 1 ms at each start, and the first sample is left out.
	qt.Check(t, qt.Equals(h.lost, 11))
	for i := 1; i < len(h.ends); i++ {
		qt.Assert(t, qt.IsTrue(h.ends[i] > h.ends[i-1]))
	}
}

// What breaks off at the end of a window is lost up to the end, not up to the next window.
func TestOverflowAtTheEnd(t *testing.T) {
	t.Setenv("FAKE_NVPERF", "lateoverflow")
	o := options(t, fakeLibrary(t))
	o.Mode = ModeWindows
	s, err := Start(t.Context(), o)
	qt.Assert(t, qt.IsNil(err))
	first := s.Sampler.MonoNS
	h := runUntil(t, s, func(h *heard) bool { return monotonic()-first > int64(1500*time.Millisecond) && h.lost > 0 })
	qt.Check(t, qt.Equals(h.lost, 50)) // 1 ms
	qt.Check(t, qt.Equals(s.Stats().Breaks, 1))
	qt.Check(t, qt.IsTrue(s.Stats().Windows >= 2))
}

// More than is decoded at once, and than the ring takes at once, is taken in parts.
func TestBehind(t *testing.T) {
	t.Setenv("FAKE_NVPERF", "burst")
	s, err := Start(t.Context(), options(t, fakeLibrary(t)))
	qt.Assert(t, qt.IsNil(err))
	h := runUntil(t, s, func(h *heard) bool { return len(h.ends) > 25_000 })
	checkSamples(t, h, 1)
	st := s.Stats()
	qt.Check(t, qt.Equals(st.Lost+st.Stale+st.Breaks, 0))
	qt.Check(t, qt.IsTrue(st.MostUnread >= 1_000_000), qt.Commentf("%+v", st))
}

// Where the driver has no memory for a large record buffer, a small one will do.
func TestLittleMemory(t *testing.T) {
	t.Setenv("FAKE_NVPERF", "nomemory")
	s, err := Start(t.Context(), options(t, fakeLibrary(t)))
	qt.Assert(t, qt.IsNil(err))
	h := runUntil(t, s, func(h *heard) bool { return len(h.ends) > 3000 })
	checkSamples(t, h, 1)
	qt.Check(t, qt.Equals(s.Stats().RecordBytes, 250_000)) // 10,000 samples, halved twice
}

func TestWindows(t *testing.T) {
	o := options(t, fakeLibrary(t))
	o.Mode = ModeWindows
	s, err := Start(t.Context(), o)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(s.Sampler.IntervalNS, 20_000))
	h := runUntil(t, s, func(h *heard) bool {
		n := len(h.ends)
		return n > 1 && h.ends[n-1]-h.ends[0] > 20_000*uint64(n)+2_000_000 // of the third window
	})
	qt.Check(t, qt.Equals(h.lost, 0))
	qt.Check(t, qt.IsTrue(s.Stats().Windows >= 3))
	for i := 1; i < len(h.ends); i++ {
		gap := h.ends[i] - h.ends[i-1]
		qt.Assert(t, qt.IsTrue(gap == 20_000 || gap >= 1_000_000), qt.Commentf("%d", gap))
	}
}

func TestErrors(t *testing.T) {
	library := fakeLibrary(t)
	for _, c := range []struct {
		fake   string
		change func(*Options)
		reason Reason
		detail string
	}{
		{fake: "taken", reason: Taken, detail: "BeginSession_V2: RESOURCE_UNAVAILABLE"},
		{fake: "noprivilege", reason: NoPermission, detail: "BeginSession_V2: INSUFFICIENT_PRIVILEGE"},
		{fake: "unsupported", reason: Unsupported, detail: "Fake H200 (GH100): architecture 2"},
		{fake: "notrigger", reason: Unsupported, detail: "samples by"},
		{fake: "nodriver", reason: NoDevice, detail: "CUDA_LoadDriver: DRIVER_NOT_LOADED"},
		{fake: "crash", reason: Broken, detail: "SIGSEGV"},
		{fake: "hugeimage", reason: Broken, detail: "no memory for 9223372036854775807 bytes"},
		{change: func(o *Options) { o.Device.UUID = "GPU-2222" }, reason: NoDevice, detail: "2 devices is GPU-2222"},
		{change: func(o *Options) { o.Device.MIG = true }, reason: MIG, detail: "GPU 3"},
		{change: func(o *Options) { o.Library += ".not" }, reason: NoLibrary, detail: "no such file"},
		{change: func(o *Options) { o.Library = "testdata/nvperf.c" }, reason: NoLibrary, detail: "bad magic"},
		{change: func(o *Options) { o.Library = "." }, reason: NoLibrary, detail: "no file of a library"},
		{change: func(o *Options) { o.Mode = "often" }, reason: Broken, detail: "often"},
		{change: func(o *Options) { o.Command = []string{"/nonexistent"} }, reason: Broken, detail: "no such file"},
		{change: func(o *Options) { o.Command = []string{"sh", "-c", "read request; echo help >&2"} }, reason: Broken, detail: "ended: EOF: help"},
		{change: func(o *Options) {
			o.Command, o.within = []string{"sh", "-c", "read request; echo slow >&2; exec sleep 60"}, 100*time.Millisecond
		}, reason: NoAnswer, detail: "did not sample within 100ms: slow"},
	} {
		t.Run(c.fake+c.detail, func(t *testing.T) {
			t.Setenv("FAKE_NVPERF", c.fake)
			o := options(t, library)
			if c.change != nil {
				c.change(&o)
			}
			_, err := Start(t.Context(), o)
			var e *Error
			qt.Assert(t, qt.IsTrue(errors.As(err, &e)), qt.Commentf("%v", err))
			qt.Check(t, qt.Equals(e.Reason, c.reason), qt.Commentf("%v", e))
			qt.Check(t, qt.StringContains(e.Detail, c.detail))
			qt.Check(t, qt.Not(qt.Equals(e.Remedy(), "")))
		})
	}
}

// What one pass does not allow is left out.
func TestTwoPasses(t *testing.T) {
	t.Setenv("FAKE_NVPERF", "twopasses")
	s, err := Start(t.Context(), options(t, fakeLibrary(t)))
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.DeepEquals(s.Sampler.Metrics, []string{
		wire.MetricSMActivePct, wire.MetricDRAMReadBytes, wire.MetricDRAMWriteBytes, wire.MetricTensorPct,
	}))
	qt.Assert(t, qt.HasLen(s.LeftOut, 2))
	qt.Check(t, qt.Equals(s.LeftOut[0].Metric, wire.MetricPCIeReadBytes))
	qt.Check(t, qt.StringContains(s.LeftOut[0].Why, "2 passes"))
	runUntil(t, s, func(h *heard) bool { return h.batches > 0 })
}

// A helper that dies, and a library that never comes to sample, end the session
// with an error.
func TestBreaksDown(t *testing.T) {
	library := fakeLibrary(t)
	for fake, detail := range map[string]string{"dies": "exit status 9", "alwaysoverflow": "broke off"} {
		t.Run(fake, func(t *testing.T) {
			t.Setenv("FAKE_NVPERF", fake)
			s, err := Start(t.Context(), options(t, library))
			qt.Assert(t, qt.IsNil(err))
			var h heard
			err = s.Run(context.Background(), h.fact, h.counters)
			var e *Error
			qt.Assert(t, qt.IsTrue(errors.As(err, &e)), qt.Commentf("%v", err))
			qt.Check(t, qt.Equals(e.Reason, Broken))
			qt.Check(t, qt.StringContains(e.Detail, detail))
		})
	}
}

// saying is a helper that says frames and then waits for its end.
func saying(frames ...string) []string {
	script := "read request\n"
	for _, f := range frames {
		script += fmt.Sprintf("printf '%c\\%03o\\0\\0\\0%%s' '%s'\n", f[0], len(f)-1, f[1:])
	}
	return []string{"sh", "-c", script + "cat"}
}

const (
	ourSampler = `F{"gpu_sampler":{"index":9,"uuid":"x","mode":"y","mono_ns":5,"metrics":["sm_active_pct"]}}`
	ourClock   = `F{"gpu_clock":{"index":3,"gpu_ns":1,"before_ns":2,"after_ns":3}}`
)

// The helper runs a library that can be anybody's: what it is not asked for ends the session.
func TestBelieved(t *testing.T) {
	for _, c := range []struct {
		frames []string
		clocks int
		detail string
	}{
		{[]string{`F{"end":{}}`}, 0, "the helper's fact"},
		{[]string{`F{"gpu_sampler":{"metrics":["steps"]}}`}, 0, `the helper's metric: not to be expected: "steps"`},
		{[]string{`F{"gpu_sampler":{"metrics":["sm_active_pct","sm_active_pct"]}}`}, 0, "the helper's metric"},
		{[]string{`M{"metric":"steps"}`}, 0, "the helper's left out metric"},
		{[]string{ourSampler, ourClock, `F{"gpu_clock":{"index":4}}`}, 1, "the helper's fact"},
		{[]string{ourSampler, ourClock, `F{"end":{}}`}, 1, "the helper's fact"},
		{[]string{ourSampler, `F{"gpu_clock":{"index":3},"end":{}}`}, 0, "the helper's fact"},
		{[]string{ourSampler, `F{}`}, 0, "the helper's fact"},
		{[]string{ourSampler, `Cx`}, 0, "the helper's samples"},
		{[]string{ourSampler, `M{"metric":"sm_active_pct"}`}, 0, "the helper's frame"},
	} {
		t.Run(strings.Join(c.frames, ""), func(t *testing.T) {
			o := options(t, fakeLibrary(t))
			o.Command = saying(c.frames...)
			s, err := Start(t.Context(), o)
			var h heard
			if err == nil {
				qt.Check(t, qt.Equals(s.Sampler.Index, 3)) // as we know it
				qt.Check(t, qt.Equals(s.Sampler.Mode, Mode100us))
				qt.Check(t, qt.Equals(s.Sampler.MonoNS, 5))
				err = s.Run(t.Context(), h.fact, h.counters)
			}
			var e *Error
			qt.Assert(t, qt.IsTrue(errors.As(err, &e)), qt.Commentf("%v", err))
			qt.Check(t, qt.Equals(e.Reason, Broken))
			qt.Check(t, qt.StringContains(e.Detail, c.detail))
			qt.Check(t, qt.HasLen(h.clocks, c.clocks))
		})
	}
}

// An end that comes while the helper starts ends it in order.
func TestInterrupted(t *testing.T) {
	o := options(t, fakeLibrary(t))
	ctx, cancel := context.WithCancel(t.Context())
	o.Command = []string{"sh", "-c", "read request; cat; echo ended >&2"}
	time.AfterFunc(100*time.Millisecond, cancel)
	_, err := Start(ctx, o)
	qt.Check(t, qt.ErrorMatches(err, ".*ended: EOF: ended"))
	_, err = Start(ctx, o)
	qt.Check(t, qt.ErrorMatches(err, ".*interrupted"))
}

// The sink's error ends the session and comes back as it is.
func TestSinkFails(t *testing.T) {
	s, err := Start(t.Context(), options(t, fakeLibrary(t)))
	qt.Assert(t, qt.IsNil(err))
	full := errors.New("disk full")
	var h heard
	err = s.Run(context.Background(), h.fact, func([]byte) error { return full })
	qt.Check(t, qt.Equals(err, full))
}

// A library that is not root's is loaded without root's rights.
func TestUntrusted(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: to have rights to give up")
	}
	o := options(t, "")
	library := fakeLibrary(t)
	qt.Assert(t, qt.IsNil(os.Chmod(library, 0o755)))
	file, err := os.Open(library)
	qt.Assert(t, qt.IsNil(err))
	p, err := planOf(Mode100us)
	qt.Assert(t, qt.IsNil(err))
	o.Log = slog.New(slog.DiscardHandler)
	s, err := o.spawn(&Library{Path: library, File: file, UID: nobody, GID: nobody}, p)
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsNil(s.opened(t.Context(), startWithin)))
	for key, value := range status(t, s) {
		switch key {
		case "Uid", "Gid":
			qt.Check(t, qt.DeepEquals(strings.Fields(value), []string{"65534", "65534", "65534", "65534"}))
		case "CapPrm", "CapEff":
			qt.Check(t, qt.Equals(value, "0000000000000000"))
		}
	}
	runUntil(t, s, func(h *heard) bool { return h.batches > 0 })
}

// Nor with the rights that our file has.
func TestShed(t *testing.T) {
	t.Setenv(shedVariable, "1")
	s, err := Start(t.Context(), options(t, fakeLibrary(t)))
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(status(t, s)["NoNewPrivs"], "1"))
	runUntil(t, s, func(h *heard) bool { return h.batches > 0 })
}

// status is what the kernel says of the helper.
func status(t *testing.T, s *Session) map[string]string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(s.helper.Process.Pid), "status"))
	qt.Assert(t, qt.IsNil(err))
	out := map[string]string{}
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(line, ":")
		out[key] = strings.TrimSpace(value)
	}
	return out
}
