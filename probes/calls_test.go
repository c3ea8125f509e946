package probes_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"github.com/go-quicktest/qt"
	"golang.org/x/sys/unix"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/decode/wire"
	"github.com/pmtrace/pmtrace/probes"
	"github.com/pmtrace/pmtrace/probes/cpython"
	"github.com/pmtrace/pmtrace/probes/vllm"
)

// stub compiles a library of testdata/calls.c to the place that it has among
// wheels. Without optimisation its functions begin with a push, as libcudart's do.
func stub(t testing.TB, macro, at string) string {
	t.Helper()
	cc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("no C compiler")
	}
	path := filepath.Join(t.TempDir(), at)
	qt.Assert(t, qt.IsNil(os.MkdirAll(filepath.Dir(path), 0o755)))
	out, err := exec.Command(cc, "-std=gnu11", "-O0", "-fcf-protection=none", "-fPIC", "-fvisibility=hidden", "-fno-optimize-sibling-calls", "-shared", "-pthread",
		"-D"+macro, "-o", path, "testdata/calls.c").CombinedOutput()
	qt.Assert(t, qt.IsNil(err), qt.Commentf("%s", out))
	return path
}

func runtimeStub(t testing.TB) string {
	return stub(t, "RUNTIME", "nvidia/cu13/lib/libcudart.so.13")
}
func driverStub(t *testing.T) string { return stub(t, "DRIVER", "driver/libcuda.so.1") }
func ncclStub(t *testing.T) string   { return stub(t, "NCCL", "nvidia/nccl/lib/libnccl.so.2") }

// needMulti skips a test of what this kernel has not.
func needMulti(t *testing.T, needed bool) {
	t.Helper()
	if err := features.HaveBPFLinkUprobeMulti(); needed && errors.Is(err, ebpf.ErrNotSupported) {
		t.Skip(err)
	}
}

// caller is testdata/calls.py under a real CPython.
type caller struct{ *program }

func startCaller(t testing.TB, wrap []string, version string) *caller {
	t.Helper()
	return &caller{startProgram(t, append(slices.Clone(wrap), interpreter(t, version), "testdata/calls.py"))}
}

// do runs one of the program's functions and waits for what it returns.
func (c *caller) do(into any, command ...any) {
	c.t.Helper()
	b, err := json.Marshal(command)
	qt.Assert(c.t, qt.IsNil(err))
	_, err = c.stdin.Write(append(b, '\n'))
	qt.Assert(c.t, qt.IsNil(err))
	line := c.line()
	if into != nil {
		qt.Assert(c.t, qt.IsNil(json.Unmarshal([]byte(line), into)))
	}
}

func (c *caller) call(lib, name string, args ...any) {
	c.t.Helper()
	if args == nil {
		args = []any{}
	}
	c.do(nil, "call", lib, name, args)
}

// known are the functions of calls.py that are known, by name.
var known = map[string]vllm.KnownFunction{
	"execute":        {Phase: wire.PhaseExecute},
	"prepare":        {Phase: wire.PhasePrepare},
	"forward":        {Phase: wire.PhaseForward},
	"sample":         {Phase: wire.PhaseSample},
	"copy":           {Phase: wire.PhaseOutputCopy},
	"wait":           {Phase: wire.PhaseOutputWait},
	"encoder":        {Phase: wire.PhaseEncoder},
	"module":         {Phase: wire.PhaseForward, Weak: true},
	"module2":        {Phase: wire.PhaseCrossAttention, Weak: true},
	"dummy":          {Phase: wire.PhaseDummy, Dummy: true},
	"capture":        {Phase: wire.PhaseCapture, Dummy: true},
	"profile":        {Phase: wire.PhaseCapture, Dummy: true, Throwaway: true},
	"execute_model":  {Phase: wire.PhaseExecute},
	"execute_shared": {Phase: wire.PhaseExecute},
	"sample_tokens":  {Phase: wire.PhasePostprocess},
	"tell":           {Phase: wire.PhasePrepare},
}

// objects stands for what vllm.Worker reads.
type objects struct {
	mu        sync.Mutex
	python    *cpython.Runtime
	pid       int
	functions []vllm.KnownFunction
	changed   bool
	found     vllm.FoundGraphs
	readings  int
	asked     []uint64 // handles that a reading asks for
	seen      []bool
}

// model reads the program's functions by their addresses.
func (c *caller) model() *objects {
	c.t.Helper()
	rt, err := cpython.Open(c.pid, cpython.Options{})
	qt.Assert(c.t, qt.IsNil(err))
	m := &objects{python: rt, pid: c.pid, changed: true, found: vllm.FoundGraphs{Offset: -1}}
	var codes map[string][3]any
	c.do(&codes, "codes")
	for name, f := range known {
		at := codes[name]
		f.Code, f.OutputLocal, f.Name = uint64(at[0].(float64)), -1, name
		if strings.HasPrefix(name, "execute_") {
			f.OutputLocal, f.OutputCell = int(at[1].(float64)), at[2].(bool)
		}
		m.functions = append(m.functions, f)
	}
	return m
}

func (m *objects) Threads() ([]vllm.PythonThread, error) {
	interp, err := m.python.MainInterpreter()
	if err != nil {
		return nil, err
	}
	threads, err := m.python.Threads(interp)
	host, hostErr := cpython.HostTIDs(m.pid)
	var out []vllm.PythonThread
	for _, t := range threads {
		if tid, ok := host[t.NativeID]; ok {
			out = append(out, vllm.PythonThread{TID: tid, State: t.Addr})
		}
	}
	return out, errors.Join(err, hostErr)
}

func (m *objects) Functions() ([]vllm.KnownFunction, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	changed := m.changed
	m.changed = false
	return m.functions, changed, nil
}

