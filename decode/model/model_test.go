package model

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
)

// The shapes of published models, as their config.json has them.
const (
	llama8B = `{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 4096, "intermediate_size": 14336,
		"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
		"tie_word_embeddings": false, "attention_bias": false, "torch_dtype": "bfloat16", "rope_theta": 500000.0}`
	llama1B = `{"model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
		"num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 128256,
		"tie_word_embeddings": true, "torch_dtype": "bfloat16"}`
	qwen3MoE = `{"model_type": "qwen3_moe", "hidden_size": 2048, "intermediate_size": 6144, "moe_intermediate_size": 768,
		"num_hidden_layers": 48, "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128, "vocab_size": 151936,
		"num_experts": 128, "num_experts_per_tok": 8, "decoder_sparse_step": 1, "mlp_only_layers": [], "sliding_window": null,
		"use_sliding_window": false, "max_window_layers": 48, "attention_bias": false, "tie_word_embeddings": false,
		"torch_dtype": "bfloat16"}`
	mixtral8x7B = `{"model_type": "mixtral", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
		"num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000, "num_local_experts": 8,
		"num_experts_per_tok": 2, "sliding_window": null, "tie_word_embeddings": false, "torch_dtype": "bfloat16"}`
	deepseekV3 = `{"model_type": "deepseek_v3", "hidden_size": 7168, "intermediate_size": 18432, "moe_intermediate_size": 2048,
		"num_hidden_layers": 61, "num_attention_heads": 128, "num_key_value_heads": 128, "vocab_size": 129280,
		"n_routed_experts": 256, "n_shared_experts": 1, "num_experts_per_tok": 8, "first_k_dense_replace": 3, "moe_layer_freq": 1,
		"q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
		"topk_method": "noaux_tc", "tie_word_embeddings": false, "torch_dtype": "bfloat16",
		"quantization_config": {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]}}`
	gptOSS20B = `{"model_type": "gpt_oss", "hidden_size": 2880, "intermediate_size": 2880, "num_hidden_layers": 24,
		"num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 201088, "num_local_experts": 32,
		"num_experts_per_tok": 4, "attention_bias": true, "sliding_window": 128, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
		"layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention", "sliding_attention", "full_attention",
			"sliding_attention", "full_attention", "sliding_attention", "full_attention", "sliding_attention", "full_attention",
			"sliding_attention", "full_attention", "sliding_attention", "full_attention", "sliding_attention", "full_attention",
			"sliding_attention", "full_attention", "sliding_attention", "full_attention", "sliding_attention", "full_attention"],
		"quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert":
			["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]}}`
)

func parsed(t testing.TB, config string) *Config {
	t.Helper()
	c, err := Parse([]byte(config))
	qt.Assert(t, qt.IsNil(err))
	return c
}

// Exact numbers are those of the published weights, or computed by hand; the
// rounded ones are as the models' authors state them.
func TestParams(t *testing.T) {
	for _, test := range []struct {
		name, config  string
		exact         float64
		stated        float64 // billions
		active        float64 // exactly
		statedActive  float64
		statedWithout float64 // of the embedding
	}{
		{"Llama 3 8B", llama8B, 8_030_261_248, 8.03, 8_030_261_248, 0, 0},
		{"Llama 3.2 1B", llama1B, 1_235_814_400, 1.236, 1_235_814_400, 0, 0},
		// A layer: Q and O 2×2048×4096, K and V 2×2048×512, router 2048×128, an
		// expert 3×2048×768, norms 2×2048 and 2×128; 48 of them, twice 151936×2048
		// and 2048 more.
		{"Qwen3 30B A3B", qwen3MoE, 30_532_122_624, 30.5, 3_353_032_704, 0, 0},
		// As transformers 5 names it.
		{"Qwen3 30B A3B", strings.Replace(qwen3MoE, "num_experts\"", "num_local_experts\"", 1), 30_532_122_624, 30.5, 3_353_032_704, 0, 0},
		{"Mixtral 8x7B", mixtral8x7B, 46_702_792_704, 46.7, 12_879_925_248, 12.9, 0},
		// Without the drafter. DeepSeek counts 36.7 B active with 0.9 B of embedding
		// once, elsewhere 37 B.
		{"DeepSeek V3", deepseekV3, 671_026_419_200, 671, 37_552_297_472, 0, 36.7},
		{"gpt-oss 20B", gptOSS20B, 20_914_757_184, 20.9, 0, 0, 0},
	} {
		c := parsed(t, test.config)
		qt.Check(t, qt.Equals(c.Params(), test.exact), qt.Commentf("%s", test.name))
		qt.Check(t, qt.IsTrue(near(c.Params(), test.stated*1e9, 0.005)), qt.Commentf("%s", test.name))
		if test.active > 0 {
			qt.Check(t, qt.Equals(c.ActiveParams(), test.active), qt.Commentf("%s", test.name))
		}
		if test.statedActive > 0 {
			qt.Check(t, qt.IsTrue(near(c.ActiveParams(), test.statedActive*1e9, 0.005)), qt.Commentf("%s", test.name))
		}
		if test.statedWithout > 0 {
			embedding := float64(c.Vocab) * float64(c.Hidden)
			qt.Check(t, qt.IsTrue(near(c.ActiveParams()-embedding, test.statedWithout*1e9, 0.005)), qt.Commentf("%s", test.name))
		}
	}
}

