package join

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
)

// maxNodes bounds the kernels of a replay that are looked at for layers.
const maxNodes = 1 << 14

// node is a kernel or copy of a graph as one replay ran it.
type node struct {
	id    uint64
	start int64
	name  uint32 // copies: noName
}

const noName = 1<<32 - 1

// layer finds the layers of a graph that was told whole.
func (in *injected) layer(r *replay, nodes []node) {
	g := r.graph
	known := g.model && in.w != nil && len(nodes) < maxNodes
	full := g.name.Mode == modeFull
	if known && !full && g.name.Piece != nil && g.name.Pieces != nil {
		r.nodes = nodes
		in.layerPieces(r)
		return
	}
	g.layers = map[uint64]int32{}
	if known && full {
		in.spread([]*replay{r}, [][]node{nodes})
	}
}

// spread gives the kernels of a whole model, which replays ran one after the other, their
// transformer layers. The layers of a model run the same kernels one after the other, so
// a model is the same names again and again, as often as there are layers. Where a kernel
// is the end of one layer and the beginning of the next, it counts with the first.
func (in *injected) spread(replays []*replay, nodes [][]node) bool {
	n := in.w.modelLayers()
	if n < 2 {
		return false
	}
	var names []string
	var of []*graph
	var ids []uint64
	for i, r := range replays {
		slices.SortFunc(nodes[i], func(a, b node) int { return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.id, b.id)) })
		for _, k := range nodes[i] {
			name := ""
			if k.name != noName {
				name = withoutNumber(in.names[k.name])
			}
			names, of, ids = append(names, name), append(of, r.graph), append(ids, k.id)
		}
	}
	if len(names) >= maxNodes {
		return false
	}
	first, period := repeated(names, n)
	for i := range n * period {
		of[first+i].layers[ids[first+i]] = int32(i / period)
	}
	return period > 0
}

// repeated finds names that follow each other n times: the most, from the first on.
func repeated(names []string, n int) (first, period int) {
	for period = len(names) / n; period > 0; period-- {
		for first = 0; first+n*period <= len(names); first++ {
			if again(names[first:first+n*period], period) {
				return first, period
			}
		}
	}
	return 0, 0
}

// again reports whether names come again after each period.
func again(names []string, period int) bool {
	for i := period; i < len(names); i++ {
		if names[i] != names[i-period] {
			return false
		}
	}
	return true
}

// withoutNumber is the name of a kernel that torch.compile made, without the number at
// its end: the first layer's has another than the rest's.
func withoutNumber(name string) string {
	if !strings.HasPrefix(name, "triton_") {
		return name
	}
	return strings.TrimRight(strings.TrimRight(name, "0123456789"), "_")
}

// layer is that of a node of the replay's graph.
func (r *replay) layer(node uint64) (layer int32, ok bool) {
	if r == nil || r.graph == nil {
		return 0, false
	}
	layer, ok = r.graph.layers[node]
	return layer, ok
}

// modelLayers is how many layers the worker's model has; 0: not known, or they are not
// all here.
func (w *worker) modelLayers() int {
	e := w.engine
	if e == nil || e.fact.PP > 1 {
		return 0
	}
	type config struct {
		Layers int `json:"num_hidden_layers"`
	}
	var c struct {
		config
		Text *config `json:"text_config"`
	}
	if json.Unmarshal(e.fact.ModelConfig, &c) != nil {
		return 0
	}
	if c.Text != nil {
		c.config = *c.Text
	}
	if c.Layers < 0 || c.Layers > maxNodes {
		return 0
	}
	return c.Layers
}