func (m *objects) Graphs(seen func(uint64) bool) (vllm.FoundGraphs, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.readings++
	for _, h := range m.asked {
		m.seen = append(m.seen, seen(h))
	}
	return m.found, nil
}

func (m *objects) Runner() (vllm.Runner, error) {
	rank := 3
	return vllm.Runner{V2: true, Module: "m", Rank: &rank}, nil
}

// tracing is a tracer that keeps the events.
type tracing struct {
	t      testing.TB
	tracer *probes.Tracer
	stop   context.CancelFunc
	done   chan error

	calls  []wire.Call
	phases []wire.PhaseChange
	steps  []wire.WorkerStep
	order  []wire.Header // of all, as they came
	thread []uint32      // of all
}

func startTracing(t testing.TB, opts probes.Options) *tracing {
	t.Helper()
	needRoot(t)
	tracer, err := probes.New(opts)
	qt.Assert(t, qt.IsNil(err))
	t.Cleanup(func() { tracer.Close() })
	tr := &tracing{t: t, tracer: tracer, done: make(chan error)}
	var ctx context.Context
	ctx, tr.stop = context.WithCancel(context.Background())
	go func() { tr.done <- tracer.Run(ctx, tr.take, func() error { return nil }) }()
	return tr
}

func (tr *tracing) take(b []byte) error {
	var h wire.Header
	if err := h.Read(b); err != nil {
		return err
	}
	var thread uint32
	var err error
	switch h.Kind {
	case wire.KindCall:
		var c wire.Call
		err = c.Read(h, b)
		thread = c.Thread
		tr.calls = append(tr.calls, c)
	case wire.KindPhase:
		var p wire.PhaseChange
		err = p.Read(h, b)
		thread = p.Thread
		tr.phases = append(tr.phases, p)
	case wire.KindWorkerStep:
		var s wire.WorkerStep
		err = s.Read(h, b)
		thread = s.Thread
		tr.steps = append(tr.steps, s)
	}
	tr.order, tr.thread = append(tr.order, h), append(tr.thread, thread)
	return err
}

// end reads what is left and checks that nothing was lost.
func (tr *tracing) end() {
	tr.t.Helper()
	tr.stop()
	qt.Assert(tr.t, qt.IsNil(<-tr.done))
	losses, err := tr.tracer.Losses()
	qt.Assert(tr.t, qt.IsNil(err))
	qt.Assert(tr.t, qt.HasLen(losses, 0), qt.Commentf("%+v", losses))
	next := map[uint32]uint32{}
	for i, h := range tr.order {
		qt.Assert(tr.t, qt.Equals(h.Seq, next[tr.thread[i]]), qt.Commentf("thread %d", tr.thread[i]))
		next[tr.thread[i]]++
	}
}

func (tr *tracing) attach(c *caller, m *objects, spec probes.WorkerSpec) (record.Worker, []record.Unavailable) {
	tr.t.Helper()
	fact, unavailable, err := tr.tracer.AttachModel(c.pid, m.python, m, spec)
	qt.Assert(tr.t, qt.IsNil(err))
	return fact, unavailable
}

// clean is a call without what differs from run to run.
func clean(c wire.Call) wire.Call {
	c.Header, c.Thread, c.Step = wire.Header{}, 0, 0
	if c.Began != 0 {
		c.Began = 1
	}
	return c
}

var everySet = []probes.Set{
	probes.SetGraphs, probes.SetTiming, probes.SetPhases, probes.SetLaunches, probes.SetEvents, probes.SetMemory, probes.SetCollectives,
}

// everyRow are the rows that are only counted unless they are asked for.
var everyRow = []wire.Row{
	wire.RowEventCreate, wire.RowEventRecord, wire.RowEventQuery, wire.RowEventDestroy, wire.RowStreamWait, wire.RowCopy,
	wire.RowMalloc, wire.RowFree, wire.RowMallocAsync, wire.RowFreeAsync, wire.RowLaunch,
	wire.RowStreamSync, wire.RowDeviceSync, // outside of the phases that they may end
}