func near(got, want, tolerance float64) bool { return math.Abs(got-want) <= tolerance*math.Abs(want) }

func TestDecodeStep(t *testing.T) {
	c := parsed(t, llama8B)
	w, err := c.Work(Setup{}, Step{Requests: []Request{{Computed: 1000, Scheduled: 1}}, Sampled: 1})
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.HasLen(w.Estimates, 0))
	// All weights but the embedding, and one row of that.
	qt.Check(t, qt.Equals(w.WeightBytes, 2.*(8_030_261_248-128256*4096+4096)))
	// 2 × 8 heads × 128 × 2 bytes in 32 layers: 128 KiB a token.
	qt.Check(t, qt.Equals(w.KVReadBytes, 1001.*131072))
	qt.Check(t, qt.Equals(w.KVWriteBytes, 131072.))
	// A layer: Q, O 2×4096², K, V 2×4096×1024, MLP 3×4096×14336; the head; and
	// 4 operations a key, head dimension and head.
	qt.Check(t, qt.Equals(w.FLOPs, 2.*(32*(2*4096*4096+2*4096*1024+3*4096*14336)+128256*4096)+32*1001*4*32*128))

	g, ok := FindGPU("NVIDIA H100 80GB HBM3")
	qt.Assert(t, qt.IsTrue(ok))
	mbu, ok := w.MBU(g, 0.006)
	qt.Check(t, qt.IsTrue(ok))
	qt.Check(t, qt.IsTrue(near(mbu, (15_009_849_344+8192+1002*131072.)/0.006/3.35e12, 1e-9)), qt.Commentf("%v", mbu))
	mfu, ok := w.MFU(g, 0.006)
	qt.Check(t, qt.IsTrue(ok))
	qt.Check(t, qt.IsTrue(near(mfu, w.FLOPs/0.006/989.4e12, 1e-9)))
	for _, seconds := range []float64{0, -1, math.NaN()} {
		_, ok = w.MBU(g, seconds)
		qt.Check(t, qt.IsFalse(ok))
		_, ok = w.MFU(g, seconds)
		qt.Check(t, qt.IsFalse(ok))
	}
	_, ok = w.MBU(nil, 1)
	qt.Check(t, qt.IsFalse(ok))
}

// A step without sampled tokens has no head, and its tokens see those before
// them in their own chunk.
func TestPrefillStep(t *testing.T) {
	c := parsed(t, llama1B)
	w, err := c.Work(Setup{}, Step{Requests: []Request{{Computed: 100, Scheduled: 10}}})
	qt.Assert(t, qt.IsNil(err))
	layers := 1_235_814_400. - 128256*2048
	qt.Check(t, qt.Equals(w.WeightBytes, 2*(layers+10*2048)))
	qt.Check(t, qt.Equals(w.KVReadBytes, 110.*16*2*8*64*2))
	qt.Check(t, qt.Equals(w.KVWriteBytes, 10.*16*2*8*64*2))
	pairs := 0.
	for i := 1; i <= 10; i++ {
		pairs += 100 + float64(i)
	}
	norms := 16.*2*2048 + 2048
	qt.Check(t, qt.Equals(w.FLOPs, 2*10*(layers-norms)+16*pairs*4*32*64))

	sampled, err := c.Work(Setup{}, Step{Requests: []Request{{Computed: 100, Scheduled: 10}}, Sampled: 3})
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(sampled.WeightBytes-w.WeightBytes, 2*128256*2048.))
	qt.Check(t, qt.Equals(sampled.FLOPs-w.FLOPs, 3*2*128256*2048.))

	nothing, err := c.Work(Setup{}, Step{})
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(nothing.Bytes()+nothing.FLOPs, 0))
}

