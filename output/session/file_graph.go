package session

import (
	"cmp"
	"slices"

	"github.com/pmtrace/pmtrace/decode/record"
)

// graphFiles has one line a (mode, descriptor) that was captured, one that was
// replayed, and one a replay. Pieces of a PIECEWISE graph and the same graph of
// several workers are one (mode, descriptor).
func graphFiles(out *outputs, _ *Facts) Visitor {
	captures := out.csv(FileGraphCaptures, headerCaptures)
	usage := out.csv(FileGraphUsage, headerGraphUsage)
	timeline := out.csv(FileGraphTimeline, headerTimeline)
	list := describedGraphs{}
	return Visitor{
		Graph: func(r *record.GraphRow) error { list.add(r); return nil },
		GraphLaunch: func(r *record.GraphLaunchRow) error {
			timeline.sec(r.LaunchNS)
			if r.Descriptor != nil {
				timeline.text(*r.Descriptor)
			} else {
				timeline.none()
			}
			timeline.optMS(r.DurNS).end()
			return timeline.err
		},
		Done: func() error {
			for _, g := range list.byCapture() {
				g.fields(captures)
				if g.captureNS != nil {
					captures.sec(*g.captureNS)
				} else {
					captures.none()
				}
				captures.end()
			}
			for _, g := range list.byUse() {
				g.fields(usage)
				usage.int(g.launches).end()
			}
			return cmp.Or(captures.err, usage.err)
		},
	}
}

// descriptor is what names a graph in those files; mode "" is None.
type descriptor struct {
	named              bool // a holder of the graph was found; all fields may be missing of those, too
	mode               string
	numTokens, numReqs optional[int32]
	uniform, hasLora   optional[bool]
}

type optional[T any] struct {
	known bool
	value T
}

func optionalOf[T any](v *T) optional[T] {
	if v == nil {
		return optional[T]{}
	}
	return optional[T]{true, *v}
}

func (o optional[T]) pointer() *T {
	if !o.known {
		return nil
	}
	return &o.value
}

func descriptorOf(r *record.GraphRow) descriptor {
	d := descriptor{
		named:     r.Mode != nil || r.Holder != nil,
		numTokens: optionalOf(r.NumTokens), numReqs: optionalOf(r.NumReqs),
		uniform: optionalOf(r.Uniform), hasLora: optionalOf(r.HasLora),
	}
	if r.Mode != nil {
		d.mode = *r.Mode
	}
	return d
}

// compare orders by mode and size; what is missing comes first.
func (d descriptor) compare(o descriptor) int {
	return cmp.Or(
		cmp.Compare(d.mode, o.mode),
		compareOptional(d.numTokens, o.numTokens), compareOptional(d.numReqs, o.numReqs),
		compareBool(d.uniform, o.uniform), compareBool(d.hasLora, o.hasLora), compareTruth(d.named, o.named),
	)
}

func compareOptional[T cmp.Ordered](a, b optional[T]) int {
	return cmp.Or(compareTruth(a.known, b.known), cmp.Compare(a.value, b.value))
}

func compareBool(a, b optional[bool]) int {
	return cmp.Or(compareTruth(a.known, b.known), compareTruth(a.value, b.value))
}

func compareTruth(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// describedGraph is what is known of all graphs of a descriptor.
type describedGraph struct {
	descriptor
	captureNS *int64 // the first capture's begin; nil: before tracing
	execs     int64
	launches  int64
}

func (g *describedGraph) fields(csv *csvFile) {
	if g.mode == "" {
		csv.none()
	} else {
		csv.text(g.mode)
	}
	csv.intOrNone(g.numTokens.pointer()).intOrNone(g.numReqs.pointer()).boolOrNone(g.uniform.pointer()).boolOrNone(g.hasLora.pointer())
}

// describedGraphs are the graphs that are of use, by descriptor: those captured
// to measure memory are not in it. vLLM captures hundreds.
type describedGraphs map[descriptor]*describedGraph

func (l describedGraphs) add(r *record.GraphRow) {
	if r.Throwaway {
		return
	}
	d := descriptorOf(r)
	g := l[d]
	if g == nil {
		g = &describedGraph{descriptor: d}
		l[d] = g
	}
	g.execs++
	g.launches += r.Launches
	// Tracing may have begun within the capture.
	at := cmp.Or(r.CaptureNS, r.CapturedNS, r.InstantiatedNS)
	if at != nil && (g.captureNS == nil || *at < *g.captureNS) {
		g.captureNS = new(*at)
	}
}

// byCapture returns those that a holder names, in the order of their capture; those
// captured before tracing come last.
func (l describedGraphs) byCapture() []*describedGraph {
	var list []*describedGraph
	for _, g := range l {
		if g.named {
			list = append(list, g)
		}
	}
	slices.SortFunc(list, func(a, b *describedGraph) int {
		if a.captureNS != nil && b.captureNS != nil {
			return cmp.Or(cmp.Compare(*a.captureNS, *b.captureNS), a.compare(b.descriptor))
		}
		return cmp.Or(compareTruth(a.captureNS == nil, b.captureNS == nil), a.compare(b.descriptor))
	})
	return list
}

// byUse returns those that were launched, most used first. Launches of graphs
// without a name are one of them.
func (l describedGraphs) byUse() []*describedGraph {
	var list []*describedGraph
	for _, g := range l {
		if g.launches > 0 {
			list = append(list, g)
		}
	}
	slices.SortFunc(list, func(a, b *describedGraph) int {
		return cmp.Or(cmp.Compare(b.launches, a.launches), a.compare(b.descriptor))
	})
	return list
}
