package compare

import (
	"math"
	"slices"
)

// correct gives each observed |t| its p, corrected for the whole family of metrics, by
// Westfall and Young's step-down with the largest t of each draw under "no difference":
// Holm's procedure with the dependence between metrics as it is instead of the worst.
// Holm's own bound cannot be met by 5 runs a side: the least p of any test of ranks or
// by permutation is 2 of 252 there, and 40 metrics would need 1 in 800.
//
// Of a NaN nothing is asked. all says that draws are every one there is, the observed
// one among them.
func correct(observed []float64, draws [][]float64, all bool) []float64 {
	var order []int // largest first
	for i, t := range observed {
		if !math.IsNaN(t) {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(i, j int) int {
		switch {
		case observed[i] > observed[j]:
			return -1
		case observed[i] < observed[j]:
			return 1
		}
		return 0
	})
	reached := make([]float64, len(observed))
	for _, draw := range draws {
		largest := 0.0
		for k := len(order) - 1; k >= 0; k-- {
			i := order[k]
			if t := draw[i]; t > largest { // not a NaN
				largest = t
			}
			if largest >= observed[i]*(1-1e-9) { // the same numbers added up in another order
				reached[i]++
			}
		}
	}
	n := float64(len(draws))
	if !all {
		n++
	}
	p := make([]float64, len(observed))
	for i := range p {
		p[i] = math.NaN()
	}
	least := 0.0
	for _, i := range order {
		if !all {
			reached[i]++ // the observed one
		}
		least = max(least, reached[i]/n)
		p[i] = least
	}
	return p
}