func TestExperts(t *testing.T) {
	c := parsed(t, qwen3MoE)
	one := Step{Requests: []Request{{Computed: 9, Scheduled: 1}}, Sampled: 1}
	w, err := c.Work(Setup{}, one)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.HasLen(w.Estimates, 0)) // one token chooses 8, whichever
	qt.Check(t, qt.Equals(w.WeightBytes, 2*(3_353_032_704.-151936*2048+2048)))

	batch := Step{Requests: []Request{{Computed: 9, Scheduled: 1}, {Computed: 9, Scheduled: 1}, {Computed: 9, Scheduled: 1}}, Sampled: 3}
	w3, err := c.Work(Setup{}, batch)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.HasLen(w3.Estimates, 1))
	expected := 128 * (1 - math.Pow(120./128, 3))
	qt.Check(t, qt.IsTrue(near(ExpectedExperts(128, 8, 3), expected, 1e-12)))
	expert := 3. * 2048 * 768
	qt.Check(t, qt.IsTrue(near(w3.WeightBytes-w.WeightBytes, 2*(48*(expected-8)*expert+2*2048), 1e-9)))
	qt.Check(t, qt.IsTrue(near(w3.FLOPs, 3*w.FLOPs, 1e-12)))

	batch.Experts = make([]int, 48)
	for i := range batch.Experts {
		batch.Experts[i] = 10 + i%2
	}
	counted, err := c.Work(Setup{}, batch)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.HasLen(counted.Estimates, 0))
	qt.Check(t, qt.Equals(counted.WeightBytes-w.WeightBytes, 2*(48*2.5*expert+2*2048)))

	batch.Experts = []int{10}
	_, err = c.Work(Setup{}, batch)
	qt.Check(t, qt.ErrorMatches(err, "model: experts of 1 layers, there are 48 with experts"))
}

// Two GPUs halve what is divided, and repeat norms, routers and what MLA's heads
// share.
func TestTensorParallel(t *testing.T) {
	step := Step{Requests: []Request{{Computed: 99, Scheduled: 1}}, Sampled: 1}
	c := parsed(t, llama8B)
	w, err := c.Work(Setup{TensorParallel: 2}, step)
	qt.Assert(t, qt.IsNil(err))
	norms := 65. * 4096
	qt.Check(t, qt.Equals(w.WeightBytes, 2*((8_030_261_248-128256*4096-norms)/2+norms+4096/2)))
	qt.Check(t, qt.Equals(w.KVReadBytes, 100*131072/2.))
	w, err = c.Work(Setup{TensorParallel: 16}, step) // 8 KV heads: each on two
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(w.KVReadBytes, 100*131072/8.))
	_, err = c.Work(Setup{TensorParallel: 3}, step)
	qt.Check(t, qt.ErrorMatches(err, "model: how 32 heads are divided among 3 GPUs is not known"))

	d := parsed(t, deepseekV3)
	for _, size := range []int{1, 8} {
		w, err = d.Work(Setup{TensorParallel: size, KVCache: BF16}, step)
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.Equals(w.KVReadBytes, 100*61*576*2.)) // 1,152 bytes a token and layer on each
		qt.Check(t, qt.Equals(w.Products, FP8))
	}
}

func TestMLA(t *testing.T) {
	c := parsed(t, deepseekV3)
	decode, err := c.Work(Setup{}, Step{Requests: []Request{{Computed: 999, Scheduled: 1}}, Sampled: 1})
	qt.Assert(t, qt.IsNil(err))
	attention := 7168.*1536 + 1536*128*192 + 7168*576 + 512*128*256 + 128*128*7168
	moe := 7168.*256 + 9*3*7168*2048
	active := 61*attention + 3*3*7168*18432 + 58*moe
	qt.Check(t, qt.Equals(decode.FLOPs, 2*(active+129280*7168)+61*1000*2*128*(2*512+64)))

	prefill, err := c.Work(Setup{}, Step{Requests: []Request{{Computed: 10, Scheduled: 2}}})
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(prefill.FLOPs, 2*2*active+61*(11+12)*2*128*(192+128)+61*10*2*512*128*256))
}

func TestWindow(t *testing.T) {
	for _, test := range []struct {
		r           Request
		window      int
		keys, pairs float64
	}{
		{Request{0, 1}, 0, 1, 1},
		{Request{7, 1}, 4, 4, 4},  // itself and 3 before
		{Request{2, 1}, 4, 3, 3},  // not full yet
		{Request{0, 6}, 4, 6, 18}, // 1 2 3 4 4 4
		{Request{2, 3}, 4, 5, 11}, // 3 4 4
		{Request{10, 2}, 4, 5, 8}, // 4 4
		{Request{3, 1}, 4, 4, 4},  // just full
		{Request{10, 2}, 1, 2, 2}, // only itself
		{Request{10, 2}, 100, 12, 23},
	} {
		keys, pairs := reach(test.r, test.window)
		qt.Check(t, qt.Equals(keys, test.keys), qt.Commentf("%+v", test))
		qt.Check(t, qt.Equals(pairs, test.pairs), qt.Commentf("%+v", test))
	}
	c := parsed(t, gptOSS20B)
	qt.Check(t, qt.Equals(c.WindowLayers, 12))
	w, err := c.Work(Setup{}, Step{Requests: []Request{{Computed: 999, Scheduled: 1}}, Sampled: 1})
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(w.KVReadBytes, (12*1000+12*128)*2*8*64*2.))
}

