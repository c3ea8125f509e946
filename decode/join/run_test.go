package join

import (
	"testing"

	"github.com/go-quicktest/qt"
)

// TestLearn: a wait that returned late is no measure of a graph; what one usually takes is
// used when enough steps have told it.
func TestLearn(t *testing.T) {
	e, g := &engine{}, &graph{}
	s := &replays{firstFullGraph: g}
	const begin = int64(1_000_000_000)
	step := func(took int64) {
		before := &gpuEnd{completion: completion{known: true, waited: true}}
		r := &run{gpuStart: begin, end: completion{known: true, at: begin + took, hi: begin + took, waited: true}}
		e.learn(r, s, before)
	}
	guess := func() int64 {
		r := &run{gpuStart: begin, end: completion{known: true, at: begin + 200_000, lo: begin + 100_000, hi: begin + 9_000_000}}
		e.guess(r, s)
		return r.end.at - begin
	}
	step(5_000_000) // the host was away
	qt.Assert(t, qt.Equals(guess(), 200_000))
	for range 40 {
		step(1_000_000)
	}
	step(36_000_000)
	qt.Assert(t, qt.IsTrue(guess() >= 1_000_000 && guess() < 1_060_000), qt.Commentf("%d", guess()))
	for range 2000 { // longer contexts
		step(1_500_000)
	}
	qt.Assert(t, qt.IsTrue(guess() > 1_480_000 && guess() <= 1_500_000), qt.Commentf("%d", guess()))
}
