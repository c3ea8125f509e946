package join

// layerPieces finds the layers of a model whose graphs are PIECEWISE, once the last piece of
// a forward pass is told whole: the pieces one after the other are the model, without what
// runs between them (attention). Each piece but the first begins in the layer before it.
func (in *injected) layerPieces(last *replay) {
	name := last.graph.name
	if last.run == nil || last.graph.text == nil || *name.Piece != *name.Pieces-1 {
		return
	}
	pieces := last.run.pieces(last)
	if pieces == nil {
		return
	}
	nodes := make([][]node, len(pieces))
	for i, r := range pieces {
		if r.nodes == nil {
			return // not told whole
		}
		nodes[i] = r.nodes
	}
	for _, r := range pieces {
		r.graph.layers, r.nodes = map[uint64]int32{}, nil
	}
	if !in.spread(pieces, nodes) || len(pieces) != in.w.modelLayers()+1 {
		return
	}
	for i, r := range pieces[:len(pieces)-1] {
		layer := int32(i)
		if r.touches(nodes[i], layer) && pieces[i+1].touches(nodes[i+1], layer) {
			r.graph.behind = &layer
		}
	}
}

// pieces are the launches of the forward pass that ends with a launch: all pieces of one
// size, in their order; nil: they are not that.
func (r *run) pieces(last *replay) []*replay {
	n := *last.graph.name.Pieces
	if n < 2 || n > len(r.launches) {
		return nil
	}
	at := len(r.launches) - 1
	for at >= 0 && r.launches[at].replay != last {
		at--
	}
	if at < n-1 {
		return nil
	}
	out := make([]*replay, n)
	for i, l := range r.launches[at-n+1 : at+1] {
		g := l.graph.name
		if l.replay == nil || g == nil || g.Piece == nil || *g.Piece != i || g.Holder != last.graph.name.Holder || l.graph.text == nil || *l.graph.text != *last.graph.text {
			return nil
		}
		out[i] = l.replay
	}
	return out
}

// touches reports whether some of the nodes are of a layer.
func (r *replay) touches(nodes []node, layer int32) bool {
	for _, n := range nodes {
		if l, ok := r.graph.layers[n.id]; ok && l == layer {
			return true
		}
	}
	return false
}

// awaitsPieces reports whether the layers of a piece's kernels may be known when the pieces
// behind it are told.
func (r *replay) awaitsPieces() bool {
	if r == nil || r.nodes == nil || r.run == nil {
		return false
	}
	for i := range r.run.launches {
		l := &r.run.launches[i]
		if g := l.graph.name; g != nil && g.Piece != nil && l.replay != nil && !l.replay.edge && l.replay.waits(r.run.w) {
			return true
		}
	}
	return false
}

// layerBehind is the layer of what is launched between a replay of a piece and the next.
func (r *replay) layerBehind() *int32 {
	if r == nil || r.graph == nil {
		return nil
	}
	return r.graph.behind
}