func TestQuantization(t *testing.T) {
	one := Step{Requests: []Request{{Scheduled: 1}}, Sampled: 1}
	linear := 32. * (2*4096*4096 + 2*4096*1024 + 3*4096*14336)
	rest := 2 * (65.*4096 + 128256*4096 + 4096)
	for _, test := range []struct {
		quantization string
		bits         float64
		products     DType
	}{
		{`{"quant_method": "fp8"}`, 8, FP8},
		{`{"quant_method": "fp8", "weight_block_size": [128, 128]}`, 8 + 32./(128*128), FP8},
		{`{"quant_method": "awq", "bits": 4, "group_size": 128}`, 4 + 20./128, BF16},
		{`{"quant_method": "gptq", "bits": 8, "group_size": -1}`, 8, BF16},
		{`{"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head"]}`, 4.5, FP4},
		{`{"quant_method": "compressed-tensors", "ignore": ["lm_head"], "config_groups": {"group_0": {
			"weights": {"num_bits": 8, "type": "float"}, "input_activations": {"num_bits": 8, "type": "float"}}}}`, 8, FP8},
		{`{"quant_method": "compressed-tensors", "config_groups": {"group_0": {
			"weights": {"num_bits": 4, "type": "int", "group_size": 128}, "input_activations": null}}}`, 4.125, BF16},
	} {
		c, err := Parse([]byte(strings.TrimSuffix(llama8B, "}") + `, "quantization_config": ` + test.quantization + "}"))
		qt.Assert(t, qt.IsNil(err), qt.Commentf("%s", test.quantization))
		w, err := c.Work(Setup{}, one)
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.Equals(w.WeightBytes, linear*test.bits/8+rest), qt.Commentf("%s", test.quantization))
		qt.Check(t, qt.Equals(w.Products, test.products))
		qt.Check(t, qt.HasLen(w.Estimates, 0))
	}
	partly, err := Parse([]byte(strings.TrimSuffix(llama8B, "}") + `, "quantization_config": {"quant_method": "fp8", "ignored_layers": ["model.layers.0.mlp"]}}`))
	qt.Assert(t, qt.IsNil(err))
	w, err := partly.Work(Setup{}, one)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.HasLen(w.Estimates, 1))

	// gpt-oss: experts in 4.25 bits, the rest in bfloat16.
	c := parsed(t, gptOSS20B)
	w, err = c.Work(Setup{}, one)
	qt.Assert(t, qt.IsNil(err))
	experts := 24. * 4 * 3 * 2880 * 2880
	others := 20_914_757_184. - 24*32*(3*2880*2880+3*2880) + 24*4*3*2880 - 201088*2880 + 2880
	qt.Check(t, qt.Equals(w.WeightBytes, experts*4.25/8+others*2))
}

