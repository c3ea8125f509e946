package main

import (
	"math"
	"slices"
)

// Estimate is a mean with how sure it is.
type Estimate struct {
	N    int     `json:"n"`
	Mean float64 `json:"mean"`
	SE   float64 `json:"standard_error"`
	Low  float64 `json:"low_95"`
	High float64 `json:"high_95"`
	// Median is what the mean would be on a machine without other work.
	Median float64 `json:"median"`
}

func estimate(values []float64) Estimate {
	n := float64(len(values))
	e := Estimate{N: len(values), Median: median(values)}
	for _, v := range values {
		e.Mean += v / n
	}
	if n < 2 {
		e.Low, e.High = e.Mean, e.Mean
		return e
	}
	sum := 0.0
	for _, v := range values {
		sum += (v - e.Mean) * (v - e.Mean)
	}
	e.SE = math.Sqrt(sum / (n - 1) / n)
	t := student95(n - 1)
	e.Low, e.High = e.Mean-t*e.SE, e.Mean+t*e.SE
	return e
}

// geometric is the geometric mean of ratios, with its interval; the standard error is relative.
func geometric(ratios []float64) Estimate {
	var logs []float64
	for _, r := range ratios {
		logs = append(logs, math.Log(r))
	}
	e := estimate(logs)
	e.Mean, e.Low, e.High, e.Median = math.Exp(e.Mean), math.Exp(e.Low), math.Exp(e.High), math.Exp(e.Median)
	return e
}

// student95 is the 97.5 % quantile of Student's distribution, by Cornish and
// Fisher's expansion: to 1 % from 4 degrees of freedom on.
func student95(df float64) float64 {
	const z = 1.959964
	z3, z5, z7 := math.Pow(z, 3), math.Pow(z, 5), math.Pow(z, 7)
	return z + (z3+z)/(4*df) + (5*z5+16*z3+3*z)/(96*df*df) + (3*z7+19*z5+17*z3-15*z)/(384*df*df*df)
}

func median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	if len(s) == 0 {
		return math.NaN()
	}
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}
