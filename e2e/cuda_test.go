//go:build e2e

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/decode/wire"
	"github.com/pmtrace/pmtrace/output/session"
)

// shapeProgram is e2e/shape with a model runner on the stub's GPU (e2e/stub).
type shapeProgram struct {
	*bench
	out, file string
	version   string // of CPython
	workers   int    // that use CUDA
	late      bool   // CUDA is loaded after the attach
	pid       int
	cmd       *exec.Cmd
	in        io.WriteCloser
	said      *bufio.Reader
}

// shapeBench needs pmtrace, gcc and CPythons; no vLLM.
func shapeBench(t *testing.T) *bench {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it traces another process")
	}
	b := stubBench(t)
	b.build(t, b.pmtrace, "./cmd/pmtrace")
	return b
}

func stubBench(t *testing.T) *bench {
	t.Helper()
	repo, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{repo: repo, out: filepath.Join(repo, "build", "e2e-cuda")}
	b.pmtrace = filepath.Join(b.out, "pmtrace")
	if err := os.MkdirAll(b.out, 0o755); err != nil {
		t.Fatal(err)
	}
	b.script(t, "e2e/stub/build.sh", b.stub())
	return b
}

func (b *bench) stub() string { return filepath.Join(b.out, "stub") }

// cpython is the launcher of a real CPython (e2e/setup/cpythons.sh).
func cpython(t *testing.T, version string) string {
	t.Helper()
	path := filepath.Join(cacheDir(t), "cpython", version, "python")
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("no CPython %s (%v): e2e/setup/cpythons.sh makes it", version, err)
	}
	return path
}

// shape starts the program; it waits for go before its first step.
func (b *bench) shape(t *testing.T, version string, arguments ...string) *shapeProgram {
	t.Helper()
	s := &shapeProgram{bench: b, version: version, workers: 1, out: filepath.Join(b.out, strings.ReplaceAll(t.Name(), "/", "_"))}
	fresh(t, s.out)
	s.file = filepath.Join(s.out, "truth.jsonl")
	s.late = slices.Contains(arguments, "--late")
	switch i := slices.Index(arguments, "--tp"); {
	case !slices.Contains(arguments, "--cuda"):
		s.workers = 0
	case i >= 0:
		s.workers, _ = strconv.Atoi(arguments[i+1])
	}
	argv := append([]string{"-B", "e2e/shape/shape.py", "--truth", s.file, "--stub", b.stub()}, arguments...)
	s.cmd = exec.Command(cpython(t, version), argv...)
	s.cmd.Dir, s.cmd.Stderr = b.repo, os.Stderr
	t.Cleanup(func() { _ = s.cmd.Wait() }) // after start's, which kills it
	s.start(t)
	return s
}

// start starts the program by its command, and kills it at the end.
func (s *shapeProgram) start(t *testing.T) {
	t.Helper()
	var err error
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.in.Close(); _ = s.cmd.Process.Kill() })
	s.said = bufio.NewReader(out)
	if s.pid, err = strconv.Atoi(s.line(t)); err != nil {
		t.Fatal(err)
	}
}

