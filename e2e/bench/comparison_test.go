package main

import (
	"flag"
	"os"
	"testing"

	"github.com/go-quicktest/qt"
)

var update = flag.Bool("update", false, "write COMPARISON.md anew of comparison.json")

// TestComparisonPage fails unless the page says what the figures are.
func TestComparisonPage(t *testing.T) {
	c, err := readComparison(".")
	qt.Assert(t, qt.IsNil(err))
	if *update {
		qt.Assert(t, qt.IsNil(c.write(".")))
	}
	page, err := os.ReadFile("COMPARISON.md")
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.Equals(string(page), c.markdown()))
}

func TestArm(t *testing.T) {
	seen := []round{
		{with: stretch{rate: 90, tpot: 0.011, cpu: 55}, without: stretch{rate: 100, tpot: 0.010, cpu: 50}, own: 10},
		{with: stretch{rate: 81, tpot: 0.0121, cpu: 60.5}, without: stretch{rate: 90, tpot: 0.011, cpu: 55}, own: 20},
	}
	a := arm("x", "how", seen)
	near := func(got, want float64) {
		t.Helper()
		qt.Check(t, qt.IsTrue(got > want-1e-9 && got < want+1e-9), qt.Commentf("%g", got))
	}
	near(a.TPOT.Mean, 1.1)
	near(a.TPOT.Low, 1.1)
	near(a.Rate.High, 0.9)
	near(a.CPU.Mean, 1.1)
	near(a.Own, 15)
	qt.Check(t, qt.Equals(a.TPOT.N, 2))
	near(between(stretch{rate: 4, tpot: 1, cpu: 9}, stretch{rate: 9, tpot: 4, cpu: 4}).rate, 6)
}
