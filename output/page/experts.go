package page

import (
	"maps"
	"slices"

	"github.com/pmtrace/pmtrace/decode/record"
)

// mostExperts bounds the experts of a layer, and mostCells those of all that are shown.
const (
	mostExperts = 4096
	mostCells   = 1 << 18
)

// experts count how often tokens chose each, by layer; engines are added up.
type experts struct {
	layers map[int32][]int64
	most   int
}

func (e *experts) activation(r *record.MoEActivationRow) {
	if r.Expert < 0 || r.Expert >= mostExperts {
		return
	}
	l := e.layers[r.Layer]
	if missing := int(r.Expert) + 1 - len(l); missing > 0 {
		l = append(l, make([]int64, missing)...)
	}
	l[r.Expert] += r.Activations
	e.layers[r.Layer] = l
	e.most = max(e.most, len(l))
}

func (e *experts) imbalance(r *record.MoEImbalanceRow) {
	if r.Experts != nil && *r.Experts <= mostExperts {
		e.most = max(e.most, int(*r.Experts))
	}
}

// expertData is the map of them; nil: nothing is known.
type expertData struct {
	Layers  []int32 `json:"layers"`
	Experts int     `json:"experts"`
	Counts  []ints  `json:"counts"`   // by layer
	LeftOut int     `json:"left_out"` // layers that found no room
}

func (e *experts) data() *expertData {
	if len(e.layers) == 0 {
		return nil
	}
	d := &expertData{Experts: e.most}
	for _, layer := range slices.Sorted(maps.Keys(e.layers)) {
		if (len(d.Layers)+1)*e.most > mostCells {
			d.LeftOut++
			continue
		}
		counts := e.layers[layer]
		d.Layers = append(d.Layers, layer)
		d.Counts = append(d.Counts, append(counts, make([]int64, e.most-len(counts))...))
	}
	return d
}
