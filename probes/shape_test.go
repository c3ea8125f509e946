package probes_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-quicktest/qt"
	"golang.org/x/sys/unix"

	"github.com/pmtrace/pmtrace/decode"
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/probes"
	"github.com/pmtrace/pmtrace/probes/vllm"
)

// shape is e2e/shape running under a real CPython.
type shape struct {
	*program
	truth string
}

// interpreter is the launcher of a real CPython (e2e/setup/cpythons.sh).
func interpreter(t testing.TB, version string) string {
	t.Helper()
	cache := os.Getenv("PMTRACE_CACHE")
	if cache == "" {
		home, err := os.UserHomeDir()
		qt.Assert(t, qt.IsNil(err))
		cache = filepath.Join(home, ".cache", "pmtrace")
	}
	path := filepath.Join(cache, "cpython", version, "python")
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("no CPython %s: run e2e/setup/cpythons.sh (%v)", version, err)
	}
	return path
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it traces another process")
	}
}

// startShape starts the program; it waits for go before its first step.
func startShape(t *testing.T, wrap []string, version string, args ...string) *shape {
	t.Helper()
	s := &shape{truth: filepath.Join(t.TempDir(), "truth.jsonl")}
	argv := append(slices.Clone(wrap), interpreter(t, version), "../e2e/shape/shape.py", "--truth", s.truth)
	argv = append(argv, args...)
	s.program = startProgram(t, argv)
	return s
}

// run lets it go on to its end.
func (s *shape) run() {
	s.t.Helper()
	_, err := io.WriteString(s.stdin, "go\n")
	qt.Assert(s.t, qt.IsNil(err))
	qt.Assert(s.t, qt.Equals(s.line(), "done"))
}

// rows is a record.Sink that keeps everything.
type rows struct {
	record.Discard
	steps     []record.StepRow
	stepReqs  map[int64][]record.StepRequestRow
	requests  map[int64]record.RequestRow
	preempt   []record.PreemptionRow
	usage     []record.KVUsageRow
	blocks    []record.KVBlockRow
	evictions []record.KVEvictionRow
	losses    []record.LossRow
}

func newRows() *rows {
	return &rows{stepReqs: map[int64][]record.StepRequestRow{}, requests: map[int64]record.RequestRow{}}
}

func (r *rows) Step(x *record.StepRow) error { r.steps = append(r.steps, *x); return nil }
func (r *rows) StepRequest(x *record.StepRequestRow) error {
	r.stepReqs[x.StepID] = append(r.stepReqs[x.StepID], *x)
	return nil
}
func (r *rows) Request(x *record.RequestRow) error {
	r.requests[x.RequestUID] = *x
	return nil
}
func (r *rows) Preemption(x *record.PreemptionRow) error {
	r.preempt = append(r.preempt, *x)
	return nil
}
func (r *rows) KVUsage(x *record.KVUsageRow) error { r.usage = append(r.usage, *x); return nil }
func (r *rows) KVBlock(x *record.KVBlockRow) error { r.blocks = append(r.blocks, *x); return nil }
func (r *rows) KVEviction(x *record.KVEvictionRow) error {
	r.evictions = append(r.evictions, *x)
	return nil
}
func (r *rows) Loss(x *record.LossRow) error { r.losses = append(r.losses, *x); return nil }

// trace attaches to a shape, lets it run to its end and gives the tables and the
// kernel's counters.
func trace(t *testing.T, s *shape, opts probes.Options) (*rows, []record.Loss, []record.Unavailable) {
	t.Helper()
	tracer, err := probes.New(opts)
	qt.Assert(t, qt.IsNil(err))
	defer tracer.Close()
	engine, err := vllm.Find(s.pid, vllm.Options{})
	qt.Assert(t, qt.IsNil(err))
	index, unavailable, err := tracer.Attach(engine)
	qt.Assert(t, qt.IsNil(err))

	out := newRows()
	pipe := decode.NewPipeline(out, decode.Options{OnError: func(err error) { t.Error(err) }})
	fact := func(f record.Fact) {
		b, err := json.Marshal(f)
		qt.Assert(t, qt.IsNil(err))
		qt.Assert(t, qt.IsNil(pipe.Record(decode.RecordFact, b)))
	}
	var ts unix.Timespec
	qt.Assert(t, qt.IsNil(unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)))
	fact(record.Fact{Start: &record.Start{MonoNS: ts.Nano(), WallNS: time.Now().UnixNano()}})
	ef := engine.Fact()
	ef.Engine = index
	for _, w := range tracer.Watches(index) {
		ef.Watches = append(ef.Watches, string(w))
	}
	fact(record.Fact{Engine: &ef})

	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		done <- tracer.Run(ctx, func(event []byte) error {
			return pipe.Record(decode.RecordEvent, event)
		}, func() error { return nil })
	}()
	s.run()
	cancel()
	qt.Assert(t, qt.IsNil(<-done))
	losses, err := tracer.Losses()
	qt.Assert(t, qt.IsNil(err))
	fact(record.Fact{Losses: &record.Losses{MonoNS: ts.Nano() + 1, Counts: losses}})
	_, err = pipe.Close()
	qt.Assert(t, qt.IsNil(err))
	return out, losses, unavailable
}