// What each function is called with and gives back, by uprobe_multi and by plain
// uprobes.
func TestCallArguments(t *testing.T) {
	const big = 0x7fff_1234_5678 // an address
	for _, plain := range []bool{false, true} {
		t.Run(fmt.Sprintf("plain=%v", plain), func(t *testing.T) {
			needMulti(t, !plain)
			tr := startTracing(t, probes.Options{Calls: probes.Calls{Sets: everySet, Record: everyRow, Plain: plain}})
			c := startCaller(t, nil, "3.12")
			c.do(nil, "load", "cudart", runtimeStub(t))
			c.do(nil, "load", "cuda", driverStub(t))
			c.do(nil, "load", "nccl", ncclStub(t))
			fact, unavailable := tr.attach(c, c.model(), probes.WorkerSpec{})
			qt.Assert(t, qt.HasLen(unavailable, 0))
			qt.Assert(t, qt.HasLen(fact.Probes, int(wire.RowRecv)), qt.Commentf("%q", fact.Probes))
			qt.Assert(t, qt.HasLen(fact.Libraries, 3))

			var want []wire.Call
			call := func(lib, name string, args []any, e wire.Call) {
				t.Helper()
				c.call(lib, name, args...)
				e.Phase = wire.PhaseOther
				if e.Result != 0 {
					e.Flags |= wire.CallFailed
				}
				want = append(want, e)
			}
			a := func(v ...any) []any { return v }
			call("cudart", "cudaGraphLaunch", a(big, 7), wire.Call{Row: wire.RowGraphLaunch, A: big, B: 7})
			call("cudart", "cudaGraphLaunch_ptsz", a(big, 7), wire.Call{Row: wire.RowGraphLaunch, A: big, B: 7})
			call("cudart", "cudaGraphUpload", a(big, 8), wire.Call{Row: wire.RowGraphUpload, A: big, B: 8})
			call("cudart", "cudaGraphExecDestroy", a(big), wire.Call{Row: wire.RowGraphDestroy, A: big})
			call("cudart", "cudaStreamBeginCapture", a(5, 0xdead00000001), wire.Call{Row: wire.RowCaptureBegin, A: 5, B: 1})
			call("cudart", "cudaStreamBeginCaptureToGraph", a(5, 0, 0, 0, 0, 2), wire.Call{Row: wire.RowCaptureBegin, A: 5, B: 2})
			call("cudart", "cudaStreamEndCapture", a(5, "out"), wire.Call{Row: wire.RowCaptureEnd, A: 5, B: 6, Began: 1})
			call("cudart", "cudaGraphInstantiate", a("out", 6, 0), wire.Call{Row: wire.RowGraphInstantiate, A: 7, B: 6, Began: 1})
			call("cudart", "cudaGraphInstantiateWithFlags", a("out", 16, 0), wire.Call{Row: wire.RowGraphInstantiate, A: 17, B: 16, Began: 1})
			call("cudart", "cudaGraphInstantiateWithParams", a("out", 16, 0), wire.Call{Row: wire.RowGraphInstantiate, A: 18, B: 16, Began: 1})
			call("cudart", "cudaGraphInstantiate", a("out", -5, 0), wire.Call{Row: wire.RowGraphInstantiate, A: 1<<64 - 4, B: 1<<64 - 5, Began: 1, Result: 900})
			call("cudart", "cudaEventCreate", a("out"), wire.Call{Row: wire.RowEventCreate, A: 0x1001, Began: 1})
			call("cudart", "cudaEventCreateWithFlags", a("out", 2), wire.Call{Row: wire.RowEventCreate, A: 0x1002, B: 2, Began: 1})
			call("cudart", "cudaEventRecord", a(big, 3), wire.Call{Row: wire.RowEventRecord, A: big, B: 3})
			call("cudart", "cudaEventRecordWithFlags", a(big, 4, 1), wire.Call{Row: wire.RowEventRecord, A: big, B: 4})
			call("cudart", "cudaEventSynchronize", a(big), wire.Call{Row: wire.RowEventSync, A: big, Began: 1})
			call("cudart", "cudaEventQuery", a(big), wire.Call{Row: wire.RowEventQuery, A: big, Began: 1, Result: 600})
			call("cudart", "cudaEventDestroy", a(big), wire.Call{Row: wire.RowEventDestroy, A: big})
			call("cudart", "cudaStreamSynchronize", a(9), wire.Call{Row: wire.RowStreamSync, A: 9, Began: 1})
			call("cudart", "cudaDeviceSynchronize", nil, wire.Call{Row: wire.RowDeviceSync, Began: 1})
			call("cudart", "cudaStreamWaitEvent", a(9, big, 0), wire.Call{Row: wire.RowStreamWait, A: 9, B: big})
			call("cudart", "cudaMemcpyAsync", a(1, 2, big, 0xbeef00000002, 11), wire.Call{Row: wire.RowCopy, A: big, B: 2, C: 11})
			call("cudart", "cudaMemcpy2DAsync", a(1, 2, 3, 4, 500, 7, 1, 12), wire.Call{Row: wire.RowCopy, A: 3500, B: 1, C: 12})
			call("cudart", "cudaMemcpyPeerAsync", a(1, 0, 3, 1, 4096, 13), wire.Call{Row: wire.RowCopy, A: 4096, B: 3, C: 13})
			call("cudart", "cudaMalloc", a("out", 1<<33), wire.Call{Row: wire.RowMalloc, A: 1 << 33, B: 0x2001, Began: 1})
			call("cudart", "cudaFree", a(big), wire.Call{Row: wire.RowFree, A: big})
			call("cudart", "cudaMallocAsync", a("out", 64, 14), wire.Call{Row: wire.RowMallocAsync, A: 64, B: 0x2002, C: 14, Began: 1})
			call("cudart", "cudaMallocFromPoolAsync", a("out", 65, 1, 15), wire.Call{Row: wire.RowMallocAsync, A: 65, B: 0x2003, C: 15, Began: 1})
			call("cudart", "cudaFreeAsync", a(big, 16), wire.Call{Row: wire.RowFreeAsync, A: big, B: 16})

			call("cuda", "kernel", a(big, 70000, 9, 17), wire.Call{Row: wire.RowLaunch, A: big, B: 70000 | 9<<32, C: 17})
			call("cuda", "kernel_ex", a(big, 5, 6, 18), wire.Call{Row: wire.RowLaunch, A: big, B: 5 | 6<<32, C: 18})
			call("cuda", "cuLaunchCooperativeKernel", a(big, 1, 2, 3, 4, 5, 6, 7, 19, 0), wire.Call{Row: wire.RowLaunch, A: big, B: 1 | 2<<32, C: 19})
			// These are libcudart's own here, and are not sent twice.
			c.call("cuda", "cuGraphLaunch", big, 0)
			c.call("cuda", "cuEventSynchronize", 1)

			call("nccl", "ncclAllReduce", a(1, 2, 1<<40, 9, 0, big, 21), wire.Call{Row: wire.RowAllReduce, A: 1 << 40, B: 9, C: 21})
			call("nccl", "ncclAllGather", a(1, 2, 3, 9, big, 22), wire.Call{Row: wire.RowAllGather, A: 3, B: 9, C: 22})
			call("nccl", "ncclReduceScatter", a(1, 2, 4, 7, 0, big, 23), wire.Call{Row: wire.RowReduceScatter, A: 4, B: 7, C: 23})
			call("nccl", "ncclBroadcast", a(1, 2, 5, 7, 0, big, 24), wire.Call{Row: wire.RowBroadcast, A: 5, B: 7, C: 24})
			call("nccl", "ncclReduce", a(1, 2, 6, 7, 0, 1, big, 25), wire.Call{Row: wire.RowReduce, A: 6, B: 7, C: 25})
			call("nccl", "ncclSend", a(1, 7, 2, 3, big, 26), wire.Call{Row: wire.RowSend, A: 7, B: 2, C: 26})
			call("nccl", "ncclRecv", a(1, 8, 2, 3, big, 27), wire.Call{Row: wire.RowRecv, A: 8, B: 2, C: 27})
			tr.end()

			qt.Assert(t, qt.HasLen(tr.calls, len(want)))
			for i, got := range tr.calls {
				qt.Check(t, qt.Equals(clean(got), want[i]), qt.Commentf("call %d", i))
				if got.Began != 0 {
					qt.Check(t, qt.IsTrue(got.Began < got.Ktime))
				}
			}
		})
	}
}

