package session

import (
	"slices"

	"github.com/pmtrace/pmtrace/decode/record"
)

// cpuFiles has one line an operation.
func cpuFiles(out *outputs, _ *Facts) Visitor {
	csv := out.csv(FileCPU, headerCPU)
	stats := map[string]*Stat{}
	var order []string
	return Visitor{
		CPUOperation: func(r *record.CPUOperationRow) error {
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
		Done: func() error {
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
