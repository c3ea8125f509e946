package vllm

import (
	"slices"
	"strings"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/probes/cpython"
)

// Holders in record.Graph.
const (
	holderModel      = "model"
	holderPiecewise  = "piecewise"
	holderBreakable  = "breakable"
	holderUBatch     = "ubatch"
	holderEncoder    = "encoder"
	holderSpeculator = "speculator"
	holderOther      = "other"
)

// Modes in record.Graph.
const (
	modeFull      = "FULL"
	modePiecewise = "PIECEWISE"
)

const (
	// maxGraphs bounds the graphs of one process: 51 sizes in 100 pieces are 5,100.
	maxGraphs = 20000
	// maxHolders bounds the objects that are looked into for graphs.
	maxHolders = 20000
	// maxAttrs bounds the attributes of a holder; a model runner has some 200.
	maxAttrs = 4096
	// maxEntries bounds the entries of dicts and lists in one walk.
	maxEntries = 1 << 19
	// maxChain bounds wrappers around wrappers, and dicts in dicts.
	maxChain = 8
)

// graphRoots lead from the model runner to what holds graphs (VLLM-HOOKS §5.2),
// the more telling ones first: a graph is named by the first that has it.
var graphRoots = []struct {
	path   []string
	holder string
}{
	{[]string{"drafter"}, holderSpeculator},
	{[]string{"drafter", "model"}, holderSpeculator},
	{[]string{"speculator"}, holderSpeculator},
	{[]string{"speculator", "model"}, holderSpeculator},
	{[]string{"encoder_cudagraph_manager"}, holderEncoder},
	{[]string{"model_state", "encoder_runner"}, holderEncoder},
	{[]string{"cudagraph_manager"}, holderModel},
	{[]string{"model"}, holderModel},
	{[]string{"ubatch_runner"}, holderUBatch},
	{[]string{"model_state"}, holderOther},
	{nil, holderOther},
}

// wrapperClasses keep all their instances in a WeakSet, since 0.18.
var wrapperClasses = []struct{ module, class string }{
	{"vllm.compilation.cuda_graph", "CUDAGraphWrapper"},
	{"vllm.compilation.breakable_cudagraph", "BreakableCUDAGraphWrapper"},
}

// Graphs walks the process's objects for CUDA graphs. seen reports whether a
// cudaGraphExec_t was launched or instantiated in the process: that tells where
// in the C++ object the handle is. While it was true of none, Offset is -1 and
// no graph has an Exec.
func (w *Worker) Graphs(seen func(handle uint64) bool) (FoundGraphs, error) {
	g := graphWalk{
		rt: w.Python.Snapshot(pages), interp: w.interp,
		graphs: map[uint64]bool{}, holders: map[uint64]bool{}, types: map[uint64]string{}, keys: map[uint64]described{},
		partitions: map[uint64][]int{}, unnamed: map[string]int{},
	}
	runner, err := w.modelRunner(g.rt)
	var experts []int32
	if err == nil {
		g.fromRunner(runner)
		experts = runnerLayers(g.rt, runner)
	}
	enumerated := g.fromInstances()
	if !enumerated && runner != 0 {
		w.wrappers = g.fromModel(runner, w.wrappers)
	}
	if err != nil && len(g.found) == 0 {
		return FoundGraphs{Offset: w.offset}, err
	}
	g.numberPartitions()
	h := handles{rt: w.Python, seen: seen, unnamed: g.unnamed}
	graphs := h.read(g.found, &w.offset)
	return FoundGraphs{Offset: w.offset, Graphs: graphs, Unnamed: g.unnamed, MoELayers: experts}, nil
}

// MoELayers are the layers with experts of the model that the process runs, in the order of
// their execution; nil: none, or not known (yet).
func (w *Worker) MoELayers() []int32 {
	rt := w.Python.Snapshot(pages)
	runner, err := w.modelRunner(rt)
	if err != nil {
		return nil
	}
	return runnerLayers(rt, runner)
}

func runnerLayers(rt *cpython.Runtime, runner uint64) []int32 {
	config, err := rt.AttrPath(runner, "vllm_config")
	if err != nil {
		return nil
	}
	return moeLayers(rt, config)
}

// graphWalk is one look for graphs.
type graphWalk struct {
	rt      *cpython.Runtime // a snapshot
	interp  uint64
	found   []foundGraph
	graphs  map[uint64]bool // CUDAGraph objects
	holders map[uint64]bool // what was looked into
	types   map[uint64]string
	keys    map[uint64]described
	// partitions are found graphs by the module of the compiled code that they are of.
	partitions map[uint64][]int
	unnamed    map[string]int
	entries    int // looked at
	read       int // members, by reach
}

