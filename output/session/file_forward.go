package session

import (
	"slices"

	"github.com/pmtrace/pmtrace/decode/record"
)

// forwardTime is a step's forward pass by the best source that it has.
type forwardTime struct {
	ns     int64
	source string // record.Timing…
	column string // of steps: forward_ns and step_gpu_ns are not the same thing
}

const (
	columnForward = "forward_ns"
	columnStepGPU = "step_gpu_ns"
)

// forwardOf prefers the GPU's time of the forward pass to that of the step, and
// both to what the CPU saw.
func forwardOf(r *record.StepRow) (forwardTime, bool) {
	forward := r.ForwardNS != nil
	switch {
	case forward && r.TimingSource != nil && *r.TimingSource != record.TimingCPUBound:
		return forwardTime{*r.ForwardNS, *r.TimingSource, columnForward}, true
	case r.StepGPUNS != nil:
		return forwardTime{*r.StepGPUNS, known(r.GPUTimingSource), columnStepGPU}, true
	case forward:
		return forwardTime{*r.ForwardNS, known(r.TimingSource), columnForward}, true
	}
	return forwardTime{}, false
}

func known(source *string) string {
	if source == nil {
		return "unknown"
	}
	return *source
}

// forwardFiles has one line a step whose forward pass has a time.
func forwardFiles(out *outputs, _ *Facts) Visitor {
	csv := out.csv(FileForward, headerForward)
	phases := [...]string{record.PhasePrefill, record.PhaseDecode, record.PhaseMixed, record.PhaseUnknown}
	var stats [len(phases)]struct {
		Stat
		sources counts // what the times are, by column of steps and source
	}
	return Visitor{
		Step: func(r *record.StepRow) error {
			phase := slices.Index(phases[:], r.Phase)
			forward, ok := forwardOf(r)
			if !ok || phase < 0 {
				return nil
			}
			csv.sec(r.ScheduledNS).text(r.Phase).int(int64(r.Requests)).int(int64(r.Tokens)).ms(forward.ns)
			if forward.ns > 0 {
				csv.float(float64(r.Tokens)/(float64(forward.ns)/1e9), 1)
			} else {
				csv.comma()
			}
			csv.end()
			stats[phase].Add(forward.ns)
			stats[phase].sources.add(forward.column + "/" + forward.source)
			return csv.err
		},
		Done: func() error {
			summary := object{}
			for i, phase := range phases {
				s := &stats[i]
				if s.Count() == 0 {
					continue
				}
				summary = append(summary, member{phase, object{
					{"count", s.Count()},
					{"mean_ms", millis(s.Mean())},
					{"std_ms", millis(s.Std())},
					{"min_ms", millis(s.Min())},
					{"max_ms", millis(s.Max())},
					{"p50_ms", millis(s.Percentile(50))},
					{"p95_ms", millis(s.Percentile(95))},
					{"p99_ms", millis(s.Percentile(99))},
					{"timing_sources", s.sources.json()},
				}})
			}
			return out.json(FileForwardSummary, summary)
		},
	}
}
