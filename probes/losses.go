package probes

import (
	"fmt"
	"slices"

	"github.com/pmtrace/pmtrace/bpf"
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/decode/wire"
)

// reasons name the kernel's counters; lost tells those that mean missing data.
var reasons = []struct {
	reason bpf.SchedulerPmReason
	name   string
	lost   bool
}{
	{bpf.SchedulerPmReasonPM_LOST_RING_FULL, "ring_full", true},
	{bpf.SchedulerPmReasonPM_LOST_FAULT, "unreadable", true},
	{bpf.SchedulerPmReasonPM_LOST_LAYOUT, "unexpected_layout", true},
	{bpf.SchedulerPmReasonPM_LOST_LIMIT, "too_long", true},
	{bpf.SchedulerPmReasonPM_LOST_NOT_CONFIGURED, "not_configured", true},
	{bpf.SchedulerPmReasonPM_LOST_RATE, "rate_limited", true},
	{bpf.SchedulerPmReasonPM_SEEN_FOREIGN, "foreign_hit", false},
	{bpf.SchedulerPmReasonPM_SEEN_REPEATED, "repeated_hit", false},
}

var probeNames = []struct {
	probe bpf.SchedulerPmProbe
	name  Watch
}{
	{bpf.SchedulerPmProbePM_PROBE_SCHEDULE_RETURN, WatchScheduleReturn},
	{bpf.SchedulerPmProbePM_PROBE_FREE_BLOCKS, WatchFreeBlocks},
	{bpf.SchedulerPmProbePM_PROBE_UPDATE_RETURN, WatchUpdateReturn},
	{bpf.SchedulerPmProbePM_PROBE_UPDATE_ENTRY, WatchUpdateEntry},
	{bpf.SchedulerPmProbePM_PROBE_ROUTED, WatchRouted},
}

// Losses reads the counters; those at 0 are left out.
func (t *Tracer) Losses() ([]record.Loss, error) {
	t.mu.Lock()
	engines := t.engines
	t.mu.Unlock()
	var out []record.Loss
	for e := range engines {
		if engines[e] == nil {
			continue
		}
		for _, p := range probeNames {
			if err := t.counters(&out, e, uint32(e), p.probe, string(p.name)); err != nil {
				return out, err
			}
		}
		if err := t.counters(&out, e, uint32(MaxEngines+e), bpf.SchedulerPmProbePM_PROBE_ROUTED, workerRouted); err != nil {
			return out, err
		}
	}
	calls, err := t.callLosses()
	if err != nil {
		return out, err
	}
	hooks, err := t.hookLosses()
	return slices.Concat(out, calls, hooks), err
}

// workerRouted names what is copied of routed experts in a worker's process.
const workerRouted = "worker_" + string(WatchRouted)

// counters reads those of a probe in a slot of the programs.
func (t *Tracer) counters(out *[]record.Loss, engine int, slot uint32, probe bpf.SchedulerPmProbe, name string) error {
	for _, r := range reasons {
		i := (slot*uint32(bpf.SchedulerPmProbePM_PROBES)+uint32(probe))*uint32(bpf.SchedulerPmReasonPM_REASONS) + uint32(r.reason)
		var n uint64
		if err := t.objs.Losses.Lookup(i, &n); err != nil {
			return fmt.Errorf("read the loss counters: %w", err)
		}
		if n > 0 {
			*out = append(*out, record.Loss{Engine: engine, Probe: name, Reason: r.name, Count: n, Lost: r.lost})
		}
	}
	return nil
}

// callLosses reads the counters of CUDA calls. An engine may have several workers:
// they are added up.
func (t *Tracer) callLosses() ([]record.Loss, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	sums := lossSums{}
	if t.calls != nil {
		// The kernel runs no program on a CPU where one is running.
		for watch, progs := range t.calls.loaded() {
			for _, p := range progs {
				s, err := p.Stats()
				if err != nil {
					return nil, fmt.Errorf("statistics of the program on %s: %w", watch, err)
				}
				sums.add(-1, string(watch), "program_busy", s.RecursionMisses, true)
			}
		}
	}
	for _, w := range t.workers {
		var c bpf.CudaPmCallLosses
		if err := t.calls.maps.CallLosses.Lookup(uint32(w.index), &c); err != nil {
			return nil, fmt.Errorf("read the loss counters of CUDA calls: %w", err)
		}
		for row := range c.Count {
			for _, r := range reasons {
				sums.add(w.engine(), wire.Row(row).Name(), r.name, c.Count[row][r.reason], r.lost)
			}
		}
		for _, l := range w.lost() {
			sums.add(w.engine(), l.Probe, l.Reason, l.Count, l.Lost)
		}
	}
	return sums, nil
}

// lossSums are counters, each once.
type lossSums []record.Loss

func (s *lossSums) add(engine int, probe, reason string, n uint64, lost bool) {
	if n == 0 {
		return
	}
	for i := range *s {
		if l := &(*s)[i]; l.Engine == engine && l.Probe == probe && l.Reason == reason {
			l.Count += n
			return
		}
	}
	*s = append(*s, record.Loss{Engine: engine, Probe: probe, Reason: reason, Count: n, Lost: lost})
}
