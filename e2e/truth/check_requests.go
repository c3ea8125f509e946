package main

import "github.com/pmtrace/pmtrace/decode/record"

// checkRequests compares the requests with their steps.
func checkRequests(t *table, in *input, ix *index) {
	s := &in.session
	finished, order := t.count("requests: finished"), t.count("requests: times in order")
	sums, chain := t.count("requests: steps and tokens are the sums of step_requests"), t.count("requests: each step goes on where the one before ended")
	work, kinds := t.count("requests: scheduled = prompt - cached + output - 1"), t.count("requests: prefill until the prompt is computed, then decode")
	marked := t.count("requests: seen from the start unless they ran at attach")
	for i := range s.requests {
		r := &s.requests[i]
		rows := ix.rowsFor[r.RequestUID]
		if !in.cut {
			finished.one(r.FinishedNS != nil, "%s", r.RequestID)
		}
		order.one(timesInOrder(r), "%s: %s, %s, %s, %s", r.RequestID, show(r.ArrivalNS), show(r.ScheduledNS), show(r.FirstTokNS), show(r.FinishedNS))
		steps, tokens := int32(len(rows)), int64(0)
		for _, row := range rows {
			tokens += int64(row.Scheduled)
		}
		sums.one(steps == r.Steps && tokens == r.Scheduled, "%s: want %d steps with %d tokens, got %d with %d", r.RequestID, steps, tokens, r.Steps, r.Scheduled)
		h := historyOf(r, rows)
		chain.one(h.broken == "", "%s: %s", r.RequestID, h.broken)
		kinds.one(h.wrongKind == "", "%s: %s", r.RequestID, h.wrongKind)
		marked.one(markedRight(in, ix, r), "%s: seen_from_start is %v, first step at %s", r.RequestID, r.FromStart, show(r.ScheduledNS))
		if s.outputs() && r.FromStart && r.Reason != nil && r.CachedTokens != nil && r.OutputTokens != nil {
			problem := h.account(r, in.session.engine().AsyncSched)
			work.one(problem == "", "%s: %s", r.RequestID, problem)
		}
	}
}

// timesInOrder: arrival is the wall clock's word, the others the same clock's.
func timesInOrder(r *record.RequestRow) bool {
	if r.ArrivalNS != nil && r.ScheduledNS != nil && float64(*r.ArrivalNS) > float64(*r.ScheduledNS)+clockSlack*1e9 {
		return false
	}
	at := int64(-1 << 62)
	for _, next := range []*int64{r.ScheduledNS, r.FirstTokNS, r.FinishedNS} {
		if next == nil {
			continue
		}
		if *next < at {
			return false
		}
		at = *next
	}
	return true
}

// markedRight: whoever was first scheduled after tracing began was seen from the
// start; so was who is new in the call that was under way then, which was seen to
// return and is seen whole there.
func markedRight(in *input, ix *index, r *record.RequestRow) bool {
	armed, slack := in.session.armed(), int64(clockSlack*1e9)
	if !r.FromStart {
		return in.midload && (r.ArrivalNS == nil || *r.ArrivalNS <= armed+slack)
	}
	rows := ix.rowsFor[r.RequestUID]
	if r.ScheduledNS == nil || len(rows) == 0 {
		return false
	}
	first := ix.stepAt[stepKey{r.Engine, rows[0].StepID}]
	return first != nil && first.ScheduledNS >= armed-slack
}
