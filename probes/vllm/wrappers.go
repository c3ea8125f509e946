package vllm

import (
	"strconv"
	"strings"
)

// wrapper looks into a CUDAGraphWrapper: a whole model's, or a piece's of one.
func (g *graphWalk) wrapper(obj uint64, holder string, depth int) {
	if !g.enter(obj) {
		return
	}
	p := place{holder: holder, mode: g.enumName(obj, "runtime_mode")}
	if p.mode == modePiecewise {
		p.holder = holderPiecewise
		g.piece(obj, &p)
	}
	if entries, err := g.rt.Attr(obj, "concrete_cudagraph_entries"); err == nil {
		g.dict(entries, p, 0)
	} else {
		g.unnamed["wrapper without entries"]++
	}
	g.runnable(obj, holder, depth)
}

func (g *graphWalk) runnable(obj uint64, holder string, depth int) {
	if inner, err := g.rt.Attr(obj, "runnable"); err == nil {
		g.object(inner, holder, depth+1)
	}
}

// piece finds which piece of which model a wrapper is: a PiecewiseBackend knows
// its own place among the pieces, in the order of execution. A partition that
// Inductor cut is a function partition_N.
func (g *graphWalk) piece(wrapper uint64, p *place) {
	obj, err := g.rt.Attr(wrapper, "runnable")
	if err != nil {
		return
	}
	if g.typeName(obj) == "function" {
		fn, err := g.rt.Function(obj)
		if err != nil {
			return
		}
		if n, ok := partitionIndex(fn.Qualname); ok {
			p.piece, p.partition = &n, fn.Globals
		}
		return
	}
	p.piece = g.number(obj, "piecewise_compile_index")
	p.pieces = g.number(obj, "total_piecewise_compiles")
	if flag, err := g.rt.Attr(obj, "is_encoder_compilation"); err == nil {
		if v, err := g.rt.Bool(flag); err == nil && v {
			p.holder = holderEncoder
		}
	}
	if at, err := g.rt.AttrPath(obj, "vllm_backend", "prefix"); err == nil {
		if prefix, err := g.rt.Str(at); err == nil && isDraftPrefix(prefix) {
			p.holder = holderSpeculator
		}
	}
}

// isDraftPrefix knows the tags under which vLLM compiles models that draft.
func isDraftPrefix(prefix string) bool {
	return strings.HasSuffix(prefix, "_head") || prefix == "draft_model" || prefix == "extract_hidden_states"
}

func (g *graphWalk) number(obj uint64, name string) *int {
	at, err := g.rt.Attr(obj, name)
	if err != nil {
		return nil
	}
	n, err := g.rt.Int(at)
	if err != nil || n < 0 || n > maxGraphs {
		return nil
	}
	v := int(n)
	return &v
}

// numberPartitions gives the pieces of Inductor's partitions their number: as
// many as the code that they are of has.
func (g *graphWalk) numberPartitions() {
	for _, of := range g.partitions {
		total := 0
		for _, i := range of {
			total = max(total, *g.found[i].graph.Piece+1)
		}
		for _, i := range of {
			g.found[i].graph.Pieces = &total
		}
	}
}

// breakable looks into a BreakableCUDAGraphWrapper, whose captures are lists of
// what is to be run: methods CUDAGraph.replay, and functions for what is eager.
func (g *graphWalk) breakable(obj uint64, holder string, depth int) {
	if !g.enter(obj) {
		return
	}
	if holder == holderModel {
		holder = holderBreakable
	}
	mode := g.enumName(obj, "runtime_mode")
	entries, err := g.rt.Attr(obj, "entries")
	if err != nil {
		g.unnamed["wrapper without entries"]++
		return
	}
	items, ok := g.items(entries)
	if !ok {
		return
	}
	for _, it := range items {
		segments, err := g.rt.AttrPath(it.Value, "capture", "segments")
		if err != nil {
			continue // not captured yet
		}
		g.segments(segments, it.Key, place{holder: holder, mode: mode})
	}
	g.runnable(obj, holderModel, depth)
}

func (g *graphWalk) segments(list, key uint64, p place) {
	items, err := g.rt.List(list)
	if err != nil || !g.spend(len(items)) {
		g.unnamed["segments unreadable"]++
		return
	}
	var graphs []uint64
	for _, it := range items {
		if self, _, err := g.rt.Method(it); err == nil && g.isGraph(self) {
			graphs = append(graphs, self)
		}
	}
	total := len(graphs)
	if p.mode == "" {
		// The wrapper is for every mode; only a FULL batch has a number of requests.
		p.mode = modePiecewise
		if d := g.describe(key); d.err == nil && d.graph.NumReqs != nil && total == 1 {
			p.mode = modeFull
		}
	}
	for i, graph := range graphs {
		p.piece, p.pieces = &i, &total
		g.add(graph, key, p)
	}
}

// partitionIndex reads the number in the name that Inductor gives to the
// function of a partition: partition_3.
func partitionIndex(qualname string) (int, bool) {
	digits, ok := strings.CutPrefix(qualname[strings.LastIndexByte(qualname, '.')+1:], "partition_")
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(digits)
	return n, err == nil && n >= 0 && n < maxGraphs
}
