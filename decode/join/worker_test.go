package join

import (
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode/record"
)

// TestPrimary: the times of steps are those of the lowest rank, and the engine's own process
// executes them only where no other process has a rank, in whatever order they are found: of
// tensor-parallel servers that are recorded from the start, it uses CUDA as well.
func TestPrimary(t *testing.T) {
	rank := func(n int) *int { return &n }
	own, zero, one, unknown := &worker{fact: record.Worker{EngineThread: 7}}, &worker{fact: record.Worker{Rank: rank(0)}},
		&worker{fact: record.Worker{Rank: rank(1)}}, &worker{id: 3}
	for _, c := range []struct {
		found []*worker
		want  *worker
	}{
		{[]*worker{own}, own},
		{[]*worker{own, one, zero}, zero},
		{[]*worker{one, own}, one},
		{[]*worker{zero, own, one}, zero},
		{[]*worker{unknown, own}, own},
		{[]*worker{unknown, one}, one},
	} {
		e := &engine{}
		for _, w := range c.found {
			e.enlist(w)
		}
		qt.Check(t, qt.Equals(e.primary, c.want), qt.Commentf("%+v", e.primary.fact))
	}
}
