package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/journal"
)

func (b *testBench) attachTo(t *testing.T, pid int, more ...string) int {
	return b.run(t.Context(), append([]string{"attach", "--pid", fmt.Sprint(pid)}, more...))
}

func (b *testBench) end(t *testing.T) *record.End {
	last := b.session.facts[len(b.session.facts)-1]
	qt.Assert(t, qt.IsNotNil(last.End))
	return last.End
}

// The order of facts is what decoding relies on.
func TestAttach(t *testing.T) {
	pid, _ := startServer(t)
	b := newBench(t)
	b.tracer.missing = []record.Unavailable{{Profiler: "kv_cache", Reason: "slots are taken", Remedy: "end gdb"}, {Profiler: "cpu", Reason: "x"}}
	qt.Assert(t, qt.Equals(b.attachTo(t, pid, "--duration", "3", "--no-profilers", "cpu", "--no-csv"), 0), qt.Commentf("%s", b.err))

	f := b.session.facts
	qt.Assert(t, qt.IsNotNil(f[0].Start))
	qt.Check(t, qt.Equals(f[0].Start.Mode, "attach"))
	qt.Check(t, qt.DeepEquals(f[0].Start.Profilers, []string{"batch", "forward_pass", "kv_cache", "preemption", "cuda_graph", "encoder_decoder", "gpu"}))
	qt.Check(t, qt.Equals(strings.Join(f[0].Start.Command, " "), "python3 /opt/venv/bin/vllm serve org/model"))
	qt.Check(t, qt.IsNotNil(f[1].Clock))
	qt.Check(t, qt.IsNotNil(f[2].Engine))
	qt.Check(t, qt.IsNotNil(f[3].Unavailable))
	roles := map[string]int{}
	for _, fact := range f {
		if p := fact.Process; p != nil {
			roles[p.Role]++
		}
	}
	qt.Check(t, qt.DeepEquals(roles, map[string]int{"api_server": 1, "engine": 1}))
	qt.Check(t, qt.IsNotNil(f[len(f)-2].Losses))
	qt.Check(t, qt.Equals(b.end(t).Reason, "duration"))
	// No event comes before the facts about its engine.
	first := strings.IndexByte(string(b.session.kinds), journal.KindEvent)
	qt.Check(t, qt.IsTrue(first >= 3), qt.Commentf("%s", b.session.kinds))
	qt.Check(t, qt.IsTrue(b.session.finished && !b.session.csv && b.tracer.closed))

	err := b.err.String()
	qt.Check(t, qt.StringContains(err, "pmtrace: tracing engine 0"))
	qt.Check(t, qt.StringContains(err, "pmtrace: not available: kv_cache: slots are taken; end gdb\n"))
	qt.Check(t, qt.IsFalse(strings.Contains(err, "not available: cpu")))
	qt.Check(t, qt.StringContains(err, "the summary\n"))
	qt.Check(t, qt.Equals(b.out.String(), ""))
	qt.Check(t, qt.StringContains(b.session.log.String(), "msg=armed"))
}

func TestServerExit(t *testing.T) {
	pid, end := startServer(t)
	b := newBench(t)
	once(b.session.traced, end)
	qt.Assert(t, qt.Equals(b.attachTo(t, pid), 0), qt.Commentf("%s", b.err))
	qt.Check(t, qt.Equals(b.end(t).Reason, "server_exited"))
	qt.Check(t, qt.Not(qt.Equals(b.end(t).Events, 0)))
}

func TestInterrupt(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		pid, _ := startServer(t)
		b := newBench(t)
		once(b.session.traced, func() { syscall.Kill(os.Getpid(), sig) })
		qt.Assert(t, qt.Equals(b.attachTo(t, pid), 0), qt.Commentf("%s", b.err))
		qt.Check(t, qt.Equals(b.end(t).Reason, "interrupted"))
		qt.Check(t, qt.HasLen(b.exits, 0))
	}
}

func TestSecondInterrupt(t *testing.T) {
	b := newBench(t)
	ctx, stop := b.interruptible(t.Context())
	defer stop()
	syscall.Kill(os.Getpid(), syscall.SIGINT)
	<-ctx.Done()
	syscall.Kill(os.Getpid(), syscall.SIGINT)
	qt.Check(t, qt.Equals(<-b.exits, exitFailed))
}

