package findings

import (
	"maps"
	"slices"
)

// sizing is a choice of CUDA graph capture sizes for observed numbers of tokens.
type sizing struct {
	sizes  []int32
	padded int64 // tokens computed, padding included
}

// maxSizes bounds the different numbers of tokens that are looked at: beyond, neighbours
// are taken together.
const maxSizes = 512

// bestSizes are the k capture sizes that pad least: exact, by dynamic programming over the
// different numbers of tokens, since the best sizes are among them. counts: steps by their
// tokens.
func bestSizes(counts map[int32]int64, k int) sizing {
	tokens := slices.Sorted(maps.Keys(counts))
	if len(tokens) > maxSizes {
		counts = grouped(counts, tokens)
		tokens = slices.Sorted(maps.Keys(counts))
	}
	n := len(tokens)
	k = min(k, n)
	if k == 0 {
		return sizing{}
	}
	steps := make([]int64, n+1) // before each
	for i, t := range tokens {
		steps[i+1] = steps[i] + counts[t]
	}
	// cost[i]: tokens computed by the steps of the first i numbers, the largest of which is
	// a size; from[j][i]: where the size before it ends.
	const never = int64(1) << 62
	cost := make([]int64, n+1)
	for i := range cost[1:] {
		cost[i+1] = steps[i+1] * int64(tokens[i])
	}
	from := make([][]int, k)
	for j := 1; j < k; j++ {
		next := make([]int64, n+1)
		from[j] = make([]int, n+1)
		for i := 1; i <= n; i++ {
			next[i] = never
			for before := range i {
				if c := cost[before] + (steps[i]-steps[before])*int64(tokens[i-1]); c < next[i] {
					next[i], from[j][i] = c, before
				}
			}
		}
		cost = next
	}
	s := sizing{padded: cost[n]}
	for i, j := n, k-1; i > 0; j-- {
		s.sizes = append(s.sizes, tokens[i-1])
		if j == 0 {
			break
		}
		i = from[j][i]
	}
	slices.Reverse(s.sizes)
	return s
}

// grouped rounds numbers of tokens up to few enough.
func grouped(counts map[int32]int64, tokens []int32) map[int32]int64 {
	unit := tokens[len(tokens)-1]/maxSizes + 1
	out := map[int32]int64{}
	for t, n := range counts {
		out[(t+unit-1)/unit*unit] += n
	}
	return out
}
