package session

import (
	"cmp"
	"slices"
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

// Facts gathers what the journal's facts say of a session, and what its decoding
// counted, live and in decode alike.
type Facts struct {
	Start       record.Start
	Processes   []record.Process
	Engines     []record.Engine // by index
	Losses      []record.Loss   // the newest of each counter
	Unavailable []record.Unavailable
	Clocks      []record.Clock // the first and the newest
	End         *record.End    // nil: the session did not end in order

	NeverScheduled int64            // requests that ended without having been scheduled
	Unreadable     map[string]int64 // parts of events, by name
	Damage         []string         // pieces of the journal that could not be read
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
	if l := fact.Losses; l != nil {
		for _, count := range l.Counts {
			f.Losses = put(f.Losses, count, compareLosses)
		}
	}
	if u := fact.Unavailable; u != nil {
		f.Unavailable = append(f.Unavailable, *u)
	}
	if fact.End != nil {
		f.End = fact.End
	}
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
		on = []string{ProfilerKVCache, ProfilerForwardPass, ProfilerCPU, ProfilerBatch, ProfilerPreemption}
	}
	return slices.Contains(on, profiler)
}

// Works says whether a profiler was on and could work, on one engine at least.
func (f *Facts) Works(profiler string) bool {
	if !f.On(profiler) || profiler == ProfilerForwardPass && !f.watched(watchUpdateEntry) {
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