// truth is one call as the program has it: the function and the known and unknown
// Python functions that it was called under, outermost first.
type truth struct {
	name  string
	stack []string
}

func (c *truth) UnmarshalJSON(b []byte) error {
	return json.Unmarshal(b, &[]any{&c.name, &c.stack})
}

// phaseOf is the rule of probes/vllm.KnownFunction, written out.
func phaseOf(stack []string) (phase wire.Phase, dummy wire.Phase, throwaway bool) {
	var weak wire.Phase
	phase = wire.PhaseNone
	for _, name := range slices.Backward(stack) {
		f, ok := known[name]
		if !ok {
			continue
		}
		if f.Dummy && dummy != wire.PhaseCapture {
			dummy = f.Phase
		}
		throwaway = throwaway || f.Throwaway
		switch {
		case phase != wire.PhaseNone:
		case f.Weak:
			weak = f.Phase
		case f.Phase == wire.PhaseExecute && weak != 0:
			phase = weak
		default:
			phase = f.Phase
		}
	}
	if phase == wire.PhaseNone {
		phase = wire.PhaseOther
	}
	if dummy != 0 {
		phase = dummy
	}
	return phase, dummy, throwaway
}

// expect gives the calls and phase changes that a thread's calls must send.
func expect(calls []truth) (sent []wire.Call, changes []wire.PhaseChange) {
	now := wire.PhaseChange{} // counts of this phase
	rows := map[string]wire.Call{
		"cudaGraphLaunch":          {Row: wire.RowGraphLaunch, A: 0x1234},
		"cudaGraphExecDestroy":     {Row: wire.RowGraphDestroy, A: 0x1234},
		"cudaEventRecord":          {Row: wire.RowEventRecord, A: 0x55, B: 0x66},
		"cudaEventRecordWithFlags": {Row: wire.RowEventRecord, A: 0x55, B: 0x66},
		"cudaEventSynchronize":     {Row: wire.RowEventSync, A: 0x55, Began: 1},
		"cudaStreamSynchronize":    {Row: wire.RowStreamSync, A: 0x77, Began: 1},
		"cudaMemcpyAsync":          {Row: wire.RowCopy},
	}
	wasDummy := false
	for _, c := range calls {
		phase, dummy, throwaway := phaseOf(c.stack)
		call := rows[c.name]
		call.Phase = phase
		var flags uint8
		if dummy != 0 {
			flags = wire.CallDummy
		}
		if wasDummy != (dummy != 0) || dummy == 0 && now.Before != phase {
			before := now
			before.Phase, before.Flags, before.Row = phase, flags, call.Row
			changes = append(changes, before)
			now = wire.PhaseChange{Before: phase}
			wasDummy = dummy != 0
		}
		now.Calls++
		if call.Row == wire.RowCopy {
			now.Copies++
			now.Copied += 100
		}
		if throwaway {
			flags |= wire.CallThrowaway
		}
		call.Flags = flags
		switch call.Row {
		case wire.RowGraphLaunch, wire.RowGraphDestroy:
		case wire.RowEventSync:
			if dummy != 0 {
				continue
			}
		case wire.RowStreamSync:
			if dummy != 0 || phase != wire.PhaseOutputCopy && phase != wire.PhaseOutputWait {
				continue
			}
		case wire.RowEventRecord:
			if phase != wire.PhaseOutputCopy {
				continue
			}
		default:
			continue
		}
		sent = append(sent, call)
	}
	return sent, changes
}

type threadTruth struct {
	tid   uint32
	calls []truth
}

func (th *threadTruth) UnmarshalJSON(b []byte) error {
	return json.Unmarshal(b, &[]any{&th.tid, &th.calls})
}

func (tr *tracing) check(threads []threadTruth) {
	tr.t.Helper()
	for _, th := range threads {
		sent, changes := expect(th.calls)
		var gotCalls []wire.Call
		for _, c := range tr.calls {
			if c.Thread == th.tid {
				gotCalls = append(gotCalls, clean(c))
			}
		}
		var gotChanges []wire.PhaseChange
		for _, p := range tr.phases {
			if p.Thread != th.tid {
				continue
			}
			qt.Assert(tr.t, qt.Equals(p.First != 0, p.Calls > 0))
			qt.Assert(tr.t, qt.IsTrue(p.First <= p.Last && p.Last < p.Ktime))
			qt.Assert(tr.t, qt.Equals(p.Step, uint32(wire.Unknown)))
			p.Header, p.First, p.Last, p.Thread, p.Step = wire.Header{}, 0, 0, 0, 0
			gotChanges = append(gotChanges, p)
		}
		qt.Assert(tr.t, qt.HasLen(gotCalls, len(sent)))
		for i := range sent {
			qt.Assert(tr.t, qt.Equals(gotCalls[i], sent[i]), qt.Commentf("call %d", i))
		}
		qt.Assert(tr.t, qt.HasLen(gotChanges, len(changes)))
		for i := range changes {
			qt.Assert(tr.t, qt.Equals(gotChanges[i], changes[i]), qt.Commentf("change %d", i))
		}
	}
}

