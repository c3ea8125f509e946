package page

import (
	"cmp"
	"slices"

	"github.com/pmtrace/pmtrace/decode/kernel"
	"github.com/pmtrace/pmtrace/output/session"
)

// kernelRow is what the page wants of the table kernels.
type kernelRow struct {
	DurNS int64   `parquet:"duration_ns"`
	Name  string  `parquet:"name,dict"`
	Class *string `parquet:"class,optional,dict"`
}

// kernelTime is the time of kernels that have something in common.
type kernelTime struct {
	Name  string `json:"name"`
	Class string `json:"class"`
	Count int64  `json:"count"`
	SumNS int64  `json:"sum_ns"`
}

// kernelData says what the GPU spent its time on in the windows in which kernels were told.
type kernelData struct {
	Classes []kernelTime `json:"classes"`
	Names   []kernelTime `json:"names"` // the costliest
	Other   kernelTime   `json:"other"` // the rest of them
	Windows int64        `json:"windows"`
	OpenNS  int64        `json:"open_ns"` // windows' time, all processes together
}

// topKernels is how many kernels are named, and mostNames how many are told apart.
const (
	topKernels = 20
	mostNames  = 1 << 14
)

// readKernels sums up the kernels; nil: there are none.
func readKernels(dir *session.Dir) (*kernelData, error) {
	classes, names := map[string]*kernelTime{}, map[string]*kernelTime{}
	d := &kernelData{Other: kernelTime{Name: "other kernels"}}
	for r, err := range session.Columns[kernelRow](dir, session.TableKernels) {
		if err != nil {
			return nil, err
		}
		class := "not known"
		if r.Class != nil {
			class = *r.Class
		}
		addKernel(classes, class, class, r.DurNS)
		if names[r.Name] == nil && len(names) >= mostNames {
			d.Other.Count++
			d.Other.SumNS += r.DurNS
			continue
		}
		addKernel(names, r.Name, class, r.DurNS)
	}
	if len(classes) == 0 {
		return nil, nil
	}
	d.Classes, d.Names = costliest(classes), costliest(names)
	for i := range d.Names {
		if i >= topKernels {
			d.Other.Count += d.Names[i].Count
			d.Other.SumNS += d.Names[i].SumNS
			continue
		}
		if f := kernel.Classify(d.Names[i].Name).Function; f != "" {
			d.Names[i].Name = f
		}
	}
	d.Names = d.Names[:min(topKernels, len(d.Names))]
	return d, d.windows(dir)
}

func addKernel(to map[string]*kernelTime, key, class string, ns int64) {
	k := to[key]
	if k == nil {
		k = &kernelTime{Name: key, Class: class}
		to[key] = k
	}
	k.Count++
	k.SumNS += ns
}

func costliest(of map[string]*kernelTime) []kernelTime {
	var list []kernelTime
	for _, k := range of {
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
