package session

import (
	"math"
	"math/bits"
	"slices"
)

// exactValues bounds the values that a Stat keeps as they are.
const exactValues = 64 << 10

// Sub-buckets divide each power of two of a Stat's histogram: a percentile is
// off by at most half of 1/1024 of its value.
const subBucketBits = 10

// Stat describes a set of durations. Count, mean, extremes and deviation are
// exact; percentiles are exact up to 65,536 values, and beyond that right to
// 0.05 %, from a histogram of bounded size.
type Stat struct {
	count    int64
	mean, m2 float64 // Welford
	min, max int64
	values   []int64
	buckets  map[int][]uint32 // by power of two; nil while values holds all
	sorted   bool
}

// Add adds a value; what is below 0 counts as 0.
func (s *Stat) Add(v int64) {
	v = max(v, 0)
	if s.count == 0 || v < s.min {
		s.min = v
	}
	s.max = max(s.max, v)
	s.count++
	d := float64(v) - s.mean
	s.mean += d / float64(s.count)
	s.m2 += d * (float64(v) - s.mean)
	if s.buckets != nil {
		s.bucket(v)
		return
	}
	s.values = append(s.values, v)
	s.sorted = false
	if len(s.values) > exactValues {
		s.buckets = make(map[int][]uint32)
		for _, v := range s.values {
			s.bucket(v)
		}
		s.values = nil
	}
}

func (s *Stat) bucket(v int64) {
	// Values below 1024 have a bucket each, in row 0.
	row := max(0, bits.Len64(uint64(v))-subBucketBits)
	if s.buckets[row] == nil {
		s.buckets[row] = make([]uint32, 1<<subBucketBits)
	}
	s.buckets[row][v>>row]++
}

func (s *Stat) Count() int64 { return s.count }
func (s *Stat) Min() int64   { return s.min }
func (s *Stat) Max() int64   { return s.max }

// Mean is 0 without values.
func (s *Stat) Mean() float64 { return s.mean }

// Total is the sum of the values.
func (s *Stat) Total() float64 { return s.mean * float64(s.count) }

// Std is the standard deviation of the values, as numpy.std has it.
func (s *Stat) Std() float64 {
	if s.count == 0 {
		return 0
	}
	return math.Sqrt(s.m2 / float64(s.count))
}

// Percentile returns the p-th percentile, interpolated as numpy.percentile
// does; 0 without values.
func (s *Stat) Percentile(p float64) float64 {
	if s.count == 0 {
		return 0
	}
	rank := p / 100 * float64(s.count-1)
	low, frac := int64(rank), rank-math.Floor(rank)
	v := s.at(low)
	if frac > 0 {
		v += frac * (s.at(low+1) - v)
	}
	return v
}

// at returns the i-th smallest value.
func (s *Stat) at(i int64) float64 {
	if s.buckets == nil {
		if !s.sorted {
			slices.Sort(s.values)
			s.sorted = true
		}
		return float64(s.values[i])
	}
	switch i {
	case 0:
		return float64(s.min)
	case s.count - 1:
		return float64(s.max)
	}
	for row := range 64 {
		for sub, n := range s.buckets[row] {
			if i -= int64(n); i < 0 {
				low := int64(sub) << row
				middle := float64(low) + float64(int64(1)<<row-1)/2
				return min(max(middle, float64(s.min)), float64(s.max))
			}
		}
	}
	return float64(s.max)
}
