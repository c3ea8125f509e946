package report

import (
	"slices"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/session"
)

// readSteps collects the steps that concern the lives, and then who was in them: of
// step_requests it reads those pages alone that have them.
func readSteps(dir *session.Dir, lives []*life) error {
	engines, ids, err := concerned(dir, lives)
	if err != nil || len(ids) == 0 {
		return err
	}
	byUID := map[int64]*life{}
	for _, l := range lives {
		byUID[l.row.RequestUID] = l
	}
	wants := func(low, high int64) bool {
		i, _ := slices.BinarySearch(ids, low)
		return i < len(ids) && ids[i] <= high
	}
	for row, err := range session.RowsWhere[record.StepRequestRow](dir, "step_id", wants) {
		if err != nil {
			return err
		}
		if e := engines[row.Engine]; e != nil {
			e.row(row, byUID[row.RequestUID])
		}
	}
	for _, e := range engines {
		e.turn()
	}
	return nil
}

// concerned gives the lives the steps that concern them. ids are theirs and those of
// the last steps with requests before them, in order.
func concerned(dir *session.Dir, lives []*life) (engines map[int32]*batches, ids []int64, err error) {
	engines = map[int32]*batches{}
	lately := map[int32]*baseline{}
	filled := map[int32]int64{} // the last step with requests
	for r, err := range session.Rows[record.StepRow](dir) {
		if err != nil {
			return nil, nil, err
		}
		s := stepOf(r)
		if lately[r.Engine] == nil {
			lately[r.Engine] = &baseline{}
		}
		if s.prefill > 0 {
			s.base = lately[r.Engine].of(&s)
		}
		lately[r.Engine].add(&s)
		if kept := hand(lives, r.Engine, &s); kept != nil {
			if engines[r.Engine] == nil {
				engines[r.Engine] = &batches{id: unset}
			}
			engines[r.Engine].steps = append(engines[r.Engine].steps, kept)
			ids = append(ids, s.id)
			if before, ok := filled[r.Engine]; ok {
				ids = append(ids, before)
			}
		}
		if s.requests > 0 {
			filled[r.Engine] = s.id
		}
	}
	slices.Sort(ids)
	return engines, slices.Compact(ids), nil
}

// hand gives a step to those whom it concerns; nil: it concerns none.
func hand(lives []*life, engine int32, s *step) (kept *step) {
	for _, l := range lives {
		if l.row.Engine != engine || !l.takes(s) {
			continue
		}
		if kept == nil {
			kept = new(*s)
		}
		l.steps = append(l.steps, kept)
	}
	return kept
}

// batches tells who was in an engine's steps, by the rows of step_requests, in which a
// step's follow one another.
type batches struct {
	steps []*step // that concern somebody, from the next on
	id    int64   // of the step whose rows come; unset: none yet
	step  *step   // nil: it concerns nobody
	batch batch
}

// row takes a row; of: whose it is, nil: of none that was chosen.
func (b *batches) row(r *record.StepRequestRow, of *life) {
	if r.StepID != b.id {
		b.turn()
		b.begin(r.StepID)
	}
	b.batch.add(r)
	if b.step == nil {
		return
	}
	if r.Kind == record.KindPrefill || r.Kind == record.KindRecompute {
		b.step.prefills = largest(b.step.prefills, Prefill{UID: r.RequestUID, Tokens: r.Scheduled, Kind: r.Kind})
	}
	if of != nil && of.row.Engine == r.Engine {
		of.turns = append(of.turns, turnOf(b.step, r))
	}
}

func (b *batches) begin(id int64) {
	b.id, b.step = id, nil
	for len(b.steps) > 0 && b.steps[0].id < id {
		b.steps = b.steps[1:]
	}
	if len(b.steps) > 0 && b.steps[0].id == id {
		b.step = b.steps[0]
	}
}

// turn ends a step.
func (b *batches) turn() {
	if b.step != nil && b.step.joined {
		b.step.head = b.batch.head
	}
	b.batch.turn()
}
