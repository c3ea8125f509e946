package main

import (
	"github.com/pmtrace/pmtrace/decode/record"
)

// compareLossy compares a session in which events were lost (--lossy). What is
// there must be right or null, and what is missing must be counted.
func compareLossy(in *input) *table {
	t := &table{}
	ix := newIndex(&in.session)
	lossyCounts(t, in)
	if in.hasLog {
		lossySteps(t, in)
	}
	lossyRows(t, in, ix)
	lossyClients(t, in, ix)
	return t
}

// lossyCounts: the losses are in the table, at least as many as the kernel
// counted.
func lossyCounts(t *table, in *input) {
	table, counters := int64(0), uint64(0)
	for i := range in.session.losses {
		table += in.session.losses[i].Count
	}
	for _, l := range in.session.facts.Losses {
		if l.Lost {
			counters += l.Count
		}
	}
	t.count("losses: some").one(table > 0, "none, so there is nothing to compare here")
	t.within("losses: all that was counted is in the table", float64(counters), max(float64(counters), float64(table)), float64(table))
}

// lossySteps: the steps that are there are the log's, in its order. A number
// left out is a lost step, of which the log has a line if it had tokens.
func lossySteps(t *table, in *input) {
	var lines []*iteration
	for i := range in.log {
		if in.log[i].tokens() > 0 {
			lines = append(lines, &in.log[i])
		}
	}
	found, number := t.count("log: each step with tokens has its line, in order"), t.count("log: iteration number a step, or null")
	places := map[int]bool{-1: true} // where the step before may be
	before := int64(-1)
	for i := range in.session.steps {
		st := &in.session.steps[i]
		if st.Tokens == 0 {
			continue // it may have been numbered, but has no line
		}
		gap := int(st.StepID - before)
		next := map[int]bool{}
		for at := range places {
			for to := at + 1; to <= at+gap && to < len(lines); to++ {
				if fitsLossy(st, lines[to]) {
					next[to] = true
				}
			}
		}
		if !found.one(len(next) > 0, "step %d: %d tokens of %d requests", st.StepID, st.Tokens, st.Requests) {
			for at := range places {
				next[at+1] = true // go on from the next
			}
		}
		numbered := st.Iteration == nil
		for at := range next {
			numbered = numbered || at < len(lines) && lines[at].number == *st.Iteration
		}
		number.one(numbered, "step %d: %s", st.StepID, show(st.Iteration))
		places, before = next, st.StepID
	}
}

func fitsLossy(s *record.StepRow, l *iteration) bool {
	split := s.ContextRequests == nil || *s.ContextRequests == l.ctxRequests && num(s.ContextTokens) == int64(l.ctxTokens)
	return s.Requests == l.requests() && s.Tokens == l.tokens() && split
}

// lossyRows: sums may lack what was lost, but have no more.
func lossyRows(t *table, in *input, ix *index) {
	s := &in.session
	totals, phases, times := t.count("steps: no fewer than step_requests has"), t.count("steps: phase follows from the kinds, or is unknown"), t.count("steps: times in order")
	ids := t.count("steps: ids rise")
	for i := range s.steps {
		st := &s.steps[i]
		sum := sumOf(ix.rowsOf[keyOf(st)])
		totals.one(sum.requests <= st.Requests && sum.tokens <= st.Tokens, "step %d: %d requests and %d tokens of %d and %d",
			st.StepID, sum.requests, sum.tokens, st.Requests, st.Tokens)
		phases.one(st.Phase == record.PhaseUnknown || st.Phase == sum.phase(), "step %d: want %s, got %s", st.StepID, sum.phase(), st.Phase)
		times.one(inOrder(st), "step %d", st.StepID)
		ids.one(i == 0 || st.StepID > s.steps[i-1].StepID, "step %d", st.StepID)
	}
	sums, order, kinds := t.count("requests: steps and tokens are the sums of step_requests"), t.count("requests: times in order"), t.count("requests: kinds right or unknown")
	for i := range s.requests {
		r := &s.requests[i]
		tokens := int64(0)
		for _, row := range ix.rowsFor[r.RequestUID] {
			tokens += int64(row.Scheduled)
			ok := row.Kind == record.KindUnknown || row.Computed == nil || kindFits(r, row)
			kinds.one(ok, "%s, step %d: %s from %s of %s", r.RequestID, row.StepID, row.Kind, show(row.Computed), show(r.PromptTokens))
		}
		sums.one(tokens == r.Scheduled && len(ix.rowsFor[r.RequestUID]) == int(r.Steps), "%s: want %d, got %d", r.RequestID, tokens, r.Scheduled)
		order.one(timesInOrder(r), "%s: %s, %s, %s, %s", r.RequestID, show(r.ArrivalNS), show(r.ScheduledNS), show(r.FirstTokNS), show(r.FinishedNS))
	}
	free := t.count("kv: free blocks within the pool")
	for i := range s.usage {
		op := &s.usage[i]
		free.one(num(op.FreeAfter) < int64(s.engine().Blocks), "operation %d: %s", op.OpID, show(op.FreeAfter))
	}
	births := t.count("evictions: births that are known were seen")
	alloced := map[int32]map[int64]bool{}
	for i := range s.blocks {
		if b := &s.blocks[i]; b.Op == record.KVAlloc {
			if alloced[b.BlockID] == nil {
				alloced[b.BlockID] = map[int64]bool{}
			}
			alloced[b.BlockID][b.TimeNS] = true
		}
	}
	for i := range s.evictions {
		e := &s.evictions[i]
		births.one(e.BirthKnown == (e.BirthNS != nil) && (e.BirthNS == nil || alloced[e.BlockID][*e.BirthNS] && e.LifetimeNS == e.TimeNS-*e.BirthNS),
			"operation %d, block %d: %s", e.OpID, e.BlockID, show(e.BirthNS))
	}
}

func kindFits(r *record.RequestRow, row *record.StepRequestRow) bool {
	switch row.Kind {
	case record.KindPrefill:
		return *row.Computed < int32(num(r.PromptTokens))
	case record.KindDecode:
		return *row.Computed >= int32(num(r.PromptTokens))
	}
	return r.Preemptions > 0
}

// lossyClients: what is said of a request is right, or null.
func lossyClients(t *table, in *input, ix *index) {
	reason, prompt := t.count("client: finish reason, or null"), t.count("client: prompt tokens, or null")
	output, cached := t.count("client: output tokens, or null"), t.count("client: cached tokens, or null")
	known := map[string]bool{}
	for i := range in.clients {
		c := &in.clients[i]
		known[c.id()] = true
		for _, r := range ix.byID[c.id()] {
			prompt.one(r.PromptTokens == nil || *r.PromptTokens == c.Prompt, "%s: want %d, got %s", r.RequestID, c.Prompt, show(r.PromptTokens))
			if c.gone() {
				continue
			}
			ended := r.FinishedNS != nil
			reason.one(r.Reason == nil || *r.Reason == c.Reason, "%s: want %s, got %s", r.RequestID, c.Reason, show(r.Reason))
			output.one(!ended || r.OutputTokens == nil || *r.OutputTokens == c.Completion, "%s: want %d, got %s", r.RequestID, c.Completion, show(r.OutputTokens))
			cached.one(c.Cached == nil || r.CachedTokens == nil || *r.CachedTokens == *c.Cached, "%s: got %s", r.RequestID, show(r.CachedTokens))
		}
	}
	foreign := t.count("client: requests are a client's")
	for i := range in.session.requests {
		foreign.one(known[in.session.requests[i].ExternalID], "%s", in.session.requests[i].ExternalID)
	}
}
