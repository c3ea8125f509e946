package live

import (
	"slices"
	"strings"
)

// maxLabels is how many labels a metric has at most.
const maxLabels = 3

// maxSeries bounds a metric's series. What comes beyond it is one series, whose labels
// are all "other".
const maxSeries = 256

type labels [maxLabels]string

const other = "other"

// vector is a metric's series.
type vector struct {
	metric *Metric
	series map[labels]*series
}

type series struct {
	value   float64 // of a gauge
	sum     int64   // raw, of a counter or histogram
	count   uint64
	buckets []uint64 // each for itself; the last is beyond all bounds
}

func (v *vector) of(l labels) *series {
	if s := v.series[l]; s != nil {
		return s
	}
	if len(v.series) >= maxSeries {
		l = labels{}
		for i := range v.metric.Labels {
			l[i] = other
		}
		if s := v.series[l]; s != nil {
			return s
		}
	}
	s := &series{}
	if v.metric.Kind == Histogram {
		s.buckets = make([]uint64, len(v.metric.Bounds)+1)
	}
	v.series[l] = s
	return s
}

// add raises a counter, or has it show up.
func (v *vector) add(n int64, l labels) { v.of(l).sum += max(n, 0) }

// observe counts a value in a histogram. Bounds are inclusive, as Prometheus has them.
func (v *vector) observe(n int64, l labels) {
	s := v.of(l)
	n = max(n, 0)
	i, _ := slices.BinarySearch(v.metric.Bounds, n)
	s.buckets[i]++
	s.count++
	s.sum += n
}

// set gives a gauge its newest value.
func (v *vector) set(x float64, l labels) { v.of(l).value = x }

// raise gives a counter the total that is counted elsewhere.
func (v *vector) raise(total int64, l labels) {
	s := v.of(l)
	s.sum = max(s.sum, total)
}

// Family is a metric with its series, as they were at one moment.
type Family struct {
	*Metric
	Series []Series
}

// Series is a series of a Family. Values are in the metric's unit.
type Series struct {
	Labels  []string // values, in the order of the metric's names; "": not of one
	Value   float64  // of a counter or gauge
	Count   uint64   // of a histogram, as the rest
	Sum     float64
	Buckets []uint64 // each for itself; one more than bounds
}

// family copies the series, sorted by labels.
func (v *vector) family() Family {
	f := Family{Metric: v.metric, Series: make([]Series, 0, len(v.series))}
	n := len(v.metric.Labels)
	for l, s := range v.series {
		out := Series{Labels: slices.Clone(l[:n]), Value: s.value}
		switch v.metric.Kind {
		case Counter:
			out.Value = v.metric.Scaled(s.sum)
		case Histogram:
			out.Count, out.Sum, out.Buckets = s.count, v.metric.Scaled(s.sum), slices.Clone(s.buckets)
		case Gauge:
		}
		f.Series = append(f.Series, out)
	}
	slices.SortFunc(f.Series, func(a, b Series) int { return slices.CompareFunc(a.Labels, b.Labels, strings.Compare) })
	return f
}
