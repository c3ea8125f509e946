package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/journal"
	"github.com/pmtrace/pmtrace/output/session"
)

func TestKernelWindowsFlag(t *testing.T) {
	for in, want := range map[string]string{
		"off": "off", "always": "always", "1s/60s": "1s/1m0s", "0.5/10": "500ms/10s", "200ms/1s": "200ms/1s",
	} {
		var k windows
		qt.Assert(t, qt.IsNil(k.Set(in)))
		qt.Check(t, qt.Equals(k.String(), want))
		var again windows
		qt.Assert(t, qt.IsNil(again.Set(want)))
		qt.Check(t, qt.Equals(again, k))
	}
	for _, in := range []string{"", "1s", "1s/", "1s/1s", "1ms/1s", "0/1s", "40s/60s", "on"} {
		var k windows
		qt.Check(t, qt.IsNotNil(k.Set(in)), qt.Commentf("%q", in))
	}
}

// fakeRings tell of processes and of events.
type fakeRings struct {
	mu     sync.Mutex
	facts  []record.Fact
	events int // that wait
	alive  int
	stop   bool
	busy   int // readings for which there is more to come, once stopped
	lost   uint64
	closed bool
}

func (r *fakeRings) Look() []record.Fact {
	r.mu.Lock()
	defer r.mu.Unlock()
	facts := r.facts
	r.facts = nil
	return facts
}

func (r *fakeRings) Drain(stop bool, sink func([]byte) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stop = stop; stop {
		r.busy--
	}
	for ; r.events > 0; r.events-- {
		if err := sink([]byte("event")); err != nil {
			return err
		}
	}
	return nil
}

func (r *fakeRings) Alive()     { r.mu.Lock(); r.alive++; r.mu.Unlock() }
func (r *fakeRings) Busy() bool { r.mu.Lock(); defer r.mu.Unlock(); return r.busy > 0 }
func (r *fakeRings) Losses() []record.Loss {
	return []record.Loss{{Engine: -1, Probe: "cupti/1", Reason: "full", Count: r.lost, Lost: true}}
}
func (r *fakeRings) Close() error { r.closed = true; return nil }

func (s *fakeSession) unavailable(profiler string) (out []string) {
	for _, f := range s.facts {
		if f.Unavailable != nil && f.Unavailable.Profiler == profiler {
			out = append(out, f.Unavailable.Reason)
		}
	}
	return out
}

// recordOf records a fake server for a moment, launches and copies watched in windows.
func recordOf(t *testing.T, b *testBench, r rings, i injected, calls windows) result {
	t.Helper()
	pid, end := startServer(t)
	b.world.rings = func(dir string, number uint64) (rings, error) {
		qt.Check(t, qt.Equals(dir, "/rings"))
		qt.Check(t, qt.Equals(number, 5))
		if r == nil {
			return nil, errors.New("no such directory")
		}
		return r, nil
	}
	time.AfterFunc(3*time.Second, end)
	o := &traceOptions{on: profilersHere(), place: t.TempDir(), injected: i, ringSize: 1 << 20, gpuInterval: seconds(time.Second), cpuWindows: calls}
	return b.traceTree(context.Background(), o, pid)
}

// Launches and copies are watched in windows, and all the time where the library finds no CUPTI.
func TestWindowStaysOpen(t *testing.T) {
	for state, closed := range map[string]bool{record.InjectedRunning: true, record.InjectedFailed: false} {
		b := newBench(t)
		r := &fakeRings{facts: []record.Fact{injectedFact(record.Injected{PID: 1, State: state, Why: "no libcupti.so.13 or libcupti.so.12 anywhere"})}}
		got := recordOf(t, b, r, injected{dir: "/rings", session: 5}, windows{100 * time.Millisecond, 300 * time.Millisecond})
		qt.Assert(t, qt.IsNil(got.err), qt.Commentf("%s", b.err))
		qt.Check(t, qt.IsTrue(b.tracer.windowsOpened > 0), qt.Commentf("%s", state))
		qt.Check(t, qt.Equals(b.tracer.windowsClosed > 0, closed), qt.Commentf("%s: closed %d times", state, b.tracer.windowsClosed))
	}
}