// Phases, dummy runs and throwaway captures of random call trees on several
// threads: all frames are of one size, so the next function's frame is where the
// last one's was.
func TestCallPhases(t *testing.T) {
	for _, version := range versions {
		t.Run(version, func(t *testing.T) {
			tr := startTracing(t, probes.Options{})
			c := startCaller(t, nil, version)
			c.do(nil, "load", "cudart", runtimeStub(t))
			c.do(nil, "prepare_threads", 3, 1, 3000, 7)
			tr.attach(c, c.model(), probes.WorkerSpec{EngineThread: 1})
			var threads []threadTruth
			c.do(&threads, "run_threads")
			qt.Assert(t, qt.HasLen(threads, 3))
			tr.end()
			tr.check(threads)
		})
	}
}

// A hundred thousand calls, and what one costs.
func TestCallPace(t *testing.T) {
	needRoot(t)
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	qt.Assert(t, qt.IsNil(err))
	defer stats.Close()
	tr := startTracing(t, probes.Options{RingBytes: 32 << 20})
	c := startCaller(t, nil, "3.13")
	c.do(nil, "load", "cudart", runtimeStub(t))
	c.do(nil, "prepare_threads", 1, 7, 100_000, 9)
	tr.attach(c, c.model(), probes.WorkerSpec{EngineThread: 1})
	var threads []threadTruth
	c.do(&threads, "run_threads")
	costs, err := tr.tracer.Cost()
	qt.Assert(t, qt.IsNil(err))
	tr.end()
	tr.check(threads)
	for _, cost := range costs {
		if cost.Runs > 0 {
			t.Logf("%s: %d runs, %v each", cost.Watch, cost.Runs, cost.Time/time.Duration(cost.Runs))
		}
	}
	frames := 0
	for _, call := range threads[0].calls {
		frames += 2*len(call.stack) + 8
	}
	t.Logf("about %d Python frames a call", frames/len(threads[0].calls))
}

// What a call costs its thread: CPU time in all (ns/op), and the program's own share,
// by the number of Python frames.
func BenchmarkCall(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root: it traces another process")
	}
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	qt.Assert(b, qt.IsNil(err))
	defer stats.Close()
	for _, name := range []string{"cudaGraphLaunch", "cudaMemcpyAsync", "cudaEventSynchronize"} {
		for _, depth := range []int{1, 20, 40} {
			b.Run(fmt.Sprintf("%s/%d", name, depth), func(b *testing.B) {
				tr := startTracing(b, probes.Options{RingBytes: 32 << 20})
				c := startCaller(b, nil, "3.12")
				c.do(nil, "load", "cudart", runtimeStub(b))
				var before, after float64
				c.do(&before, "cost", depth, "cudart", name, b.N)
				tr.attach(c, c.model(), probes.WorkerSpec{})
				c.do(&after, "cost", depth, "cudart", name, b.N)
				costs, err := tr.tracer.Cost()
				qt.Assert(b, qt.IsNil(err))
				b.ReportMetric((after-before)*1e9, "ns/op")
				for _, cost := range costs {
					if cost.Runs > 0 {
						b.ReportMetric(float64(cost.Time.Nanoseconds())/float64(cost.Runs), "ns/"+string(cost.Watch))
					}
				}
				tr.end()
			})
		}
	}
}

// liar tells another PyThreadState than there is.
type liar struct {
	*objects
	state uint64
}

func (l liar) Threads() ([]vllm.PythonThread, error) {
	return []vllm.PythonThread{{TID: l.pid, State: l.state}}, nil
}

// Stacks that are no stacks: the call is told without a phase, and it is counted.
func TestHostileStacks(t *testing.T) {
	for _, version := range versions {
		t.Run(version, func(t *testing.T) {
			c := startCaller(t, nil, version)
			c.do(nil, "load", "cudart", runtimeStub(t))
			m := c.model()
			o := m.python.Offsets()
			current := o.Thread.CurrentFrame
			if current == cpython.Absent {
				current = o.CFrame.CurrentFrame
			}
			// A thread state (and its cframe, where there is one) that leads to frame.
			state := func(frame any) (at uint64) {
				words := []any{[]any{current, frame}}
				if o.Thread.CFrame != cpython.Absent {
					c.do(&at, "memory", 4096, words)
					words = []any{[]any{o.Thread.CFrame, at}}
				}
				c.do(&at, "memory", 4096, words)
				return at
			}
			var circle, unmapped, middle uint64
			c.do(&circle, "memory", 4096, []any{[]any{o.Frame.Previous, -1}})
			c.do(&unmapped, "memory", 4096, []any{[]any{o.Frame.Previous, 0x10}})
			c.do(&middle, "memory", 4096, []any{[]any{o.Frame.Previous, 0x7000_0000_0001}, []any{o.Frame.Code, uint64(0xffff_ffff_ffff_fff8)}})
			for _, test := range []struct {
				name  string
				state uint64
				lost  string
				phase wire.Phase
			}{
				{"no such memory", 0x7000_0000_0000, "unreadable", wire.PhaseNone},
				{"kernel memory", 0xffff_8000_0000_0000, "unreadable", wire.PhaseNone},
				{"no frame", state(0), "", wire.PhaseNone},
				{"frame unmapped", state(0x1000), "unreadable", wire.PhaseNone},
				{"frame at the end of memory", state(uint64(0x7fff_ffff_fff8)), "unreadable", wire.PhaseNone},
				{"previous unmapped", state(unmapped), "unreadable", wire.PhaseNone},
				{"odd addresses", state(middle), "unreadable", wire.PhaseNone},
				{"circle", state(circle), "too_long", wire.PhaseNone},
			} {
				t.Run(test.name, func(t *testing.T) {
					tr := startTracing(t, probes.Options{})
					m.changed = true
					_, _, err := tr.tracer.AttachModel(c.pid, m.python, liar{m, test.state}, probes.WorkerSpec{OtherProcess: true})
					qt.Assert(t, qt.IsNil(err))
					c.do(nil, "execute_model", nil, "")
					tr.stop()
					qt.Assert(t, qt.IsNil(<-tr.done))
					qt.Assert(t, qt.HasLen(tr.calls, 2))
					for _, call := range tr.calls {
						qt.Assert(t, qt.Equals(call.Phase, test.phase))
					}
					losses, err := tr.tracer.Losses()
					qt.Assert(t, qt.IsNil(err))
					var want []record.Loss
					if test.lost != "" {
						want = []record.Loss{{Engine: -1, Probe: "graph_launch", Reason: test.lost, Count: 2, Lost: true}}
					}
					qt.Assert(t, qt.DeepEquals(losses, want))
				})
			}
		})
	}
}

