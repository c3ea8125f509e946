package model

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Config is the shape of a decoder.
type Config struct {
	Type   string // model_type in config.json
	Hidden int
	Layers int
	Vocab  int
	Tied   bool // lm_head is the embedding
	DType  DType

	Heads, KVHeads, HeadDim int
	AttentionBias           bool // on Q, K and V
	OutputBias              bool // on the output projection
	QKNorm                  bool // a norm on each head's Q and K
	Sinks                   bool // a learned logit a head
	MLA                     *MLA
	// Window is the number of tokens that a layer with a sliding window sees,
	// WindowLayers how many have one.
	Window, WindowLayers int

	Intermediate int // of a dense layer's MLP
	Norms        int // of the hidden size, a layer
	MLPBias      bool
	MoE          *MoE

	Quantization Quantization
}

// MLA is multi-head latent attention: one latent of KVRank and a rotary key for
// all heads.
type MLA struct {
	QRank, KVRank          int // QRank 0: Q is projected directly
	NopeDim, RopeDim, VDim int
}

// MoE is a mixture of experts.
type MoE struct {
	Layers             int // the others are dense
	Experts, TopK      int
	Intermediate       int // of one expert
	SharedIntermediate int // of all shared experts together
	SharedGate         bool
	RouterBias         bool // one number an expert
	ExpertBias         bool
}

// maxConfig bounds what is parsed: the largest real ones have some 100 kB, with
// lists of modules that are not quantised.
const maxConfig = 4 << 20

// UnknownError says what in a config is not known.
type UnknownError struct{ What string }

func (e *UnknownError) Error() string { return "model: " + e.What + " is not known" }

func unknown(format string, args ...any) error {
	return &UnknownError{What: fmt.Sprintf(format, args...)}
}

var errNoObject = errors.New("model: config.json is not an object")

// Parse reads a Hugging Face config.json. Of a model for images and text it is
// the text's decoder.
func Parse(config []byte) (*Config, error) {
	if len(config) > maxConfig {
		return nil, fmt.Errorf("model: config.json has %d bytes, more than %d", len(config), maxConfig)
	}
	var o object
	if err := json.Unmarshal(config, &o.values); err != nil {
		return nil, fmt.Errorf("model: config.json: %w", err)
	}
	if o.values == nil {
		return nil, errNoObject
	}
	if text := o.child("text_config"); text != nil {
		for _, name := range []string{"tie_word_embeddings", "torch_dtype", "dtype", "quantization_config"} {
			if v, ok := o.values[name]; ok && text.values[name] == nil {
				text.values[name] = v
			}
		}
		return parse(text)
	}
	return parse(&o)
}

func parse(o *object) (*Config, error) {
	c := &Config{Type: o.text("model_type")}
	known, ok := families[c.Type]
	if !ok {
		return nil, unknown("model_type %q", clip(c.Type))
	}
	c.Hidden, c.Layers, c.Vocab = o.need("hidden_size"), o.need("num_hidden_layers"), o.need("vocab_size")
	c.Heads = o.need("num_attention_heads")
	c.KVHeads = o.count("num_key_value_heads", c.Heads)
	c.HeadDim = o.count("head_dim", 0)
	if c.HeadDim == 0 && c.Heads > 0 {
		c.HeadDim = c.Hidden / c.Heads
	}
	c.Intermediate = o.count("intermediate_size", 0)
	c.Tied = o.flag("tie_word_embeddings", known.tied)
	c.DType = o.dtype()
	c.AttentionBias = o.flag("attention_bias", known.qkvBias)
	c.OutputBias = o.flag("attention_bias", false) && known.outputBias
	c.MLPBias = o.flag("mlp_bias", false)
	c.QKNorm, c.Sinks = known.qkNorm, known.sinks
	c.Norms = max(known.norms, 2)
	if known.mla {
		c.MLA = &MLA{
			QRank: o.count("q_lora_rank", 0), KVRank: o.need("kv_lora_rank"),
			NopeDim: o.need("qk_nope_head_dim"), RopeDim: o.need("qk_rope_head_dim"), VDim: o.need("v_head_dim"),
		}
	}
	c.windows(o, known)
	if known.moe != nil {
		c.MoE = known.moe(o, c)
	}
	if c.MoE == nil || c.MoE.Layers < c.Layers {
		o.need("intermediate_size")
	}
	if err := o.quantization(c); err != nil {
		return nil, err
	}
	if o.err != nil {
		return nil, o.err
	}
	if c.DType == "" {
		return nil, unknown("dtype %q", clip(o.text("dtype")+o.text("torch_dtype")))
	}
	return c, c.check()
}

