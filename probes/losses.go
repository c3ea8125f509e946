package probes

import (
	"fmt"

	"github.com/pmtrace/pmtrace/bpf"
	"github.com/pmtrace/pmtrace/decode/record"
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
}

// Losses reads the counters; those at 0 are left out.
func (t *Tracer) Losses() ([]record.Loss, error) {
	t.mu.Lock()
	engines := len(t.engines)
	t.mu.Unlock()
	var out []record.Loss
	for e := range engines {
		for _, p := range probeNames {
			for _, r := range reasons {
				i := (uint32(e)*uint32(bpf.SchedulerPmProbePM_PROBES)+uint32(p.probe))*uint32(bpf.SchedulerPmReasonPM_REASONS) + uint32(r.reason)
				var n uint64
				if err := t.objs.Losses.Lookup(i, &n); err != nil {
					return out, fmt.Errorf("read the loss counters: %w", err)
				}
				if n > 0 {
					out = append(out, record.Loss{Engine: e, Probe: string(p.name), Reason: r.name, Count: n, Lost: r.lost})
				}
			}
		}
	}
	return out, nil
}
