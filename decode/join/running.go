package join

import (
	"cmp"
	"slices"
)

// Running is a request that has not ended, as far as it is known. Times are of the
// session, null where unknown.
type Running struct {
	Engine       int32
	RequestUID   int64
	ExternalID   string
	ArrivalNS    *int64
	ScheduledNS  *int64
	FirstTokNS   *int64
	PromptTokens *int32
	OutputTokens *int32
	Preempted    bool // and not resumed
}

// Since is when it came, or was first scheduled where that is not known.
func (r *Running) Since() (ns int64, known bool) {
	switch {
	case r.ArrivalNS != nil:
		return *r.ArrivalNS, true
	case r.ScheduledNS != nil:
		return *r.ScheduledNS, true
	}
	return 0, false
}

// Running returns the requests that have run longest, n at most, and how many there are
// in all. Like Live it reads what events write.
func (j *Joiner) Running(n int) (list []Running, all int) {
	for _, e := range j.order {
		for _, r := range e.byKey {
			if !r.done {
				list = append(list, e.runningOf(r))
			}
		}
	}
	slices.SortFunc(list, func(a, b Running) int {
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

func (e *engine) runningOf(r *request) Running {
	row := *e.requestRow(r) // of the row that the next one is made in
	return Running{
		Engine: row.Engine, RequestUID: row.RequestUID, ExternalID: row.ExternalID,
		ArrivalNS: row.ArrivalNS, ScheduledNS: row.ScheduledNS, FirstTokNS: row.FirstTokNS,
		PromptTokens: row.PromptTokens, OutputTokens: row.OutputTokens, Preempted: r.preempted,
	}
}
