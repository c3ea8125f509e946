package compare

import (
	"math"
	"slices"
)

const (
	draws = 1000
	// A metric by itself can be rarer than all deals, and so can each of forty.
	dealings = 5000
	// Fewer blocks say too little of how much they vary.
	minBlocks = 8
)

// drawn is a session and the sessions drawn from its blocks.
type drawn struct {
	value []float64   // by metric
	draws [][]float64 // by draw and metric
	sure  []float64   // standard error
}

func drawFrom(r *Run, metrics []Metric, stream uint64) drawn {
	d := drawn{value: values(metrics, r.whole())}
	random := newRandom(stream)
	for range draws {
		d.draws = append(d.draws, values(metrics, r.draw(random)))
	}
	// Draws vary less than what they are drawn from, by one in n.
	n := float64(len(r.blocks))
	for i, m := range metrics {
		var at moments
		for _, v := range d.draws {
			if !math.IsNaN(v[i]) {
				at.add(v[i])
			}
		}
		if m.extreme || n < minBlocks {
			at.m2 = math.NaN()
		}
		d.sure = append(d.sure, at.deviation()*math.Sqrt(n/(n-1)))
	}
	return d
}

// withinRuns tests with the blocks of time of one run a side as the unit: were they dealt
// to the sides at random, how often would the sides be as far apart? Drawing from each
// side by itself finds twice the false alarms that it should: the tails of few blocks
// are not in it.
func withinRuns(metrics []Metric, a, b *Run) (p []float64) {
	both := &Run{blocks: slices.Concat(a.blocks, b.blocks), peak: math.NaN()}
	both.index()
	observed := apart(values(metrics, a.whole()), values(metrics, b.whole()))
	for i, m := range metrics {
		if m.extreme || min(len(a.blocks), len(b.blocks)) < minBlocks {
			observed[i] = math.NaN()
		}
	}
	random := newRandom(0)
	under := make([][]float64, dealings, dealings+1)
	for i := range under {
		ours, theirs := make([]int, len(both.blocks)), make([]int, len(both.blocks))
		for n, at := range random.Perm(len(both.blocks)) {
			if n < len(a.blocks) {
				ours[at] = 1
			} else {
				theirs[at] = 1
			}
		}
		under[i] = apart(values(metrics, both.take(ours)), values(metrics, both.take(theirs)))
	}
	// The sides as they are were one of the deals.
	under = append(under, observed)
	balance(under)
	return correct(observed, under, true)
}

func apart(a, b []float64) []float64 {
	out := make([]float64, len(a))
	for i := range a {
		out[i] = math.Abs(b[i] - a[i])
	}
	return out
}

// balance puts in place of each distance how rare it is among those of its metric, 1/p,
// so that a metric with long tails does not hide the others. It takes many deals.
func balance(deals [][]float64) {
	column := make([]float64, len(deals))
	for m := range deals[0] {
		for i := range deals {
			column[i] = deals[i][m]
		}
		slices.Sort(column) // what was dealt without a single value, a NaN, comes first
		for _, deal := range deals {
			if math.IsNaN(deal[m]) {
				continue
			}
			// What rounding alone makes of equal distances is no difference.
			below, _ := slices.BinarySearch(column, deal[m]*(1-1e-9))
			deal[m] = float64(len(column)) / float64(len(column)-below)
		}
	}
}

// ratioOf returns the 95 % interval of b's value by a's.
func ratioOf(a, b drawn, m int) (low, high float64) {
	var ratios []float64
	for i := range a.draws {
		if r := b.draws[i][m] / a.draws[i][m]; !math.IsNaN(r) && !math.IsInf(r, 0) {
			ratios = append(ratios, r)
		}
	}
	if len(ratios) < draws/2 || math.IsNaN(a.sure[m]) || math.IsNaN(b.sure[m]) {
		return math.NaN(), math.NaN()
	}
	slices.Sort(ratios)
	at := func(p float64) float64 { return ratios[int(p*float64(len(ratios)-1))] }
	return at(0.025), at(0.975)
}
