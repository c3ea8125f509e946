package main

import "github.com/pmtrace/pmtrace/decode/record"

// checkSteps compares the steps with their requests, and their numbers and
// times with each other.
func checkSteps(t *table, in *input, ix *index) {
	s := &in.session
	ids, times := t.count("steps: ids follow each other"), t.count("steps: times in order")
	totals, kinds := t.count("steps: requests and tokens are the sums of step_requests"), t.count("steps: kinds are the sums of step_requests")
	outputs, phases := t.count("steps: output tokens are the sum of step_requests"), t.count("steps: phase follows from the kinds")
	began := int64(-1 << 62)
	for i := range s.steps {
		st := &s.steps[i]
		ids.one(i == 0 && st.StepID == 0 || i > 0 && st.StepID == s.steps[i-1].StepID+1, "step %d after %d others", st.StepID, i)
		times.one(inOrder(st) && st.StartNS >= began, "step %d", st.StepID)
		began = st.StartNS
		sum := sumOf(ix.rowsOf[keyOf(st)])
		totals.one(sum.requests == st.Requests && sum.tokens == st.Tokens, "step %d: want %d requests and %d tokens, got %d and %d",
			st.StepID, sum.requests, sum.tokens, st.Requests, st.Tokens)
		kinds.one(sum.byKind == splitOf(st), "step %d: want %v, got %v", st.StepID, sum.byKind, splitOf(st))
		phases.one(st.Phase == sum.phase(), "step %d: want %s, got %s", st.StepID, sum.phase(), st.Phase)
		if st.OutputTokens != nil {
			outputs.one(*st.OutputTokens == sum.outputs, "step %d: want %d, got %d", st.StepID, sum.outputs, *st.OutputTokens)
		} else if s.outputs() {
			outputs.one(in.cut && i >= len(s.steps)-2, "step %d: null", st.StepID)
		}
	}
	orphans := t.count("step_requests: have a step and a request")
	for i := range s.rows {
		r := &s.rows[i]
		orphans.one(ix.stepAt[stepKey{r.Engine, r.StepID}] != nil && ix.byUID[r.RequestUID] != nil, "step %d, request %d", r.StepID, r.RequestUID)
	}
	checkStepCounts(t, in)
}

// inOrder: start, scheduled, update, end.
func inOrder(st *record.StepRow) bool {
	at := st.StartNS
	for _, next := range []*int64{&st.ScheduledNS, st.UpdateNS, st.EndNS} {
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

// kindSums is requests and tokens of prefill, decode and recompute.
type kindSums [6]int32

type sum struct {
	requests, tokens, outputs, unknown int32
	byKind                             kindSums
}

func sumOf(rows []*record.StepRequestRow) sum {
	var s sum
	for _, r := range rows {
		s.requests++
		s.tokens += r.Scheduled
		s.outputs += max(int32(num(r.OutputTokens)), 0)
		switch r.Kind {
		case record.KindPrefill:
			s.byKind[0]++
			s.byKind[1] += r.Scheduled
		case record.KindDecode:
			s.byKind[2]++
			s.byKind[3] += r.Scheduled
		case record.KindRecompute:
			s.byKind[4]++
			s.byKind[5] += r.Scheduled
		default:
			s.unknown++
		}
	}
	return s
}

func splitOf(st *record.StepRow) kindSums {
	return kindSums{st.PrefillRequests, st.PrefillTokens, st.DecodeRequests, st.DecodeTokens, st.RecomputeRequests, st.RecomputeTokens}
}

// phase is the step's label: recomputing is prefill.
func (s *sum) phase() string {
	prefill, decode := s.byKind[0]+s.byKind[4] > 0, s.byKind[2] > 0
	switch {
	case prefill && decode:
		return record.PhaseMixed
	case s.unknown > 0:
		return record.PhaseUnknown
	case prefill:
		return record.PhasePrefill
	case decode:
		return record.PhaseDecode
	}
	return record.PhaseEmpty
}

// checkStepCounts compares what steps count of requests with the requests.
func checkStepCounts(t *table, in *input) {
	s := &in.session
	first, resumed, ended := int64(0), int64(0), int64(0)
	for i := range s.steps {
		first += int64(s.steps[i].NewRequests)
		resumed += int64(s.steps[i].ResumedRequests)
		ended += max(num(s.steps[i].FinishedRequests), 0)
	}
	wantFirst, wantEnded, wantResumed := int64(0), int64(0), int64(0)
	for i := range s.requests {
		r := &s.requests[i]
		if r.FromStart {
			wantFirst++
		}
		if r.FinishedNS != nil && r.Reason != nil && *r.Reason != reasonAbort {
			wantEnded++
		}
	}
	for i := range s.preemptions {
		if s.preemptions[i].ResumedStep != nil {
			wantResumed++
		}
	}
	t.same("steps: new requests = requests seen from their start", wantFirst, first)
	if in.midload { // some were preempted before tracing began
		t.within("steps: resumed requests", float64(wantResumed), float64(len(s.requests)), float64(resumed))
	} else {
		t.same("steps: resumed requests = preemptions resumed", wantResumed, resumed)
	}
	if s.outputs() {
		t.same("steps: finished requests = requests that ended by themselves", wantEnded, ended)
	}
}
