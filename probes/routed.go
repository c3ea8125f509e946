package probes

import (
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
	if !a.t.opts.Routed || !r.Asked {
		return "", nil
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

// RoutedExperts is where an engine's routed experts are copied from; "": nowhere.
func (t *Tracer) RoutedExperts(index int) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.engines[index].routed
}