func TestLoading(t *testing.T) {
	for _, s := range []huntState{stateLoading, stateNoEngine, stateNotPython} {
		pid, end := startServer(t)
		b := newBench(t)
		b.loading, b.state = 3, s
		once(b.session.traced, end)
		qt.Assert(t, qt.Equals(b.attachTo(t, pid), 0), qt.Commentf("%s", b.err))
		qt.Check(t, qt.StringContains(b.err.String(), "waiting for the server's engine"))
		qt.Check(t, qt.IsTrue(b.session.finished))
	}
}

func TestNothingTraced(t *testing.T) {
	pid, _ := startServer(t)
	b := newBench(t)
	b.loading, b.state = 1<<30, stateLoading
	qt.Check(t, qt.Equals(b.attachTo(t, pid, "--duration", "0.2"), exitFailed))
	qt.Check(t, qt.StringContains(b.err.String(), "nothing was traced: the engine was still loading until the time was over\n"))
	qt.Check(t, qt.HasLen(b.session.kinds, 0), qt.Commentf("a session was made"))
}

func TestUnsupported(t *testing.T) {
	pid, _ := startServer(t)
	b := newBench(t)
	b.loading, b.state = 1<<30, stateUnsupported
	qt.Check(t, qt.Equals(b.attachTo(t, pid), exitImpossible))
	qt.Check(t, qt.StringContains(b.err.String(), "(VLLM::EngineCore): it is 5; see pmtrace check --pid"))

	b = newBench(t)
	b.tracer.refuse = fmt.Errorf("a: %w", fmt.Errorf("b: %w", errors.New("all slots are taken")))
	qt.Check(t, qt.Equals(b.attachTo(t, pid), exitImpossible))
	qt.Check(t, qt.StringContains(b.err.String(), "(VLLM::EngineCore): all slots are taken; see"))
}

func TestDiskFull(t *testing.T) {
	pid, _ := startServer(t)
	b := newBench(t)
	b.session.limit = 50
	qt.Check(t, qt.Equals(b.attachTo(t, pid), exitFailed))
	qt.Check(t, qt.StringContains(b.err.String(),
		"pmtrace: tracing ended early, the journal cannot be written: no space left on device; what was traced until then is kept: pmtrace decode /sessions/session_x\n"))
}

// Tables that cannot be written do not end the journal.
func TestTablesFail(t *testing.T) {
	pid, end := startServer(t)
	b := newBench(t)
	b.session.pipeErr = errors.New("disk quota exceeded")
	once(b.session.traced, end)
	qt.Check(t, qt.Equals(b.attachTo(t, pid), exitFailed))
	qt.Check(t, qt.StringContains(b.err.String(), "the tables could not be written: disk quota exceeded; the journal is complete: pmtrace decode"))
	qt.Check(t, qt.Equals(b.end(t).Reason, "server_exited"))
}

func TestTracerFails(t *testing.T) {
	pid, _ := startServer(t)
	b := newBench(t)
	b.tracer.fail = errors.New("ring closed")
	qt.Check(t, qt.Equals(b.attachTo(t, pid), exitFailed))
	qt.Check(t, qt.StringContains(b.err.String(), "tracing ended early: ring closed"))
	qt.Check(t, qt.Equals(b.end(t).Reason, "failed"))
}

func TestStrict(t *testing.T) {
	for flag, want := range map[string]int{"--strict": exitLost, "--strict=false": 0} {
		pid, end := startServer(t)
		b := newBench(t)
		b.tracer.lost = 3
		once(b.session.traced, end)
		qt.Check(t, qt.Equals(b.attachTo(t, pid, flag), want))
		qt.Check(t, qt.Equals(strings.Contains(b.err.String(), "3 events were lost; try a larger --ring-size"), want != 0))
	}
}

func TestSeveralServers(t *testing.T) {
	one, endOne := startServer(t)
	two, endTwo := startServer(t)
	b := newBench(t)
	var mu sync.Mutex
	var tracers []*fakeTracer
	var sessions []*fakeSession
	var begun sync.WaitGroup
	begun.Add(2)
	b.world.tracer = func(tracerOptions) (tracer, error) {
		mu.Lock()
		defer mu.Unlock()
		tracers = append(tracers, &fakeTracer{})
		return tracers[len(tracers)-1], nil
	}
	b.world.create = func(string, time.Time, environment) (sessionDir, error) {
		mu.Lock()
		defer mu.Unlock()
		s := &fakeSession{}
		once(s.traced, begun.Done)
		sessions = append(sessions, s)
		return s, nil
	}
	go func() {
		begun.Wait()
		endOne()
		endTwo()
	}()
	code := b.attachTo(t, one, "--pid", fmt.Sprint(two), "--pid", fmt.Sprint(one))
	qt.Check(t, qt.Equals(code, 0), qt.Commentf("%s", b.err))
	qt.Assert(t, qt.HasLen(sessions, 2))
	for i := range sessions {
		qt.Check(t, qt.Equals(tracers[i].attached, 1))
		qt.Check(t, qt.IsTrue(sessions[i].finished))
	}
}