func (s *shapeProgram) line(t *testing.T) string {
	t.Helper()
	line, err := s.said.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

// run has it go on to its end; the process stays until the test is over.
func (s *shapeProgram) run(t *testing.T) {
	t.Helper()
	s.goOn(t, "done")
}

// goOn has it go on until it says a word and waits again.
func (s *shapeProgram) goOn(t *testing.T, until string) {
	t.Helper()
	fmt.Fprintln(s.in, "go")
	if line := s.line(t); line != until {
		t.Fatalf("the program says %q", line)
	}
}

// traced attaches to the program, runs it and gives what was written.
func (s *shapeProgram) traced(t *testing.T, flags ...string) *cudaTables {
	t.Helper()
	tr := s.bench.run(t, append([]string{"attach", "-v", "--pid", strconv.Itoa(s.pid), "--output-dir", s.out}, flags...)...)
	tr.says(t, "tracing engine")
	if s.late {
		s.goOn(t, "loaded")
	}
	for worker := range s.workers {
		tr.says(t, fmt.Sprintf("worker=%d ", worker))
	}
	s.run(t)
	tr.stop(t, 0)
	tr.decodesTheSame(t)
	return readTables(t, tr.session(t))
}

// cudaTables are the tables of a session, with times of CLOCK_MONOTONIC.
type cudaTables struct {
	zero        int64
	steps       []record.StepRow
	graphs      map[int32]record.GraphRow
	launches    map[int][]record.GraphLaunchRow // by rank
	operations  map[int64]map[string]bool       // of each step
	encoder     []record.EncoderDecoderRow
	collectives map[int][]record.CollectiveRow
	copies      int
	kernels     int
	losses      []record.LossRow
	processes   []record.ProcessRow
	inWindows   bool // launches and copies were watched in windows alone
}

func collect[T any](t *testing.T, dir *session.Dir, keep func(*T)) {
	t.Helper()
	for row, err := range session.Rows[T](dir) {
		if err != nil {
			t.Fatal(err)
		}
		keep(row)
	}
}

func openSession(t *testing.T, path string) *session.Dir {
	t.Helper()
	dir, err := session.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	return dir
}

func readTables(t *testing.T, path string) *cudaTables {
	t.Helper()
	dir := openSession(t, path)
	c := &cudaTables{
		zero: startOf(t, path).Nanoseconds(), graphs: map[int32]record.GraphRow{}, launches: map[int][]record.GraphLaunchRow{},
		operations: map[int64]map[string]bool{}, collectives: map[int][]record.CollectiveRow{},
	}
	ranks := map[int32]int{}
	collect(t, dir, func(r *record.StepRow) { c.steps = append(c.steps, *r) })
	collect(t, dir, func(r *record.GraphRow) {
		c.graphs[r.GraphID] = *r
		if r.Rank != nil {
			ranks[r.Worker] = int(*r.Rank)
		}
	})
	collect(t, dir, func(r *record.GraphLaunchRow) { c.launches[ranks[r.Worker]] = append(c.launches[ranks[r.Worker]], *r) })
	collect(t, dir, func(r *record.CPUOperationRow) {
		if r.StepID != nil {
			if c.operations[*r.StepID] == nil {
				c.operations[*r.StepID] = map[string]bool{}
			}
			c.operations[*r.StepID][r.Operation] = true
		}
	})
	collect(t, dir, func(r *record.EncoderDecoderRow) { c.encoder = append(c.encoder, *r) })
	collect(t, dir, func(r *record.CollectiveRow) {
		c.collectives[ranks[r.Worker]] = append(c.collectives[ranks[r.Worker]], *r)
	})
	collect(t, dir, func(*record.CopyRow) { c.copies++ })
	collect(t, dir, func(*record.LaunchRow) { c.kernels++ })
	collect(t, dir, func(r *record.LossRow) { c.losses = append(c.losses, *r) })
	collect(t, dir, func(r *record.ProcessRow) { c.processes = append(c.processes, *r) })
	return c
}

// matches compares the tables with the truth, value by value.
func (c *cudaTables) matches(t *testing.T, s *shapeProgram) {
	t.Helper()
	for _, l := range c.losses {
		t.Errorf("lost: %+v", l)
	}
	for rank := range s.workers {
		truth := readTruth(t, s.file, rank)
		c.graphsMatch(t, rank, truth)
		c.launchesMatch(t, rank, truth)
		c.collectivesMatch(t, rank, truth)
		if rank == 0 {
			c.stepsMatch(t, truth)
			c.timesMatch(t, truth)
			c.operationsMatch(t, truth)
			c.encoderMatches(t, truth)
		}
	}
}

func value[T any](p *T) any {
	if p == nil {
		return nil
	}
	return *p
}

// differences prints the first few, and how many there are.
type differences struct {
	t    *testing.T
	what string
	n    int
}

func (d *differences) check(same bool, format string, args ...any) {
	if same {
		return
	}
	if d.n++; d.n <= 5 {
		d.t.Errorf(d.what+": "+format, args...)
	}
}

func (d *differences) end(of int) {
	if d.n > 0 {
		d.t.Errorf("%s: %d differences in %d", d.what, d.n, of)
		return
	}
	d.t.Logf("%s: %d, all the same", d.what, of)
}

// stepsMatch: mode, padding and counts of each step.
func (c *cudaTables) stepsMatch(t *testing.T, truth *gpuTruth) {
	t.Helper()
	if len(c.steps) != len(truth.steps) {
		t.Fatalf("%d steps, want %d", len(c.steps), len(truth.steps))
	}
	d := &differences{t: t, what: "steps"}
	for i, got := range c.steps {
		want := &truth.steps[i]
		d.check(int(got.Tokens) == want.Tokens, "step %d: %d tokens, want %d", i, got.Tokens, want.Tokens)
		d.check(int(got.EncoderInputs) == want.EncoderInputs, "step %d: %d encoder inputs, want %d", i, got.EncoderInputs, want.EncoderInputs)
		if want.Mode == nil {
			d.check(got.GraphMode == nil, "step %d of no tokens: mode %v", i, value(got.GraphMode))
			continue
		}
		d.check(value(got.GraphMode) == *want.Mode, "step %d: mode %v, want %s", i, value(got.GraphMode), *want.Mode)
		d.check(value(got.PaddedTokens) == int32(want.Padded), "step %d: %v padded tokens, want %d", i, value(got.PaddedTokens), want.Padded)
		graphs := want.count(workGraph)
		d.check(value(got.GraphLaunches) == int32(graphs), "step %d: %v graph launches, want %d", i, value(got.GraphLaunches), graphs)
		d.check(value(got.UnknownGraphs) == int32(0), "step %d: %v launches of unknown graphs", i, value(got.UnknownGraphs))
		if got.KernelLaunches == nil && (i == truth.last() || c.inWindows) {
			continue // what the thread did last is told with its next call
		}
		kernels := want.count(workKernel, workCollective)
		d.check(value(got.KernelLaunches) == int32(kernels), "step %d: %v kernel launches, want %d", i, value(got.KernelLaunches), kernels)
		copies := want.count(workCopy)
		d.check(value(got.Copies) == int32(copies), "step %d: %v copies, want %d", i, value(got.Copies), copies)
		d.check(value(got.CopiedBytes) == want.copied(), "step %d: %v bytes copied, want %d", i, value(got.CopiedBytes), want.copied())
	}
	d.end(len(c.steps))
}

// counted reports whether all calls of a step were seen.
func (c *cudaTables) counted(step int) bool {
	return !c.inWindows || c.steps[step].KernelLaunches != nil
}

// timesMatch: of the GPU times nine of ten are within their stated error: the stub's
// GPU is a thread that shares the machine's cores with all else (on a real GPU:
// e2e/gpu). What the host itself was late by, at the launch and at the return of the waits for this step
// and the one before, is no error of the tracer's, and known exactly.
func (c *cudaTables) timesMatch(t *testing.T, truth *gpuTruth) {
	t.Helper()
	var errors []int64
	timed, inside, strict, forward := 0, 0, 0, 0
	for i, got := range c.steps {
		want := &truth.steps[i]
		first, ran := want.start()
		end, recorded := want.end()
		wait, ended := want.waited()
		if !ran || !recorded || !ended {
			continue
		}
		forward++
		if got.StepGPUNS == nil || got.GPUErrorNS == nil {
			continue
		}
		timed++
		off := abs(*got.StepGPUNS - (end - first.Start))
		late := wait.late()
		if i > 0 {
			if before, ok := truth.steps[i-1].waited(); ok {
				late += before.late()
			}
		}
		if got.LaunchNS != nil {
			late += max(first.Called-(c.zero+*got.LaunchNS), 0)
		}
		errors = append(errors, off)
		if off <= *got.GPUErrorNS {
			strict++
		}
		if off <= *got.GPUErrorNS+late {
			inside++
		} else if timed-inside <= 5 {
			t.Logf("step %d: GPU time %d ns, want %d (start %d, end %d off), stated error %d, the host was %d late", i, *got.StepGPUNS,
				end-first.Start, c.zero+*got.GPUStartNS-first.Start, c.zero+*got.GPUEndNS-end, *got.GPUErrorNS, late)
		}
	}
	if timed == 0 {
		t.Error("no step has a GPU time")
		return
	}
	slices.Sort(errors)
	t.Logf("GPU times: %d of %d steps, error p50 %d µs, p99 %d µs; within the stated error: %d, with the host's own delay %d",
		timed, forward, errors[len(errors)/2]/1000, errors[len(errors)*99/100]/1000, strict, inside)
	if inside*10 < timed*9 && !emulated() {
		t.Errorf("%d of %d GPU times are within their stated error", inside, timed)
	}
	if timed*100 < forward*95 {
		t.Errorf("%d of %d steps have a GPU time", timed, forward)
	}
}

// emulated says that this is QEMU's software emulation of one processor (e2e/kernels): the
// stub's GPU, the program and the tracer wait for each other, and no time means a thing.
func emulated() bool { return os.Getenv("PMTRACE_EMULATED") != "" }

func abs(n int64) int64 { return max(n, -n) }

// graphsMatch: every graph that was captured since the attach, or lives, has its
// name; throwaway ones are marked.
func (c *cudaTables) graphsMatch(t *testing.T, rank int, truth *gpuTruth) {
	t.Helper()
	d := &differences{t: t, what: fmt.Sprintf("graphs of rank %d", rank)}
	since := c.zero
	rows := map[uint64][]record.GraphRow{}
	for _, id := range slices.Sorted(maps.Keys(c.graphs)) {
		if g := c.graphs[id]; g.Rank == nil || int(*g.Rank) == rank {
			rows[g.Exec] = append(rows[g.Exec], g)
		}
	}
	n := 0
	for _, number := range slices.Sorted(maps.Keys(truth.graphs)) {
		want := truth.graphs[number]
		if gone, ok := truth.gone[number]; ok && gone < since {
			continue
		}
		n++
		list := rows[want.Handle]
		if len(list) == 0 {
			d.check(false, "%s %s, handle %#x, is not there", want.Holder, want.Mode, want.Handle)
			continue
		}
		got := list[0]
		rows[want.Handle] = list[1:]
		d.check(got.Throwaway == want.Throwaway, "graph %d: throwaway %v, want %v", number, got.Throwaway, want.Throwaway)
		if !want.Throwaway {
			named(d, number, &got, &want)
		}
		if made := truth.made[number]; made.Called > since {
			d.check(got.InstantiatedNS != nil && got.CaptureNS != nil && got.CapturedNS != nil &&
				*got.CaptureNS < *got.CapturedNS && *got.CapturedNS < *got.InstantiatedNS && c.zero+*got.InstantiatedNS >= made.End,
				"graph %d: captured %v to %v, instantiated %v", number, value(got.CaptureNS), value(got.CapturedNS), value(got.InstantiatedNS))
		}
		launched := 0
		for _, l := range truth.launches {
			if l.Graph == number && l.Called > since {
				launched++
			}
		}
		d.check(got.Launches == int64(launched), "graph %d: %d launches, want %d", number, got.Launches, launched)
	}
	d.end(n)
}

func named(d *differences, number int, got *record.GraphRow, want *namedGraph) {
	d.check(value(got.Holder) == want.Holder, "graph %d: holder %v, want %s", number, value(got.Holder), want.Holder)
	d.check(same(got.Piece, want.Piece) && same(got.Pieces, want.Pieces), "graph %d: piece %v of %v, want %v of %v",
		number, value(got.Piece), value(got.Pieces), value(want.Piece), value(want.Pieces))
	if want.Descriptor.NumTokens == nil {
		return // an encoder's
	}
	d.check(value(got.Mode) == want.Mode, "graph %d: mode %v, want %s", number, value(got.Mode), want.Mode)
	d.check(same(got.NumTokens, want.Descriptor.NumTokens) && same(got.NumReqs, want.Descriptor.NumReqs) &&
		same(got.UniformTokenCount, want.Descriptor.UniformTokenCount), "graph %d: tokens %v, requests %v, uniform %v; want %v, %v, %v", number,
		value(got.NumTokens), value(got.NumReqs), value(got.UniformTokenCount),
		value(want.Descriptor.NumTokens), value(want.Descriptor.NumReqs), value(want.Descriptor.UniformTokenCount))
}

func same(got *int32, want *int) bool {
	if got == nil || want == nil {
		return got == nil && want == nil
	}
	return int(*got) == *want
}

// launchesMatch: every launch since the attach is there, in order, with the name of
// the graph that the handle meant at the time.
func (c *cudaTables) launchesMatch(t *testing.T, rank int, truth *gpuTruth) {
	t.Helper()
	var want []gpuEntry
	for _, l := range truth.launches {
		if l.Called > c.zero {
			want = append(want, l)
		}
	}
	got := c.launches[rank]
	if len(got) != len(want) {
		t.Errorf("rank %d: %d graph launches, want %d", rank, len(got), len(want))
		return
	}
	d := &differences{t: t, what: fmt.Sprintf("graph launches of rank %d", rank)}
	for i, g := range got {
		w, graph := want[i], c.graphs[g.GraphID]
		d.check(graph.Exec == w.Handle, "launch %d: handle %#x, want %#x", i, graph.Exec, w.Handle)
		n := truth.graphs[w.Graph]
		named(d, w.Graph, &graph, &n)
		step := any(nil)
		if w.Step >= 0 {
			step = int64(w.Step)
		}
		d.check(value(g.StepID) == step, "launch %d: step %v, want %v", i, value(g.StepID), step)
		if w.Step >= 0 {
			d.check(g.Phase == phaseName(w.Phase), "launch %d of %s: phase %s, want %s", i, n.Holder, g.Phase, phaseName(w.Phase))
			d.check(int(g.Thread) == w.Thread, "launch %d: thread %d, want %d", i, g.Thread, w.Thread)
		} else {
			d.check(g.Phase == "none", "launch %d by a thread without Python: phase %s", i, g.Phase)
		}
	}
	d.end(len(got))
}

func phaseName(p wire.Phase) string {
	return [...]string{"none", "other", "execute", "prepare", "encoder", "forward", "cross_attention", "logits", "sample",
		"draft", "output_copy", "output_wait", "postprocess", "sync_ranks", "capture", "dummy"}[p]
}

// operationsMatch: the phases of a step are those in which it made calls.
func (c *cudaTables) operationsMatch(t *testing.T, truth *gpuTruth) {
	t.Helper()
	names := map[wire.Phase]string{
		wire.PhasePrepare: "prepare_inputs", wire.PhaseEncoder: "encoder", wire.PhaseForward: "forward_launch",
		wire.PhaseCrossAttention: "cross_attention", wire.PhaseLogits: "logits", wire.PhaseSample: "sampling", wire.PhaseDraft: "draft",
		wire.PhaseOutputCopy: "output_copy", wire.PhaseOutputWait: "output_wait",
	}
	d := &differences{t: t, what: "operations of steps"}
	n := 0
	for i := range truth.steps {
		want := map[string]bool{}
		for _, e := range truth.steps[i].ran {
			if name := names[e.Phase]; name != "" && e.Work != workQuery {
				want[name] = true
			}
		}
		if _, waited := truth.steps[i].waited(); waited {
			want["output_wait"] = true // in _to_list, too
		}
		for _, name := range names {
			if i == truth.last() {
				continue // nothing ends its last phase
			}
			if !c.counted(i) && name != "output_wait" {
				delete(want, name)
			}
			if c.operations[int64(i)][name] != want[name] {
				d.check(false, "step %d: %s %v, want %v", i, name, c.operations[int64(i)][name], want[name])
			}
		}
		n += len(want)
	}
	d.end(n)
}

// encoderMatches: a step with encoder inputs has a row for what its encoder and its
// cross-attention did.
func (c *cudaTables) encoderMatches(t *testing.T, truth *gpuTruth) {
	t.Helper()
	got := map[string]map[int64]bool{record.ComponentEncoder: {}, record.ComponentCrossAttention: {}, record.ComponentDecoder: {}}
	for _, r := range c.encoder {
		if r.StepID != nil {
			got[r.Component][*r.StepID] = true
		}
	}
	d := &differences{t: t, what: "encoder and cross-attention rows"}
	for i := range truth.steps {
		want := map[wire.Phase]bool{}
		for _, e := range truth.steps[i].ran {
			want[e.Phase] = true
		}
		d.check(got[record.ComponentEncoder][int64(i)] == want[wire.PhaseEncoder], "step %d: encoder, want %v", i, want[wire.PhaseEncoder])
		d.check(got[record.ComponentCrossAttention][int64(i)] == want[wire.PhaseCrossAttention], "step %d: cross-attention, want %v", i, want[wire.PhaseCrossAttention])
	}
	d.end(len(c.encoder))
}

// collectivesMatch: each call of NCCL since the attach.
func (c *cudaTables) collectivesMatch(t *testing.T, rank int, truth *gpuTruth) {
	t.Helper()
	var want []gpuEntry
	for i := range truth.steps {
		for _, e := range truth.steps[i].ran {
			if e.Work == workCollective {
				want = append(want, e)
			}
		}
	}
	got := slices.DeleteFunc(slices.Clone(c.collectives[rank]), func(r record.CollectiveRow) bool { return r.StepID == nil })
	if len(got) != len(want) {
		t.Errorf("rank %d: %d collectives, want %d", rank, len(got), len(want))
		return
	}
	d := &differences{t: t, what: fmt.Sprintf("collectives of rank %d", rank)}
	for i, g := range got {
		w := want[i]
		d.check(g.Collective == w.Name && g.Count == w.Amount && g.Type == "bfloat16" && g.Bytes == 2*w.Amount && *g.StepID == int64(w.Step),
			"%+v, want %s of %d in step %d", g, w.Name, w.Amount, w.Step)
	}
	d.end(len(got))
}

// TestCUDATruth: what the program says of itself, what it says of its scheduler and
// what the stub's GPU saw are one story. It needs no tracer and no root.
func TestCUDATruth(t *testing.T) {
	b := stubBench(t)
	for _, arguments := range [][]string{
		{"--cuda", "v2", "--async"}, {"--cuda", "v1", "--spec", "2"}, {"--cuda", "v2", "--encoder", "whisper"},
		{"--cuda", "v1", "--async", "--encoder", "vision", "--cudart", "static"},
		{"--cuda", "v2", "--tp", "2", "--recapture", "20", "--native", "7"},
	} {
		t.Run(strings.Join(arguments[1:], " "), func(t *testing.T) {
			s := b.shape(t, "3.12", append([]string{"--requests", "60"}, arguments...)...)
			s.run(t)
			for rank := range s.workers {
				truth := readTruth(t, s.file, rank)
				consistent(t, truth)
			}
		})
	}
}

func consistent(t *testing.T, truth *gpuTruth) {
	t.Helper()
	d := &differences{t: t, what: "steps of the truth"}
	before := int64(0)
	for i := range truth.steps {
		step := &truth.steps[i]
		if step.Mode == nil {
			continue
		}
		var pieces []int
		full := 0
		for _, e := range step.ran {
			if e.Work != workGraph || e.Phase != wire.PhaseForward {
				continue
			}
			g := truth.graphs[e.Graph]
			d.check(!g.Throwaway && g.Mode == *step.Mode && *g.Descriptor.NumTokens == step.Padded && g.Handle == e.Handle,
				"step %d of %s and %d tokens launches graph %+v", i, *step.Mode, step.Padded, g)
			if g.Piece != nil {
				pieces = append(pieces, *g.Piece)
			} else {
				full++
			}
		}
		d.check(*step.Mode == "FULL" && full == 1 && pieces == nil || *step.Mode == "PIECEWISE" && full == 0 && slices.Equal(pieces, []int{0, 1, 2, 3, 4}) ||
			*step.Mode == "NONE" && full == 0 && pieces == nil, "step %d: %s, %d full graphs, pieces %v", i, *step.Mode, full, pieces)
		d.check(step.Padded >= step.Tokens, "step %d: %d tokens padded to %d", i, step.Tokens, step.Padded)
		first, ran := step.start()
		end, recorded := step.end()
		d.check(ran && recorded && first.Called < first.Start && before < first.Start && first.Start < end, "step %d: start %d, end %d, the step before %d", i, first.Start, end, before)
		if wait, ok := step.waited(); ok {
			d.check(wait.Start >= wait.End, "step %d: the wait returns before the event", i)
		}
		before = end
	}
	d.end(len(truth.steps))
	if truth.calls["cuGraphLaunch"] != len(truth.launches) {
		t.Errorf("cuGraphLaunch was called %d times, and %d graphs ran", truth.calls["cuGraphLaunch"], len(truth.launches))
	}
	if truth.calls["cudaGraphLaunch"] != 0 && truth.calls["cudaGraphLaunch"] != truth.calls["cuGraphLaunch"] {
		t.Errorf("%d calls of cudaGraphLaunch, %d of cuGraphLaunch", truth.calls["cudaGraphLaunch"], truth.calls["cuGraphLaunch"])
	}
}

// TestCUDA compares what pmtrace says of a program's GPU with what the stub's GPU
// did.
func TestCUDA(t *testing.T) {
	b := shapeBench(t)
	versions := []string{"3.12"}
	if os.Getenv("PMTRACE_E2E") == "full" {
		versions = []string{"3.10", "3.11", "3.12", "3.13", "3.14"}
	}
	for _, version := range versions {
		for _, c := range []struct {
			name string
			args []string
		}{
			{"v2 async", []string{"--cuda", "v2", "--async"}},
			{"v1 sync", []string{"--cuda", "v1"}},
			{"v2 bound by the GPU", []string{"--cuda", "v2", "--async", "--rate", "0", "--forward", "15000"}},
			{"v2 sync under pressure", []string{"--cuda", "v2", "--blocks", "60", "--abort", "0.02"}},
			{"v1 async", []string{"--cuda", "v1", "--async"}},
			{"v2 from before the capture", []string{"--cuda", "v2", "--async", "--late"}},
			{"v1 from before the capture", []string{"--cuda", "v1", "--late", "--exec-offset", "24"}},
			{"v2 drafts", []string{"--cuda", "v2", "--async", "--spec", "3"}},
			{"v1 drafts", []string{"--cuda", "v1", "--spec", "2"}},
			{"v2 vision", []string{"--cuda", "v2", "--encoder", "vision"}},
			{"v1 vision", []string{"--cuda", "v1", "--async", "--encoder", "vision"}},
			{"v2 whisper", []string{"--cuda", "v2", "--async", "--encoder", "whisper"}},
			{"v1 whisper", []string{"--cuda", "v1", "--encoder", "whisper"}},
			{"v2 graphs captured anew", []string{"--cuda", "v2", "--recapture", "120"}},
			{"v1 graphs captured anew", []string{"--cuda", "v1", "--async", "--recapture", "120"}},
			{"v2 a thread without Python", []string{"--cuda", "v2", "--async", "--native", "9"}},
			{"v2 two ranks", []string{"--cuda", "v2", "--tp", "2", "--async"}},
			{"v1 two ranks", []string{"--cuda", "v1", "--tp", "2"}},
		} {
			t.Run(version+"/"+c.name, func(t *testing.T) {
				if c.name != "v2 async" && c.name != "v1 sync" && c.name != "v2 two ranks" {
					full(t)
				}
				s := b.shape(t, version, append(load(), c.args...)...)
				s.traced(t).matches(t, s)
			})
		}
	}
}

// load lasts some seconds: names of graphs are read once a second.
func load() []string { return []string{"--requests", "120", "--rate", "60"} }

// TestCUDAStatic traces a program that has libcudart inside: of CUDA's libraries
// only the driver's is there.
func TestCUDAStatic(t *testing.T) {
	full(t)
	b := shapeBench(t)
	s := b.shape(t, "3.12", append(load(), "--cuda", "v2", "--async", "--cudart", "static")...)
	s.traced(t).matches(t, s)
}

// TestCUDAAbsent traces a program without CUDA: it has all the rest, and nothing
// that would be about a GPU.
func TestCUDAAbsent(t *testing.T) {
	full(t)
	b := shapeBench(t)
	s := b.shape(t, "3.12", "--requests", "60")
	c := s.traced(t)
	if len(c.graphs) > 0 || len(c.launches) > 0 || len(c.collectives) > 0 || len(c.steps) == 0 {
		t.Errorf("%d graphs, %d launches, %d collectives; %d steps", len(c.graphs), len(c.launches), len(c.collectives), len(c.steps))
	}
	for _, step := range c.steps {
		if step.GraphMode != nil || step.StepGPUNS != nil {
			t.Fatalf("step %d: mode %v, GPU time %v", step.StepID, value(step.GraphMode), value(step.StepGPUNS))
		}
	}
}
