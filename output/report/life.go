package report

import (
	"iter"
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

// takes reports whether a step concerns it. Before anything is known of it only
// its own do.
func (l *life) takes(s *step) bool {
	if l.from == unset {
		return false
	}
	if l.to == unset {
		return s.last() >= l.from
	}
	return s.last() >= l.from && min(s.start, s.scheduled) < l.to
}

// add takes a step that it lived in; t nil: without it.
func (l *life) add(s *step, t *turn) {
	l.steps = append(l.steps, s)
	if t == nil {
		return
	}
	l.turns = append(l.turns, t)
	if l.from == unset {
		l.from = s.start
	}
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
func read(dir *session.Dir, lives []*life, operations bool) error {
	if err := readSteps(dir, lives); err != nil {
		return err
	}
	for _, l := range lives {
		l.close()
	}
	byUID := map[int64]*life{}
	for _, l := range lives {
		byUID[l.row.RequestUID] = l
	}
	for r, err := range session.Rows[record.PreemptionRow](dir) {
		if err != nil {
			return err
		}
		if l := byUID[r.RequestUID]; l != nil {
			l.preemptions = append(l.preemptions, *r)
		}
	}
	if !operations {
		return nil
	}
	return readOperations(dir, lives)
}

// readSteps goes through steps and step_requests side by side: a step's rows follow
// one another, in the order of the steps.
func readSteps(dir *session.Dir, lives []*life) error {
	rows, stop := iter.Pull2(session.Rows[record.StepRequestRow](dir))
	defer stop()
	row, err, more := rows()
	lately := map[int32]*baseline{}
	turns := map[int64]*turn{}
	wanted := map[int64]bool{}
	batches := map[int32]*batch{}
	for _, l := range lives {
		wanted[l.row.RequestUID] = true
	}
	for r, serr := range session.Rows[record.StepRow](dir) {
		if serr != nil {
			return serr
		}
		s := stepOf(r)
		if lately[r.Engine] == nil {
			lately[r.Engine], batches[r.Engine] = &baseline{}, &batch{}
		}
		if s.prefill > 0 {
			s.base = lately[r.Engine].of(&s)
		}
		lately[r.Engine].add(&s)
		clear(turns)
		for more && err == nil && row.Engine == r.Engine && row.StepID == r.StepID {
			if wanted[row.RequestUID] {
				turns[row.RequestUID] = turnOf(row)
			}
			if row.Kind == record.KindPrefill || row.Kind == record.KindRecompute {
				s.prefills = largest(s.prefills, Prefill{UID: row.RequestUID, Tokens: row.Scheduled, Kind: row.Kind})
			}
			batches[r.Engine].add(row)
			row, err, more = rows()
		}
		if r.NewRequests+r.ResumedRequests > 0 {
			s.head = batches[r.Engine].head
		}
		batches[r.Engine].turn()
		if err != nil {
			return err
		}
		share(lives, r.Engine, &s, turns)
	}
	return nil
}

func turnOf(r *record.StepRequestRow) *turn {
	return &turn{kind: r.Kind, scheduled: r.Scheduled, computed: numberOf(r.Computed), outputs: numberOf(r.OutputTokens)}
}

// share hands a step to those whom it concerns.
func share(lives []*life, engine int32, s *step, turns map[int64]*turn) {
	for _, l := range lives {
		if l.row.Engine != engine {
			continue
		}
		t := turns[l.row.RequestUID]
		if t != nil {
			t.step = s
		}
		if t != nil || l.takes(s) {
			l.add(s, t)
		}
	}
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

func readOperations(dir *session.Dir, lives []*life) error {
	for r, err := range session.Rows[record.CPUOperationRow](dir) {
		if err != nil {
			return err
		}
		part, ok := operationParts[r.Operation]
		if !ok {
			continue
		}
		o := operation{span{r.TimeNS, r.TimeNS + r.DurNS}, part}
		for _, l := range lives {
			if l.row.Engine == r.Engine && o.to > l.from && o.from < l.to {
				l.operations = append(l.operations, o)
			}
		}
	}
	return nil
}
