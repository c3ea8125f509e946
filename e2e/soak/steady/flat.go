// Package steady looks at processes over a long time, and says whether a figure of theirs
// stays what it is.
package steady

import (
	"fmt"
	"slices"
)

// Series is a figure over time.
type Series struct {
	Hours  []float64
	Values []float64
}

// Add appends a value.
func (s *Series) Add(hours, value float64) {
	s.Hours, s.Values = append(s.Hours, hours), append(s.Values, value)
}

// Trend is how a figure goes.
type Trend struct {
	Early   float64 `json:"early"` // median of the first stretch, after the warm-up
	Late    float64 `json:"late"`  // median of the last one
	Most    float64 `json:"most"`
	PerHour float64 `json:"per_hour"` // slope of the line through all values, by least squares
	Bound   float64 `json:"bound"`    // that Late may lie above Early
	Values  int     `json:"values"`
}

// Of is the trend of what comes after the warm-up, by its first and last stretch: that share
// of it. bound is how much more than at first there may be at last.
func Of(s Series, warmUp, share, bound float64) Trend {
	from, _ := slices.BinarySearch(s.Hours, warmUp)
	hours, values := s.Hours[from:], s.Values[from:]
	if len(values) == 0 {
		return Trend{Bound: bound}
	}
	n := max(int(share*float64(len(values))), 1)
	return Trend{
		Early: Median(values[:n]), Late: Median(values[len(values)-n:]), Most: slices.Max(values),
		PerHour: Slope(hours, values), Bound: bound, Values: len(values),
	}
}

// Check fails unless the figure is flat.
func (t Trend) Check(what string) error {
	switch {
	case t.Values < 10:
		return fmt.Errorf("%s: %d values after the warm-up say nothing", what, t.Values)
	case t.Late > t.Early+t.Bound:
		return fmt.Errorf("%s grows: %.1f at first, %.1f at last, by no more than %.1f it may", what, t.Early, t.Late, t.Bound)
	}
	return nil
}

// Median of values, which stay in their order.
func Median(values []float64) float64 { return Quantile(values, 0.5) }

// Quantile of values, which stay in their order.
func Quantile(values []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[int(q*float64(len(sorted)-1))]
}

// Slope of the straight line through points, by least squares.
func Slope(x, y []float64) float64 {
	var mx, my float64
	for i := range x {
		mx, my = mx+x[i]/float64(len(x)), my+y[i]/float64(len(y))
	}
	var num, den float64
	for i := range x {
		num += (x[i] - mx) * (y[i] - my)
		den += (x[i] - mx) * (x[i] - mx)
	}
	if den == 0 {
		return 0
	}
	return num / den
}
