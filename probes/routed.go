package probes

import (
	"fmt"
	"slices"

	"github.com/pmtrace/pmtrace/bpf"
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/probes/vllm"
)

// WatchRouted names what the watch of update_entry copies of routed experts, in losses.
const WatchRouted Watch = "routed_experts"

// moeProfiler is how record.Unavailable names the choices of experts.
const moeProfiler = "moe"

// routedConfig tells the programs where a step's routed experts are.
func routedConfig(c *bpf.SchedulerPmEngine, e *vllm.Engine, limit int) {
	r := &e.Routed
	switch r.Place {
	case vllm.RoutedLists:
		c.Routed = uint32(bpf.SchedulerPmRoutedPlacePM_ROUTED_LISTS)
	case vllm.RoutedPending:
		c.Routed = uint32(bpf.SchedulerPmRoutedPlacePM_ROUTED_PENDING)
	default:
		return
	}
	copy(c.RoutedKeys[:], r.Names)
	c.Ndarray = r.Array
	c.RoutedLimit = uint32(limit)
	c.RoutedCaller = r.Caller.Code.Addr
	c.L_result = localOf(e.Update, "model_runner_output")
	c.L_future = localOf(r.Caller, "future")
}

// routed says where an engine's routed experts are copied from, or why not where the server
// has them.
func (a *arming) routed() (source string, missing []record.Unavailable) {
	r := &a.tr.engine.Routed
	if !a.t.opts.Routed || !r.Asked || r.Apart {
		return "", nil // apart: AttachRouted
	}
	why := r.Missing
	if why == "" && !slices.Contains(a.tr.names, WatchUpdateEntry) {
		why = "the server has routed experts; they are read as " + string(WatchUpdateEntry) + " is hit, which is not watched"
	}
	if why == "" {
		return r.Source(), nil
	}
	return "", []record.Unavailable{{Profiler: moeProfiler, Engine: &a.index, Reason: why}}
}

// SourceWorker is where routed experts are copied from in the process that runs the model.
const SourceWorker = "aux_output_of_worker"

// AttachRouted copies the routed experts of an engine's steps in the process that runs its
// model.
func (t *Tracer) AttachRouted(index int, w *vllm.RoutedWorker) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.opts.Routed || t.engines[index] == nil {
		return errNotAsked
	}
	if !slices.Contains(t.engines[index].names, WatchUpdateEntry) {
		return errNotAsked // their steps are told by it
	}
	c := bpf.SchedulerPmEngine{
		ThreadState: w.ThreadState, None: w.None, Py: python(w.Python.Offsets()),
		UpdateCode: w.Output.Code.Addr, UpdateResume: w.Output.Entry, L_result: localOf(w.Output, "pending"),
		Routed: uint32(bpf.SchedulerPmRoutedPlacePM_ROUTED_WORKER), Ndarray: w.Array, RoutedLimit: uint32(t.opts.RingBytes / 2),
	}
	copy(c.RoutedKeys[:], w.Names)
	if c.L_result == noLocal || c.UpdateResume == 0 {
		return errNotFound
	}
	slot := uint32(MaxEngines + index)
	if err := t.objs.Engines.Put(slot, &c); err != nil {
		return fmt.Errorf("configure the BPF programs: %w", err)
	}
	point, err := watch(scope{thread: w.Thread}, c.UpdateResume, 1, bpReadWrite, t.objs.WorkerOutput, uint64(slot))
	if err != nil {
		return err
	}
	tr := t.engines[index]
	tr.points = append(tr.points, point)
	tr.routed = SourceWorker
	return nil
}

// RoutedExperts is where an engine's routed experts are copied from; "": nowhere.
func (t *Tracer) RoutedExperts(index int) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.engines[index].routed
}
