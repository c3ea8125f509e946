package vllm

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/decode/wire"
	"github.com/pmtrace/pmtrace/probes/cpython"
)

// skipEnv allows these tests to pass without the interpreters.
const skipEnv = "PMTRACE_TEST_SKIP_CPYTHON"

func cache() string {
	if dir := os.Getenv("XDG_CACHE_HOME"); dir != "" {
		return filepath.Join(dir, "pmtrace")
	}
	return filepath.Join(os.Getenv("HOME"), ".cache", "pmtrace")
}

// forEachCPython runs fn for the interpreters of e2e/setup/cpythons.sh.
func forEachCPython(t *testing.T, fn func(t *testing.T, python string)) {
	for _, v := range []string{"3.10", "3.11", "3.12", "3.13", "3.14"} {
		t.Run(v, func(t *testing.T) {
			python := filepath.Join(cache(), "cpython", v, "python")
			_, err := os.Stat(python)
			if err != nil && os.Getenv(skipEnv) != "" {
				t.Skipf("no %s, and %s is set", python, skipEnv)
			}
			qt.Assert(t, qt.IsNil(err), qt.Commentf("run e2e/setup/cpythons.sh, or set %s", skipEnv))
			fn(t, python)
		})
	}
}

// process is a Python program that answers each line with a line of JSON.
type process struct {
	pid   int
	stdin *os.File
	out   *bufio.Reader
}

func start(t *testing.T, argv ...string) *process {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	r, w, err := os.Pipe()
	qt.Assert(t, qt.IsNil(err))
	cmd.Stdin, cmd.Stderr = r, os.Stderr
	out, err := cmd.StdoutPipe()
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsNil(cmd.Start()))
	r.Close()
	t.Cleanup(func() {
		w.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	p := &process{pid: cmd.Process.Pid, stdin: w, out: bufio.NewReader(out)}
	p.answer(t)
	return p
}

// truth is what the process says of itself.
type truth struct {
	Functions map[string]uint64
	Graphs    []record.Graph
	TIDs      []int
}

func (p *process) answer(t *testing.T) (v truth) {
	t.Helper()
	line, err := p.out.ReadBytes('\n')
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsNil(json.Unmarshal(line, &v)))
	return v
}

func (p *process) do(t *testing.T, step string) truth {
	t.Helper()
	_, err := p.stdin.WriteString(step + "\n")
	qt.Assert(t, qt.IsNil(err))
	return p.answer(t)
}

// worker starts testdata/worker.py in a shape and finds the worker in it.
func worker(t *testing.T, python, shape string) (*process, *Worker) {
	t.Helper()
	p := start(t, python, filepath.Join("testdata", "worker.py"), shape)
	w, err := FindWorker(p.pid, Options{})
	qt.Assert(t, qt.IsNil(err))
	return p, w
}

func TestFindWorkerStates(t *testing.T) {
	var not *NotEngineError
	_, err := FindWorker(os.Getpid(), Options{})
	qt.Assert(t, qt.IsTrue(errors.As(err, &not)))
	qt.Check(t, qt.Equals(not.State, NotPython))
	forEachCPython(t, func(t *testing.T, python string) {
		p := start(t, python, "-c", "print('{}', flush=True); input()")
		_, err := FindWorker(p.pid, Options{})
		qt.Assert(t, qt.IsTrue(errors.As(err, &not)))
		qt.Check(t, qt.Equals(not.State, NotVLLM))
	})
}

func TestWorkerThreads(t *testing.T) {
	forEachCPython(t, func(t *testing.T, python string) {
		p, w := worker(t, python, "v2")
		want := p.do(t, "thread").TIDs
		threads, err := w.Threads()
		qt.Assert(t, qt.IsNil(err))
		var got []int
		for _, th := range threads {
			got = append(got, th.TID)
			qt.Check(t, qt.Not(qt.Equals(th.State, 0)))
		}
		slices.Sort(got)
		slices.Sort(want)
		qt.Check(t, qt.DeepEquals(got, want))
	})
}

