package page

import (
	"cmp"
	"slices"

	"github.com/pmtrace/pmtrace/decode/kernel"
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/session"
)

// kernelTime is the time of kernels that have something in common, and what they moved to and
// from the GPU's memory.
type kernelTime struct {
	Name  string `json:"name"`
	Class string `json:"class"`
	Count int64  `json:"count"`
	SumNS int64  `json:"sum_ns"`
	// Bytes a second while they ran, of what share of the peak; null: not known.
	Bandwidth *float64 `json:"bandwidth"`
	Share     *float64 `json:"share"`
	Estimated bool     `json:"estimated"`

	bytes, peak float64 // times their time
	movedNS     int64
}

// kernelData says what the GPU spent its time on in the windows in which kernels were told.
type kernelData struct {
	Classes []kernelTime `json:"classes"`
	Names   []kernelTime `json:"names"` // the costliest
	Other   kernelTime   `json:"other"` // the rest of them
	Windows int64        `json:"windows"`
	OpenNS  int64        `json:"open_ns"` // windows' time, all processes together
}

// topKernels is how many kernels are named.
const topKernels = 20

// readKernels sums up the kernels; nil: there are none.
func readKernels(dir *session.Dir) (*kernelData, error) {
	classes, names := map[string]*kernelTime{}, map[string]*kernelTime{}
	d := &kernelData{Other: kernelTime{Name: "other kernels"}}
	for r, err := range session.Rows[record.KernelClassRow](dir) {
		if err != nil {
			return nil, err
		}
		if r.Name == nil {
			addKernels(classes, r.Class, r)
			d.Other.Count += r.Kernels
			d.Other.SumNS += r.DurNS
		} else {
			addKernels(names, *r.Name, r)
		}
	}
	if len(classes) == 0 {
		return nil, nil
	}
	d.Classes, d.Names = costliest(classes), costliest(names)
	d.Names = d.Names[:min(topKernels, len(d.Names))]
	for i := range d.Names {
		n := &d.Names[i]
		d.Other.Count -= n.Count
		d.Other.SumNS -= n.SumNS
		if f := kernel.Classify(n.Name).Function; f != "" {
			n.Name = f
		}
	}
	return d, d.windows(dir)
}

// addKernels adds up the same of several processes.
func addKernels(to map[string]*kernelTime, key string, r *record.KernelClassRow) {
	k := to[key]
	if k == nil {
		k = &kernelTime{Name: key, Class: r.Class}
		to[key] = k
	}
	k.Count += r.Kernels
	k.SumNS += r.DurNS
	if r.DRAMReadBps == nil || r.DRAMWriteBps == nil || r.DRAMErrorBps != nil && *r.DRAMReadBps+*r.DRAMWriteBps <= *r.DRAMErrorBps {
		return // known worse than it is high
	}
	k.movedNS += r.DurNS
	k.bytes += (*r.DRAMReadBps + *r.DRAMWriteBps) * float64(r.DurNS)
	k.Estimated = k.Estimated || r.DRAMErrorBps != nil
	if r.BandwidthShare != nil {
		k.peak += *r.BandwidthShare * float64(r.DurNS)
	}
}

func costliest(of map[string]*kernelTime) []kernelTime {
	var list []kernelTime
	for _, k := range of {
		if k.movedNS > 0 {
			k.Bandwidth = new(k.bytes / float64(k.movedNS))
			if k.peak > 0 {
				k.Share = new(k.peak / float64(k.movedNS))
			}
		}
		list = append(list, *k)
	}
	slices.SortFunc(list, func(a, b kernelTime) int { return cmp.Or(cmp.Compare(b.SumNS, a.SumNS), cmp.Compare(a.Name, b.Name)) })
	return list
}

func (d *kernelData) windows(dir *session.Dir) error {
	for w, err := range session.Columns[struct {
		OnNS  int64  `parquet:"on_ns"`
		OffNS *int64 `parquet:"off_ns,optional"`
	}](dir, session.TableKernelWindows) {
		if err != nil {
			return err
		}
		d.Windows++
		if w.OffNS != nil {
			d.OpenNS += *w.OffNS - w.OnNS
		}
	}
	return nil
}
