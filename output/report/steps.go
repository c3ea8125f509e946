package report

import (
	"slices"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/session"
)

// reading collects what concerns some lives from the rows as they pass by: the steps and
// preemptions; and then who was in those steps.
type reading struct {
	lives   []*life
	byUID   map[int64]*life
	engines map[int32]*batches
	lately  map[int32]*baseline
	filled  map[int32]int64 // the last step with requests
	ids     []int64         // of the steps of engines, and of the last with requests before each
}

func newReading(lives []*life) *reading {
	r := &reading{
		lives: lives, byUID: map[int64]*life{}, engines: map[int32]*batches{},
		lately: map[int32]*baseline{}, filled: map[int32]int64{},
	}
	for _, l := range lives {
		r.byUID[l.row.RequestUID] = l
	}
	return r
}

func (r *reading) visitor() session.Visitor {
	return session.Visitor{
		Step: func(row *record.StepRow) error { r.step(row); return nil },
		Preemption: func(row *record.PreemptionRow) error {
			if l := r.byUID[row.RequestUID]; l != nil {
				l.preemptions = append(l.preemptions, *row)
			}
			return nil
		},
	}
}

// step gives the lives a step that concerns them.
func (r *reading) step(row *record.StepRow) {
	s := stepOf(row)
	lately := r.lately[row.Engine]
	if lately == nil {
		lately = &baseline{}
		r.lately[row.Engine] = lately
	}
	if s.prefill > 0 {
		s.base = lately.of(&s)
	}
	lately.add(&s)
	if kept := hand(r.lives, row.Engine, &s); kept != nil {
		if r.engines[row.Engine] == nil {
			r.engines[row.Engine] = &batches{id: unset}
		}
		r.engines[row.Engine].steps = append(r.engines[row.Engine].steps, kept)
		r.ids = append(r.ids, s.id)
		if before, ok := r.filled[row.Engine]; ok {
			r.ids = append(r.ids, before)
		}
	}
	if s.requests > 0 {
		r.filled[row.Engine] = s.id
	}
}

// finish looks up who was in the steps: of step_requests it reads those pages alone that
// have them.
func (r *reading) finish(dir *session.Dir) error {
	slices.Sort(r.ids)
	wants := func(low, high int64) bool {
		i, _ := slices.BinarySearch(r.ids, low)
		return i < len(r.ids) && r.ids[i] <= high
	}
	if len(r.ids) > 0 {
		for row, err := range session.RowsWhere[record.StepRequestRow](dir, "step_id", wants) {
			if err != nil {
				return err
			}
			if e := r.engines[row.Engine]; e != nil {
				e.row(row, r.byUID[row.RequestUID])
			}
		}
	}
	for _, e := range r.engines {
		e.turn()
	}
	for _, l := range r.lives {
		l.begin()
		l.close()
	}
	return nil
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