// v2Functions and v1Functions are the known ones of worker.py.
var v2Functions = map[string]KnownFunction{
	"GPUModelRunner.execute_model":            {Phase: wire.PhaseExecute, OutputLocal: 1},
	"GPUModelRunner.sample_tokens":            {Phase: wire.PhasePostprocess, OutputLocal: -1},
	"GPUModelRunner.prepare_inputs":           {Phase: wire.PhasePrepare, OutputLocal: -1},
	"GPUModelRunner.sample":                   {Phase: wire.PhaseSample, OutputLocal: -1},
	"GPUModelRunner.capture_model":            {Phase: wire.PhaseCapture, Dummy: true, OutputLocal: -1},
	"GPUModelRunner.profile_cudagraph_memory": {Phase: wire.PhaseCapture, Dummy: true, Throwaway: true, OutputLocal: -1},
	"AsyncOutput.__init__":                    {Phase: wire.PhaseOutputCopy, OutputLocal: -1},
	"AsyncOutput.get_output":                  {Phase: wire.PhaseOutputWait, OutputLocal: -1},
	"async_copy_to_np":                        {Phase: wire.PhaseOutputCopy, OutputLocal: -1},
	"LlamaForCausalLM.compute_logits":         {Phase: wire.PhaseLogits, OutputLocal: -1},
	"LlamaForCausalLM.embed_multimodal":       {Phase: wire.PhaseEncoder, OutputLocal: -1},
	"Eagle3LlamaForCausalLM.compute_logits":   {Phase: wire.PhaseDraft, OutputLocal: -1},
	"Module._wrapped_call_impl":               {Phase: wire.PhaseForward, Weak: true, OutputLocal: -1},
	"Module._call_impl":                       {Phase: wire.PhaseForward, Weak: true, OutputLocal: -1},
	"Worker.execute_dummy_batch":              {Phase: wire.PhaseDummy, Dummy: true, OutputLocal: -1},
}

var v1Functions = map[string]KnownFunction{
	"GPUModelRunner.execute_model":                                  {Phase: wire.PhaseExecute, OutputLocal: 1, OutputCell: true},
	"GPUModelRunner.sample_tokens":                                  {Phase: wire.PhasePostprocess, OutputLocal: -1},
	"GPUModelRunner.sample_tokens.<locals>.propose_draft_token_ids": {Phase: wire.PhaseDraft, OutputLocal: -1},
	"GPUModelRunner.synchronize_input_prep":                         {Phase: wire.PhasePrepare, OutputLocal: -1},
	"GPUModelRunner._model_forward":                                 {Phase: wire.PhaseForward, OutputLocal: -1},
	"GPUModelRunner._to_list":                                       {Phase: wire.PhaseOutputCopy, OutputLocal: -1},
	"AsyncGPUModelRunnerOutput.__init__":                            {Phase: wire.PhaseOutputCopy, OutputLocal: -1},
	"AsyncGPUModelRunnerOutput.get_output":                          {Phase: wire.PhaseOutputWait, OutputLocal: -1},
}

// TestFunctions follows a process that imports vLLM, from nothing on.
func TestFunctions(t *testing.T) {
	forEachCPython(t, func(t *testing.T, python string) {
		for shape, own := range map[string]map[string]KnownFunction{"v2": v2Functions, "v1": v1Functions} {
			t.Run(shape, func(t *testing.T) {
				p, w := worker(t, python, shape)
				fs, changed, err := w.Functions()
				qt.Assert(t, qt.IsNil(err))
				qt.Check(t, qt.HasLen(fs, 0))
				qt.Check(t, qt.IsFalse(changed))

				p.do(t, "import")
				fs, changed, err = w.Functions()
				qt.Assert(t, qt.IsNil(err))
				qt.Check(t, qt.IsTrue(changed))
				qt.Check(t, qt.IsFalse(slices.ContainsFunc(fs, func(f KnownFunction) bool { return f.Phase == wire.PhaseExecute })))

				codes := p.do(t, "define").Functions
				fs, changed, err = w.Functions()
				qt.Assert(t, qt.IsNil(err))
				qt.Check(t, qt.IsTrue(changed))
				found := map[string]KnownFunction{}
				for _, f := range fs {
					found[f.Name] = f
				}
				for name, want := range own {
					want.Name, want.Code = name, codes[name]
					if want.OutputCell && !w.Python.HasQualnames() {
						want.OutputLocal = found[name].OutputLocal // 3.10: behind all locals
						c, err := w.Python.Code(want.Code)
						qt.Check(t, qt.IsNil(err))
						qt.Check(t, qt.IsTrue(want.OutputLocal > 1 && c.LocalNames[want.OutputLocal] == "scheduler_output"))
					}
					qt.Check(t, qt.Equals(found[name], want))
				}
				qt.Check(t, qt.Equals(found["GPUModelRunner.not_known"], KnownFunction{}))

				again, changed, err := w.Functions()
				qt.Assert(t, qt.IsNil(err))
				qt.Check(t, qt.IsFalse(changed))
				qt.Check(t, qt.DeepEquals(again, fs))
			})
		}
	})
}

