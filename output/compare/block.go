package compare

import (
	"math"
	"slices"
)

// sum is a number that a block of time adds up.
type sum int

const (
	sumBusy sum = iota // seconds
	sumSteps
	sumOutput
	sumFinished
	sumRequests
	sumTokens
	sumGraphKnown
	sumInGraphs
	sumPadded
	sumPadding
	sumIdle
	sumIdleSteps
	sumMBU
	sumMBUTime
	sumEvictions
	sumPreemptions
	sums
)

// dist is a distribution of times.
type dist int

const (
	distTTFT dist = iota
	distTPOT
	distTotal
	distQueue
	distDecode
	distPrefill
	distMixed
	distGPU
	distIdle
	dists
)

// block is what happened in a stretch of time. Whole counts only: of a sum of
// fractions the order would matter.
type block struct {
	sums       [sums]float64
	cells      [dists][]cell
	operations map[string]operation
}

// cell is a bucket of a histogram.
type cell struct{ bucket, count int32 }

type operation struct{ ns, count float64 }

func (b *block) add(d dist, ns int64) { b.put(d, cell{bucketOf(ns), 1}) }

func (b *block) put(d dist, c cell) {
	i, found := slices.BinarySearchFunc(b.cells[d], c.bucket, func(c cell, bucket int32) int { return int(c.bucket - bucket) })
	if found {
		b.cells[d][i].count += c.count
		return
	}
	b.cells[d] = slices.Insert(b.cells[d], i, c)
}

func (b *block) operate(name string, o operation) {
	if b.operations == nil {
		b.operations = map[string]operation{}
	}
	was := b.operations[name]
	b.operations[name] = operation{was.ns + o.ns, was.count + o.count}
}

func (b *block) merge(other *block) {
	for i := range b.sums {
		b.sums[i] += other.sums[i]
	}
	for d := range b.cells {
		for _, c := range other.cells[d] {
			b.put(dist(d), c)
		}
	}
	for name, o := range other.operations {
		b.operate(name, o)
	}
}

// total is a session, or one that was drawn from its blocks.
type total struct {
	sums       [sums]float64
	buckets    [dists][]int32 // those in use, in order
	counts     [dists][]int64 // by bucket in use
	operations map[string]operation
	peak       float64
	drawn      bool
}

// fewest values have a median.
const fewest = 20

// percentile is NaN where there are too few values for it: the hundredth of fewer than
// a hundred is their largest. Draws have about as many as what they were drawn from.
func (t *total) percentile(d dist, p float64) float64 {
	n := int64(0)
	for _, c := range t.counts[d] {
		n += c
	}
	if n == 0 || !t.drawn && float64(n) < max(fewest, math.Round(1/(1-p))) {
		return math.NaN()
	}
	rank := p * float64(n)
	for i, c := range t.counts[d] {
		if c > 0 && rank <= float64(c) {
			low, width := boundsOf(t.buckets[d][i])
			return low + width*rank/float64(c)
		}
		rank -= float64(c)
	}
	return math.NaN()
}