// A stack that is deeper than the walk goes.
func TestDeepStack(t *testing.T) {
	for _, version := range versions {
		t.Run(version, func(t *testing.T) {
			tr := startTracing(t, probes.Options{})
			c := startCaller(t, nil, version)
			c.do(nil, "load", "cudart", runtimeStub(t))
			tr.attach(c, c.model(), probes.WorkerSpec{})
			c.do(nil, "cost", 950, "cudart", "cudaGraphLaunch", 5)
			c.do(nil, "cost", 1100, "cudart", "cudaGraphLaunch", 5)
			tr.stop()
			qt.Assert(t, qt.IsNil(<-tr.done))
			var phases []wire.Phase
			for _, call := range tr.calls {
				phases = append(phases, call.Phase)
			}
			qt.Assert(t, qt.DeepEquals(phases, append(slices.Repeat([]wire.Phase{wire.PhaseOther}, 5), slices.Repeat([]wire.Phase{wire.PhaseNone}, 5)...)))
			losses, err := tr.tracer.Losses()
			qt.Assert(t, qt.IsNil(err))
			qt.Assert(t, qt.DeepEquals(losses, []record.Loss{{Engine: -1, Probe: "graph_launch", Reason: "too_long", Count: 5, Lost: true}}))
		})
	}
}

// Threads without Python frames, functions that become known later, and a
// neighbour that has the same file mapped.
func TestCallThreads(t *testing.T) {
	for _, plain := range []bool{false, true} {
		t.Run(fmt.Sprintf("plain=%v", plain), func(t *testing.T) {
			needMulti(t, !plain)
			tr := startTracing(t, probes.Options{Calls: probes.Calls{Plain: plain}})
			lib := runtimeStub(t)
			c, other := startCaller(t, nil, "3.11"), startCaller(t, nil, "3.11")
			c.do(nil, "load", "cudart", lib)
			other.do(nil, "load", "cudart", lib)
			m := c.model()
			all := m.functions
			m.functions = nil
			tr.attach(c, m, probes.WorkerSpec{})
			c.do(nil, "load", "again", lib)
			c.do(nil, "loop", "cudaGraphLaunch", []any{1, 0}, 3)
			other.do(nil, "loop", "cudaGraphLaunch", []any{1, 0}, 1000)
			c.do(nil, "fork_call", 5) // a child is another process
			c.do(nil, "call", "cudart", "launch_apart", []any{4})
			c.do(nil, "sample_tokens")
			m.functions, m.changed = all, true
			tr.tracer.Look()
			c.do(nil, "sample_tokens")
			tr.end()

			phases := map[wire.Phase]int{}
			for _, call := range tr.calls {
				phases[call.Phase]++
			}
			qt.Assert(t, qt.DeepEquals(phases, map[wire.Phase]int{wire.PhaseOther: 4, wire.PhaseNone: 4, wire.PhasePostprocess: 1}))
			for i := range 4 {
				qt.Check(t, qt.Equals(tr.calls[3+i].A, uint64(0x7000+i)))
				qt.Check(t, qt.Not(qt.Equals(tr.calls[3+i].Thread, uint32(c.pid))))
			}
		})
	}
}

// Steps of a worker process, though each SchedulerOutput lies where the last one
// did.
func TestWorkerSteps(t *testing.T) {
	for _, version := range versions {
		for _, test := range []struct{ form, function string }{
			{"inline", "execute_model"}, {"pickle", "execute_model"}, {"dict", "execute_model"}, {"many", "execute_model"},
			{"pickle", "execute_shared"},
		} {
			t.Run(version+"/"+test.form+"/"+test.function, func(t *testing.T) {
				tr := startTracing(t, probes.Options{})
				c := startCaller(t, nil, version)
				c.do(nil, "load", "cudart", runtimeStub(t))
				tr.attach(c, c.model(), probes.WorkerSpec{OtherProcess: true})
				const n = 40
				var same int
				c.do(&same, "steps", n, test.form, test.function)
				tr.end()
				t.Logf("%d of %d at the address of the one before", same, n)
				qt.Assert(t, qt.HasLen(tr.steps, n))
				for i, s := range tr.steps {
					at := qt.Commentf("step %d", i)
					qt.Assert(t, qt.Equals(s.Step, uint32(i)), at)
					qt.Assert(t, qt.Equals(s.Tokens, uint32(i+1)), at)
					qt.Assert(t, qt.Equals(s.Requests, uint32(i%7)), at)
					qt.Assert(t, qt.Equals(s.Bad, 0), at)
				}
				var steps []uint32
				for _, call := range tr.calls {
					if call.Row == wire.RowEventSync {
						steps = append(steps, call.Step)
					}
				}
				qt.Assert(t, qt.HasLen(steps, n))
				for i, s := range steps {
					qt.Assert(t, qt.Equals(s, uint32(i)))
				}
				for _, p := range tr.phases {
					if p.Phase == wire.PhaseExecute && p.Before == wire.PhasePostprocess {
						qt.Assert(t, qt.Equals(p.Calls, 1))
					}
				}
			})
		}
	}
}

