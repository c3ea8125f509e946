package vllm

import (
	"errors"
	"fmt"
	"strings"

	"github.com/pmtrace/pmtrace/probes/cpython"
)

// RoutedWorker is a process that runs a model, and what is needed to copy the routed experts
// of its steps there (vLLM 0.31 and later).
type RoutedWorker struct {
	PID         int
	Thread      int // that takes the outputs of steps
	ThreadState uint64
	Python      *cpython.Runtime
	None        uint64
	Output      Function // AuxOutputWorkerConnector.process_output
	Names       []uint64 // of attributes, in the programs' order; 0: not on the way
	Array       uint64   // type numpy.ndarray
	MoELayers   []int32
}

// ErrNoRouted says that a process has no routed experts: of the ranks one has them.
var ErrNoRouted = errors.New("it has no routed experts")

// pendingNames are attributes of PendingAuxOutput, by their place among the programs' names.
var pendingNames = map[int]string{0: "routed_experts", 5: "request_ids", 6: "token_starts"}

const routedNamesMax = 7

// outputLoop is the function of the thread that takes the outputs of steps, where that is
// not the main thread.
const outputLoop = "WorkerProc.async_output_busy_loop"

// Routed finds where a worker's routed experts are.
func (w *Worker) Routed() (*RoutedWorker, error) {
	rt := w.Python.Snapshot(pages)
	runner, err := w.modelRunner(rt)
	if err != nil {
		return nil, err
	}
	buffer, err := rt.AttrPath(runner, "aux_output_connector", "_buffer")
	if err != nil || rt.IsNone(buffer) {
		return nil, ErrNoRouted
	}
	out := &RoutedWorker{PID: w.PID, Python: w.Python, MoELayers: runnerLayers(rt, runner)}
	r := resolver{rt: rt, interp: w.interp, e: &Engine{}}
	if out.None, err = rt.NoneAddr(); err != nil {
		return nil, err
	}
	typ, err := r.class(modPending, "AuxOutputWorkerConnector")
	if err == nil {
		out.Output, err = r.function(typ, "process_output")
	}
	if err != nil {
		return nil, fmt.Errorf("AuxOutputWorkerConnector.process_output: %w", err)
	}
	out.Names = make([]uint64, routedNamesMax)
	for i, name := range pendingNames {
		if out.Names[i], err = r.attributeName(modPending, "PendingAuxOutput", name); err != nil {
			return nil, fmt.Errorf("PendingAuxOutput.%s: %w", name, err)
		}
	}
	if out.Array, err = r.class("numpy", "ndarray"); err != nil {
		return nil, fmt.Errorf("numpy.ndarray: %w", err)
	}
	return out, w.outputThread(rt, out)
}

// outputThread finds the thread that takes the outputs of steps.
func (w *Worker) outputThread(rt *cpython.Runtime, out *RoutedWorker) error {
	threads, err := rt.Threads(w.interp)
	if len(threads) == 0 {
		return err
	}
	hosts, err := cpython.HostTIDs(w.PID)
	if err != nil {
		return err
	}
	for _, t := range threads {
		tid, ok := hosts[t.NativeID]
		if !ok {
			continue
		}
		if tid == w.PID && out.Thread == 0 {
			out.Thread, out.ThreadState = tid, t.Addr
		}
		_, _, err := w.Python.FindFrame(t, frameTries, func(_ cpython.Frame, c cpython.Code) bool {
			return strings.HasSuffix(c.Qualname, outputLoop)
		})
		if err == nil {
			out.Thread, out.ThreadState = tid, t.Addr
			return nil
		}
	}
	if out.Thread == 0 {
		return errors.New("no thread of it takes the outputs of steps")
	}
	return nil
}