func TestDecode(t *testing.T) {
	b := newBench(t)
	b.session.kinds = []byte("FFE")
	qt.Check(t, qt.Equals(b.run(t.Context(), []string{"decode", "/sessions/session_x"}), 0))
	qt.Check(t, qt.StringContains(b.err.String(), "damaged: a hole"))
	qt.Check(t, qt.StringContains(b.err.String(), "3 records decoded"))
	qt.Check(t, qt.IsTrue(b.session.csv))

	b = newBench(t)
	qt.Check(t, qt.Equals(b.run(t.Context(), []string{"decode", "/sessions/session_x"}), exitFailed))
	qt.Check(t, qt.StringContains(b.err.String(), "its journal is empty"))
}

// The privileged half: ready, then a process to trace, then how it went.
func TestFollow(t *testing.T) {
	pid, end := startServer(t)
	b := newBench(t)
	in, say := io.Pipe()
	defer say.Close()
	b.stdin = in
	go fmt.Fprintf(say, "{\"pid\":%d}\n", pid)
	once(b.session.traced, end)
	b.tracer.lost = 2
	qt.Assert(t, qt.Equals(b.run(t.Context(), []string{"follow", "--no-csv"}), 0), qt.Commentf("%s", b.err))
	qt.Check(t, qt.Equals(b.out.String(), "{\"ready\":true}\n{\"begun\":true,\"session\":\"/sessions/session_x\"}\n{\"session\":\"/sessions/session_x\",\"lost\":2}\n"))
	qt.Check(t, qt.Equals(b.session.start.Mode, "record"))
	qt.Check(t, qt.Equals(b.end(t).Reason, "server_exited"))

	// record's death ends it.
	pid, _ = startServer(t)
	b = newBench(t)
	b.stdin = strings.NewReader(fmt.Sprintf("{\"pid\":%d}\n", pid))
	b.loading, b.state = 1<<30, stateLoading
	qt.Assert(t, qt.Equals(b.run(t.Context(), []string{"follow"}), 0))
	qt.Check(t, qt.Equals(b.out.String(), "{\"ready\":true}\n{\"code\":1}\n"))
	qt.Check(t, qt.StringContains(b.err.String(), "nothing was traced: "))
}

func TestRecord(t *testing.T) {
	for _, c := range []struct {
		name    string
		command []string
		flag    string
		spoil   func(*testBench)
		code    int
	}{
		{"its code", []string{"sh", "-c", "sleep 0.5; exit 9"}, "--no-csv", nil, 9},
		{"lost", []string{"sleep", "0.5"}, "--strict", func(b *testBench) { b.tracer.lost = 1 }, exitLost},
		{"lost, its code first", []string{"sh", "-c", "sleep 0.5; exit 9"}, "--strict", func(b *testBench) { b.tracer.lost = 1 }, 9},
		{"trouble", []string{"sleep", "0.5"}, "--no-csv", func(b *testBench) { b.session.limit = 5 }, 0},
		{"trouble, strict", []string{"sh", "-c", "sleep 0.5; exit 9"}, "--strict", func(b *testBench) { b.session.limit = 5 }, exitStrict},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			if c.spoil != nil {
				c.spoil(b)
			}
			argv := append([]string{"record", c.flag, "--"}, c.command...)
			qt.Check(t, qt.Equals(b.run(t.Context(), pythonLike(argv)), c.code), qt.Commentf("%s", b.err))
		})
	}
}

// pythonLike runs a command below a process that is called python3.
func pythonLike(argv []string) []string {
	i := slices.Index(argv, "--") + 1
	script := "exec -a python3 bash -c '\"$@\"; exit $?' python3 \"$@\""
	return append(append(slices.Clone(argv[:i]), "bash", "-c", script, "bash"), argv[i:]...)
}
