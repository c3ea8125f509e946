package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-quicktest/qt"
	"kernel.org/pub/linux/libs/security/libcap/cap"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/journal"
	"github.com/pmtrace/pmtrace/probes/check"
	"github.com/pmtrace/pmtrace/probes/hook"
	"github.com/pmtrace/pmtrace/probes/target"
)

// A fake server is this test binary under the names of vLLM's processes.
const fakeServerVariable = "PMTRACE_TEST_SERVER"

// maybeFakeServer is called before any test: it does not return in a fake server.
func maybeFakeServer() {
	if role := os.Getenv(fakeServerVariable); role != "" {
		fakeServer(role)
		os.Exit(0)
	}
}

func fakeServer(role string) {
	if role == "root" {
		engine := &exec.Cmd{Path: "/proc/self/exe", Args: []string{"VLLM::EngineCore"}, Env: []string{fakeServerVariable + "=engine"}}
		if err := engine.Start(); err != nil {
			os.Exit(99)
		}
		defer engine.Process.Kill()
	}
	ends := make(chan os.Signal, 1)
	signal.Notify(ends, syscall.SIGINT, syscall.SIGTERM)
	select {
	case <-ends:
	case <-time.After(time.Minute):
	}
}

// startServer starts one; end ends it.
func startServer(t *testing.T) (pid int, end func()) {
	cmd := &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{"python3", "/opt/venv/bin/vllm", "serve", "org/model"},
		Env: []string{fakeServerVariable + "=root"}, SysProcAttr: &syscall.SysProcAttr{Setpgid: true},
	}
	qt.Assert(t, qt.IsNil(cmd.Start()))
	end = sync.OnceFunc(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		cmd.Wait()
	})
	t.Cleanup(end)
	for range 500 {
		s, err := target.Host().Resolve(cmd.Process.Pid)
		if err == nil && len(s.Engines()) == 1 {
			return cmd.Process.Pid, end
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the fake server did not come up")
	return 0, nil
}

// healthyMachine passes all checks.
type healthyMachine struct{ check.Linux }

func (healthyMachine) Load() error                             { return nil }
func (healthyMachine) RingBuffer() error                       { return nil }
func (healthyMachine) Watch(n int) (int, time.Duration, error) { return n, time.Microsecond, nil }
func (healthyMachine) FreeSlots(int) (int, error)              { return 4, nil }
func (healthyMachine) Peek(int) error                          { return nil }
func (healthyMachine) Exists(string) bool                      { return true }
func (healthyMachine) Uname() (string, string)                 { return "6.8.0", "x86_64" }
func (healthyMachine) Read(name string) ([]byte, error) {
	if name == "/proc/self/status" {
		return []byte("CapEff:\tffffffffffffffff\n"), nil
	}
	return nil, os.ErrNotExist
}

// fakeTracer sends an event each millisecond.
type fakeTracer struct {
	mu       sync.Mutex
	attached int
	workers  int
	noCUDA   bool
	missing  []record.Unavailable
	refuse   error
	fail     error // of Run, after some events
	lost     uint64
	closed   bool
	hooks    []record.Hook        // of the engine
	hooked   map[hook.Process]int // calls of AttachHooks
	ended    bool                 // the first hook was taken off

	windowsOpened, windowsClosed int
}

func (t *fakeTracer) Attach(engine) (record.Engine, []record.Unavailable, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.refuse != nil {
		return record.Engine{}, nil, t.refuse
	}
	t.attached++
	return record.Engine{Engine: t.attached - 1, DP: 1, VLLM: "0.0.1", Model: "org/model"}, t.missing, nil
}

func (t *fakeTracer) Run(ctx context.Context, sink func(byte, []byte) error, idle func() error) error {
	for n := 0; ; n++ {
		t.mu.Lock()
		attached := t.attached
		t.mu.Unlock()
		if attached > 0 {
			if err := sink(journal.KindEvent, []byte("event")); err != nil {
				return err
			}
		}
		if err := idle(); err != nil {
			return err
		}
		if t.fail != nil && n > 20 {
			return t.fail
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Millisecond):
		}
	}
}