type foundGraph struct {
	obj   uint64
	graph record.Graph
}

type described struct {
	graph record.Graph
	err   error
}

// place is what is known of a graph before its key is read.
type place struct {
	holder, mode, key string
	piece, pieces     *int
	partition         uint64 // globals of the compiled code, 0: no partition
}

func (g *graphWalk) fromRunner(runner uint64) {
	for _, root := range graphRoots {
		obj, err := g.rt.AttrPath(runner, root.path...)
		if err != nil || g.rt.IsNone(obj) {
			continue
		}
		if !g.object(obj, root.holder, 0) {
			g.attributes(obj, root.holder, 0)
		}
	}
}

// fromInstances looks into all instances of the wrapper classes. false: a class
// is there, but does not keep them.
func (g *graphWalk) fromInstances() bool {
	all := true
	for _, c := range wrapperClasses {
		dict, err := g.rt.Module(g.interp, c.module)
		if err != nil {
			continue
		}
		class, err := g.rt.DictGet(dict, c.class)
		if err != nil {
			continue
		}
		set, err := g.rt.TypeAttr(class, "_all_instances")
		if err != nil {
			all = false
			continue
		}
		refs, err := g.rt.Attr(set, "data")
		if err != nil {
			g.unnamed["instances unreadable"]++
			continue
		}
		members, err := g.rt.Set(refs)
		if err != nil {
			g.unnamed["instances unreadable"]++
			continue
		}
		for _, ref := range members {
			if obj, err := g.rt.Weakref(ref); err == nil && obj != 0 {
				g.object(obj, holderModel, 0)
			}
		}
	}
	return all
}

// object looks into a wrapper or manager. false: it is neither.
func (g *graphWalk) object(obj uint64, holder string, depth int) bool {
	name := g.typeName(obj)
	switch {
	case depth > maxChain:
	case name == "CUDAGraphWrapper":
		g.wrapper(obj, holder, depth)
	case name == "BreakableCUDAGraphWrapper":
		g.breakable(obj, holder, depth)
	case name == "UBatchWrapper":
		// Its own graphs are of micro-batches; what it wraps is for whole batches.
		if inner, err := g.rt.Attr(obj, "cudagraph_wrapper"); err == nil {
			g.object(inner, holder, depth+1)
		}
		g.runnable(obj, holder, depth)
		if holder == holderModel {
			holder = holderUBatch
		}
		g.attributes(obj, holder, depth)
	case strings.Contains(name, "CudaGraphManager"), strings.Contains(name, "CUDAGraphManager"):
		g.attributes(obj, holder, depth)
	default:
		return false
	}
	return true
}

// enter reports whether obj is to be looked into: not twice, and not too many.
func (g *graphWalk) enter(obj uint64) bool {
	if g.holders[obj] {
		return false
	}
	if len(g.holders) >= maxHolders {
		g.unnamed["too many holders"]++
		return false
	}
	g.holders[obj] = true
	return true
}

// attributes looks for graphs, and for what holds them, among an object's attributes.
func (g *graphWalk) attributes(obj uint64, holder string, depth int) {
	if !g.enter(obj) {
		return
	}
	items, err := g.rt.Attrs(obj)
	if err != nil || len(items) > maxAttrs || !g.spend(len(items)) {
		g.unnamed["attributes unreadable"]++
		return
	}
	for _, it := range items {
		if g.object(it.Value, holder, depth+1) {
			continue
		}
		if t, err := g.rt.Type(it.Value); err == nil && t.IsDict() && g.holdsGraphs(it.Value, 0) {
			g.dict(it.Value, place{holder: holder, mode: modeFull}, 0)
		}
	}
}

// holdsGraphs judges a dict by its first value.
func (g *graphWalk) holdsGraphs(dict uint64, depth int) bool {
	if n, err := g.rt.DictLen(dict); err != nil || n == 0 || n > maxGraphs || depth > maxChain || !g.spend(n) {
		return false
	}
	items, err := g.rt.Dict(dict)
	if err != nil || len(items) == 0 {
		return false
	}
	first := items[0].Value
	if t, err := g.rt.Type(first); err == nil && t.IsDict() {
		return g.holdsGraphs(first, depth+1)
	}
	return g.graphIn(first) != 0
}

