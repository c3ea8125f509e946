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

// layers are the transformer layers that a graph's kernels are of, by node; empty: not
// known. The layers of a model run the same kernels one after the other, so a graph of
// the whole model is the same names again and again, as often as there are layers.
// Where a kernel is the end of one layer and the beginning of the next, it counts with
// the first.
func (in *injected) layers(r *replay, nodes []node) map[uint64]int32 {
	found := map[uint64]int32{}
	if r.graph.name == nil || !r.graph.model || r.graph.name.Mode != modeFull || in.w == nil {
		return found
	}
	n := in.w.modelLayers()
	if n < 2 || len(nodes) >= maxNodes {
		return found
	}
	slices.SortFunc(nodes, func(a, b node) int { return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.id, b.id)) })
	names := make([]string, len(nodes))
	for i := range nodes {
		if nodes[i].name != noName {
			names[i] = withoutNumber(in.names[nodes[i].name])
		}
	}
	first, period := repeated(names, n)
	for i := range n * period {
		found[nodes[first+i].id] = int32(i / period)
	}
	return found
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
