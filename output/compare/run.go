package compare

import (
	"math/rand/v2"
	"slices"
)

// Run is a session as it is compared.
type Run struct {
	Path  string
	Setup Setup

	seconds float64 // of a block
	blocks  []*block
	places  []int64 // of the blocks, in time
	buckets [dists][]int32
	at      [][dists][]int // by block and cell: the index in buckets
	peak    float64
}

// index notes which buckets are in use, so that draws are sums of dense counts.
func (r *Run) index() {
	for d := range r.buckets {
		for _, b := range r.blocks {
			for _, c := range b.cells[d] {
				r.buckets[d] = append(r.buckets[d], c.bucket)
			}
		}
		slices.Sort(r.buckets[d])
		r.buckets[d] = slices.Compact(r.buckets[d])
	}
	r.at = make([][dists][]int, len(r.blocks))
	for i, b := range r.blocks {
		for d := range b.cells {
			r.at[i][d] = make([]int, len(b.cells[d]))
			for j, c := range b.cells[d] {
				r.at[i][d][j], _ = slices.BinarySearch(r.buckets[d], c.bucket)
			}
		}
	}
}

// alike gives both runs blocks of the same length.
func alike(a, b *Run) {
	for a.seconds < b.seconds {
		a.halve()
	}
	for b.seconds < a.seconds {
		b.halve()
	}
}

// halve makes one block of two neighbours each.
func (r *Run) halve() {
	was := *r
	*r = Run{Path: was.Path, Setup: was.Setup, seconds: 2 * was.seconds, peak: was.peak}
	for i, b := range was.blocks {
		place := was.places[i] / 2
		if n := len(r.places); n > 0 && r.places[n-1] == place {
			r.blocks[n-1].merge(b)
			continue
		}
		r.blocks, r.places = append(r.blocks, b), append(r.places, place)
	}
	r.index()
}

// whole is the session as it was.
func (r *Run) whole() *total {
	times := make([]int, len(r.blocks))
	for i := range times {
		times[i] = 1
	}
	t := r.take(times)
	t.drawn = false
	return t
}

// draw makes a session of as many blocks, drawn with replacement.
func (r *Run) draw(random *rand.Rand) *total { return r.take(r.picks(random)) }

func (r *Run) picks(random *rand.Rand) []int {
	times := make([]int, len(r.blocks))
	for range times {
		times[random.IntN(len(times))]++
	}
	return times
}

// take makes a session in which each block happened so many times.
func (r *Run) take(times []int) *total {
	t := &total{buckets: r.buckets, peak: r.peak, drawn: true, operations: map[string]operation{}}
	for d := range t.counts {
		t.counts[d] = make([]int64, len(r.buckets[d]))
	}
	for i, b := range r.blocks {
		n := times[i]
		if n == 0 {
			continue
		}
		for s := range t.sums {
			t.sums[s] += float64(n) * b.sums[s]
		}
		for d := range b.cells {
			counts := t.counts[d]
			for j, at := range r.at[i][d] {
				counts[at] += int64(n) * int64(b.cells[d][j].count)
			}
		}
		for name, o := range b.operations {
			was := t.operations[name]
			t.operations[name] = operation{was.ns + float64(n)*o.ns, was.count + float64(n)*o.count}
		}
	}
	return t
}

func values(metrics []Metric, t *total) []float64 {
	v := make([]float64, len(metrics))
	for i, m := range metrics {
		v[i] = m.value(t)
	}
	return v
}

// metricsOf returns the metrics that the runs may have.
func metricsOf(runs []*Run) []Metric {
	var operations []string
	for _, r := range runs {
		for _, b := range r.blocks {
			for name := range b.operations {
				if !slices.Contains(operations, name) {
					operations = append(operations, name)
				}
			}
		}
	}
	slices.Sort(operations)
	metrics := Metrics()
	for _, o := range operations {
		metrics = append(metrics, operationMetric(o))
	}
	return metrics
}
