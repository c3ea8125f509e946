package main

import (
	"math"
	"testing"

	"github.com/go-quicktest/qt"
)

func TestEstimate(t *testing.T) {
	e := estimate([]float64{1, 2, 3, 4, 5})
	qt.Check(t, qt.Equals(e.Mean, 3))
	qt.Check(t, qt.IsTrue(math.Abs(e.SE-math.Sqrt(0.5)) < 1e-12))
	qt.Check(t, qt.IsTrue(math.Abs(e.High-3-2.776*e.SE) < 0.02)) // of a table: t(4) = 2.776
	qt.Check(t, qt.Equals(estimate([]float64{7}).High, 7))
}

func TestStudent95(t *testing.T) {
	for df, want := range map[float64]float64{5: 2.571, 11: 2.201, 23: 2.069, 1000: 1.962} {
		qt.Check(t, qt.IsTrue(math.Abs(student95(df)-want) < 0.01), qt.Commentf("%g: %g", df, student95(df)))
	}
}

func TestMedian(t *testing.T) {
	qt.Check(t, qt.Equals(median([]float64{3, 1, 2, 10}), 2.5))
}

func TestGeometric(t *testing.T) {
	e := geometric([]float64{0.5, 2, 1, 4, 0.25})
	qt.Check(t, qt.IsTrue(math.Abs(e.Mean-1) < 1e-12))
	qt.Check(t, qt.IsTrue(math.Abs(e.Low*e.High-1) < 1e-12)) // symmetric in the logarithm
	qt.Check(t, qt.Equals(e.Median, 1))
}
