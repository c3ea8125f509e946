package join

import "math"

// sums are what least squares need of samples: products of the times of the terms in each,
// and of what is to be explained.
type sums struct {
	n  int64
	xx [maxTerms][maxTerms]float64
	xy [maxTerms][outputs]float64
	yy [outputs]float64
}

// add takes a sample; present: the terms that are not 0.
func (s *sums) add(x []float64, present []int, y [outputs]float64) {
	s.n++
	for _, a := range present {
		for _, b := range present {
			s.xx[a][b] += x[a] * x[b]
		}
		for o := range y {
			s.xy[a][o] += x[a] * y[o]
		}
	}
	for o := range y {
		s.yy[o] += y[o] * y[o]
	}
}

// fit is what least squares find: what a nanosecond of each term brings of each output, and
// the standard error of that; and the squares that stay unexplained.
type fit struct {
	rates, errors [maxTerms][outputs]float64
	left          [outputs]float64
}

// known reports whether a term could be told from the others.
func (f *fit) known(term int) bool {
	for _, e := range f.errors[term] {
		if math.IsNaN(e) {
			return false
		}
	}
	return true
}

// variance is that of bytes read and written together.
func (f *fit) variance(term int) float64 {
	return f.errors[term][0]*f.errors[term][0] + f.errors[term][1]*f.errors[term][1]
}

// solve finds it. Rates below 0 are 0: kernels take no bytes back.
func (s *sums) solve() fit {
	var f fit
	for o := range outputs {
		var out [maxTerms]bool
		for {
			rates, errors, left := s.solveFor(o, &out)
			least, at := 0.0, -1
			for i, r := range rates {
				if r < least {
					least, at = r, i
				}
			}
			if at >= 0 {
				out[at] = true
				continue
			}
			for i := range rates {
				f.rates[i][o], f.errors[i][o] = rates[i], errors[i]
			}
			f.left[o] = left
			break
		}
	}
	return f
}

// aloneShare is the share of a term's squares that the others must leave unexplained for it
// to be told from them.
const aloneShare = 1e-6

// solveFor solves the normal equations of one output, by Gauss and Jordan. The rates of the
// terms that are out are 0, those of terms that cannot be told are NaN.
func (s *sums) solveFor(o int, out *[maxTerms]bool) (rates, errors [maxTerms]float64, left float64) {
	var m [maxTerms][2*maxTerms + 1]float64
	for i := range maxTerms {
		copy(m[i][:], s.xx[i][:])
		m[i][maxTerms+i], m[i][2*maxTerms] = 1, s.xy[i][o]
	}
	var solved [maxTerms]bool
	free := s.n
	for c := range maxTerms {
		p := m[c][c]
		if out[c] || p <= aloneShare*s.xx[c][c] {
			continue
		}
		solved[c] = true
		free--
		for j := range m[c] {
			m[c][j] /= p
		}
		for i := range maxTerms {
			if q := m[i][c]; i != c && q != 0 {
				for j := range m[i] {
					m[i][j] -= q * m[c][j]
				}
			}
		}
	}
	left = s.yy[o]
	for i := range maxTerms {
		if solved[i] {
			rates[i] = m[i][2*maxTerms]
			left -= rates[i] * s.xy[i][o]
		}
	}
	left = max(left, 0)
	for i := range maxTerms {
		switch {
		case solved[i] && free > 0:
			errors[i] = math.Sqrt(max(m[i][maxTerms+i], 0) * left / float64(free))
		case !out[i]:
			rates[i], errors[i] = math.NaN(), math.NaN()
		}
	}
	return rates, errors, left
}
