package findings

import (
	"math/rand/v2"
	"testing"

	"github.com/go-quicktest/qt"
)

// brute tries all choices.
func brute(counts map[int32]int64, tokens []int32, k int) int64 {
	best := int64(1) << 62
	for mask := range 1 << len(tokens) {
		if mask&(1<<(len(tokens)-1)) == 0 {
			continue // the largest must fit
		}
		n, padded := 0, int64(0)
		for i := range tokens {
			if mask&(1<<i) != 0 {
				n++
			}
		}
		if n > k {
			continue
		}
		for i, t := range tokens {
			for j := i; j < len(tokens); j++ {
				if mask&(1<<j) != 0 {
					padded += counts[t] * int64(tokens[j])
					break
				}
			}
		}
		best = min(best, padded)
	}
	return best
}

// TestBestSizes: no choice pads less.
func TestBestSizes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		counts := map[int32]int64{}
		var tokens []int32
		at := int32(0)
		for range 1 + r.IntN(9) {
			at += 1 + r.Int32N(40)
			tokens = append(tokens, at)
			counts[at] = 1 + r.Int64N(1000)
		}
		k := 1 + r.IntN(len(tokens)+1)
		s := bestSizes(counts, k)
		qt.Assert(t, qt.Equals(s.padded, brute(counts, tokens, k)))
		qt.Assert(t, qt.IsTrue(len(s.sizes) <= k))
		padded, i := int64(0), 0 // what is said is what the sizes give
		for _, n := range tokens {
			for s.sizes[i] < n {
				i++
			}
			padded += counts[n] * int64(s.sizes[i])
		}
		qt.Assert(t, qt.Equals(padded, s.padded))
	}
	many := map[int32]int64{}
	for n := range int32(4000) {
		many[n+1] = 1
	}
	s := bestSizes(many, 50)
	qt.Assert(t, qt.HasLen(s.sizes, 50))
	qt.Assert(t, qt.IsTrue(s.sizes[49] >= 4000))
	qt.Assert(t, qt.Equals(len(bestSizes(nil, 5).sizes), 0))
}
