package join

import (
	"cmp"
	"math"
	"slices"
	"sort"

	"github.com/pmtrace/pmtrace/decode/kernel"
	"github.com/pmtrace/pmtrace/decode/record"
)

// traffic is what kernels move to and from the GPU's memory: samples of its counters, held
// against the kernels that ran in them, in the windows in which kernels are told.
//
// Samples that lie within a long run of one kernel are a measurement of it (folded). Shorter
// ones share samples: the bytes of a sample are the sum of the times of all that ran in it,
// times what each moves a second, which least squares find over many samples (regression):
// an estimate. Its terms are the kernels, by name, that take most of the time, what else
// there is of each class, and the time in which no kernel runs.
//
// The counters' clock and CUPTI's are apart by some µs: the first samples are held against
// kernels shifted by several times, and that one counts from then on by which they explain
// the bytes best.
type traffic struct {
	d       *device // nil: its counters are not sampled (yet)
	from    int64   // about when the engine began to work
	classes []string
	names   map[string]int32
	named   []named
	kernels []ranKernel // whose samples are still to come, or the other way round
	ends    []int64     // of each, the latest end so far
	sorted  bool
	samples []sample

	terms []int32 // a name, or -1-class; idle is behind them
	own   int     // of them names
	shift int64
	sums  *sums // nil: the shift is not chosen yet
}

const (
	// shifts are looked at, at shiftNS from one to the next.
	shifts  = 41
	shiftNS = 1000
	// chosenBy is how many samples the shift and the terms are chosen by.
	chosenBy = 20_000
	// runSamples is how many samples a run must be as long as to be folded.
	runSamples = 10
	// foldedSamples is how many samples within runs make a measurement.
	foldedSamples = 50
	// edgeNS: near the ends of a window kernels of replays that were under way are left out.
	edgeNS = 50_000_000
	// sampleBatch is how many samples wait for their kernels at most.
	sampleBatch = 1 << 17
	// maxTrafficKernels and maxTrafficNames bound what is kept.
	maxTrafficKernels = 1 << 20
	maxTrafficNames   = 4096
	// maxTerms are those of the regression, maxNameTerms those that are names.
	maxTerms     = 64
	maxNameTerms = 48
	// termShare is the share of the kernels' time, 1 in so many, from which a name is a term.
	termShare = 500
	// outputs are explained: bytes read and written, and the time the tensor cores were
	// active.
	outputs = 3
)

type named struct {
	name    string // "": kernels that have none, or whose names are not kept
	class   int
	kernels int64
	ns      int64
	term    int  // -1: none yet
	own     bool // and no other's
	folded  folded
}

type ranKernel struct {
	start, end int64
	name       int32
}

// folded adds up samples within runs.
type folded struct {
	samples int64
	ns      float64
	sum     [outputs]float64
}

func newTraffic() *traffic {
	return &traffic{names: map[string]int32{}, sorted: true}
}

func (t *traffic) class(name string) int {
	i := slices.Index(t.classes, name)
	if i < 0 {
		i = len(t.classes)
		t.classes = append(t.classes, name)
	}
	return i
}

// kernel takes a kernel or copy.
func (t *traffic) kernel(r *record.KernelRow) {
	class := string(kernel.Other)
	if r.Class != nil {
		class = *r.Class
	}
	name, key := r.Name, r.Name
	if _, ok := t.names[key]; !ok && len(t.named) >= maxTrafficNames {
		name, key = "", "others of "+class
	}
	i, ok := t.names[key]
	if !ok {
		i = int32(len(t.named))
		t.names[key], t.named = i, append(t.named, named{name: name, class: t.class(class), term: -1})
	}
	t.named[i].kernels++
	t.named[i].ns += r.DurNS
	if t.d == nil {
		return
	}
	if n := len(t.kernels); n > 0 && r.TimeNS < t.kernels[n-1].start {
		t.sorted = false
	}
	if len(t.kernels) == maxTrafficKernels {
		t.kernels = append(t.kernels[:0], t.kernels[maxTrafficKernels/4:]...)
		t.samples = slices.DeleteFunc(t.samples, func(s sample) bool { return s.begin < t.kernels[0].start })
	}
	t.kernels = append(t.kernels, ranKernel{r.TimeNS, r.TimeNS + r.DurNS, i})
}

