package session

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/pmtrace/pmtrace/decode/record"
)

// The profilers that can be switched on and off.
const (
	ProfilerCUDAGraph      = "cuda_graph"
	ProfilerKVCache        = "kv_cache"
	ProfilerMoE            = "moe"
	ProfilerForwardPass    = "forward_pass"
	ProfilerCPU            = "cpu"
	ProfilerBatch          = "batch"
	ProfilerPreemption     = "preemption"
	ProfilerEncoderDecoder = "encoder_decoder"
	ProfilerGPU            = "gpu"
	ProfilerKernels        = "kernels"
)

// GPUSampling is how record.Unavailable names the sampling of hardware counters:
// no profiler, but asked for by itself.
const GPUSampling = "gpu_sampling"

// Hooks is how it names functions that the user named.
const Hooks = "hooks"

// CUPTI is how it names pmtrace's library in the server (record --cupti).
const CUPTI = "cupti"

// Facts gathers what the journal's facts say of a session, and what its decoding
// counted, live and in decode alike.
type Facts struct {
	Start       record.Start
	Processes   []record.Process
	Engines     []record.Engine // by index
	Losses      []record.Loss   // the newest of each counter
	Unavailable []record.Unavailable
	Workers     []record.Worker // the newest of each
	Readings    []GraphReading  // the newest of each worker
	GPUs        []record.GPU
	Samplers    []record.Sampler   // the newest of each GPU
	Clocks      []record.Clock     // the first and the newest
	Injected    []record.Injected  // the newest of each process with pmtrace's library
	Hooks       []record.Hook      // the newest of each
	HookCounts  []record.HookCount // the newest of each
	End         *record.End        // nil: the session did not end in order

	NeverScheduled int64 // requests that ended without having been scheduled
	Bounds         BoundCheck
	DummyPasses    int64            // passes through layers with experts that are of no step
	MissingLayers  int64            // layers with experts of steps with tokens, of whose choices nothing is known
	Unreadable     map[string]int64 // parts of events, by name
	Damage         []string         // pieces of the journal that could not be read
}

// BoundCheck says how good event_bound times are, by steps whose times the hardware
// counters have as well.
type BoundCheck struct {
	Steps    int64   `json:"steps"`
	BiasPct  float64 `json:"bias_pct"`       // mean of event_bound less counters, in % of a step's GPU time
	ErrorPct float64 `json:"mean_error_pct"` // mean of its amount
}

// GraphReading is what reading the CUDA graphs that a worker's objects hold gave.
type GraphReading struct {
	Worker   int   `json:"worker"`
	Readings int   `json:"readings"`
	MonoNS   int64 `json:"mono_ns"` // of the newest; so are the rest
	Graphs   int   `json:"graphs"`
	// Offset of the cudaGraphExec_t in torch's CUDAGraph, found by handles that were
	// seen in calls; negative: no handle to tell by.
	Offset  int            `json:"exec_offset"`
	Holders map[string]int `json:"holders"` // graphs by the kind of object that holds them
	// MoELayers counts the layers with experts of the worker's model.
	MoELayers int `json:"moe_layers,omitempty"`
}

// Add takes a fact. A newer one of the same process, engine or counter takes
// the older one's place.
func (f *Facts) Add(fact record.Fact) {
	if fact.Start != nil {
		f.Start = *fact.Start
	}
	if c := fact.Clock; c != nil {
		f.Clocks = append(f.Clocks[:min(len(f.Clocks), 1)], *c)
	}
	if p := fact.Process; p != nil {
		f.Processes = put(f.Processes, *p, func(a, b record.Process) int {
			return cmp.Or(cmp.Compare(a.StartNS, b.StartNS), cmp.Compare(a.PID, b.PID))
		})
	}
	if e := fact.Engine; e != nil {
		f.Engines = put(f.Engines, *e, func(a, b record.Engine) int { return cmp.Compare(a.Engine, b.Engine) })
	}
	f.addGPU(fact)
	if l := fact.Losses; l != nil {
		for _, count := range l.Counts {
			f.Losses = put(f.Losses, count, compareLosses)
		}
	}
	if u := fact.Unavailable; u != nil {
		f.Unavailable = append(f.Unavailable, *u)
	}
	if h := fact.Hook; h != nil {
		f.Hooks = put(f.Hooks, *h, func(a, b record.Hook) int { return cmp.Compare(a.Hook, b.Hook) })
	}
	if c := fact.HookCounts; c != nil {
		f.HookCounts = c.Counts
	}
	if fact.End != nil {
		f.End = fact.End
	}
}