func (t *fakeTracer) AttachWorker(_ worker, s workerSpec) (record.Worker, []record.Unavailable, error) {
	t.mu.Lock()
	if t.noCUDA {
		t.mu.Unlock()
		return record.Worker{}, nil, errNoCUDA
	}
	t.workers++
	fact := record.Worker{Worker: t.workers - 1}
	t.mu.Unlock()
	return fact, nil, s.begin(fact, func() error { return nil })
}

func (t *fakeTracer) HooksOf(int) []record.Hook { return t.hooks }

func (t *fakeTracer) AttachRouted(engine, int, int, bool) (string, []int32, error) {
	return "", nil, errors.New("none")
}

func (t *fakeTracer) RoutedMissing(engine) string { return "" }

func (t *fakeTracer) AttachHooks(pid int, kind hook.Process, _ *int, _ bool) ([]record.Hook, []record.Unavailable) {
	if t.hooked == nil {
		t.hooked = map[hook.Process]int{}
	}
	t.hooked[kind]++
	return []record.Hook{{Hook: len(t.hooks), PID: pid, Spec: "py:m:served"}}, []record.Unavailable{{Profiler: "hooks", Reason: "hook py:m:g: m has no g"}}
}

// LookAtHooks takes the first hook off at the first look.
func (t *fakeTracer) LookAtHooks() (counts []record.HookCount, changed []record.Hook, err error) {
	for _, h := range t.hooks {
		counts = append(counts, record.HookCount{Hook: h.Hook, Calls: 5, NotTold: 1})
	}
	if len(t.hooks) > 0 && !t.ended {
		t.ended = true
		h := t.hooks[0]
		h.Ended = "called 30000 times a second"
		changed = append(changed, h)
	}
	return counts, changed, nil
}

func (t *fakeTracer) DetachWorker(int) error { return nil }

func (t *fakeTracer) Cost() ([]programCost, error) { return nil, nil }

func (t *fakeTracer) Look() []record.Fact { return nil }

func (t *fakeTracer) OpenWindow() []record.Fact { t.windowsOpened++; return nil }

func (t *fakeTracer) EndWindow() []record.Fact { return nil }

func (t *fakeTracer) CloseWindow() { t.windowsClosed++ }

func (t *fakeTracer) Losses() ([]record.Loss, error) {
	return []record.Loss{{Probe: "p", Reason: "ring_full", Count: t.lost, Lost: true}}, nil
}

func (t *fakeTracer) Close() error { t.closed = true; return nil }

// once does a thing as soon as another is so, however slow the machine is: a test that gives
// tracing a time to get there fails on a busy one.
func once(is func() bool, do func()) {
	go func() {
		within(time.Minute, is)
		do()
	}()
}

// within waits until something is so, and reports whether it was in time.
func within(limit time.Duration, is func() bool) bool {
	for began := time.Now(); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > limit {
			return false
		}
	}
	return true
}

// traced says whether events are coming in.
func (s *fakeSession) traced() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Count(s.kinds, []byte{journal.KindEvent}) > 20
}

// fakeSession keeps what it is given.
type fakeSession struct {
	mu         sync.Mutex
	kinds      []byte
	facts      []record.Fact
	piped      int
	limit      int // records that the journal takes; 0: all
	pipeErr    error
	finished   bool
	csv        bool
	log        bytes.Buffer
	start      record.Start
	closeCount int
}

func (s *fakeSession) ID() string                   { return "session_x" }
func (s *fakeSession) Path() string                 { return "/sessions/session_x" }
func (s *fakeSession) Log() (io.WriteCloser, error) { return nopCloser{&s.log}, nil }
func (s *fakeSession) Close() error                 { s.closeCount++; return nil }
func (s *fakeSession) Kept() error                  { return nil }
func (s *fakeSession) Save() error                  { return nil }
func (s *fakeSession) Journal(func()) (journalWriter, error) {
	return fakeJournal{s}, nil
}

