package join

import (
	"math/rand/v2"
	"testing"

	"github.com/go-quicktest/qt"
)

// TestSkewedClock: readings of which the timer's comes anywhere in up to 300 µs give times
// that are right to a few tens of µs, and never more wrong than said; also behind the newest
// reading, and after a clock was set.
func TestSkewedClock(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		drift := (rng.Float64() - .5) * 100e-6 // 50 µs a second
		late := rng.Float64()                  // the kernel runs early or late in the wait, mostly
		offset := rng.Int64N(1e18)
		var k skewedClock
		worst := int64(0)
		for i := range 400 {
			at := int64(i)*1e9 + rng.Int64N(1e8)
			if i == 200 && seed%2 == 0 {
				offset += 5e6 // set
			}
			gpu := offset + at + int64(drift*float64(at))
			wait := 40_000 + rng.Int64N(260_000)
			share := late
			if rng.IntN(10) == 0 {
				share = rng.Float64()
			}
			before := at - int64(share*float64(wait))
			k.read(gpu, before, before+wait)
			for _, later := range []int64{-500e6, 100e6, 900e6} {
				if i < 10 || i >= 200 && i < 210 {
					continue
				}
				real := at + later
				off := k.time(offset+real+int64(drift*float64(real))) - real
				qt.Assert(t, qt.IsTrue(max(off, -off) <= k.err()+10_000), qt.Commentf("seed %d, reading %d: off by %d, said %d", seed, i, off, k.err()))
				worst = max(worst, off, -off)
			}
		}
		qt.Assert(t, qt.IsTrue(worst < 150_000), qt.Commentf("seed %d: %d", seed, worst))
	}
}
