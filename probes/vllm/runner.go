package vllm

import (
	"slices"
	"strings"

	"github.com/pmtrace/pmtrace/probes/cpython"
)

// foundRunner is the model runner of the last look, with what led to it.
type foundRunner struct {
	obj, typ uint64
	rank     *int
}

// runnerPaths lead from the self of a function that is running to the object
// that has the model runner, if self is no runner itself: a Worker, WorkerWrapperBase,
// WorkerProc, UniProcExecutor, EngineCore, and what holds an engine in its own process.
var runnerPaths = [][]string{
	{},
	{"worker"},
	{"worker", "worker"},
	{"driver_worker", "worker"},
	{"model_executor", "driver_worker", "worker"},
	{"engine_core", "model_executor", "driver_worker", "worker"},
	{"engine_core", "engine_core", "model_executor", "driver_worker", "worker"},
}

const runnerSuffix = "ModelRunner"

// Runner describes the process's model runner. The error is cpython.NotFound
// while there is none, or none of its methods or owners runs.
func (w *Worker) Runner() (Runner, error) {
	rt := w.Python.Snapshot(pages)
	obj, err := w.modelRunner(rt)
	if err != nil {
		return Runner{}, err
	}
	t, err := rt.TypeAddr(obj)
	if err != nil {
		return Runner{}, err
	}
	r := Runner{Rank: w.runner.rank}
	if name, err := rt.TypeAttr(t, "__module__"); err == nil {
		r.Module, _ = rt.Str(name)
	}
	r.V2 = w.isV2(rt, t)
	return r, nil
}

// isV2: the runner is a class of the V2 package, or inherits from one (the CPU's
// and plug-ins' do).
func (w *Worker) isV2(rt *cpython.Runtime, typ uint64) bool {
	t, err := rt.TypeAt(typ)
	if err != nil {
		return false
	}
	mro, err := rt.MRO(t)
	if err != nil {
		return false
	}
	for _, base := range mro {
		b, err := rt.TypeAt(base)
		if err != nil || b.Dict == 0 {
			continue
		}
		if obj, err := rt.DictGet(b.Dict, "__module__"); err == nil {
			if name, err := rt.Str(obj); err == nil && name == runnerV2 {
				return true
			}
		}
	}
	return false
}

// modelRunner finds the model runner by the frames of the threads: the engine's
// or worker's loop is on the main thread for good, and while the server is
// starting methods of the worker and the runner are.
func (w *Worker) modelRunner(rt *cpython.Runtime) (uint64, error) {
	if w.runner.obj != 0 {
		if t, err := rt.TypeAddr(w.runner.obj); err == nil && t == w.runner.typ {
			return w.runner.obj, nil
		}
		w.runner = foundRunner{}
	}
	threads, err := rt.Threads(w.interp)
	if len(threads) == 0 {
		return 0, err
	}
	slices.Reverse(threads) // the main thread first
	for i, t := range threads {
		tries := 1
		if i == 0 {
			tries = frameTries
		}
		if w.runnerInFrames(t, tries) {
			return w.runner.obj, nil
		}
	}
	f := finder{live: w.Python, rt: rt, interp: w.interp}
	if core, _, err := f.engine(); err == nil && w.runnerBehind(core) {
		return w.runner.obj, nil
	}
	return 0, cpython.NotFound
}

func (w *Worker) runnerInFrames(t cpython.Thread, tries int) bool {
	_, _, err := w.Python.FindFrame(t, tries, func(f cpython.Frame, c cpython.Code) bool {
		if !strings.Contains(c.Filename, "/vllm/") {
			return false
		}
		self, err := w.Python.LocalByName(f, c, "self")
		return err == nil && w.runnerBehind(self)
	})
	return err == nil
}

// runnerBehind looks for the runner from an object that may lead to it.
func (w *Worker) runnerBehind(self uint64) bool {
	if w.isRunner(self, nil) {
		return true
	}
	for _, path := range runnerPaths {
		owner, err := w.Python.AttrPath(self, path...)
		if err != nil {
			continue
		}
		runner, err := w.Python.Attr(owner, "model_runner")
		if err != nil {
			continue
		}
		if w.isRunner(runner, w.rankOf(owner)) {
			return true
		}
	}
	return false
}

func (w *Worker) isRunner(obj uint64, rank *int) bool {
	t, err := w.Python.Type(obj)
	if err != nil || !strings.HasSuffix(t.Name, runnerSuffix) {
		return false
	}
	if rank == nil {
		if config, err := w.Python.AttrPath(obj, "vllm_config", "parallel_config"); err == nil {
			rank = w.rankOf(config)
		}
	}
	w.runner = foundRunner{obj: obj, typ: t.Addr, rank: rank}
	return true
}

func (w *Worker) rankOf(obj uint64) *int {
	at, err := w.Python.Attr(obj, "rank")
	if err != nil {
		return nil
	}
	v, err := w.Python.Int(at)
	if err != nil || v < 0 || v > maxRank {
		return nil
	}
	rank := int(v)
	return &rank
}

const maxRank = 1 << 16