func TestUnknown(t *testing.T) {
	replaced := func(old, with string) string {
		qt.Assert(t, qt.StringContains(llama8B, old))
		return strings.Replace(llama8B, old, with, 1)
	}
	for config, want := range map[string]string{
		`{}`:                             `model: model_type "" is not known`,
		`{"model_type": "mamba2"}`:       `model: model_type "mamba2" is not known`,
		`{"model_type": "llama"}`:        `model: hidden_size is not known`,
		`{"model_type": 7}`:              `model: model_type "" is not known`,
		replaced(`"bfloat16"`, `"int3"`): `model: dtype "int3" is not known`,
		replaced("4096", "-1"):           `model: hidden_size -1 is not known`,
		replaced("4096", "4096.5"):       `model: hidden_size 4096.5 is not known`,
		replaced("4096", "1e300"):        `model: hidden_size 1e300 is not known`,
		replaced("4096", `"big"`):        `model: hidden_size "big" is not known`,
		replaced("4096", `{}`):           `model: hidden_size {} is not known`,
		replaced(`: 32,`, `: 0,`):        `model: num_hidden_layers is not known`,
		replaced(`: 8,`, `: 64,`):        `model: a decoder of 32 layers, 32 heads and 64 KV heads is not known`,
		replaced(`"rope_theta": 500000.0`, `"sliding_window": 4096`):                                   `model: which layers of llama have a sliding window is not known`,
		replaced(`"rope_theta": 500000.0`, `"quantization_config": {"quant_method": "dream"}`):         `model: quantisation "dream" is not known`,
		replaced(`"rope_theta": 500000.0`, `"sliding_window": 8, "layer_types": ["linear_attention"]`): `model: layer type "linear_attention" is not known`,
		strings.Replace(qwen3MoE, `_per_tok": 8`, `_per_tok": 129`, 1):                                 `model: a mixture of 129 of 128 experts of 768 in 48 of 48 layers is not known`,
	} {
		_, err := Parse([]byte(config))
		qt.Check(t, qt.ErrorMatches(err, strings.NewReplacer("{", `\{`, "}", `\}`).Replace(want)), qt.Commentf("%s", config))
		var unknown *UnknownError
		qt.Check(t, qt.IsTrue(errors.As(err, &unknown)))
	}
	for _, config := range []string{"", "null", "[]", "7", `{"hidden_size": `, strings.Repeat(" ", maxConfig+1)} {
		_, err := Parse([]byte(config))
		qt.Check(t, qt.Not(qt.IsNil(err)))
	}

	c := parsed(t, llama8B)
	for _, step := range []Step{
		{Requests: []Request{{Computed: -1, Scheduled: 1}}},
		{Requests: []Request{{Scheduled: 1 << 40}}},
		{Requests: []Request{{Scheduled: 1}}, Sampled: 2},
	} {
		_, err := c.Work(Setup{}, step)
		qt.Check(t, qt.ErrorIs(err, errStep))
	}
	_, err := c.Work(Setup{KVCache: "turbo"}, Step{})
	qt.Check(t, qt.ErrorMatches(err, `model: a KV cache of "turbo" is not known`))
}

// The decoder of a model for images and text, whose outer object has what holds
// for all of it.
func TestTextConfig(t *testing.T) {
	c := parsed(t, `{"model_type": "mistral3", "torch_dtype": "bfloat16", "vision_config": {}, "text_config": `+
		strings.Replace(llama8B, `"torch_dtype": "bfloat16", `, "", 1)+`}`)
	qt.Check(t, qt.Equals(c.Params(), 8_030_261_248))
}

func TestGPUs(t *testing.T) {
	names := map[string]bool{}
	for _, g := range gpus {
		qt.Check(t, qt.IsFalse(names[g.Name]))
		names[g.Name] = true
		qt.Check(t, qt.IsTrue(g.Bandwidth > 1e11 && g.Bandwidth < 1e13), qt.Commentf("%s", g.Name))
		qt.Check(t, qt.Not(qt.Equals(g.Source, "")))
		for d, f := range g.FLOPS {
			qt.Check(t, qt.IsTrue(f > 5e13 && f < 2e16), qt.Commentf("%s %s", g.Name, d))
		}
	}
	_, ok := FindGPU("NVIDIA H100 80GB HBM4")
	qt.Check(t, qt.IsFalse(ok))

	a100, _ := FindGPU("NVIDIA A100-SXM4-80GB")
	flops, of, ok := a100.Peak(FP8) // unpacked to bfloat16
	qt.Check(t, qt.IsTrue(ok))
	qt.Check(t, qt.Equals(flops, 312e12))
	qt.Check(t, qt.Equals(of, BF16))
	t4, _ := FindGPU("Tesla T4")
	_, _, ok = t4.Peak(BF16)
	qt.Check(t, qt.IsFalse(ok))
}

func FuzzParse(f *testing.F) {
	for _, config := range []string{llama8B, llama1B, qwen3MoE, mixtral8x7B, deepseekV3, gptOSS20B} {
		f.Add([]byte(config), 3, 100, 2)
	}
	f.Fuzz(func(t *testing.T, config []byte, scheduled, computed, size int) {
		c, err := Parse(config)
		if err != nil {
			return
		}
		if p := c.Params(); !(p > 0) || math.IsInf(p, 0) || c.ActiveParams() > p {
			t.Fatalf("%g parameters, %g active", p, c.ActiveParams())
		}
		w, err := c.Work(Setup{TensorParallel: size}, Step{Requests: []Request{{computed, scheduled}}, Sampled: min(1, max(scheduled, 0))})
		if err == nil && (!(w.Bytes() >= 0) || !(w.FLOPs >= 0) || math.IsInf(w.Bytes()+w.FLOPs, 0)) {
			t.Fatalf("%+v", w)
		}
	})
}