// A process has no library at first, libcuda then, libcudart after that, NCCL at
// last.
func TestLateLibraries(t *testing.T) {
	tr := startTracing(t, probes.Options{Calls: probes.Calls{Sets: everySet, Record: []wire.Row{wire.RowLaunch}}})
	c := startCaller(t, nil, "3.14")
	m := c.model()
	_, _, err := tr.tracer.AttachModel(c.pid, m.python, m, probes.WorkerSpec{})
	var none *probes.NoCUDAError
	qt.Assert(t, qt.ErrorAs(err, &none))
	qt.Assert(t, qt.Equals(none.PID, c.pid))

	c.do(nil, "load", "cuda", driverStub(t))
	fact, unavailable := tr.attach(c, m, probes.WorkerSpec{FromStart: true})
	qt.Assert(t, qt.IsTrue(fact.FromStart))
	qt.Assert(t, qt.IsTrue(slices.Contains(fact.Probes, "graph_launch")))
	qt.Assert(t, qt.IsTrue(len(unavailable) > 0)) // the stub has no cuEventQuery
	c.call("cuda", "cuGraphLaunch", 1, 0)
	c.call("cuda", "kernel", 1, 1, 1, 0)
	c.call("cuda", "cuEventSynchronize", 5)

	look := func() (workers []record.Worker) {
		tr.tracer.LookAtMaps()
		for _, f := range tr.tracer.Look() {
			if f.Worker != nil {
				workers = append(workers, *f.Worker)
			}
		}
		return workers
	}
	got := look()
	qt.Assert(t, qt.HasLen(got, 1)) // the runner
	qt.Assert(t, qt.Equals(got[0].Runner, "v2"))
	qt.Assert(t, qt.Equals(*got[0].Rank, 3))
	qt.Assert(t, qt.HasLen(look(), 0))

	c.do(nil, "load", "cudart", runtimeStub(t))
	got = look()
	qt.Assert(t, qt.HasLen(got, 1))
	qt.Assert(t, qt.HasLen(got[0].Libraries, 2))
	c.call("cuda", "cuGraphLaunch", 99, 0) // not a row of libcuda any more
	c.call("cuda", "kernel", 2, 1, 1, 0)
	c.call("cudart", "cudaGraphLaunch", 2, 0)

	c.do(nil, "load", "nccl", ncclStub(t))
	got = look()
	qt.Assert(t, qt.HasLen(got, 1))
	qt.Assert(t, qt.IsTrue(slices.Contains(got[0].Probes, "all_reduce")))
	c.call("nccl", "ncclAllReduce", 1, 2, 3, 4, 5, 6, 7)
	tr.end()

	var rows []wire.Row
	for _, call := range tr.calls {
		rows = append(rows, call.Row)
	}
	qt.Assert(t, qt.DeepEquals(rows, []wire.Row{
		wire.RowGraphLaunch, wire.RowLaunch, wire.RowEventSync, wire.RowLaunch, wire.RowGraphLaunch, wire.RowAllReduce,
	}))
}

// Of two copies of libcudart the one that the process calls is probed.
func TestTwoCopies(t *testing.T) {
	tr := startTracing(t, probes.Options{})
	c := startCaller(t, nil, "3.12")
	bundled := stub(t, "RUNTIME", "torchvision.libs/libcudart.faf08d9a.so.13")
	c.do(nil, "load", "bundled", bundled)
	c.do(nil, "load", "cudart", runtimeStub(t))
	fact, _ := tr.attach(c, c.model(), probes.WorkerSpec{})
	qt.Assert(t, qt.HasLen(fact.Libraries, 2))
	for _, l := range fact.Libraries {
		qt.Assert(t, qt.Equals(l.Skipped != "", l.Path == bundled), qt.Commentf("%+v", l))
	}
	c.call("bundled", "cudaGraphLaunch", 1, 0)
	c.call("cudart", "cudaGraphLaunch", 2, 0)
	tr.end()
	qt.Assert(t, qt.HasLen(tr.calls, 1))
	qt.Assert(t, qt.Equals(tr.calls[0].A, 2))
}

// A library that was replaced on disk while it is mapped, and a process in
// namespaces of its own.
func TestCallsElsewhere(t *testing.T) {
	t.Run("deleted", func(t *testing.T) {
		tr := startTracing(t, probes.Options{})
		c := startCaller(t, nil, "3.12")
		lib := runtimeStub(t)
		c.do(nil, "load", "cudart", lib)
		qt.Assert(t, qt.IsNil(os.Remove(lib)))
		qt.Assert(t, qt.IsNil(os.WriteFile(lib, []byte("another"), 0o600)))
		tr.attach(c, c.model(), probes.WorkerSpec{})
		c.call("cudart", "cudaGraphLaunch", 2, 0)
		tr.end()
		qt.Assert(t, qt.HasLen(tr.calls, 1))
	})
	t.Run("namespaces", func(t *testing.T) {
		tr := startTracing(t, probes.Options{})
		outer := startCaller(t, []string{"unshare", "--pid", "--mount", "--fork", "--mount-proc"}, "3.13")
		lib := runtimeStub(t)
		outer.do(nil, "load", "cudart", lib)
		outer.pid = callerBelow(t, outer)
		tr.attach(outer, outer.model(), probes.WorkerSpec{})
		outer.do(nil, "steps", 3, "inline", "execute_model")
		tr.end()
		qt.Assert(t, qt.HasLen(tr.calls, 9))
		qt.Assert(t, qt.Equals(tr.calls[0].Thread, uint32(outer.pid)))
		qt.Assert(t, qt.Equals(tr.calls[0].Phase, wire.PhaseExecute))
	})
}