// sample takes a sample in a window.
func (t *traffic) sample(s sample) {
	if finite(s.read) && finite(s.written) {
		t.samples = append(t.samples, s)
	}
}

func finite(v float32) bool { return v >= 0 && v <= math.MaxFloat32 }

// fold takes the samples up to a time, whose kernels have all come.
func (t *traffic) fold(until int64) {
	n := sort.Search(len(t.samples), func(i int) bool { return t.samples[i].end > until })
	if n == 0 {
		return
	}
	if !t.sorted {
		slices.SortFunc(t.kernels, func(a, b ranKernel) int {
			return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.end, b.end), cmp.Compare(a.name, b.name))
		})
		t.sorted = true
	}
	t.ends = t.ends[:0]
	for i, k := range t.kernels {
		if i > 0 {
			k.end = max(k.end, t.ends[i-1])
		}
		t.ends = append(t.ends, k.end)
	}
	if t.sums == nil && n < chosenBy/10 {
		return
	}
	t.promote()
	if t.sums == nil {
		t.choose(t.samples[:min(n, chosenBy)])
	}
	t.regress(t.sums, t.samples[:n], t.shift)
	t.within(t.samples[:n])
	last := t.samples[n-1].end
	t.samples = append(t.samples[:0], t.samples[n:]...)
	t.kernels = slices.DeleteFunc(t.kernels, func(k ranKernel) bool { return k.end < last-edgeNS })
}

// choose finds the shift.
func (t *traffic) choose(samples []sample) {
	least := math.Inf(1)
	for i := range int64(shifts) {
		s := &sums{}
		by := (i - shifts/2) * shiftNS
		t.regress(s, samples, by)
		if f := s.solve(); f.left[0]+f.left[1] < least {
			least, t.shift = f.left[0]+f.left[1], by
		}
	}
	t.sums = &sums{}
}

// promote makes terms of the names that take much of the time, as long as there are any. Of
// a name that comes to be one, the samples so far stay with its class.
func (t *traffic) promote() {
	total := int64(0)
	for i := range t.named {
		total += t.named[i].ns
	}
	for _, i := range t.byTime() {
		n := &t.named[i]
		if n.ns*termShare < total || t.own == maxNameTerms {
			break
		}
		if !n.own && len(t.terms) < idleTerm {
			n.own, n.term = true, len(t.terms)
			t.terms = append(t.terms, int32(i))
			t.own++
		}
	}
	for i := range t.named {
		t.join(int32(i))
	}
}

// join gives a name without a term that of its class.
func (t *traffic) join(i int32) {
	n := &t.named[i]
	if n.term >= 0 {
		return
	}
	if n.term = slices.Index(t.terms, int32(-1-n.class)); n.term >= 0 {
		return
	}
	if n.term = len(t.terms); n.term == idleTerm {
		n.term-- // more classes than there are
		return
	}
	t.terms = append(t.terms, int32(-1-n.class))
}

// idleTerm is that of the time in which no kernel runs.
const idleTerm = maxTerms - 1

// byTime are the names by the time they took.
func (t *traffic) byTime() []int {
	order := make([]int, len(t.named))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(t.named[b].ns, t.named[a].ns) })
	return order
}

func (s *sample) outputs() [outputs]float64 {
	y := [outputs]float64{float64(s.read), float64(s.written), float64(s.tensor) / 100 * float64(s.end-s.begin)}
	if !finite(s.tensor) {
		y[2] = 0
	}
	return y
}

