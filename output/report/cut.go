package report

import (
	"cmp"
	"slices"

	"github.com/pmtrace/pmtrace/decode/record"
)

// cut divides a life into pieces that leave nothing out, in the order of time, and
// none across the first token or another.
func (l *life) cut(limits Limits) []piece {
	c := newCanvas(l.from, l.to)
	c.paint(l.runs())
	c.paint(l.queue(limits))
	c.paint(l.preempted())
	c.paint(l.others())
	for _, part := range [...]Part{Schedule, Update, Prepare, Launch, OutputWait} { // two threads may do two at once
		c.paint(l.operated(part))
	}
	c.paint(l.untimed())
	c.paint(l.between())
	c.rest(Unknown)
	slices.SortFunc(c.pieces, byStart)
	return l.atTokens(c.pieces)
}

func byStart(a, b piece) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to)) }

// runs is when its steps ran. With asynchronous scheduling the second may run before
// the first token is handed out, which does not wait for it.
func (l *life) runs() []piece {
	var layer []piece
	for _, t := range l.turns {
		if t.step.source == "" {
			continue
		}
		p := piece{span: t.step.exec, part: Decode, own: t, step: t.step}
		if first := l.row.FirstTokNS; first != nil && t.step.end > *first {
			p.from = max(p.from, *first)
		}
		layer = append(layer, p)
	}
	slices.SortStableFunc(layer, byStart)
	return layer
}

// others is when steps without it ran, once it had been scheduled.
func (l *life) others() []piece {
	var layer []piece
	for _, s := range l.steps {
		if s.source != "" && !l.in(s) {
			layer = append(layer, piece{span: s.exec, part: OtherSteps, step: s})
		}
	}
	slices.SortStableFunc(layer, byStart)
	return layer
}

// in reports whether it was in the step.
func (l *life) in(s *step) bool {
	_, found := slices.BinarySearchFunc(l.turns, s.id, func(t *turn, id int64) int { return cmp.Compare(t.step.id, id) })
	return found
}

func (l *life) preempted() []piece {
	var layer []piece
	for _, p := range l.preemptions {
		to := l.to
		if p.ResumedNS != nil {
			to = *p.ResumedNS
		}
		layer = append(layer, piece{span: span{p.TimeNS, to}, part: Preempted})
	}
	slices.SortStableFunc(layer, byStart)
	return layer
}

func (l *life) operated(part Part) []piece {
	var layer []piece
	for _, o := range l.operations {
		if o.part == part {
			layer = append(layer, piece{span: o.span, part: part})
		}
	}
	slices.SortStableFunc(layer, byStart)
	return layer
}

// untimed are its steps with tokens of which nobody knows when they ran.
func (l *life) untimed() []piece {
	var layer []piece
	for _, t := range l.turns {
		if s := t.step; s.source == "" && s.tokens > 0 {
			layer = append(layer, piece{span: span{s.start, s.last()}, part: Unknown})
		}
	}
	return layer
}

// between is the host's time in and between steps, where none of them is missing.
func (l *life) between() []piece {
	var layer []piece
	for i, s := range l.steps {
		if s.end == unset {
			continue
		}
		layer = append(layer, piece{span: span{s.start, s.end}, part: HostOther})
		if i+1 < len(l.steps) && l.steps[i+1].id == s.id+1 && l.steps[i+1].start > s.end {
			layer = append(layer, piece{span: span{s.end, l.steps[i+1].start}, part: HostOther})
		}
	}
	return layer
}

// atTokens cuts pieces where a token was handed out.
func (l *life) atTokens(pieces []piece) []piece {
	var out []piece
	tokens := l.tokenTimes()
	if l.row.FirstTokNS != nil {
		tokens = append(tokens, *l.row.FirstTokNS)
		slices.Sort(tokens)
	}
	i := 0
	for _, p := range pieces {
		for i < len(tokens) && tokens[i] <= p.from {
			i++
		}
		for k := i; k < len(tokens) && tokens[k] < p.to; k++ {
			if tokens[k] == p.from {
				continue
			}
			head := p
			head.to = tokens[k]
			out = append(out, head)
			p.from = tokens[k]
		}
		out = append(out, p)
	}
	return out
}

// tokenTimes is when tokens were handed out.
func (l *life) tokenTimes() []int64 {
	var times []int64
	for _, t := range l.turns {
		if t.outputs > 0 && t.step.end != unset {
			times = append(times, t.step.end)
		}
	}
	slices.Sort(times)
	return slices.Compact(times)
}

// parts is what a piece is of. A run's time is the request's own and that of the
// prompts of others.
func (p *piece) parts() (parts Parts) {
	length := p.to - p.from
	if p.own == nil {
		parts[p.part] = length
		return parts
	}
	if !p.step.split || p.own.kind == record.KindUnknown {
		parts[Unknown] = length
		return parts
	}
	others, _ := othersShare(p.own, length)
	parts[OthersPrefill] = others
	switch p.own.kind {
	case record.KindPrefill:
		parts[OwnPrefill] = length - others
	case record.KindRecompute:
		parts[Recompute] = length - others
	default:
		parts[Decode] = length - others
	}
	return parts
}

// othersShare is what the prompts of others are of a stretch of a step's time, and
// whether that rests on steps without any.
func othersShare(t *turn, length int64) (ns int64, compared bool) {
	s := t.step
	others := int64(s.prefill - t.prefilled())
	whole := s.exec.to - s.exec.from
	if others <= 0 || whole <= 0 {
		return 0, true
	}
	if s.base < 0 {
		return int64(float64(length) * float64(others) / float64(s.tokens)), false
	}
	more := max(whole-s.base, 0)
	share := float64(more) / float64(whole) * float64(others) / float64(s.prefill)
	return int64(float64(length) * share), true
}