// check refuses what would give nonsense: more than anyone has built.
func (c *Config) check() error {
	for name, n := range map[string]int{
		"hidden_size": c.Hidden, "num_hidden_layers": c.Layers, "vocab_size": c.Vocab,
		"num_attention_heads": c.Heads, "num_key_value_heads": c.KVHeads, "head_dim": c.HeadDim,
	} {
		if n < 1 {
			return unknown("%s %d", name, n)
		}
	}
	if c.Layers > 10_000 || c.KVHeads > c.Heads {
		return unknown("a decoder of %d layers, %d heads and %d KV heads", c.Layers, c.Heads, c.KVHeads)
	}
	if m := c.MoE; m != nil && (m.Layers < 0 || m.Layers > c.Layers || m.Experts < 1 || m.TopK < 1 || m.TopK > m.Experts || m.Intermediate < 1) {
		return unknown("a mixture of %d of %d experts of %d in %d of %d layers", m.TopK, m.Experts, m.Intermediate, m.Layers, c.Layers)
	}
	return nil
}

// windows finds how many layers have a sliding window.
func (c *Config) windows(o *object, known family) {
	c.Window = o.count("sliding_window", 0)
	if c.Window == 0 || !o.flag("use_sliding_window", true) {
		c.Window = 0
		return
	}
	switch kinds, pattern := o.texts("layer_types"), o.count("sliding_window_pattern", 0); {
	case len(kinds) > 0:
		for _, kind := range kinds[:min(len(kinds), c.Layers)] {
			switch kind {
			case "sliding_attention":
				c.WindowLayers++
			case "full_attention":
			default:
				o.fail(unknown("layer type %q", clip(kind)))
			}
		}
		if len(kinds) != c.Layers {
			o.fail(unknown("%d layer_types of %d layers", len(kinds), c.Layers))
		}
	case pattern > 0: // each pattern-th layer sees everything
		c.WindowLayers = c.Layers - c.Layers/pattern
	case known.alternating:
		c.WindowLayers = (c.Layers + 1) / 2
	case o.values["max_window_layers"] != nil:
		c.WindowLayers = max(c.Layers-o.count("max_window_layers", 0), 0)
	case known.everyWindow:
		c.WindowLayers = c.Layers
	default:
		o.fail(unknown("which layers of %s have a sliding window", c.Type))
	}
}

// object is a JSON object of which nothing is believed. It keeps the first
// error, so that a caller may ask for much and look once.
type object struct {
	values map[string]json.RawMessage
	err    error
}

func (o *object) fail(err error) {
	if o.err == nil {
		o.err = err
	}
}

func (o *object) child(name string) *object {
	var c object
	if json.Unmarshal(o.values[name], &c.values) != nil || c.values == nil {
		return nil
	}
	return &c
}

// need is a size that must be there.
func (o *object) need(name string) int {
	n := o.count(name, 0)
	if n < 1 {
		o.fail(unknown("%s", name))
	}
	return n
}

// needAny is a size that must be there under one of its names: transformers renames some.
func (o *object) needAny(names ...string) int {
	for _, name := range names {
		if n := o.count(name, 0); n > 0 {
			return n
		}
	}
	return o.need(names[0])
}

// count is a whole number, or otherwise if there is none: null, too, is none.
func (o *object) count(name string, otherwise int) int {
	v, ok := o.values[name]
	if !ok || string(v) == "null" {
		return otherwise
	}
	var f float64
	if json.Unmarshal(v, &f) != nil || f != math.Trunc(f) || f < 0 || f > 1<<28 {
		o.fail(unknown("%s %s", name, clip(string(v))))
		return otherwise
	}
	return int(f)
}

func (o *object) flag(name string, otherwise bool) bool {
	b := otherwise
	if v := o.values[name]; v != nil && string(v) != "null" && json.Unmarshal(v, &b) != nil {
		o.fail(unknown("%s %s", name, clip(string(v))))
	}
	return b
}

func (o *object) text(name string) (s string) {
	if json.Unmarshal(o.values[name], &s) != nil {
		return ""
	}
	return s
}

func (o *object) texts(name string) (s []string) {
	if json.Unmarshal(o.values[name], &s) != nil {
		return nil
	}
	return s
}