// addGPU takes what is known of workers and GPUs. Samples are rows of a table and
// not kept.
func (f *Facts) addGPU(fact record.Fact) {
	if w := fact.Worker; w != nil {
		f.Workers = put(f.Workers, *w, func(a, b record.Worker) int { return cmp.Compare(a.Worker, b.Worker) })
	}
	if g := fact.Graphs; g != nil {
		f.read(g)
	}
	if g := fact.GPU; g != nil {
		f.GPUs = put(f.GPUs, *g, func(a, b record.GPU) int { return cmp.Compare(a.Index, b.Index) })
	}
	if i := fact.Injected; i != nil {
		f.Injected = put(f.Injected, *i, func(a, b record.Injected) int { return cmp.Compare(a.Ring, b.Ring) })
	}
	if s := fact.Sampler; s != nil {
		f.Samplers = put(f.Samplers, *s, func(a, b record.Sampler) int { return cmp.Compare(a.Index, b.Index) })
	}
}

func (f *Facts) read(g *record.Graphs) {
	r := GraphReading{Worker: g.Worker, Readings: 1, MonoNS: g.MonoNS, Graphs: len(g.Graphs), Offset: g.Offset, Holders: map[string]int{}}
	for _, graph := range g.Graphs {
		r.Holders[graph.Holder]++
	}
	r.MoELayers = len(g.MoELayers)
	for _, before := range f.Readings {
		if before.Worker == g.Worker {
			r.Readings += before.Readings
		}
	}
	f.Readings = put(f.Readings, r, func(a, b GraphReading) int { return cmp.Compare(a.Worker, b.Worker) })
}

func compareLosses(a, b record.Loss) int {
	return cmp.Or(cmp.Compare(a.Engine, b.Engine), cmp.Compare(a.Probe, b.Probe), cmp.Compare(a.Reason, b.Reason))
}

// put inserts v into the sorted list, or replaces its equal.
func put[T any](list []T, v T, compare func(a, b T) int) []T {
	i, found := slices.BinarySearchFunc(list, v, compare)
	if found {
		list[i] = v
		return list
	}
	return slices.Insert(list, i, v)
}

// On says whether a profiler was switched on. Where the journal's beginning is
// damaged nobody knows, and those that have files get them.
func (f *Facts) On(profiler string) bool {
	on := f.Start.Profilers
	if on == nil {
		on = []string{ProfilerCUDAGraph, ProfilerKVCache, ProfilerForwardPass, ProfilerCPU, ProfilerBatch,
			ProfilerPreemption, ProfilerEncoderDecoder, ProfilerGPU, ProfilerMoE}
	}
	if profiler == ProfilerMoE && slices.ContainsFunc(f.Engines, buffered) {
		return true // by itself, where the server has them
	}
	return slices.Contains(on, profiler)
}

// Works says whether a profiler was on and could work, on one engine at least.
func (f *Facts) Works(profiler string) bool {
	if !f.On(profiler) || f.blind(profiler) != "" {
		return false
	}
	without := map[int]bool{}
	for _, u := range f.Unavailable {
		if u.Profiler != profiler || len(u.Columns) > 0 {
			continue
		}
		if u.Engine == nil {
			return false
		}
		without[*u.Engine] = true
	}
	for _, e := range f.Engines {
		if !without[e.Engine] {
			return true
		}
	}
	return len(f.Engines) == 0
}

// blind says why there was nothing that a profiler could have seen anything by;
// "" if there was.
func (f *Facts) blind(profiler string) string {
	switch profiler {
	case ProfilerCUDAGraph:
		if !slices.ContainsFunc(f.Workers, probesGraphs) {
			return "no process was found whose CUDA graphs could be probed"
		}
	case ProfilerEncoderDecoder:
		if !slices.ContainsFunc(f.Workers, probesCalls) {
			return "no process was found whose CUDA calls could be probed"
		}
	case ProfilerForwardPass:
		if !f.watched(watchUpdateEntry) && !slices.ContainsFunc(f.Workers, probesCalls) {
			return "neither CUDA calls nor the end of the forward pass could be probed"
		}
	case ProfilerMoE:
		return f.withoutExperts()
	case ProfilerGPU:
		if len(f.GPUs) == 0 {
			return "no GPU was found"
		}
	}
	return ""
}

