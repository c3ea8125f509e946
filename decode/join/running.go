package join

import (
	"cmp"
	"slices"

	"github.com/pmtrace/pmtrace/decode/record"
)

// Running returns the requests that have run longest, n at most, and how many there are
// in all. Like Live it reads what events write.
func (j *Joiner) Running(n int) (list []record.Running, all int) {
	for _, e := range j.order {
		for _, r := range e.byKey {
			if !r.done {
				list = append(list, e.runningOf(r))
			}
		}
	}
	slices.SortFunc(list, func(a, b record.Running) int {
		x, known := a.Since()
		y, also := b.Since()
		if known != also {
			if known {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(x, y), cmp.Compare(a.Engine, b.Engine), cmp.Compare(a.RequestUID, b.RequestUID))
	})
	return list[:min(n, len(list))], len(list)
}

func (e *engine) runningOf(r *request) record.Running {
	row := *e.requestRow(r) // of the row that the next one is made in
	return record.Running{
		Engine: row.Engine, RequestUID: row.RequestUID, ExternalID: row.ExternalID,
		ArrivalNS: row.ArrivalNS, ScheduledNS: row.ScheduledNS, FirstTokNS: row.FirstTokNS,
		PromptTokens: row.PromptTokens, OutputTokens: row.OutputTokens, Preempted: r.preempted,
	}
}
