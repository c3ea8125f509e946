package steady_test

import (
	"math"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/e2e/soak/steady"
)

// sawtooth is the memory of a collected heap: between 40 and 50, and what leaks in an hour.
func sawtooth(hours int, leak float64) (s steady.Series) {
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range hours * 360 {
		at := float64(i) / 360
		start := 10 * math.Exp(-at*20) // it needs some minutes to get there
		s.Add(at, 40+10*rng.Float64()-start+leak*at)
	}
	return s
}

func TestFlat(t *testing.T) {
	flat := steady.Of(sawtooth(1, 0), 0.15, 0.2, 4)
	qt.Check(t, qt.IsNil(flat.Check("memory")))
	qt.Check(t, qt.IsTrue(math.Abs(flat.PerHour) < 1), qt.Commentf("%+v", flat))
	qt.Check(t, qt.IsTrue(flat.Most <= 50))

	leak := steady.Of(sawtooth(1, 9), 0.15, 0.2, 4)
	qt.Check(t, qt.ErrorMatches(leak.Check("memory"), "memory grows: .*"))
	qt.Check(t, qt.IsTrue(math.Abs(leak.PerHour-9) < 1), qt.Commentf("%+v", leak))

	few := steady.Of(sawtooth(1, 0), 0.999, 0.2, 4)
	qt.Check(t, qt.ErrorMatches(few.Check("memory"), "memory: .* values after the warm-up say nothing"))
}

func TestSlope(t *testing.T) {
	qt.Check(t, qt.Equals(steady.Slope([]float64{0, 1, 2}, []float64{5, 7, 9}), 2))
	qt.Check(t, qt.Equals(steady.Slope([]float64{1, 1}, []float64{5, 7}), 0))
}

func TestLook(t *testing.T) {
	p, err := steady.Look(os.Getpid())
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.IsTrue(p.Anon > 1<<20 && p.File > 1<<20 && p.Files >= 3 && p.Threads > 1 && p.CPU > 0), qt.Commentf("%+v", p))
}