func (o *object) counts(name string) (n []int) {
	if json.Unmarshal(o.values[name], &n) != nil {
		return nil
	}
	return n
}

// dtype is what transformers calls torch_dtype, and lately dtype.
func (o *object) dtype() DType {
	name := o.text("dtype")
	if name == "" {
		name = o.text("torch_dtype")
	}
	switch strings.TrimPrefix(name, "torch.") {
	case "bfloat16":
		return BF16
	case "float16":
		return FP16
	case "float32":
		return FP32
	}
	return ""
}

func clip(s string) string {
	if len(s) > 60 {
		s = strings.ToValidUTF8(s[:60], "") + "…"
	}
	return s
}

// DType is a numeric type.
type DType string

// The types that weights, caches and products have.
const (
	FP32 DType = "fp32"
	BF16 DType = "bf16"
	FP16 DType = "fp16"
	FP8  DType = "fp8"
	INT8 DType = "int8"
	FP4  DType = "fp4"
)

// Bytes is the size of one number.
func (d DType) Bytes() float64 {
	switch d {
	case FP32:
		return 4
	case BF16, FP16:
		return 2
	case FP8, INT8:
		return 1
	case FP4:
		return 0.5
	}
	return math.NaN()
}

// family is what config.json leaves to the code of an architecture.
type family struct {
	tied, qkvBias, outputBias, qkNorm, sinks bool
	mla                                      bool
	alternating                              bool // every other layer has the sliding window, the first has
	everyWindow                              bool
	norms                                    int // a layer; 2 if not given
	moe                                      func(o *object, c *Config) *MoE
}

// families are the architectures that are known, by model_type, as Hugging
// Face's transformers and vLLM build them.
var families = map[string]family{
	"llama":       {outputBias: true},
	"mistral":     {everyWindow: true},
	"qwen2":       {qkvBias: true},
	"qwen3":       {qkNorm: true, outputBias: true},
	"phi3":        {everyWindow: true},
	"gemma2":      {tied: true, alternating: true, norms: 4},
	"gemma3_text": {tied: true, qkNorm: true, norms: 4},
	"mixtral":     {everyWindow: true, moe: mixtral},
	"qwen2_moe":   {qkvBias: true, moe: qwenMoE},
	"qwen3_moe":   {qkNorm: true, outputBias: true, moe: qwenMoE},
	"deepseek_v2": {mla: true, moe: deepseek},
	"deepseek_v3": {mla: true, moe: deepseek},
	"kimi_k2":     {mla: true, moe: deepseek},
	"gpt_oss":     {qkvBias: true, outputBias: true, sinks: true, moe: gptOSS},
}

func mixtral(o *object, c *Config) *MoE {
	return &MoE{
		Layers: c.Layers, Experts: o.need("num_local_experts"), TopK: o.need("num_experts_per_tok"),
		Intermediate: o.need("intermediate_size"),
	}
}

func gptOSS(o *object, c *Config) *MoE {
	m := mixtral(o, c)
	m.RouterBias, m.ExpertBias = true, true
	return m
}

func qwenMoE(o *object, c *Config) *MoE {
	m := &MoE{
		Experts: o.needAny("num_experts", "num_local_experts"), TopK: o.need("num_experts_per_tok"), Intermediate: o.need("moe_intermediate_size"),
		SharedIntermediate: o.count("shared_expert_intermediate_size", 0),
	}
	m.SharedGate = m.SharedIntermediate > 0
	every, dense := max(o.count("decoder_sparse_step", 1), 1), o.counts("mlp_only_layers")
	for layer := range min(c.Layers, 10_000) {
		if (layer+1)%every == 0 && !slices.Contains(dense, layer) {
			m.Layers++
		}
	}
	return m
}

func deepseek(o *object, c *Config) *MoE {
	m := &MoE{
		Experts: o.need("n_routed_experts"), TopK: o.need("num_experts_per_tok"), Intermediate: o.need("moe_intermediate_size"),
		RouterBias: o.text("topk_method") == "noaux_tc",
	}
	m.SharedIntermediate = o.count("n_shared_experts", 0) * m.Intermediate
	first, every := o.count("first_k_dense_replace", 0), max(o.count("moe_layer_freq", 1), 1)
	for layer := range min(c.Layers, 10_000) {
		if layer >= first && layer%every == 0 {
			m.Layers++
		}
	}
	return m
}