// TestGraphs compares the graphs of all holders with what the process put there.
func TestGraphs(t *testing.T) {
	forEachCPython(t, func(t *testing.T, python string) {
		for _, shape := range []string{"v2", "v1", "old"} {
			t.Run(shape, func(t *testing.T) {
				p, w := worker(t, python, shape)
				p.do(t, "import")
				_, err := w.Runner()
				qt.Check(t, qt.ErrorIs(err, cpython.NotFound))
				p.do(t, "define")
				r, err := w.Runner()
				qt.Assert(t, qt.IsNil(err))
				qt.Check(t, qt.Equals(r.V2, shape == "v2"))
				qt.Check(t, qt.Equals(r.Module, "vllm.v1.worker.cpu.model_runner"))
				qt.Assert(t, qt.IsNotNil(r.Rank))
				qt.Check(t, qt.Equals(*r.Rank, 3))

				want := p.do(t, "capture").Graphs
				none, err := w.Graphs(func(uint64) bool { return false })
				qt.Assert(t, qt.IsNil(err))
				qt.Check(t, qt.Equals(none.Offset, -1))
				qt.Check(t, qt.HasLen(none.Graphs, len(want)))
				for _, g := range none.Graphs {
					qt.Check(t, qt.Equals(g.Exec, 0))
				}

				// One launch is enough to know where the handles are.
				got, err := w.Graphs(func(h uint64) bool { return h == want[0].Exec })
				qt.Assert(t, qt.IsNil(err))
				qt.Check(t, qt.Equals(got.Offset, 40)) // behind the head of a bytes object, and the cudaGraph_t
				qt.Check(t, qt.HasLen(got.Unnamed, 0))
				qt.Check(t, qt.DeepEquals(sorted(got.Graphs), sorted(want)))
			})
		}
	})
}

// TestGraphsGrow: a graph that comes later, and one that cannot be described.
func TestGraphsGrow(t *testing.T) {
	forEachCPython(t, func(t *testing.T, python string) {
		p, w := worker(t, python, "v2")
		p.do(t, "import")
		p.do(t, "define")
		p.do(t, "enter") // a frame of the runner inside the engine's
		first := p.do(t, "capture").Graphs
		_, err := w.Graphs(func(h uint64) bool { return h == first[3].Exec })
		qt.Assert(t, qt.IsNil(err))
		want := p.do(t, "more").Graphs
		got, err := w.Graphs(func(uint64) bool { return false })
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.DeepEquals(sorted(got.Graphs), sorted(want)))
		qt.Check(t, qt.DeepEquals(got.Unnamed, map[string]int{"not instantiated": 1}))
	})
}

func sorted(graphs []record.Graph) []record.Graph {
	return slices.SortedFunc(slices.Values(graphs), func(a, b record.Graph) int { return cmp.Compare(a.Exec, b.Exec) })
}

func TestCalibrate(t *testing.T) {
	object := func(words ...uint64) []byte {
		var b []byte
		for _, w := range words {
			b = binary.LittleEndian.AppendUint64(b, w)
		}
		return b
	}
	objects := [][]byte{object(7, 20, 10), object(7, 11, 21), nil, object(7, 22, 12), object(7)}
	for _, c := range []struct {
		name          string
		seen          []uint64
		current, want int
	}{
		{"none", nil, -1, -1},
		{"one", []uint64{11}, -1, 8},
		{"most", []uint64{10, 11, 12}, -1, 16},
		{"as many", []uint64{10, 11}, -1, -1},
		{"as many as the current one has", []uint64{10, 11}, 8, 8},
		{"as many, and the current one last", []uint64{10, 11}, 16, 16},
		{"more than the current one has", []uint64{10, 12, 11}, 8, 16},
		{"the same in all", []uint64{7}, -1, -1},
		{"a null is no handle", []uint64{0}, -1, -1},
	} {
		h := handles{seen: func(v uint64) bool { return slices.Contains(c.seen, v) }}
		qt.Check(t, qt.Equals(h.calibrate(objects, c.current), c.want), qt.Commentf("%s", c.name))
	}
}

func TestPartitionIndex(t *testing.T) {
	for name, want := range map[string]int{"partition_0": 0, "Runner.partition_12": 12, "partition_": -1, "partition_x": -1, "f": -1, "partition_-1": -1} {
		n, ok := partitionIndex(name)
		if !ok {
			n = -1
		}
		qt.Check(t, qt.Equals(n, want), qt.Commentf("%s", name))
	}
}