func injectedFact(f record.Injected) record.Fact { return record.Fact{Injected: &f} }

func TestRings(t *testing.T) {
	b := newBench(t)
	r := &fakeRings{events: 7, busy: 3, lost: 4, facts: []record.Fact{
		injectedFact(record.Injected{Ring: 0, PID: 1, State: record.InjectedRunning}),
		injectedFact(record.Injected{Ring: 1, PID: 2, State: record.InjectedFailed, Why: "no libcupti.so.13 or libcupti.so.12 anywhere"}),
		injectedFact(record.Injected{Ring: 2, PID: 3, State: record.InjectedFailed, Why: "no libcupti.so.13 or libcupti.so.12 anywhere"}),
		injectedFact(record.Injected{Ring: 3, PID: 4, State: record.InjectedRunning, NoWindows: true, Note: "kernels cannot be switched on"}),
		injectedFact(record.Injected{Ring: 4, PID: 5, State: record.InjectedFailed, Why: "cuptiActivityEnable", Error: 39}),
	}}
	// The engine comes up when the processes have been told that we live.
	b.world.find = func(int, bool) (engine, error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.alive == 0 {
			return nil, &notReady{state: stateLoading, why: "it is loading"}
		}
		return "engine", nil
	}
	got := recordOf(t, b, r, injected{dir: "/rings", session: 5}, windows{})
	qt.Assert(t, qt.IsNil(got.err))
	qt.Check(t, qt.IsTrue(r.stop && r.closed && r.busy <= 0 && r.events == 0))
	said := b.err.String()
	for _, line := range []string{
		"pmtrace: not available: cupti: no libcupti.so.13 or libcupti.so.12 anywhere; install nvidia-cuda-cupti ",
		"pmtrace: not available: kernels: kernels cannot be switched on\n",
		"pmtrace: not available: cupti: cuptiActivityEnable: CUPTI's error 39; end the other tool that uses CUPTI",
	} {
		qt.Check(t, qt.Equals(strings.Count(said, line), 1), qt.Commentf("%s in %s", line, said))
	}
	qt.Check(t, qt.HasLen(b.session.unavailable(session.CUPTI), 2))
	qt.Check(t, qt.HasLen(b.session.unavailable(session.ProfilerKernels), 1))
	processes := 0
	var lost uint64
	for _, f := range b.session.facts {
		if f.Injected != nil {
			processes++
		}
		if f.Losses != nil {
			for _, l := range f.Losses.Counts {
				if l.Probe == "cupti/1" {
					lost = l.Count
				}
			}
		}
	}
	qt.Check(t, qt.Equals(processes, 5))
	// They are known before the first event.
	for _, f := range b.session.facts[:bytes.IndexByte(b.session.kinds, journal.KindEvent)] {
		if f.Injected != nil {
			processes--
		}
	}
	qt.Check(t, qt.Equals(processes, 0))
	qt.Check(t, qt.Equals(lost, 4))
	qt.Check(t, qt.Equals(b.session.kinds[len(b.session.kinds)-1], byte(journal.KindFact))) // the end
}

// TestNoRings: what keeps the library out of the server stands in the journal.
func TestNoRings(t *testing.T) {
	b := newBench(t)
	qt.Assert(t, qt.IsNil(recordOf(t, b, nil, injected{missing: "of another tool"}, windows{}).err))
	qt.Check(t, qt.DeepEquals(b.session.unavailable(session.CUPTI), []string{"of another tool"}))

	b = newBench(t)
	qt.Assert(t, qt.IsNil(recordOf(t, b, nil, injected{dir: "/rings", session: 5}, windows{}).err))
	qt.Check(t, qt.DeepEquals(b.session.unavailable(session.CUPTI), []string{"no such directory"}))

	b = newBench(t)
	r := &fakeRings{}
	qt.Assert(t, qt.IsNil(recordOf(t, b, r, injected{dir: "/rings", session: 5}, windows{}).err))
	qt.Check(t, qt.DeepEquals(b.session.unavailable(session.CUPTI), []string{"CUDA has loaded pmtrace's library into no process of the server"}))
	qt.Check(t, qt.IsTrue(r.closed))
}