// regress adds the equations of samples: how much of each term ran in them, by so much
// earlier than CUPTI says.
func (t *traffic) regress(s *sums, samples []sample, by int64) {
	first := 0
	var x [maxTerms]float64
	present := make([]int, 0, maxTerms)
	for i := range samples {
		m := &samples[i]
		begin, end := m.begin+by, m.end+by
		for first < len(t.kernels) && t.ends[first] <= begin {
			first++
		}
		idle := float64(end - begin)
		for k := first; k < len(t.kernels) && t.kernels[k].start < end; k++ {
			d := min(t.kernels[k].end, end) - max(t.kernels[k].start, begin)
			if d <= 0 {
				continue
			}
			term := t.named[t.kernels[k].name].term
			if x[term] == 0 {
				present = append(present, term)
			}
			x[term] += float64(d)
			idle -= float64(d)
		}
		if idle > 0 {
			x[idleTerm], present = idle, append(present, idleTerm)
		}
		s.add(x[:], present, m.outputs())
		for _, term := range present {
			x[term] = 0
		}
		present = present[:0]
	}
}

// within adds the samples that lie within long runs of one kernel, none other beside it.
func (t *traffic) within(samples []sample) {
	at, n := 0, len(t.kernels)
	for i := 0; i < n; {
		k := t.kernels[i]
		from, to := k.start, k.end
		if i > 0 {
			from = max(from, t.ends[i-1])
		}
		for i++; i < n && t.kernels[i].name == k.name && t.kernels[i].start >= to && t.kernels[i].start < to+runGapNS; i++ {
			to = t.kernels[i].end
		}
		if i < n {
			to = min(to, t.kernels[i].start)
		}
		from, to = from-t.shift, to-t.shift
		for at < len(samples) && samples[at].begin < from {
			at++
		}
		if at == len(samples) || to-from < runSamples*(samples[at].end-samples[at].begin) {
			continue
		}
		f := &t.named[k.name].folded
		for ; at < len(samples) && samples[at].end <= to; at++ {
			y := samples[at].outputs()
			f.samples++
			f.ns += float64(samples[at].end - samples[at].begin)
			for o := range y {
				f.sum[o] += y[o]
			}
		}
	}
}

// runGapNS is how far apart kernels of a run may be.
const runGapNS = 1000

// workedOn takes a kernel or copy, unless it is of the warm-up: before the engine's first step.
func (in *injected) workedOn(r *record.KernelRow) {
	if in.w == nil || in.w.engine == nil || !in.w.engine.begun {
		return
	}
	if in.traffic == nil {
		in.traffic = newTraffic()
		in.traffic.from = in.w.engine.last
	}
	if r.TimeNS < in.traffic.from {
		return
	}
	if in.traffic.d == nil {
		in.traffic.d = in.sampledDevice()
	}
	in.traffic.kernel(r)
}

func (in *injected) sampledDevice() *device {
	if in.w == nil {
		return nil
	}
	var only *device
	for _, d := range in.j.devices {
		switch {
		case d == nil || !d.sampled:
		case slices.Contains(d.pids, in.w.fact.PID):
			return d
		case only != nil:
			return nil
		default:
			only = d
		}
	}
	if only == nil || len(only.pids) > 0 {
		return nil
	}
	return only
}

// ofWindows takes a device's sample to those that tell of their kernels at the time.
func (j *Joiner) ofWindows(d *device, s sample) {
	for _, in := range j.processes {
		t := in.traffic
		if t == nil || t.d != d || !in.inWindow(s.end) {
			continue
		}
		t.sample(s)
		if len(t.samples)%sampleBatch == 0 { // windows are shorter, but for those that never end
			t.fold(j.clock - 2*holdNS)
		}
	}
}

// foldWindow takes the samples of a window, all of whose kernels have come.
func (in *injected) foldWindow(w *window) {
	t := in.traffic
	if t == nil {
		return
	}
	until := int64(math.MaxInt64)
	if w.off != unset {
		until = w.off - edgeNS
	}
	t.samples = slices.DeleteFunc(t.samples, func(s sample) bool {
		return s.begin < w.onSince+edgeNS && s.end >= w.on || s.end > until && s.end <= w.offDone
	})
	t.fold(until)
}
