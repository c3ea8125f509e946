package model

import (
	"errors"
	"fmt"
	"math"
)

// Setup is how a model is served.
type Setup struct {
	TensorParallel int   // 0: 1
	KVCache        DType // empty: the model's
}

// Step is one step's batch.
type Step struct {
	Requests []Request
	// Sampled is the number of tokens whose logits are computed.
	Sampled int
	// Experts are the distinct experts that the tokens of each MoE layer went
	// to, where they were counted. Otherwise an expectation stands for them.
	Experts []int
}

// Request is a request in a step.
type Request struct {
	Computed  int // tokens in the KV cache before
	Scheduled int // tokens of this step
}

// Work is what a step must do on each GPU.
type Work struct {
	WeightBytes  float64
	KVReadBytes  float64
	KVWriteBytes float64
	FLOPs        float64
	// Products is the type that most of the operations have; a GPU without it
	// does them in the next larger one.
	Products DType
	// Estimates are the assumptions that figures rest on; none: they are exact.
	Estimates []string
}

// Bytes are all that must go through the GPU's memory.
func (w *Work) Bytes() float64 { return w.WeightBytes + w.KVReadBytes + w.KVWriteBytes }

var errStep = errors.New("model: a step of negative or absurd size")

// Work computes what a step must do on each of the GPUs.
func (c *Config) Work(setup Setup, step Step) (*Work, error) {
	size := max(setup.TensorParallel, 1)
	if size > 1024 || c.Heads%size != 0 {
		return nil, unknown("how %d heads are divided among %d GPUs", c.Heads, size)
	}
	cache := setup.KVCache
	if cache == "" {
		cache = c.DType
	}
	if math.IsNaN(cache.Bytes()) {
		return nil, unknown("a KV cache of %q", cache)
	}
	w := &Work{Products: c.DType}
	if c.Quantization.Bits > 0 {
		w.Products = c.Quantization.Products
		if c.Quantization.Partly {
			w.estimate("modules that are not quantised are counted as if they were")
		}
	}
	tokens := 0
	for _, r := range step.Requests {
		if r.Computed < 0 || r.Scheduled < 0 || r.Computed > 1<<30 || r.Scheduled > 1<<30 {
			return nil, errStep
		}
		tokens += r.Scheduled
	}
	if step.Sampled < 0 || step.Sampled > tokens {
		return nil, errStep
	}
	if tokens == 0 {
		return w, nil
	}
	experts, err := c.touched(w, step, tokens)
	if err != nil {
		return nil, err
	}
	c.weights(w, size, float64(tokens), float64(step.Sampled), experts)
	for _, r := range step.Requests {
		c.context(w, size, cache.Bytes(), r)
	}
	return w, nil
}

func (w *Work) estimate(format string, args ...any) {
	w.Estimates = append(w.Estimates, fmt.Sprintf(format, args...))
}

// touched is the mean number of distinct experts a layer.
func (c *Config) touched(w *Work, step Step, tokens int) (float64, error) {
	if c.MoE == nil || c.MoE.Layers == 0 {
		return 0, nil
	}
	n, k := float64(c.MoE.Experts), float64(c.MoE.TopK)
	if len(step.Experts) == 0 {
		if tokens == 1 {
			return k, nil
		}
		w.estimate("%.4g of %g experts a layer read: as many as are expected if each token chose at random",
			ExpectedExperts(c.MoE.Experts, c.MoE.TopK, tokens), n)
		return ExpectedExperts(c.MoE.Experts, c.MoE.TopK, tokens), nil
	}
	sum := 0.
	for _, e := range step.Experts {
		if e < 0 || e > c.MoE.Experts {
			return 0, errStep
		}
		sum += float64(e)
	}
	if len(step.Experts) != c.MoE.Layers {
		return 0, fmt.Errorf("model: experts of %d layers, there are %d with experts", len(step.Experts), c.MoE.Layers)
	}
	return sum / float64(len(step.Experts)), nil
}

