package report

import (
	"cmp"
	"slices"

	"github.com/pmtrace/pmtrace/decode/record"
)

// Events of a request's life.
const (
	EventArrival    = "arrival"
	EventFirstSeen  = "first seen"
	EventPrefill    = "prefill"
	EventRecompute  = "recompute"
	EventFirstToken = "first token"
	EventPreempted  = "preempted"
	EventResumed    = "resumed"
	EventLastSeen   = "last seen"
	EventFinished   = "finished"
)

// Event is something that happened to a request.
type Event struct {
	TimeNS int64  `json:"time_ns"`
	Event  string `json:"event"`
	StepID *int64 `json:"step_id"`
	// Of a prefill or recompute: tokens of the chunk and computed before it, the
	// requests in the step, and the largest prefills of others.
	Tokens   *int32    `json:"tokens"`
	Computed *int32    `json:"computed_before"` // of a preemption: that were thrown away
	Requests *int32    `json:"requests"`
	Blocks   *int32    `json:"blocks_freed"`
	With     []Prefill `json:"largest_prefills_of_others"`
	Reason   string    `json:"reason"`
}

func (l *life) events() []Event {
	var list []Event
	r := &l.row
	at := func(ns *int64, name, reason string) {
		if ns != nil {
			list = append(list, Event{TimeNS: *ns, Event: name, Reason: reason})
		}
	}
	at(r.ArrivalNS, EventArrival, "")
	if r.ScheduledNS == nil && len(l.turns) > 0 {
		at(&l.turns[0].step.start, EventFirstSeen, "")
	}
	for _, t := range l.turns {
		if e, ok := l.chunk(t); ok {
			list = append(list, e)
		}
	}
	at(r.FirstTokNS, EventFirstToken, "")
	for _, p := range l.preemptions {
		list = append(list, Event{TimeNS: p.TimeNS, Event: EventPreempted, StepID: new(p.StepID), Blocks: p.BlocksFreed, Computed: p.Computed, Reason: p.Reason})
		if p.ResumedNS != nil {
			list = append(list, Event{TimeNS: *p.ResumedNS, Event: EventResumed, StepID: p.ResumedStep})
		}
	}
	reason := "unknown"
	if r.Reason != nil {
		reason = *r.Reason
	}
	at(r.FinishedNS, EventFinished, reason)
	if r.FinishedNS == nil {
		at(&l.to, EventLastSeen, "")
	}
	slices.SortStableFunc(list, func(a, b Event) int { return cmp.Compare(a.TimeNS, b.TimeNS) })
	return list
}

// chunk is a step in which it computed its prompt, or again.
func (l *life) chunk(t *turn) (Event, bool) {
	name := EventPrefill
	switch t.kind {
	case record.KindRecompute:
		name = EventRecompute
	case record.KindPrefill:
	default:
		return Event{}, false
	}
	e := Event{TimeNS: t.step.start, Event: name, StepID: &t.step.id, Tokens: &t.scheduled, Requests: &t.step.requests}
	if t.computed >= 0 {
		e.Computed = &t.computed
	}
	for _, p := range t.step.prefills {
		if p.UID != l.row.RequestUID && len(e.With) < 3 {
			e.With = append(e.With, p)
		}
	}
	return e, true
}