func lost(losses []record.Loss) (n uint64) {
	for _, l := range losses {
		if l.Lost {
			n += l.Count
		}
	}
	return n
}

// want is the truth that the program wrote.
type want struct {
	steps     []wantStep
	evictions []wantEviction
	aborted   map[string]bool
	tokens    map[string]int // handed out, by request
	finish    map[string]string
	kv        []string
	preempted int
}

type wantStep struct {
	tokens   int
	rows     map[string][2]int // scheduled, computed before
	running  int
	waiting  int
	free     int
	finished int
	outputs  int // tokens handed out by its update, -1: no update
}

type wantEviction struct {
	block          int
	lifetime, idle float64
	hashed         bool
}

func (s *shape) want() want {
	s.t.Helper()
	b, err := os.ReadFile(s.truth)
	qt.Assert(s.t, qt.IsNil(err))
	w := want{aborted: map[string]bool{}, tokens: map[string]int{}, finish: map[string]string{}}
	inFlight := map[int64]int{} // SchedulerOutput → step
	reasons := map[int]string{0: "stop", 1: "length", 2: "abort"}
	for line := range strings.Lines(string(b)) {
		var f []json.RawMessage
		qt.Assert(s.t, qt.IsNil(json.Unmarshal([]byte(line), &f)))
		get := func(i int, v any) { qt.Assert(s.t, qt.IsNil(json.Unmarshal(f[i], v))) }
		var kind string
		get(0, &kind)
		switch kind {
		case "step":
			st := wantStep{outputs: -1}
			var preempted, finished []string
			var object int64
			get(2, &object)
			get(3, &st.tokens)
			get(4, &st.rows)
			get(7, &preempted)
			get(8, &finished)
			get(9, &st.running)
			get(10, &st.waiting)
			get(11, &st.free)
			st.finished = len(finished)
			w.preempted += len(preempted)
			inFlight[object] = len(w.steps)
			w.steps = append(w.steps, st)
		case "update":
			var object int64
			var outs [][3]any
			get(1, &object)
			get(2, &outs)
			n := 0
			for _, o := range outs {
				n += int(o[1].(float64))
				w.tokens[o[0].(string)] += int(o[1].(float64))
				if o[2] != nil {
					w.finish[o[0].(string)] = reasons[int(o[2].(float64))]
				}
			}
			w.steps[inFlight[object]].outputs = n
		case "eviction":
			var e wantEviction
			get(1, &e.block)
			get(2, &e.lifetime)
			get(3, &e.idle)
			get(4, &e.hashed)
			w.evictions = append(w.evictions, e)
		case "kv":
			var op string
			var n int
			get(1, &op)
			get(2, &n)
			w.kv = append(w.kv, fmt.Sprint(op, " ", n))
		case "abort":
			var id string
			get(1, &id)
			w.finish[id] = "abort"
		}
	}
	return w
}

// emulated says that this is QEMU's software emulation of a processor (e2e/kernels).
func emulated() bool { return os.Getenv("PMTRACE_EMULATED") != "" }

// untouched leaves out operations behind the last one that changed nothing: in QEMU's
// emulation the watch of the counter is hit after the run as well. On no processor was
// that ever seen.
func untouched(kv []string, n int) []string {
	for len(kv) > n && kv[len(kv)-1] == "other 0" {
		kv = kv[:len(kv)-1]
	}
	return kv
}

