package report

import "slices"

// Prefill is a request that computes prompt tokens in a step.
type Prefill struct {
	UID        int64  `json:"request_uid"`
	ExternalID string `json:"external_id"`
	Tokens     int32  `json:"tokens"`
	Kind       string `json:"kind"` // prefill, recompute
}

// Gap is a time between two tokens.
type Gap struct {
	NS    int64 `json:"gap_ns"`
	Parts Parts `json:"parts"`
}

// TokenGap is the time before a token.
type TokenGap struct {
	Gap
	Token  int   `json:"token"`  // the newest of them, from 1
	Tokens int32 `json:"tokens"` // handed out together
	FromNS int64 `json:"from_ns"`
	ToNS   int64 `json:"to_ns"`
	// Steps are those that ran for a twentieth of it or more, the longest first; a few
	// of how many there were.
	Steps     []GapStep `json:"steps"`
	StepCount int       `json:"step_count"`
	// Beyond is what is more of a part than in the request's median gap.
	Beyond Parts `json:"beyond_median"`
}

// GapStep is a step in the time before a token.
type GapStep struct {
	StepID        int64     `json:"step_id"`
	Own           bool      `json:"own"`   // the request was in it
	WithinNS      int64     `json:"in_ns"` // of its run
	RunNS         int64     `json:"run_ns"`
	TimingSource  string    `json:"timing_source"`
	Requests      int32     `json:"requests"`
	Tokens        int32     `json:"scheduled_tokens"`
	PrefillTokens int32     `json:"prefill_and_recompute_tokens"`
	Prefills      []Prefill `json:"largest_prefills_of_others"`
}

// gaps are the times from its first token on.
func (l *life) gaps(pieces []piece) []TokenGap {
	times := l.tokenTimes()
	counts := map[int64]int32{}
	total := 0
	for _, t := range l.turns {
		if t.outputs > 0 && t.step.end != unset {
			counts[t.step.end] += t.outputs
			total += int(t.outputs)
		}
	}
	var gaps []TokenGap
	// Those before tracing began have numbers, too.
	token := max(int(numberOf(l.row.OutputTokens)), total) - total
	i := 0
	for k, at := range times {
		token += int(counts[at])
		if k == 0 {
			continue
		}
		g := TokenGap{Token: token, Tokens: counts[at], FromNS: times[k-1], ToNS: at}
		g.NS = g.ToNS - g.FromNS
		for i < len(pieces) && pieces[i].to <= g.FromNS {
			i++
		}
		for j := i; j < len(pieces) && pieces[j].from < g.ToNS; j++ {
			p := pieces[j].parts()
			g.Parts.add(&p)
			g.ran(&pieces[j], l.row.RequestUID)
		}
		gaps = append(gaps, g)
	}
	middle := usual(gaps)
	for i := range gaps {
		gaps[i].finish(&middle)
	}
	return gaps
}

// ran takes note of a step that ran.
func (g *TokenGap) ran(p *piece, uid int64) {
	if p.step == nil {
		return
	}
	length := p.to - p.from
	for i := range g.Steps {
		if g.Steps[i].StepID == p.step.id {
			g.Steps[i].WithinNS += length
			return
		}
	}
	others := slices.DeleteFunc(slices.Clone(p.step.prefills), func(q Prefill) bool { return q.UID == uid })
	g.Steps = append(g.Steps, GapStep{
		StepID: p.step.id, Own: p.own != nil, WithinNS: length, RunNS: p.step.exec.to - p.step.exec.from, TimingSource: p.step.source,
		Requests: p.step.requests, Tokens: p.step.tokens, PrefillTokens: p.step.prefill,
		Prefills: append([]Prefill{}, others[:min(3, len(others))]...),
	})
}

// finish keeps the steps that matter, and compares with the request's usual gap.
func (g *TokenGap) finish(usual *Gap) {
	const shown = 3
	slices.SortStableFunc(g.Steps, func(a, b GapStep) int { return int(min(max(b.WithinNS-a.WithinNS, -1), 1)) })
	g.Steps = slices.DeleteFunc(g.Steps, func(s GapStep) bool { return 20*s.WithinNS < g.NS })
	g.StepCount = len(g.Steps)
	g.Steps = g.Steps[:min(shown, len(g.Steps))]
	for i := range g.Beyond {
		g.Beyond[i] = g.Parts[i] - usual.Parts[i]
	}
}

// usual is the median gap, and the median of each part by itself.
func usual(gaps []TokenGap) (g Gap) {
	list := make([]int64, len(gaps))
	of := func(value func(*TokenGap) int64) int64 {
		for i := range gaps {
			list[i] = value(&gaps[i])
		}
		return median(list)
	}
	g.NS = of(func(g *TokenGap) int64 { return g.NS })
	for part := range g.Parts {
		g.Parts[part] = of(func(g *TokenGap) int64 { return g.Parts[part] })
	}
	return g
}
