package page

import (
	"cmp"
	"math"
	"slices"

	"github.com/pmtrace/pmtrace/decode/record"
)

// cellsADecade is how finely steps are told apart on the axes of the roofline.
const cellsADecade = 16

// cell is where steps lie: log10 of operations a byte, and of operations a second, in
// cells.
type cell struct {
	phase int
	x, y  int
}

// roofline holds what steps did against what the GPU can do at most.
type roofline struct {
	cells     map[cell]int64
	steps     int64
	estimated bool
	// The GPU's peaks, as the columns mbu and mfu have them: bytes and operations a second.
	bandwidth, arithmetic float64
	differ                bool // between steps
}

func (f *roofline) step(r *record.StepRow) {
	if r.StepGPUNS == nil || *r.StepGPUNS <= 0 || r.ModelBytes == nil || *r.ModelBytes <= 0 || r.ModelFLOPs == nil || *r.ModelFLOPs <= 0 {
		return
	}
	seconds := float64(*r.StepGPUNS) / 1e9
	bytes, flops := float64(*r.ModelBytes), *r.ModelFLOPs
	f.steps++
	f.estimated = f.estimated || r.ModelEstimated != nil && *r.ModelEstimated
	f.peak(&f.bandwidth, bytes/seconds, r.MBU)
	f.peak(&f.arithmetic, flops/seconds, r.MFU)
	f.cells[cell{phaseIndex(r.Phase), decades(flops / bytes), decades(flops / seconds)}]++
}

func decades(v float64) int { return int(math.Floor(math.Log10(v) * cellsADecade)) }

// peak takes from what a step did and the share that this is what all of it would be.
func (f *roofline) peak(known *float64, did float64, share *float64) {
	if share == nil || *share <= 0 {
		return
	}
	p := did / *share
	switch {
	case *known == 0:
		*known = p
	case math.Abs(p-*known) > 0.01**known:
		f.differ = true
	}
}

// rooflineData is as the page has it.
type rooflineData struct {
	CellsADecade int     `json:"cells_a_decade"`
	Steps        int64   `json:"steps"`
	Estimated    bool    `json:"estimated"`
	Bandwidth    float64 `json:"bandwidth_bytes_per_s"` // 0: not known
	Arithmetic   float64 `json:"arithmetic_flops"`
	PeaksDiffer  bool    `json:"peaks_differ"`
	Phase        ints    `json:"phase"`
	X            ints    `json:"x"`
	Y            ints    `json:"y"`
	Count        ints    `json:"count"`
}

func (f *roofline) data() *rooflineData {
	if f.steps == 0 {
		return nil
	}
	d := &rooflineData{
		CellsADecade: cellsADecade, Steps: f.steps, Estimated: f.estimated,
		Bandwidth: f.bandwidth, Arithmetic: f.arithmetic, PeaksDiffer: f.differ,
	}
	var list []cell
	for c := range f.cells {
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b cell) int {
		return cmp.Or(cmp.Compare(a.phase, b.phase), cmp.Compare(a.x, b.x), cmp.Compare(a.y, b.y))
	})
	for _, c := range list {
		d.Phase, d.X, d.Y = append(d.Phase, int64(c.phase)), append(d.X, int64(c.x)), append(d.Y, int64(c.y))
		d.Count = append(d.Count, f.cells[c])
	}
	return d
}
