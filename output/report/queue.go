package report

import "slices"

// Limits are what an engine was started with; 0: not known.
type Limits struct {
	MaxSeqs   int // max_num_seqs
	MaxTokens int // max_num_batched_tokens
	BlockSize int
}

// queue says what it waited for, from its arrival to when it was first scheduled:
// for each schedule call that did not take it, what that call's columns show.
func (l *life) queue(limits Limits) []piece {
	if l.row.ArrivalNS == nil || l.row.ScheduledNS == nil {
		return nil
	}
	until := *l.row.ScheduledNS
	var layer []piece
	at, part := l.from, NextSchedule
	absent := int64(unset) // it was seen not to be there
	heads := l.heads()
	for i, s := range l.steps {
		if s.start >= until {
			if part == NextSchedule && s.start == until && s.fresh && (i == 0 || idle(l.steps[i-1], s)) {
				absent = until
			}
			break
		}
		if s.start > at {
			layer = append(layer, piece{span: span{at, s.start}, part: part})
			at = s.start
		}
		if s.scheduled < l.from {
			continue
		}
		part = l.waits(s, heads[i], limits)
		if i+1 < len(l.steps) && l.steps[i+1].id != s.id+1 {
			part = Unknown // what was lost between would say
		}
		if s.waiting == 0 {
			absent = s.scheduled
			part = NextSchedule
		}
	}
	layer = append(layer, piece{span: span{at, until}, part: part})
	if absent == unset {
		return layer
	}
	return append([]piece{{span: span{l.from, absent}, part: Frontend}}, layer...)
}

// idle reports whether an engine had nothing to do between two steps: with nobody to
// run it waits for its input alone.
func idle(before, s *step) bool {
	const turn = 2_000_000 // ns; one that has requests schedules again well within it
	return before.end != unset && s.start-before.end >= turn
}

// heads are, for each step, the blocks that the next one taken from waiting got.
func (l *life) heads() []int32 {
	heads := make([]int32, len(l.steps))
	head := int32(-1)
	for i, s := range slices.Backward(l.steps) {
		heads[i] = head
		if s.head >= 0 {
			head = s.head
		}
	}
	return heads
}

// waits says why a schedule call did not take it. The one at the head of the queue
// keeps those behind it waiting.
func (l *life) waits(s *step, head int32, limits Limits) Part {
	switch {
	case limits.MaxSeqs > 0 && int(s.running) >= limits.MaxSeqs:
		return QueueSeqs
	case limits.MaxTokens > 0 && int(s.tokens) >= limits.MaxTokens:
		return QueueTokens
	case s.preempted > 0 || s.free >= 0 && (s.free < head || int(s.free) < l.needs(limits)):
		return QueueBlocks
	}
	return QueueOther
}

// needs is how many blocks its prompt takes that no cache has.
func (l *life) needs(limits Limits) int {
	if limits.BlockSize <= 0 || l.row.PromptTokens == nil {
		return 0
	}
	tokens := int(*l.row.PromptTokens) - int(max(numberOf(l.row.CachedTokens), 0))
	return (tokens + limits.BlockSize - 1) / limits.BlockSize
}
