package join

import (
	"math"

	"github.com/pmtrace/pmtrace/decode/record"
)

const (
	// namedShare is the share of all kernels' time, 1 in so many, from which a name has a
	// row, and maxNamedRows how many have one.
	namedShare   = 500
	maxNamedRows = 100
)

// tellableShare is the share of the peak, 1 in so many, that the error must not exceed: the
// rates of kernels of 1 or 2 µs are their neighbours' as well.
const tellableShare = 4

var methodFolded, methodRegression = "folded", "regression"

// moved is what kernels moved a nanosecond.
type moved struct {
	kernels, ns int64
	method      *string // nil: not known
	samples     int64
	rates       [outputs]float64
	variance    float64 // of bytes read and written together
}

// emitTraffic hands on what was found.
func (in *injected) emitTraffic() {
	t := in.traffic
	if t == nil || in.w == nil {
		return
	}
	if in.fact.Always {
		t.fold(math.MaxInt64)
	}
	var f fit
	if t.sums != nil {
		f = t.sums.solve()
	}
	total := int64(0)
	for class := range t.classes {
		m := t.ofClass(class, &f)
		total += m.ns
		in.emitClass(class, nil, &m)
	}
	for i, at := range t.byTime() {
		if n := &t.named[at]; n.name != "" && i < maxNamedRows && n.ns*namedShare >= total {
			m := t.ofName(int32(at), &f)
			if !n.own && m.method == &methodRegression {
				m = moved{kernels: n.kernels, ns: n.ns} // what it shares with others of the class is not its own
			}
			in.emitClass(n.class, &n.name, &m)
		}
	}
}

// ofName is what a name's kernels moved, or those of its class that share its term.
func (t *traffic) ofName(i int32, f *fit) moved {
	n := &t.named[i]
	m := moved{kernels: n.kernels, ns: n.ns}
	switch {
	case n.folded.samples >= foldedSamples && n.folded.ns >= float64(n.ns)/2: // else it is of the longest alone
		m.method, m.samples = &methodFolded, n.folded.samples
		for o := range m.rates {
			m.rates[o] = n.folded.sum[o] / n.folded.ns
		}
	case t.sums != nil && n.term >= 0 && f.known(n.term):
		m.method, m.samples = &methodRegression, t.sums.n
		m.rates, m.variance = f.rates[n.term], f.variance(n.term)
	}
	return m
}

// misplaced is how far the rates of so many kernels may be off because the shift is one of a
// few: at each end of a kernel a part of its neighbour's bytes.
func (t *traffic) misplaced(m *moved) float64 {
	return t.peak() * shiftNS * float64(m.kernels) / float64(max(m.ns, 1))
}

// peak is what the memory moves a nanosecond at most.
func (t *traffic) peak() float64 {
	if t.d != nil && t.d.model != nil && t.d.model.Bandwidth > 0 {
		return t.d.model.Bandwidth / 1e9
	}
	return 8000 // as of no GPU so far
}

// ofClass adds up the names of a class.
func (t *traffic) ofClass(class int, f *fit) moved {
	sum := moved{method: &methodFolded}
	var variances [maxTerms]float64
	var shares [maxTerms]int64
	unknown := int64(0)
	for i := range t.named {
		n := &t.named[i]
		if n.class != class {
			continue
		}
		m := t.ofName(int32(i), f)
		sum.kernels += m.kernels
		sum.ns += m.ns
		switch m.method {
		case nil:
			unknown += m.ns
		case &methodRegression:
			sum.method = m.method
			variances[n.term] = m.variance
			shares[n.term] += m.ns
			sum.samples = max(sum.samples, m.samples)
		default:
			sum.samples = max(sum.samples, m.samples)
		}
		for o := range m.rates {
			sum.rates[o] += m.rates[o] * float64(m.ns)
		}
	}
	if sum.ns == 0 || unknown*100 > sum.ns { // the hundredth part makes no difference
		return moved{kernels: sum.kernels, ns: sum.ns}
	}
	for o := range sum.rates {
		sum.rates[o] /= float64(sum.ns - unknown)
	}
	for term, v := range variances { // terms' errors are taken for independent of each other
		share := float64(shares[term]) / float64(sum.ns)
		sum.variance += v * share * share
	}
	return sum
}

func (in *injected) emitClass(class int, name *string, m *moved) {
	j, t := in.j, in.traffic
	row := &j.rows.class
	*row = record.KernelClassRow{
		Engine: in.w.enginePtr(), Worker: in.w.id, Class: t.classes[class], Name: name, Kernels: m.kernels, DurNS: m.ns,
	}
	if t.d != nil {
		row.GPU = j.ptr.int32(t.d.index)
	}
	err := math.Sqrt(m.variance) + t.misplaced(m)
	if m.method == &methodRegression && err*tellableShare > t.peak() {
		m.method = nil
	}
	if m.method != nil {
		row.Method, row.Samples = m.method, m.samples
		row.DRAMReadBps, row.DRAMWriteBps = new(m.rates[0]*1e9), new(m.rates[1]*1e9)
		if m.method == &methodRegression {
			row.DRAMErrorBps = new(err * 1e9)
		}
		if gpu := t.d.model; gpu != nil && gpu.Bandwidth > 0 {
			row.BandwidthShare = new((m.rates[0] + m.rates[1]) * 1e9 / gpu.Bandwidth)
		}
		if t.d.metrics[1] >= 0 {
			row.TensorActivePct = new(min(100*m.rates[2], 100))
		}
	}
	j.check(j.sink.KernelClass(row))
}