// ExpectedExperts is how many of a layer's experts at least one of the tokens
// chooses, if each chooses topK of them at random. Real ones choose less evenly:
// they touch fewer.
func ExpectedExperts(experts, topK, tokens int) float64 {
	n := float64(experts)
	return n * (1 - math.Pow(1-float64(topK)/n, float64(tokens)))
}

// weights counts what all tokens share: weights read once, and multiplied with
// each token.
func (c *Config) weights(w *Work, size int, tokens, sampled, experts float64) {
	plain := c.DType.Bytes()
	linear := plain
	if c.Quantization.Bits > 0 {
		linear = c.Quantization.Bits / 8
	}
	read := c.layers(size, experts)
	if c.Quantization.ExpertsOnly && c.MoE != nil {
		experts := c.mlp(c.MoE.Intermediate, size, c.MoE.ExpertBias).quantised * experts * float64(c.MoE.Layers)
		read.plain += read.quantised - experts
		read.quantised = experts
	}
	head := float64(c.Vocab) * float64(c.Hidden) / float64(size)
	h := float64(c.Hidden)
	w.WeightBytes = read.quantised*linear + read.plain*plain + h*plain // the last norm
	w.WeightBytes += tokens * h / float64(size) * plain                // rows of the embedding
	if sampled > 0 {
		w.WeightBytes += head * plain
	}

	_, products := c.attention(size)
	active := products * float64(c.Layers)
	dense := c.Layers
	if m := c.MoE; m != nil {
		dense -= m.Layers
		active += float64(m.Layers) * (h*float64(m.Experts) + // the router
			float64(m.TopK)*c.mlp(m.Intermediate, size, false).quantised + c.mlp(m.SharedIntermediate, size, false).quantised)
	}
	active += float64(dense) * c.mlp(c.Intermediate, size, false).quantised
	w.FLOPs = 2*active*tokens + 2*head*sampled
}

// context counts what a request's own context costs: KV entries, and attention
// over them, causal and within the window.
func (c *Config) context(w *Work, size int, bytes float64, r Request) {
	if r.Scheduled == 0 {
		return
	}
	s, heads := float64(r.Scheduled), float64(c.Heads)*share(c.Heads, size)
	entry := 2 * float64(c.KVHeads) * share(c.KVHeads, size) * float64(c.HeadDim) // numbers a token and layer
	pair := 2 * heads * 2 * float64(c.HeadDim)                                    // operations a query and key: Q·K and P·V
	if m := c.MLA; m != nil {
		entry = float64(m.KVRank + m.RopeDim) // the same on each GPU
		pair = 2 * heads * float64(m.NopeDim+m.RopeDim+m.VDim)
		if r.Scheduled == 1 { // in the latent space, with kv_b absorbed
			pair = 2 * heads * float64(2*m.KVRank+m.RopeDim)
		} else { // the context's keys and values are unfolded again
			w.FLOPs += 2 * float64(m.KVRank) * heads * float64(m.NopeDim+m.VDim) * float64(r.Computed) * float64(c.Layers)
		}
	}
	for _, group := range []struct{ layers, window int }{{c.Layers - c.WindowLayers, 0}, {c.WindowLayers, c.Window}} {
		keys, pairs := reach(r, group.window)
		n := float64(group.layers)
		w.KVReadBytes += n * keys * entry * bytes
		w.KVWriteBytes += n * s * entry * bytes
		w.FLOPs += n * pairs * pair
	}
}

// reach is how many keys a request's tokens see together and in sum, each itself
// and those before it within the window; 0: all.
func reach(r Request, window int) (keys, pairs float64) {
	c, s := float64(r.Computed), float64(r.Scheduled)
	all := c*s + s*(s+1)/2
	if window == 0 || c+s <= float64(window) {
		return c + s, all
	}
	w := float64(window)
	growing := max(min(w-c, s), 0) // tokens that do not yet fill the window
	return min(c, w-1) + s, growing*c + growing*(growing+1)/2 + (s-growing)*w
}
