package main

import (
	"math"

	"github.com/pmtrace/pmtrace/decode/record"
)

// pair is a step and what the log says of it.
type pair struct {
	step *record.StepRow
	line *iteration
}

// checkLog compares the steps with the iteration log.
func checkLog(t *table, in *input) {
	if release(in.session.engine().VLLM) < 14 {
		t.skip("log", "this version does not log its iterations")
		return
	}
	var steps []*record.StepRow
	for i := range in.session.steps {
		if in.session.steps[i].Tokens > 0 {
			steps = append(steps, &in.session.steps[i])
		}
	}
	// Versions before 0.25 log (and number) steps without tokens, too.
	var lines []*iteration
	for i := range in.log {
		if in.log[i].tokens() > 0 {
			lines = append(lines, &in.log[i])
		}
	}
	offset, length := 0, len(lines)
	if in.midload || in.cut {
		var found int
		offset, found = align(steps, lines)
		t.same("log: places where the steps fit best", 1, found)
		if found == 0 {
			return
		}
		length = len(lines) - offset
		if in.cut {
			length = min(length, len(steps))
		}
		// The engine's last word may not have reached the log.
		if in.killed && len(steps) == length+1 {
			steps = steps[:length]
		}
	}
	t.same("log: iterations = steps with tokens", length, len(steps))
	n := min(length, len(steps))
	pairs := make([]pair, n)
	for i := range pairs {
		pairs[i] = pair{steps[i], lines[offset+i]}
	}
	checkNumbers(t, pairs, in.midload || in.session.engine().DP > 1)
	checkTotals(t, pairs)
	checkContext(t, pairs)
	checkUsage(t, in, pairs)
}

// align finds where in the log the steps begin: the place with the fewest
// differences, and how many places are that good.
func align(steps []*record.StepRow, lines []*iteration) (offset, found int) {
	best := math.MaxInt
	for at := range lines {
		differ := max(len(steps)-(len(lines)-at), 0)
		for i := 0; i < len(steps) && at+i < len(lines) && differ <= best; i++ {
			if !fits(steps[i], lines[at+i]) {
				differ++
			}
		}
		switch {
		case differ < best:
			best, offset, found = differ, at, 1
		case differ == best:
			found++
		}
	}
	if len(steps) == 0 || best > len(steps)/2 {
		return 0, 0
	}
	return offset, found
}

func fits(s *record.StepRow, l *iteration) bool {
	return s.Requests == l.requests() && s.Tokens == l.tokens() &&
		(s.ContextRequests == nil || *s.ContextRequests == l.ctxRequests)
}

// checkNumbers: a session that began while requests ran does not know vLLM's
// number, nor does one of engines whose dummy steps take numbers as well, and says so;
// it must not say a wrong one.
func checkNumbers(t *table, pairs []pair, unknown bool) {
	c := t.count("log: iteration number a step")
	for _, p := range pairs {
		ok := p.step.Iteration != nil && *p.step.Iteration == p.line.number || unknown && p.step.Iteration == nil
		c.one(ok, "step %d: want %d, got %s", p.step.StepID, p.line.number, show(p.step.Iteration))
	}
}

func checkTotals(t *table, pairs []pair) {
	tokens, requests := t.count("log: tokens a step"), t.count("log: requests a step")
	for _, p := range pairs {
		s, l := p.step, p.line
		tokens.one(s.Tokens == l.tokens(), "step %d (iteration %d): want %d, got %d", s.StepID, l.number, l.tokens(), s.Tokens)
		requests.one(s.Requests == l.requests(), "step %d (iteration %d): want %d, got %d", s.StepID, l.number, l.requests(), s.Requests)
	}
}

func checkContext(t *table, pairs []pair) {
	c := t.count("log: context and generation a step")
	for _, p := range pairs {
		s, l := p.step, p.line
		ok := num(s.ContextRequests) == int64(l.ctxRequests) && num(s.ContextTokens) == int64(l.ctxTokens) &&
			num(s.GenerationRequests) == int64(l.genRequests) && num(s.GenerationTokens) == int64(l.genTokens)
		c.one(ok, "step %d (iteration %d): want %d/%d + %d/%d requests/tokens, got %s/%s + %s/%s", s.StepID, l.number,
			l.ctxRequests, l.ctxTokens, l.genRequests, l.genTokens,
			show(s.ContextRequests), show(s.ContextTokens), show(s.GenerationRequests), show(s.GenerationTokens))
	}
}

// checkUsage compares the pool's usage. The log's is taken by make_stats, the
// last thing that update_from_output does: the requests that the step finished
// have given their blocks back.
func checkUsage(t *table, in *input, pairs []pair) {
	const name = "log: KV usage after a step (± 0.05 points)"
	switch {
	case len(pairs) > 0 && !pairs[0].line.hasUsage:
		t.skip(name, "this version does not log it")
		return
	case !in.session.queue() || !in.session.outputs():
		t.skip(name, "the watches for it were not to be had")
		return
	}
	c := t.count(name)
	u := usageWalk{ops: in.session.usage}
	for i, p := range pairs {
		if p.step.EndNS == nil {
			c.one(in.cut && i >= len(pairs)-2, "step %d has no end", p.step.StepID)
			continue
		}
		got, ok := u.after(p.step)
		c.one(ok && math.Abs(got-p.line.usagePct) <= 0.05+1e-9, "step %d (iteration %d): want %.1f %%, got %.3f %%",
			p.step.StepID, p.line.number, p.line.usagePct, got)
	}
}

// usageWalk tells the pool's usage at the ends of steps, in their order.
type usageWalk struct {
	ops []record.KVUsageRow
	at  int // first operation that is not over
}

func (u *usageWalk) after(s *record.StepRow) (percent float64, known bool) {
	if s.KVUsed == nil || s.KVTotal == nil {
		return 0, false
	}
	for u.at < len(u.ops) && u.ops[u.at].TimeNS <= *s.EndNS {
		u.at++
	}
	used := *s.KVUsed // as schedule returned
	if u.at > 0 && u.ops[u.at-1].TimeNS > s.ScheduledNS {
		free := u.ops[u.at-1].FreeAfter
		if free == nil {
			return 0, false
		}
		used = *s.KVTotal - *free
	}
	return 100 * float64(used) / float64(*s.KVTotal), true
}