// dict adds the graphs of a dict {descriptor or other key: graph, or an object or
// tuple with one}.
func (g *graphWalk) dict(dict uint64, p place, depth int) {
	items, ok := g.items(dict)
	if !ok {
		return
	}
	for _, it := range items {
		if t, err := g.rt.Type(it.Value); err == nil && t.IsDict() && depth < maxChain {
			inner := p
			inner.key = strings.TrimPrefix(p.key+"/"+keyText(g.rt, it.Key, 0), "/")
			g.dict(it.Value, inner, depth+1)
			continue
		}
		if graph := g.graphIn(it.Value); graph != 0 {
			g.add(graph, it.Key, p)
		}
	}
}

// items reads a dict of graphs.
func (g *graphWalk) items(dict uint64) ([]cpython.DictItem, bool) {
	n, err := g.rt.DictLen(dict)
	if err == nil && n <= maxGraphs && g.spend(n) {
		if items, err := g.rt.Dict(dict); err == nil {
			return items, true
		}
	}
	g.unnamed["dict of graphs unreadable"]++
	return nil, false
}

// spend counts entries that are looked at. false: they would be too many.
func (g *graphWalk) spend(n int) bool {
	if g.entries+n > maxEntries {
		return false
	}
	g.entries += n
	return true
}

// graphIn gives the CUDAGraph that a dict's value is or has; 0: none (yet).
func (g *graphWalk) graphIn(obj uint64) uint64 {
	if g.isGraph(obj) {
		return obj
	}
	t, err := g.rt.Type(obj)
	if err != nil {
		return 0
	}
	if t.IsTuple() {
		items, err := g.rt.Tuple(obj)
		if err != nil || len(items) > maxFields {
			return 0
		}
		if i := slices.IndexFunc(items, g.isGraph); i >= 0 {
			return items[i]
		}
		return 0
	}
	if !t.IsHeap() {
		return 0
	}
	for _, name := range []string{"cudagraph", "graph"} {
		if at, err := g.rt.Attr(obj, name); err == nil && g.isGraph(at) {
			return at
		}
	}
	return 0
}

func (g *graphWalk) add(graph, key uint64, p place) {
	if g.graphs[graph] {
		return
	}
	if len(g.found) >= maxGraphs {
		g.unnamed["too many graphs"]++
		return
	}
	g.graphs[graph] = true
	d := g.describe(key)
	if d.err != nil {
		reason, ok := cpython.ReasonOf(d.err)
		if !ok {
			reason = cpython.Unsupported
		}
		g.unnamed["descriptor: "+reason.String()]++
		return
	}
	out := d.graph
	out.Holder, out.Piece, out.Pieces = p.holder, p.piece, p.pieces
	if out.Mode == "" {
		out.Mode = p.mode
	}
	if p.holder == holderEncoder && p.piece == nil {
		// A budget is no number of scheduled tokens.
		out.Key, out.NumTokens = strings.TrimPrefix(p.key+"/"+keyText(g.rt, key, 0), "/"), nil
	}
	if p.partition != 0 {
		g.partitions[p.partition] = append(g.partitions[p.partition], len(g.found))
	}
	g.found = append(g.found, foundGraph{obj: graph, graph: out})
}

// describe reads a key once: the pieces of a model share it.
func (g *graphWalk) describe(key uint64) described {
	d, ok := g.keys[key]
	if !ok {
		d.err = describe(g.rt, key, &d.graph)
		g.keys[key] = d
	}
	return d
}

func (g *graphWalk) isGraph(obj uint64) bool {
	name := g.typeName(obj)
	return name == "CUDAGraph" || name == "_CUDAGraph"
}

func (g *graphWalk) typeName(obj uint64) string {
	at, err := g.rt.TypeAddr(obj)
	if err != nil {
		return ""
	}
	name, ok := g.types[at]
	if !ok {
		if t, err := g.rt.TypeAt(at); err == nil {
			name = t.Name[strings.LastIndexByte(t.Name, '.')+1:]
		}
		g.types[at] = name
	}
	return name
}

// enumName gives the name of the enum member in an attribute; "": it is none.
func (g *graphWalk) enumName(obj uint64, attr string) string {
	at, err := g.rt.Attr(obj, attr)
	if err != nil || g.rt.IsNone(at) {
		return ""
	}
	e, err := g.rt.Enum(at)
	if err != nil {
		return ""
	}
	return e.Name
}
