package compare

import (
	"math"
	"math/bits"
	"math/rand/v2"
)

// Up to so many ways of dealing the runs to two sides, all are tried; of more, as many
// are drawn.
const maxDeals = 20000

// betweenRuns tests with the run as the unit: were the sides' labels dealt at random, how
// often would they be as far apart? va and vb are by run and metric.
func betweenRuns(va, vb [][]float64) (p []float64) {
	all := append(append([][]float64{}, va...), vb...)
	observed := dealt(all, 1<<len(va)-1)
	var draws [][]float64
	masks, every := deals(len(va), len(all))
	for _, m := range masks {
		draws = append(draws, dealt(all, m))
	}
	return correct(observed, draws, every)
}

// deals returns which runs go to side A.
func deals(n, of int) (masks []uint64, every bool) {
	if of <= 20 && binomial(of, n) <= maxDeals {
		for m := range uint64(1) << of {
			if bits.OnesCount64(m) == n {
				masks = append(masks, m)
			}
		}
		return masks, true
	}
	random := newRandom(0)
	for range maxDeals {
		m := uint64(0)
		for _, i := range random.Perm(of)[:n] {
			m |= 1 << i
		}
		masks = append(masks, m)
	}
	return masks, false
}

func binomial(n, k int) float64 {
	b := 1.0
	for i := range k {
		b *= float64(n-i) / float64(i+1)
	}
	return math.Round(b)
}

// dealt returns |t| by metric with the runs of the mask on one side.
func dealt(all [][]float64, mask uint64) []float64 {
	t := make([]float64, len(all[0]))
	for i := range t {
		var a, b moments
		for r, v := range all {
			if mask>>r&1 != 0 {
				a.add(v[i])
			} else {
				b.add(v[i])
			}
		}
		t[i] = distance(a, b)
	}
	return t
}

// distance is |t| with the variance pooled; NaN if a run has no number.
func distance(a, b moments) float64 {
	apart := math.Abs(b.mean - a.mean)
	pooled := (a.m2 + b.m2) / (a.n + b.n - 2)
	// What rounding alone makes of equal numbers is no difference.
	if apart <= 1e-12*math.Abs(a.mean) {
		return 0
	}
	return apart / math.Sqrt(pooled*(1/a.n+1/b.n))
}

// moments are count, mean and squared deviations (Welford).
type moments struct{ n, mean, m2 float64 }

func (m *moments) add(v float64) {
	m.n++
	d := v - m.mean
	m.mean += d / m.n
	m.m2 += d * (v - m.mean)
}

// variance is that of the values, NaN of one.
func (m *moments) variance() float64 { return m.m2 / (m.n - 1) }

func (m *moments) deviation() float64 { return math.Sqrt(m.variance()) }

// interval returns the 95 % interval of b's mean by a's (Welch's, by the delta method);
// NaN where a side has one run.
func interval(a, b moments) (low, high float64) {
	ra, rb := a.variance()/a.n/(a.mean*a.mean), b.variance()/b.n/(b.mean*b.mean)
	if math.IsNaN(ra) || math.IsNaN(rb) {
		return math.NaN(), math.NaN()
	}
	ratio := b.mean / a.mean
	if ra+rb == 0 {
		return ratio, ratio
	}
	degrees := (ra + rb) * (ra + rb) / (ra*ra/(a.n-1) + rb*rb/(b.n-1))
	half := quantile975(degrees) * math.Sqrt(ra+rb) * ratio
	return ratio - half, ratio + half
}

func newRandom(stream uint64) *rand.Rand { return rand.New(rand.NewPCG(0x706d7472616365, stream)) }
