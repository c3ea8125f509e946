package vllm

import "github.com/pmtrace/pmtrace/probes/cpython"

const (
	// maxReached bounds the objects that are walked over from a model to its wrappers.
	maxReached = 100_000
	// maxMembers bounds the members of one object that are followed.
	maxMembers = 1024
	// maxRead bounds the members that are read in one walk.
	maxRead = 1 << 22
)

// fromModel finds the wrappers of vLLM before 0.18, which keeps no list of them:
// those of pieces are attributes of a split GraphModule, which torch.compile's
// callables lead to through closures. known are those of the last look; the
// search is not done again while they live.
func (g *graphWalk) fromModel(runner uint64, known []uint64) []uint64 {
	alive := known[:0:0]
	for _, obj := range known {
		if g.object(obj, holderModel, 0) {
			alive = append(alive, obj)
		}
	}
	if len(alive) > 0 {
		return alive
	}
	for _, name := range []string{"model", "drafter", "speculator"} {
		if obj, err := g.rt.Attr(runner, name); err == nil {
			alive = g.reach(obj, alive)
		}
	}
	return alive
}

// reach walks from an object over attributes, items, closures and methods.
func (g *graphWalk) reach(from uint64, found []uint64) []uint64 {
	queue := []uint64{from}
	known := map[uint64]bool{from: true}
	for len(queue) > 0 {
		obj := queue[0]
		queue = queue[1:]
		if g.typeName(obj) == "CUDAGraphWrapper" {
			g.object(obj, holderModel, 0)
			found = append(found, obj)
		}
		members := g.members(obj)
		if g.read += len(members); g.read > maxRead {
			g.unnamed["model too large to search"]++
			return found
		}
		for _, m := range members[:min(len(members), maxMembers)] {
			if m == 0 || known[m] {
				continue
			}
			if len(known) >= maxReached {
				g.unnamed["model too large to search"]++
				return found
			}
			known[m] = true
			queue = append(queue, m)
		}
	}
	return found
}

// members gives the objects right behind obj that may lead to a wrapper.
func (g *graphWalk) members(obj uint64) []uint64 {
	t, err := g.rt.Type(obj)
	if err != nil {
		return nil
	}
	var out []uint64
	switch {
	case t.IsType(), t.IsStr(), t.IsInt(), t.Name == "module", t.Name == "Tensor", t.Name == "Parameter":
		return nil
	case t.IsDict():
		if n, err := g.rt.DictLen(obj); err == nil && n <= maxMembers {
			items, _ := g.rt.Dict(obj)
			out = values(items)
		}
	case t.IsList():
		if n, err := g.rt.ListLen(obj); err == nil && n <= maxMembers {
			out, _ = g.rt.List(obj)
		}
	case t.IsTuple():
		out, _ = g.rt.Tuple(obj)
	case t.Name == "function":
		if fn, err := g.rt.Function(obj); err == nil {
			out, _ = g.rt.ClosureCells(fn)
			out = append(out, fn.Dict)
		}
	case t.Name == "method":
		if self, fn, err := g.rt.Method(obj); err == nil {
			out = []uint64{self, fn}
		}
	default:
		items, _ := g.rt.Attrs(obj)
		out = values(items)
	}
	return out
}

func values(items []cpython.DictItem) []uint64 {
	out := make([]uint64, len(items))
	for i, it := range items {
		out[i] = it.Value
	}
	return out
}
