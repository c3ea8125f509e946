package kernel

import "strings"

// Classify says what a kernel does by its name.
func Classify(name string) Kernel {
	function, rest := split(name)
	k := Kernel{Function: function, Class: Other, Library: libraryOfForm(name, function)}
	if kind, operations, ok := inductor(function); ok {
		k.Library, k.Fused, k.Class = Inductor, operations, classOfFused(kind, operations)
		return k
	}
	if r := ruleOf(strings.ToLower(function), rest); r != nil {
		k.Class = r.class
		if r.library != "" {
			k.Library = r.library
		}
	}
	return k
}

func ruleOf(function, rest string) *rule {
	has := pairsOf(function)
	for i := range rules {
		if rules[i].holds(function, has, rest) {
			return &rules[i]
		}
	}
	return nil
}

// libraryOfForm is where a kernel comes from that no rule knows better: from
// its namespace, and if it has neither that nor parameters, from Triton.
func libraryOfForm(name, function string) Library {
	namespace, _, qualified := strings.Cut(function, "::")
	switch {
	case namespace == "vllm" || namespace == "hadacore":
		return VLLM
	case namespace == "tensorrt_llm":
		return TensorRTLLM
	case namespace == "at" || namespace == "c10d":
		return ATen
	case namespace == "flashinfer":
		return FlashInfer
	case namespace == "deep_gemm":
		return DeepGEMM
	case !qualified && name != function && anyIn(function, all, ownNames):
		return VLLM
	case strings.HasPrefix(function, "kernel_cutlass_"): // the CuTe DSL
		return CUTLASS
	case !qualified && name == function:
		return Triton
	}
	return Unknown
}

// ownNames are those of vLLM's CUDA kernels that stand in no namespace.
var ownNames = words(`moe_wna16 compute_problem_sizes compute_expert_ compute_arg_sorts compute_batched_moe group_gemm_starts
	fp32_router_gemm fused_a_gemm per_token_group_quant_8bit selective_scan_fwd_kernel kda_decode gdn_decode hisparse_ direct_dcp_
	computeExpertOffsets expandInputRows shuffleInputRows preprocessTopkId finalizeMoeRouting dispatch_output_lse wait_lse_combine
	signal_kernel materialize_kv_gather`)
