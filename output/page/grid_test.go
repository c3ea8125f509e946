package page

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/go-quicktest/qt"
)

// TestGrid: whatever comes in whatever order, a grid has the sums that one has who knew
// the buckets' length from the beginning.
func TestGrid(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		origin := rng.Int64N(1e9)
		g := newGrid(origin, 8+rng.IntN(60), func(into, from *int64) { *into += *from })
		type event struct{ from, to int64 } // to: 0 for what has no duration
		var events []event
		for range rng.IntN(200) {
			e := event{from: origin - 1e6 + rng.Int64N(1<<(20+rng.IntN(18)))}
			if rng.IntN(2) == 0 {
				e.to = e.from + rng.Int64N(1<<(10+rng.IntN(20)))
				g.spread(e.from, e.to, func(b *int64, ns int64) { *b += ns })
			} else {
				*g.at(e.from) += 1000
			}
			events = append(events, e)
		}
		qt.Assert(t, qt.IsTrue(len(g.buckets) <= g.most))
		want := make([]int64, len(g.buckets))
		for _, e := range events {
			if e.to == 0 {
				want[max(e.from-origin, 0)/g.width] += 1000
				continue
			}
			for i := range want {
				low := origin + int64(i)*g.width
				want[i] += max(0, min(e.to, low+g.width)-max(e.from, low))
			}
		}
		qt.Assert(t, qt.HasLen(want, len(g.buckets)))
		for i, n := range g.buckets {
			qt.Assert(t, qt.Equals(n, want[i]))
		}
	}
}

// TestGridFar: one time far out costs no more than the fineness.
func TestGridFar(t *testing.T) {
	g := newGrid(0, 64, func(into, from *int64) { *into += *from })
	for i := range int64(1000) {
		*g.at(i * finest)++
	}
	*g.at(1 << 62)++
	g.spread(0, math.MaxInt64, func(*int64, int64) {})
	sum := int64(0)
	for _, n := range g.buckets {
		sum += n
	}
	qt.Check(t, qt.Equals(sum, 1001))
	qt.Check(t, qt.IsTrue(len(g.buckets) <= 64))
}
