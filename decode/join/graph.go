package join

import (
	"cmp"
	"slices"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/decode/wire"
)

// graph is one incarnation of a cudaGraphExec_t: handles are used again.
type graph struct {
	id       int32
	exec     uint64
	name     *record.Graph // nil: no holder was found (yet)
	mode     *string
	text     *string // descriptor
	tokens   int32   // num_tokens; -1: none
	model    bool    // the model's own
	piece    *int32
	launches int64
	usual    int64            // GPU time of steps with it
	learned  int64            // of so many steps
	layers   map[uint64]int32 // of its kernels, by node; nil: none of its replays was told whole
	behind   *int32           // layer of what runs between it, a piece, and the next one; nil: not known

	capture      capture
	instantiated int64 // unset: before tracing
	destroyed    int64
	throwaway    bool
}

// capture is what is known of the making of a graph.
type capture struct {
	stream     uint64
	begin, end int64
	throwaway  bool
}

// overflow is the graph of launches beyond maxGraphs.
var overflow = graph{id: -1, tokens: -1}

func (w *worker) newGraph(exec uint64) *graph {
	if len(w.graphs) >= maxGraphs {
		w.j.losses.add(lossKey{-1, "graphs", "too_many"}, w.j.now, w.j.now, 1)
		g := overflow
		return &g
	}
	g := &graph{id: w.j.nextGraph, exec: exec, tokens: -1, instantiated: unset, destroyed: unset, capture: capture{begin: unset, end: unset}}
	w.j.nextGraph++
	w.j.stats.Graphs++
	w.graphs[exec] = g
	return g
}

// graphOf is the graph that a handle means now.
func (w *worker) graphOf(exec uint64) *graph {
	if g := w.graphs[exec]; g != nil {
		return g
	}
	return w.newGraph(exec)
}

func (w *worker) captureBegin(th *thread, ev *wire.Call, t int64) {
	th.capture = capture{stream: ev.A, begin: t, end: unset, throwaway: ev.Flags&wire.CallThrowaway != 0}
}

func (w *worker) captureEnd(th *thread, ev *wire.Call, t int64) {
	c := th.capture
	th.capture = capture{begin: unset, end: unset}
	if ev.Flags&wire.CallFailed != 0 {
		return
	}
	if c.stream != ev.A || c.begin == unset {
		c = capture{stream: ev.A, begin: unset}
	}
	c.end = t
	c.throwaway = c.throwaway || ev.Flags&wire.CallThrowaway != 0
	if len(w.captures) >= maxCaptures {
		clear(w.captures) // graphs that are never instantiated
	}
	w.captures[ev.B] = c
}

// instantiate begins a new incarnation of the handle.
func (w *worker) instantiate(ev *wire.Call, t int64) {
	if ev.Flags&wire.CallFailed != 0 || ev.A == 0 {
		return
	}
	w.destroy(ev.A, unset) // its end was not seen
	g := w.newGraph(ev.A)
	g.instantiated = t
	g.throwaway = ev.Flags&wire.CallThrowaway != 0
	if c, ok := w.captures[ev.B]; ok {
		g.capture = c
		g.throwaway = g.throwaway || c.throwaway
		delete(w.captures, ev.B)
	}
}

// destroy ends what a handle means; t unset: at a time that is not known.
func (w *worker) destroy(exec uint64, t int64) {
	g := w.graphs[exec]
	if g == nil {
		return
	}
	delete(w.graphs, exec)
	g.destroyed = t
	if len(w.gone) >= maxGraphs {
		clear(w.gone)
	}
	w.gone[exec] = w.j.clock
	w.emitGraph(g)
}

// found takes a reading of the graphs in the worker's objects.
func (w *worker) found(f *record.Graphs) {
	at := f.MonoNS - w.j.base
	if len(f.MoELayers) > 0 {
		w.routed = f.MoELayers
	}
	for i := range f.Graphs {
		name := &f.Graphs[i]
		g := w.graphs[name.Exec]
		if name.Exec == 0 || g != nil && g.instantiated != unset && g.instantiated > at {
			continue // it was another graph when it was read
		}
		if gone, ok := w.gone[name.Exec]; ok && g == nil && gone >= at {
			continue
		}
		if g != nil && g.name != nil && g.launches > 0 && !sameGraph(g.name, name) {
			w.destroy(name.Exec, unset) // a new graph, made unseen
			g = nil
		}
		if g == nil {
			g = w.newGraph(name.Exec)
		}
		g.call(name, w.j.ptr)
	}
}

// sameGraph reports whether two readings name the same graph.
func sameGraph(a, b *record.Graph) bool {
	return a.Holder == b.Holder && a.Key == b.Key && descriptor(a) == descriptor(b) && number(a.Piece) == number(b.Piece)
}

// call gives a graph its name.
func (g *graph) call(name *record.Graph, ptr *nullable) {
	if g.name != nil && sameGraph(g.name, name) {
		return
	}
	n := *name
	g.name, g.mode, g.text, g.tokens = &n, nil, nil, -1
	if n.Mode != "" {
		text := descriptor(&n)
		g.mode, g.text = &n.Mode, &text
	}
	if n.NumTokens != nil && *n.NumTokens >= 0 && *n.NumTokens < 1<<31 {
		g.tokens = int32(*n.NumTokens)
	}
	g.model = ofModel(n.Holder)
	g.piece = ptr.narrow(n.Piece)
}

func (w *worker) emitGraph(g *graph) {
	ptr := w.j.ptr
	row := &w.j.rows.graph
	*row = record.GraphRow{
		GraphID: g.id, Worker: w.id, Engine: w.enginePtr(), Rank: ptr.narrow(w.fact.Rank), Exec: g.exec,
		CaptureNS: ptr.time(g.capture.begin), CapturedNS: ptr.time(g.capture.end),
		InstantiatedNS: ptr.time(g.instantiated), DestroyedNS: ptr.time(g.destroyed),
		Throwaway: g.throwaway, Launches: g.launches,
	}
	if n := g.name; n != nil {
		row.Holder, row.Mode, row.Descriptor = text(n.Holder), g.mode, g.text
		row.NumTokens, row.NumReqs, row.Uniform, row.HasLora = ptr.narrow(n.NumTokens), ptr.narrow(n.NumReqs), n.Uniform, hasLora(n)
		row.UniformTokenCount, row.NumActiveLoras = ptr.narrow(n.UniformTokenCount), ptr.narrow(n.NumActiveLoras)
		row.MaxQueryLen, row.NumUbatches = ptr.narrow(n.MaxQueryLen), ptr.narrow(n.NumUbatches)
		row.Piece, row.Pieces, row.Key = g.piece, ptr.narrow(n.Pieces), text(n.Key)
	}
	w.j.check(w.j.sink.Graph(row))
}

// closeGraphs hands on the graphs that are left, in the order of their ids.
func (w *worker) closeGraphs() {
	left := make([]*graph, 0, len(w.graphs))
	for _, g := range w.graphs {
		left = append(left, g)
	}
	slices.SortFunc(left, func(a, b *graph) int { return cmp.Compare(a.id, b.id) })
	for _, g := range left {
		w.emitGraph(g)
	}
	clear(w.graphs)
}
