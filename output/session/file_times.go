package session

import (
	"slices"

	"github.com/pmtrace/pmtrace/decode/record"
)

// cpuFiles has one line an operation.
func cpuFiles(out *outputs, _ *Facts) visitor {
	csv := out.csv(FileCPU, headerCPU)
	stats := map[string]*Stat{}
	var order []string
	return visitor{
		cpu: func(r *record.CPUOperationRow) error {
			csv.sec(r.TimeNS).text(r.Operation).ms(r.DurNS).text(r.Context).end()
			s := stats[r.Operation]
			if s == nil {
				s = new(Stat)
				stats[r.Operation] = s
				order = append(order, r.Operation)
			}
			s.Add(r.DurNS)
			return csv.err
		},
		done: func() error {
			slices.Sort(order)
			summary := object{}
			for _, operation := range order {
				s := stats[operation]
				summary = append(summary, member{operation, object{
					{"count", s.Count()},
					{"mean_ms", millis(s.Mean())},
					{"std_ms", millis(s.Std())},
					{"min_ms", millis(s.Min())},
					{"max_ms", millis(s.Max())},
					{"p95_ms", millis(s.Percentile(95))},
				}})
			}
			return out.json(FileCPUSummary, summary)
		},
	}
}

// forwardFiles has one line a step whose forward pass has a time.
func forwardFiles(out *outputs, _ *Facts) visitor {
	csv := out.csv(FileForward, headerForward)
	phases := [...]string{record.PhasePrefill, record.PhaseDecode, record.PhaseMixed, record.PhaseUnknown}
	var stats [len(phases)]Stat
	return visitor{
		step: func(r *record.StepRow) error {
			phase := slices.Index(phases[:], r.Phase)
			if r.ForwardNS == nil || phase < 0 {
				return nil
			}
			ns := *r.ForwardNS
			csv.sec(r.ScheduledNS).text(r.Phase).int(int64(r.Requests)).int(int64(r.Tokens)).ms(ns)
			if ns > 0 {
				csv.float(float64(r.Tokens)/(float64(ns)/1e9), 1)
			} else {
				csv.comma()
			}
			csv.end()
			stats[phase].Add(ns)
			return csv.err
		},
		done: func() error {
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
				}})
			}
			return out.json(FileForwardSummary, summary)
		},
	}
}
