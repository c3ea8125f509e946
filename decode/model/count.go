package model

// counts are numbers of weights by where they are, of one layer or a model.
type counts struct {
	quantised float64 // linear layers that quantisation is about
	plain     float64 // norms, biases, routers
}

func (c *counts) add(o counts, times float64) {
	c.quantised += o.quantised * times
	c.plain += o.plain * times
}

func (c counts) sum() float64 { return c.quantised + c.plain }

// share is what of n heads one of size GPUs holds.
func share(n, size int) float64 { return float64(max(n, size)) / float64(n) / float64(size) }

// attention is one layer's on one of size GPUs: its share of the heads, KV heads
// repeated if there are fewer than GPUs. products are the weights that each
// token is multiplied with.
func (c *Config) attention(size int) (n counts, products float64) {
	h, heads := float64(c.Hidden), float64(c.Heads)*share(c.Heads, size)
	if m := c.MLA; m != nil {
		nope, rope, v, rank := float64(m.NopeDim), float64(m.RopeDim), float64(m.VDim), float64(m.KVRank)
		if q := float64(m.QRank); q > 0 {
			n.quantised += h*q + q*heads*(nope+rope)
			n.plain += q
		} else {
			n.quantised += h * heads * (nope + rope)
		}
		n.quantised += h*(rank+rope) + rank*heads*(nope+v) + heads*v*h
		n.plain += rank
		return n, n.quantised
	}
	d, kv := float64(c.HeadDim), float64(c.KVHeads)*share(c.KVHeads, size)
	n.quantised = h*heads*d*2 + h*kv*d*2
	if c.AttentionBias {
		n.plain += (heads + 2*kv) * d
	}
	if c.OutputBias {
		n.plain += h
	}
	if c.QKNorm {
		n.plain += 2 * d
	}
	if c.Sinks {
		n.plain += heads
	}
	return n, n.quantised
}

// mlp is a gated one, on one of size GPUs.
func (c *Config) mlp(intermediate, size int, bias bool) (n counts) {
	i := float64(intermediate) / float64(size)
	n.quantised = 3 * float64(c.Hidden) * i
	if bias {
		n.plain = 2*i + float64(c.Hidden)
	}
	return n
}

// router is one layer's, with the gate of the shared experts: on each GPU.
func (c *Config) router() (n counts) {
	m := c.MoE
	n.plain = float64(c.Hidden) * float64(m.Experts)
	if m.RouterBias {
		n.plain += float64(m.Experts)
	}
	if m.SharedGate {
		n.plain += float64(c.Hidden)
	}
	return n
}

// layers are all but embedding, head and last norm, on one of size GPUs, with so
// many experts a layer.
func (c *Config) layers(size int, experts float64) (n counts) {
	attention, _ := c.attention(size)
	n.add(attention, float64(c.Layers))
	n.plain += float64(c.Layers*c.Norms) * float64(c.Hidden)
	dense := c.Layers
	if m := c.MoE; m != nil {
		dense -= m.Layers
		n.add(c.router(), float64(m.Layers))
		n.add(c.mlp(m.Intermediate, size, m.ExpertBias), float64(m.Layers)*experts)
		n.add(c.mlp(m.SharedIntermediate, size, false), float64(m.Layers))
	}
	n.add(c.mlp(c.Intermediate, size, c.MLPBias), float64(dense))
	return n
}

// Params is the number of weights, drafters and towers not counted.
func (c *Config) Params() float64 {
	experts := 0.
	if c.MoE != nil {
		experts = float64(c.MoE.Experts)
	}
	return c.layers(1, experts).sum() + c.ends()
}

// ActiveParams is the number of weights that a token has to do with, embedding
// and head counted in full, as models' names have it.
func (c *Config) ActiveParams() float64 {
	experts := 0.
	if c.MoE != nil {
		experts = float64(c.MoE.TopK)
	}
	return c.layers(1, experts).sum() + c.ends()
}

// ends are embedding, head and last norm.
func (c *Config) ends() float64 {
	table := float64(c.Vocab) * float64(c.Hidden)
	if c.Tied {
		return table + float64(c.Hidden)
	}
	return 2*table + float64(c.Hidden)
}