// TestInject: the command finds the library by its environment, and nothing of it is
// left at the end.
func TestInject(t *testing.T) {
	script := `echo "$CUDA_INJECTION64_PATH|$PMTRACE_CUPTI_DIR|$PMTRACE_CUPTI_KERNELS"; test -z "$PMTRACE_CUPTI_DIR" || test -r "$CUDA_INJECTION64_PATH"`
	run := func(env map[string]string, flags ...string) (*testBench, []string) {
		t.Helper()
		b := newBench(t)
		for k, v := range env {
			b.env[k] = v
		}
		b.env["XDG_RUNTIME_DIR"] = t.TempDir()
		code := b.run(t.Context(), append(append([]string{"record", "--cupti", "on"}, flags...), "--", "sh", "-c", script))
		qt.Assert(t, qt.Equals(code, 0), qt.Commentf("%s", b.err))
		return b, strings.Split(strings.TrimSpace(b.out.String()), "|")
	}
	b, got := run(nil)
	qt.Assert(t, qt.Equals(got[0], got[1]+"/libpmtrace_cupti.so"))
	qt.Check(t, qt.IsTrue(strings.HasPrefix(got[1], b.env["XDG_RUNTIME_DIR"]+"/pmtrace-cupti-")))
	qt.Check(t, qt.Equals(got[2], "1000000000/60000000000"))
	_, err := os.Stat(got[1])
	qt.Check(t, qt.ErrorIs(err, os.ErrNotExist))

	_, got = run(nil, "--kernels", "off")
	qt.Check(t, qt.Equals(got[2], "off"))
	_, got = run(map[string]string{"PMTRACE_KERNELS": "always"})
	qt.Check(t, qt.Equals(got[2], "always"))
	_, got = run(nil, "--cupti", "off")
	qt.Check(t, qt.DeepEquals(got, []string{"", "", ""}))
	b, got = run(map[string]string{"CUDA_INJECTION64_PATH": "/opt/nsys.so"})
	qt.Check(t, qt.DeepEquals(got, []string{"/opt/nsys.so", "", ""}))
	qt.Check(t, qt.Equals(strings.Count(b.err.String(), "pmtrace: not available: cupti: CUDA_INJECTION64_PATH is set to /opt/nsys.so by another tool\n"), 1))
}

// TestTorchProfiler: who starts a server for torch.profiler gets that.
func TestTorchProfiler(t *testing.T) {
	none := func(string) string { return "" }
	set := func(name string) string {
		if name == "VLLM_TORCH_PROFILER_DIR" {
			return "/traces"
		}
		return ""
	}
	serve := []string{"vllm", "serve", "m"}
	qt.Check(t, qt.IsFalse(torchProfiler(none, serve)))
	qt.Check(t, qt.IsTrue(torchProfiler(set, serve)))
	qt.Check(t, qt.IsTrue(torchProfiler(none, append(serve, "--profiler-config", "{}"))))
	qt.Check(t, qt.IsTrue(torchProfiler(none, append(serve, "--profiler_config.profiler=torch"))))
}

// TestMoEFlags: experts are a profiler of the session where they are asked for.
func TestMoEFlags(t *testing.T) {
	o := traceOptions{on: []string{"batch"}, moe: "auto"}
	qt.Check(t, qt.DeepEquals(o.tracing(), []string{"batch"}))
	o.moe = "on"
	qt.Check(t, qt.DeepEquals(o.tracing(), []string{"batch", "moe"}))
	o.moe = "maybe"
	qt.Check(t, qt.ErrorMatches(o.resolve(environment{}), `--moe: "maybe" is not one of auto, on, off.*`))
	for _, c := range []struct {
		o   cuptiOptions
		moe string
		err string
	}{
		{cuptiOptions{cupti: "on", moeSample: 64}, "on", ""},
		{cuptiOptions{cupti: "off"}, "auto", ""},
		{cuptiOptions{cupti: "off"}, "on", "--moe on needs --cupti on.*"},
		{cuptiOptions{cupti: "on", moeSample: -1}, "on", "--moe-sample: want 0 to 1048576.*"},
	} {
		err := c.o.resolve(c.moe)
		if c.err == "" {
			qt.Check(t, qt.IsNil(err))
		} else {
			qt.Check(t, qt.ErrorMatches(err, c.err))
		}
	}
}