// callerBelow finds the process of a caller that knows itself as process 1.
func callerBelow(t *testing.T, c *caller) int {
	t.Helper()
	qt.Assert(t, qt.Equals(c.pid, 1))
	dirs, err := filepath.Glob("/proc/[0-9]*/cmdline")
	qt.Assert(t, qt.IsNil(err))
	var own unix.Stat_t
	qt.Assert(t, qt.IsNil(unix.Stat("/proc/self/ns/pid", &own)))
	for _, d := range dirs {
		b, err := os.ReadFile(d)
		var st unix.Stat_t
		if err != nil || !strings.Contains(string(b), "testdata/calls.py") || unix.Stat(filepath.Join(filepath.Dir(d), "ns/pid"), &st) != nil || st.Ino == own.Ino {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(d)))
		qt.Assert(t, qt.IsNil(err))
		return pid
	}
	t.Fatal("not found")
	return 0
}

// A small ring loses events: each is counted, by worker's engine and row.
func TestCallsTinyRing(t *testing.T) {
	tr := startTracing(t, probes.Options{RingBytes: 4096, Poll: 20 * time.Millisecond})
	c := startCaller(t, nil, "3.12")
	c.do(nil, "load", "cudart", runtimeStub(t))
	engine := 2
	tr.attach(c, c.model(), probes.WorkerSpec{Engine: &engine})
	const n = 20000
	c.do(nil, "loop", "cudaGraphLaunch", []any{1, 0}, n)
	tr.stop()
	qt.Assert(t, qt.IsNil(<-tr.done))
	losses, err := tr.tracer.Losses()
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.HasLen(losses, 1))
	l := losses[0]
	qt.Assert(t, qt.Equals(record.Loss{Engine: 2, Probe: "graph_launch", Reason: "ring_full", Count: l.Count, Lost: true}, l))
	qt.Assert(t, qt.Equals(int(l.Count)+len(tr.order), n+1)) // and the phase
}

// Graphs are read when there are handles to name, and the worker's end is seen.
func TestLookGraphs(t *testing.T) {
	tr := startTracing(t, probes.Options{Poll: 10 * time.Millisecond})
	c := startCaller(t, nil, "3.12")
	c.do(nil, "load", "cudart", runtimeStub(t))
	m := c.model()
	m.asked = []uint64{0x77, 0x78}
	tokens := 8
	m.found = vllm.FoundGraphs{Offset: 8, Graphs: []record.Graph{{Exec: 0x77, Mode: "FULL", NumTokens: &tokens}}, Unnamed: map[string]int{"no_descriptor": 2}}
	tr.attach(c, m, probes.WorkerSpec{})
	graphs := func() (out []record.Graphs) {
		for _, f := range tr.tracer.Look() {
			if f.Graphs != nil {
				out = append(out, *f.Graphs)
			}
		}
		return out
	}
	qt.Assert(t, qt.HasLen(graphs(), 0))
	c.call("cudart", "cudaGraphLaunch", 0x77, 0)
	var got []record.Graphs
	for range 1000 {
		if got = graphs(); got != nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	qt.Assert(t, qt.HasLen(got, 1))
	qt.Assert(t, qt.Equals(got[0].Offset, 8))
	qt.Assert(t, qt.DeepEquals(got[0].Graphs, m.found.Graphs))
	qt.Assert(t, qt.DeepEquals(m.seen, []bool{true, false}))
	losses, err := tr.tracer.Losses()
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.DeepEquals(losses, []record.Loss{{Engine: -1, Probe: "graphs", Reason: "no_descriptor", Count: 2, Lost: true}}))

	c.stdin.Close() // it ends
	_, err = c.out.ReadString('\n')
	qt.Assert(t, qt.ErrorIs(err, io.EOF))
	tr.tracer.Look()
	tr.stop()
	qt.Assert(t, qt.IsNil(<-tr.done))
	qt.Assert(t, qt.IsNil(tr.tracer.Close()))
}

// Probes that are taken off leave the process as it was, and it can be probed
// again.
func TestProbeAgain(t *testing.T) {
	tr := startTracing(t, probes.Options{})
	c := startCaller(t, nil, "3.12")
	c.do(nil, "load", "cudart", runtimeStub(t))
	for i := range 5 {
		fact, _ := tr.attach(c, c.model(), probes.WorkerSpec{})
		qt.Assert(t, qt.Equals(fact.Worker, i))
		c.call("cudart", "cudaGraphLaunch", i+1, 0)
		qt.Assert(t, qt.IsNil(tr.tracer.DetachWorker(i)))
		c.call("cudart", "cudaGraphLaunch", 99, 0)
	}
	tr.stop()
	qt.Assert(t, qt.IsNil(<-tr.done))
	qt.Assert(t, qt.HasLen(tr.calls, 5))
	for i, call := range tr.calls {
		qt.Assert(t, qt.Equals(call.A, uint64(i+1)))
		qt.Assert(t, qt.Equals(call.Engine, uint8(i)))
		qt.Assert(t, qt.Equals(call.Seq, 1)) // behind the phase
	}
}
