package kernel

import (
	"slices"
	"strings"
)

// inductor reads the name of a kernel that torch.compile generated:
// triton_KIND_fused_OPERATIONS_NUMBER, where KIND is poi (pointwise), red and
// per (reductions), tem (a GEMM or attention template) and so on, and
// OPERATIONS are the names of ATen's and of custom operators, sorted and joined
// by the underscores that they have themselves. The list is empty if all that
// was fused came from operators that it does not name.
func inductor(function string) (kind string, operations []string, ok bool) {
	s, ok := strings.CutPrefix(function, "triton_")
	if !ok {
		return "", nil, false
	}
	kind, s, ok = strings.Cut(s, "_")
	if !ok || !slices.Contains([]string{"poi", "red", "per", "tem", "for", "spl", "mix", "unk"}, kind) {
		return "", nil, false
	}
	s, ok = strings.CutPrefix(s, "fused")
	if !ok || s != "" && s[0] != '_' {
		return "", nil, false
	}
	if i := strings.LastIndexByte(s, '_'); i >= 0 && isNumber(s[i+1:]) {
		s = s[:i]
	}
	return kind, operationsIn(strings.TrimPrefix(s, "_")), true
}

func isNumber(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// operationsIn takes the longest operator that it knows from the front, again
// and again; words between those that it knows are one operator.
func operationsIn(s string) (operations []string) {
	strange := ""
	for s != "" {
		name := knownPrefix(s)
		if name == "" {
			word := s
			if i := strings.IndexByte(s[1:], '_'); i >= 0 { // one may begin with an underscore
				word = s[:i+1]
			}
			if strange != "" {
				strange += "_"
			}
			strange += word
			s = strings.TrimPrefix(s[len(word):], "_")
			continue
		}
		if strange != "" {
			operations, strange = append(operations, strange), ""
		}
		operations = append(operations, name)
		s = strings.TrimPrefix(s[len(name):], "_")
	}
	if strange != "" {
		operations = append(operations, strange)
	}
	return operations
}

func knownPrefix(s string) string {
	for end := len(s); end > 0; end = strings.LastIndexByte(s[:end], '_') {
		if _, ok := operators[s[:end]]; ok {
			return s[:end]
		}
	}
	return ""
}

// classOfFused is the class of what was fused: that of the operation which most
// stands out. Attention and experts are calls of their own, never fused: where
// their operators are named, they give or take a buffer.
func classOfFused(kind string, operations []string) Class {
	if kind == "tem" {
		if slices.ContainsFunc(operations, func(o string) bool { return strings.Contains(o, "attention") }) {
			return Attention
		}
		return GEMM
	}
	var found [4]bool
	for _, o := range operations {
		switch operators[o] {
		case product:
			found[0] = true
		case choice:
			found[1] = true
		case movement:
			found[2] = true
		case buffer:
		default:
			found[3] = true
		}
	}
	switch {
	case found[0]:
		return GEMM
	case found[1]:
		return Sampling
	case found[3] || !found[2]: // rotary embeddings have no names at all
		return Norm
	}
	return Copy
}

// operator is what an operator means for the kernel that it was fused into.
type operator uint8

const (
	arithmetic operator = iota // the rest: norms, activations, residuals
	product                    // of matrices
	choice                     // of tokens
	movement                   // nothing is computed
	buffer                     // is not in the kernel: it gives or takes a buffer
)

// operators are those of ATen and of vLLM that occur in compiled models.
var operators = func() map[string]operator {
	m := map[string]operator{}
	for means, names := range map[operator]string{
		arithmetic: `_softmax _log_softmax abs acos add add_ addcdiv addcmul amax amin any all asin atan bitwise_and
			bitwise_not bitwise_or bitwise_xor ceil clamp clamp_max clamp_min constant_pad_nd convolution cos cosh cumsum
			div div_ dropout dynamic_per_token_scaled_fp8_quant dynamic_scaled_fp8_quant elu eq erf exp exp2 expm1 floor
			floor_divide fmod fused_add_rms_norm fused_add_rms_norm_static_fp8_quant fused_rms_norm gated_silu ge gelu
			gelu_and_mul glu gt hardswish hardtanh isinf isnan layer_norm le leaky_relu lerp log log10 log1p log2
			logical_and logical_not logical_or logical_xor logsumexp lt max maximum mean min minimum mish mul mul_
			native_batch_norm native_group_norm native_layer_norm ne neg norm per_token_group_fp8_quant pow prod
			reciprocal relu relu_ remainder rms_norm rms_norm_dynamic_per_token_quant rms_norm_static_fp8_quant
			rotary_embedding round rsqrt rsub scaled_fp8_quant sigmoid sigmoid_ sign silu silu_ silu_and_mul
			silu_and_mul_quant silu_mul_fp8 sin sinh softmax log_softmax softplus sqrt square static_scaled_fp8_quant std
			sub sub_ sum tan tanh tanh_ trunc var var_mean vector_norm linalg_vector_norm where xlogy
			quantize_per_tensor dequantize`,
		product: `mm bmm addmm baddbmm _scaled_mm _int_mm linear matmul`,
		choice:  `argmax argmin topk sort multinomial exponential exponential_ random_ rand rand_like`,
		movement: `_to_copy _unsafe_index _unsafe_index_put _unsafe_view alias arange as_strided as_strided_scatter cat
			chunk clone copy copy_ detach diagonal embedding empty empty_like empty_strided expand fill fill_ flatten flip
			full full_like gather index index_copy index_put index_put_ index_select lift_fresh_copy masked_fill
			masked_fill_ masked_scatter narrow new_empty new_full new_ones new_zeros nonzero ones ones_like permute
			repeat repeat_interleave reshape roll scalar_tensor scatter scatter_ scatter_add select select_scatter slice
			slice_scatter split split_with_sizes squeeze stack t transpose tril triu unbind unfold unsqueeze
			view zero_ zeros zeros_like to`,
		buffer: `all_gather_into_tensor all_reduce auto_functionalized auto_functionalized_v2 fused_experts
			fused_moe gdn_attention_core mamba_mixer mamba_mixer2 moe_forward moe_forward_shared reduce_scatter_tensor
			unified_attention unified_attention_with_output unified_kv_cache_update unified_mla_attention
			unified_mla_attention_with_output unified_mla_kv_cache_update wait_tensor`,
	} {
		for name := range strings.FieldsSeq(names) {
			m[name] = means
		}
	}
	return m
}()
