package main

import "github.com/pmtrace/pmtrace/decode/record"

// checkPreemptions compares the preemptions with steps and requests.
func checkPreemptions(t *table, in *input, ix *index) {
	s := &in.session
	byStep, byRequest := map[int64]int32{}, map[int64]int32{}
	fits := t.count("preemptions: request, step and times fit")
	for i := range s.preemptions {
		p := &s.preemptions[i]
		byStep[p.StepID]++
		byRequest[p.RequestUID]++
		fits.one(preemptionFits(p, ix), "%s in step %d", p.RequestID, p.StepID)
	}
	steps := t.count("preemptions: as many as steps.preempted says")
	for i := range s.steps {
		st := &s.steps[i]
		steps.one(byStep[st.StepID] == st.Preempted, "step %d: want %d, got %d", st.StepID, st.Preempted, byStep[st.StepID])
	}
	requests := t.count("preemptions: as many as requests.preemptions says")
	for i := range s.requests {
		r := &s.requests[i]
		if !r.FromStart && byRequest[r.RequestUID] < r.Preemptions {
			continue // some are from before
		}
		requests.one(byRequest[r.RequestUID] == r.Preemptions, "%s: want %d, got %d", r.RequestID, r.Preemptions, byRequest[r.RequestUID])
	}
}

// preemptionFits: the tokens that a preemption lost are those that were
// computed by the request's last step before it.
func preemptionFits(p *record.PreemptionRow, ix *index) bool {
	r, st := ix.byUID[p.RequestUID], ix.stepAt[stepKey{p.Engine, p.StepID}]
	if r == nil || st == nil || r.RequestID != p.RequestID || p.TimeNS > st.ScheduledNS {
		return false
	}
	if p.ResumedStep != nil && (ix.stepAt[stepKey{p.Engine, *p.ResumedStep}] == nil || *p.ResumedStep < p.StepID) {
		return false
	}
	if p.ResumedNS != nil && *p.ResumedNS < p.TimeNS {
		return false
	}
	computed := int64(-1)
	for _, row := range ix.rowsFor[p.RequestUID] {
		if row.StepID >= p.StepID {
			break
		}
		computed = num(row.Computed) + int64(row.Scheduled) - rejected(row)
	}
	return p.Computed == nil || computed < 0 || int64(*p.Computed) == computed
}