func (s *fakeSession) Replay(sink func(byte, []byte) error) ([]string, error) {
	for i, k := range s.kinds {
		if err := sink(k, []byte(fmt.Sprint(i))); err != nil {
			return nil, err
		}
	}
	return []string{"a hole"}, nil
}

func (s *fakeSession) Tables(start record.Start, _ bool, _ []listener, _ *slog.Logger) (pipeline, error) {
	s.start = start
	return fakePipeline{s}, nil
}

func (s *fakeSession) Finish(csv bool) (string, error) {
	s.finished, s.csv = true, csv
	return "the summary\n", nil
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

type fakeJournal struct{ *fakeSession }

func (j fakeJournal) Close() error { return nil }

func (j fakeJournal) Append(kind byte, payload []byte) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.limit > 0 && len(j.kinds) >= j.limit {
		return &journal.WriteError{File: "00000.pmj", Err: &os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}}
	}
	j.kinds = append(j.kinds, kind)
	if kind == journal.KindFact {
		var f record.Fact
		if err := json.Unmarshal(payload, &f); err != nil {
			return err
		}
		j.facts = append(j.facts, f)
	}
	return nil
}

type fakePipeline struct{ *fakeSession }

func (p fakePipeline) Close() error { return nil }

func (p fakePipeline) Record(byte, []byte) error {
	p.piped++
	if p.piped > 10 {
		return p.pipeErr
	}
	return nil
}

func (p fakePipeline) Live() progress {
	l := progress{steps: int64(p.piped), tokens: int64(p.piped), kvUsed: 1, kvTotal: 4}
	for _, f := range p.facts {
		if f.Losses != nil {
			l.lost = f.Losses.Counts[0].Count
		}
	}
	return l
}

// bench is an app in a fake world.
type testBench struct {
	*app
	out, err *lockedBuffer
	tracer   *fakeTracer
	session  *fakeSession
	exits    chan int
	// ready is how often find says that the engine is loading first.
	loading int
	state   huntState
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newBench(t *testing.T) *testBench {
	b := &testBench{
		out: &lockedBuffer{}, err: &lockedBuffer{}, tracer: &fakeTracer{}, session: &fakeSession{},
		exits: make(chan int, 1),
	}
	var mu sync.Mutex
	b.app = &app{
		stdin: bytes.NewReader(nil), stdout: b.out, stderr: b.err,
		env: newEnvironment([]string{"PATH=" + os.Getenv("PATH"), "PMTRACE_OUTPUT_DIR=" + t.TempDir()}),
		world: &world{
			proc: target.Host(), machine: healthyMachine{},
			shed: func([]cap.Value, bool) error { return nil },
			now:  time.Now, monotonic: monotonic, euid: os.Geteuid(),
			exit: func(code int) { b.exits <- code },
			find: func(int, bool) (engine, error) {
				mu.Lock()
				defer mu.Unlock()
				if b.loading == 0 {
					return "engine", nil
				}
				b.loading--
				return nil, &notReady{state: b.state, why: "it is " + fmt.Sprint(b.state)}
			},
			findWorker: func(int, bool) (worker, error) { return "worker", nil },
			gpus:       func() (gpuMonitor, error) { return nil, errors.New("no driver") },
			rings:      openRings,
			tracer:     func(tracerOptions) (tracer, error) { return b.tracer, nil },
			create:     func(string, time.Time, environment) (sessionDir, error) { return b.session, nil },
			open: func(path string) (sessionDir, error) {
				if path != "/sessions/session_x" {
					return nil, errors.New("no such thing")
				}
				return b.session, nil
			},
		},
	}
	return b
}
