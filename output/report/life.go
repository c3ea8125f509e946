package report

import (
	"slices"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/session"
)

// turn is a request in a step.
type turn struct {
	step      *step
	kind      string
	scheduled int32
	computed  int32 // before; -1: not known
	outputs   int32 // -1: not known
}

// prefills reports how many of the step's prompt tokens are its own.
func (t *turn) prefilled() int32 {
	if t.kind == record.KindPrefill || t.kind == record.KindRecompute {
		return t.scheduled
	}
	return 0
}

// operation is what a thread of the engine did.
type operation struct {
	span
	part Part
}

// life is a request with what concerns it.
type life struct {
	row         record.RequestRow
	span        // arrival, or the first that is known, to its end, or the last
	steps       []*step
	turns       []*turn
	preemptions []record.PreemptionRow
	operations  []operation
}

func newLife(r *record.RequestRow) *life {
	l := &life{row: *r, span: span{unset, unset}}
	if early(r.ScheduledNS, r.ArrivalNS) || early(r.FinishedNS, r.ArrivalNS) {
		l.row.ArrivalNS, l.row.QueueNS = nil, nil // it is told by the wall clock, which was set
	}
	switch {
	case l.row.ArrivalNS != nil:
		l.from = *r.ArrivalNS
	case r.ScheduledNS != nil:
		l.from = *r.ScheduledNS
	}
	if r.FinishedNS != nil {
		l.to = *r.FinishedNS
	}
	return l
}

func early(a, b *int64) bool { return a != nil && b != nil && *a < *b }

// takes reports whether a step concerns it, as far as its times are known.
func (l *life) takes(s *step) bool {
	return (l.from == unset || s.last() >= l.from) && (l.to == unset || min(s.start, s.scheduled) < l.to)
}

// begin gives the life its beginning where that was not seen: before its first step
// nothing concerns it.
func (l *life) begin() {
	if l.from != unset {
		return
	}
	if len(l.turns) == 0 {
		l.steps = nil
		return
	}
	first := l.turns[0].step
	l.from = first.start
	l.steps = slices.DeleteFunc(l.steps, func(s *step) bool { return s.id < first.id || s.last() < l.from })
}

// close gives the life its end where that was not seen.
func (l *life) close() {
	if l.to != unset {
		return
	}
	for _, t := range l.turns {
		l.to = max(l.to, t.step.last())
	}
	if n := len(l.turns); n > 0 { // no longer than it was heard of
		last := l.turns[n-1].step
		l.steps = slices.DeleteFunc(l.steps, func(s *step) bool { return s.id > last.id })
	}
	l.to = max(l.to, l.from)
}

// read collects what concerns the lives from the tables.
func read(dir *session.Dir, lives []*life) error {
	r := newReading(lives)
	if err := session.Visit(dir, r.visitor()); err != nil {
		return err
	}
	return r.finish(dir)
}

func turnOf(s *step, r *record.StepRequestRow) *turn {
	return &turn{step: s, kind: r.Kind, scheduled: r.Scheduled, computed: numberOf(r.Computed), outputs: numberOf(r.OutputTokens)}
}

// largest keeps the largest few prefills of a step.
func largest(list []Prefill, p Prefill) []Prefill {
	const kept = 4 // one may be the request's own
	i := 0
	for i < len(list) && list[i].Tokens >= p.Tokens {
		i++
	}
	if i == kept {
		return list
	}
	return slices.Insert(list, i, p)[:min(len(list)+1, kept)]
}

// operationParts are the operations of cpu_operations that say what the host did;
// model_execution spans others.
var operationParts = map[string]Part{
	"scheduling": Schedule, "update_from_output": Update, "prepare_inputs": Prepare,
	"execute_model": Launch, "encoder": Launch, "forward_launch": Launch, "cross_attention": Launch, "logits": Launch,
	"sampling": Launch, "draft": Launch, "output_copy": Launch, "postprocess": Launch, "sync_ranks": Launch,
	"output_wait": OutputWait,
}

func readOperations(dir *session.Dir, l *life) error {
	for r, err := range session.Rows[record.CPUOperationRow](dir) {
		if err != nil {
			return err
		}
		part, ok := operationParts[r.Operation]
		if !ok {
			continue
		}
		o := operation{span{r.TimeNS, r.TimeNS + r.DurNS}, part}
		if l.row.Engine == r.Engine && o.to > l.from && o.from < l.to {
			l.operations = append(l.operations, o)
		}
	}
	return nil
}