// check compares tables with the truth, value by value.
func check(t *testing.T, got *rows, want want) {
	t.Helper()
	qt.Assert(t, qt.HasLen(got.steps, len(want.steps)))
	for i, g := range got.steps {
		w := want.steps[i]
		at := qt.Commentf("step %d", i)
		qt.Assert(t, qt.Equals(g.StepID, int64(i)), at)
		qt.Assert(t, qt.Equals(int(g.Tokens), w.tokens), at)
		qt.Assert(t, qt.Equals(int(g.Requests), len(w.rows)), at)
		qt.Assert(t, qt.Equals(int(*g.Running), w.running), at)
		qt.Assert(t, qt.Equals(int(*g.Waiting), w.waiting), at)
		qt.Assert(t, qt.Equals(int(*g.KVTotal-*g.KVUsed), w.free), at)
		if w.outputs >= 0 {
			qt.Assert(t, qt.IsNotNil(g.OutputTokens), at)
			qt.Assert(t, qt.Equals(int(*g.OutputTokens), w.outputs), at)
		}
		rows := map[string][2]int{}
		for _, r := range got.stepReqs[g.StepID] {
			rows[got.requests[r.RequestUID].RequestID] = [2]int{int(r.Scheduled), int(*r.Computed)}
		}
		qt.Assert(t, qt.DeepEquals(rows, w.rows), at)
	}

	tokens, finish := map[string]int{}, map[string]string{}
	for _, r := range got.requests {
		if *r.OutputTokens > 0 {
			tokens[r.RequestID] = int(*r.OutputTokens)
		}
		if r.Reason != nil {
			finish[r.RequestID] = *r.Reason
		}
	}
	qt.Assert(t, qt.DeepEquals(tokens, want.tokens))
	// A request that was aborted while it waited was never seen.
	for id, reason := range want.finish {
		if g, ok := finish[id]; ok {
			qt.Assert(t, qt.Equals(g, reason), qt.Commentf("request %s", id))
		} else {
			qt.Assert(t, qt.Equals(reason, "abort"), qt.Commentf("request %s", id))
			_, known := tokens[id]
			qt.Assert(t, qt.IsFalse(known))
		}
	}
	qt.Assert(t, qt.HasLen(got.preempt, want.preempted))

	var kv []string
	for _, u := range got.usage {
		kv = append(kv, fmt.Sprint(u.Op, " ", u.Blocks))
	}
	if emulated() {
		kv = untouched(kv, len(want.kv))
	}
	qt.Assert(t, qt.DeepEquals(kv, want.kv))

	qt.Assert(t, qt.HasLen(got.evictions, len(want.evictions)))
	// The program and the kernel read the clock some microseconds apart, and the
	// machine may do something else between the two.
	var life, idle []float64
	for i, g := range got.evictions {
		w := want.evictions[i]
		at := qt.Commentf("eviction %d", i)
		qt.Assert(t, qt.Equals(int(g.BlockID), w.block), at)
		qt.Assert(t, qt.Equals(g.HadHash, w.hashed), at)
		qt.Assert(t, qt.IsTrue(g.BirthKnown), at)
		life = append(life, math.Abs(float64(g.LifetimeNS)/1e9-w.lifetime))
		idle = append(idle, math.Abs(float64(g.IdleNS)/1e9-w.idle))
	}
	for _, d := range [][]float64{life, idle} {
		if len(d) > 0 {
			slices.Sort(d)
			qt.Assert(t, qt.IsTrue(d[len(d)*9/10] < 2e-3), qt.Commentf("p90 of the difference: %v s", d[len(d)*9/10]))
		}
	}
}

var versions = []string{"3.10", "3.11", "3.12", "3.13", "3.14"}

// The tables say what the program did, on every supported CPython.
func TestShape(t *testing.T) {
	needRoot(t)
	for _, version := range versions {
		for _, c := range []struct {
			name string
			args []string
		}{
			{"sync", []string{"--blocks", "400"}},
			{"pressure", []string{"--blocks", "60"}},
			{"async", []string{"--blocks", "60", "--async"}},
			{"aborts", []string{"--blocks", "60", "--async", "--abort", "0.02"}},
			{"one", []string{"--requests", "20", "--concurrency", "1"}},
			{"many", []string{"--requests", "900", "--concurrency", "300", "--blocks", "3000"}},
		} {
			t.Run(version+"/"+c.name, func(t *testing.T) {
				s := startShape(t, nil, version, c.args...)
				got, losses, unavailable := trace(t, s, probes.Options{})
				qt.Assert(t, qt.Equals(lost(losses), 0), qt.Commentf("%v", losses))
				qt.Assert(t, qt.HasLen(unavailable, 0))
				qt.Assert(t, qt.HasLen(got.losses, 0))
				check(t, got, s.want())
			})
		}
	}
}

// attachOnly sets the watches and nothing else.
func attachOnly(t *testing.T, s *shape) (*probes.Tracer, error) {
	t.Helper()
	tracer, err := probes.New(probes.Options{})
	qt.Assert(t, qt.IsNil(err))
	t.Cleanup(func() { tracer.Close() })
	engine, err := vllm.Find(s.pid, vllm.Options{})
	qt.Assert(t, qt.IsNil(err))
	_, _, err = tracer.Attach(engine)
	return tracer, err
}

// childOf gives the only child of a process that has an interpreter's threads.
func childOf(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	qt.Assert(t, qt.IsNil(err))
	child, err := strconv.Atoi(strings.Fields(string(b))[0])
	qt.Assert(t, qt.IsNil(err))
	return child
}

// TestEngineIndex: an engine's number in the events is that of its data-parallel group, in
// whatever order the engines are found; one that comes up again has the next that is free.
func TestEngineIndex(t *testing.T) {
	needRoot(t)
	tracer, err := probes.New(probes.Options{})
	qt.Assert(t, qt.IsNil(err))
	t.Cleanup(func() { tracer.Close() })
	for _, test := range []struct{ dp, want int }{{1, 1}, {0, 0}, {1, 2}, {99, 3}} {
		s := startShape(t, nil, "3.13", "--dp", strconv.Itoa(test.dp))
		engine, err := vllm.Find(s.pid, vllm.Options{})
		qt.Assert(t, qt.IsNil(err))
		index, _, err := tracer.Attach(engine)
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.Equals(engine.Fact().DataParallel, test.dp))
		qt.Check(t, qt.Equals(index, test.want))
		qt.Check(t, qt.HasLen(tracer.Watches(index), 4))
	}
}
