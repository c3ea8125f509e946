package join

import (
	"runtime"
	"testing"
	"weak"

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

// TestRunsAreForgotten: a server runs for weeks, and each step knows the next one. None of old
// may stay because of one that somebody has not forgotten: a place of a list that was longer
// once, or an event that nobody waits on.
func TestRunsAreForgotten(t *testing.T) {
	j := New(&record.Discard{})
	j.injectable = true
	w := j.worker(0)
	var old []weak.Pointer[run]
	idle := func(steps int) { // no calls tell that the earlier ones are over
		for range steps {
			w.begin(w.newRun(0, 0, 0))
		}
		w.touch(w.current)
	}
	idle(3)
	w.outputs[1] = output{run: w.current}
	for i := range 5 * maxFollowed {
		r := w.newRun(int64(i), 1, 1)
		w.begin(r)
		w.touch(r)
		old = append(old, weak.Make(r))
	}
	runtime.GC()
	kept := 0
	for _, p := range old {
		if p.Value() != nil {
			kept++
		}
	}
	qt.Check(t, qt.IsTrue(kept <= maxFollowed+2), qt.Commentf("%d of %d steps are kept", kept, len(old)))
	runtime.KeepAlive(w)
}