// withoutExperts says why the choices of experts cannot be told; "" if they can.
func (f *Facts) withoutExperts() string {
	read := slices.ContainsFunc(f.Readings, func(r GraphReading) bool { return r.MoELayers > 0 })
	withLayers := slices.DeleteFunc(slices.Clone(f.Engines), func(e record.Engine) bool {
		return len(e.MoELayers) == 0 && (!read || e.PP > 1)
	})
	switch {
	case len(withLayers) == 0 && slices.ContainsFunc(f.Engines, apart):
		return "the model is in processes of its own (tensor or pipeline parallel), and which layers have experts was not read there"
	case len(withLayers) == 0:
		return "no layer with experts was found in the model"
	case slices.ContainsFunc(withLayers, buffered):
		return ""
	case !slices.ContainsFunc(f.Injected, tells):
		return "which experts are chosen can be seen from within the server alone (pmtrace record), or where vLLM copies it to the host (--enable-return-routed-experts)"
	case !slices.ContainsFunc(withLayers, telling):
		return "a draft model runs between the passes, and its layers with experts would be taken for the model's"
	}
	return ""
}

// apart reports whether an engine's model is in other processes.
func apart(e record.Engine) bool { return e.TP > 1 || e.PP > 1 }

// buffered reports whether an engine's routed experts are read.
func buffered(e record.Engine) bool { return e.RoutedExperts != "" }

// telling reports whether an engine's runs of routing kernels are its model's alone.
func telling(e record.Engine) bool {
	return e.SpecTokens == 0 || e.DraftMoELayers != nil && *e.DraftMoELayers == 0
}

func probesCalls(w record.Worker) bool { return len(w.Probes) > 0 }

func probesGraphs(w record.Worker) bool {
	return slices.ContainsFunc(w.Probes, func(p string) bool {
		p = strings.ToLower(p)
		return strings.Contains(p, "graph") && strings.Contains(p, "launch")
	})
}

// Missing is what could not be filled: what the journal says, and the profilers
// that were blind without its saying so, as where it ends early.
func (f *Facts) Missing() []record.Unavailable {
	list := slices.Clone(f.Unavailable)
	for _, profiler := range []string{ProfilerCUDAGraph, ProfilerForwardPass, ProfilerEncoderDecoder, ProfilerGPU, ProfilerMoE} {
		why := f.blind(profiler)
		said := slices.ContainsFunc(f.Unavailable, func(u record.Unavailable) bool { return u.Profiler == profiler })
		if f.Start.Profilers != nil && f.On(profiler) && why != "" && !said {
			list = append(list, record.Unavailable{Profiler: profiler, Reason: why})
		}
	}
	return list
}

// WhyNot says what kept a profiler from seeing anything, as far as is known.
func (f *Facts) WhyNot(profiler string) []record.Unavailable {
	var list []record.Unavailable
	for _, u := range f.Missing() {
		if u.Profiler == profiler && len(u.Columns) == 0 {
			list = append(list, u)
		}
	}
	if len(list) > 0 {
		return list
	}
	if why := f.blind(profiler); why != "" {
		return []record.Unavailable{{Profiler: profiler, Reason: why}}
	}
	return nil
}

// Watches that columns come from, by record.Engine's names.
const (
	watchFreeBlocks   = "free_blocks"
	watchUpdateReturn = "update_return"
	watchUpdateEntry  = "update_entry"
)

// watched says whether a watch was in force on one engine at least: without it
// nothing was counted, which is not the same as a count of 0.
func (f *Facts) watched(name string) bool {
	return len(f.Engines) == 0 || slices.ContainsFunc(f.Engines, func(e record.Engine) bool {
		return e.Watches == nil || slices.Contains(e.Watches, name)
	})
}

// Engine returns what is known of an engine; the zero value if nothing is.
func (f *Facts) Engine(index int32) record.Engine {
	for _, e := range f.Engines {
		if e.Engine == int(index) {
			return e
		}
	}
	return record.Engine{}
}

// Began is the wall time of the session's zero.
func (f *Facts) Began() time.Time { return time.Unix(0, f.Start.WallNS).UTC() }

// About returns what the metadata of the tables says.
func (f *Facts) About() About {
	return About{SessionID: f.Start.SessionID, Start: f.Began().Format(time.RFC3339Nano)}
}

// DurationNS is how long the session lasted; 0 if its beginning or end is not
// recorded.
func (f *Facts) DurationNS() int64 {
	if f.End == nil || f.Start.MonoNS == 0 {
		return 0
	}
	return f.End.MonoNS - f.Start.MonoNS
}
