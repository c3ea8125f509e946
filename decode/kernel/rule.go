package kernel

import "strings"

// rule gives kernels a class and a library. The first that holds counts: names
// of libraries that are sure go before words that many kernels have.
type rule struct {
	library Library // empty: as the name's form says
	class   Class
	// function is what its qualified name holds, in lower case: any of these
	// words; one with ^ before it begins the name.
	function []word
	// rest is what template arguments and parameters hold, if any is given.
	rest []word
}

var rules = []rule{
	// Between GPUs.
	{NCCL, Collective, words(`^nccldevkernel ^ncclkernel ^ncclsymdevkernel`), nil},
	{DeepEP, Collective, words(`^deep_ep::`), nil},
	{FlashInfer, Collective, words(`^flashinfer::trtllm_allreduce`), nil},
	{TensorRTLLM, Collective, words(`moea2a`), nil},
	{ATen, Collective, words(`^one_shot_all_reduce ^two_shot_all_reduce ^multimem_all ^multimem_one`), nil},
	{"", Collective, words(`cross_device_ mnnvl allreduce all_gather reduce_scatter lamport multimem _dcp_a2a_ kv_gather signal_kernel wait_lse_combine dispatch_output_lse`), nil},

	// FlashAttention, and what else runs in CUTLASS's wrappers.
	{FA3, Attention, words(`^cutlass::device_kernel`), words(`FlashAttn`)},
	{CUTLASS, Attention, words(`^cutlass::device_kernel`), words(`fmha Fmha`)},
	{CUTLASS, MoE, words(`^cutlass::device_kernel`), words(`GroupProblemShape`)},
	{CUTLASS, Copy, words(`^cutlass::reorder_tensor`), nil},
	{CUTLASS, GEMM, words(`^cutlass::`), nil},
	{FlashMLA, Attention, words(`^flash::flash_fwd_splitkv_mla ^get_mla_metadata ^smxx:: ^sm90::fwd:: ^sm90::decode`), nil},
	{FA3, Attention, words(`^flash::prepare_varlen`), nil},
	{FA2, Attention, words(`^flash::flash_ ^pytorch_flash:: ^flash_fwd_`), nil},
	{CuDNN, Attention, words(`^cudnn_generated_fort_native_sdpa`), nil},
	{ATen, Attention, words(`^fmha_cutlassf`), nil},
	{FA4, Attention, words(`^kernel_cutlass_kernel_flash_attn`), nil},
	{FlashInfer, GEMM, words(`^kernel_cutlass_kernel_flashinfergemm`), nil},
	{FlashInfer, Norm, words(`^kernel_cutlass_kernel_flashinferquantization`), nil},
	{CUTLASS, MoE, words(`^kernel_cutlass_kernel___main__groupedgemm`), nil},

	// GEMMs of libraries.
	{CuBLAS, GEMM, words(`^nvjet_ ^cublaslt:: xmma_gemm ^ampere_ ^volta_ gemvx gemvnsp gemv2t gemv2n gemmsn_ ^cutlass3x_`), nil},
	{"", Attention, words(`mqa_logits smxx_clean_logits`), nil},
	{DeepGEMM, MoE, words(`^deep_gemm::`), words(`GemmType)1 GemmType)2 GemmType)3 GemmType)5 GemmTypeE1E GemmTypeE2E GemmTypeE3E GemmTypeE5E`)},
	{DeepGEMM, MoE, words(`mega_moe`), nil},
	{DeepGEMM, GEMM, words(`^deep_gemm::`), nil},

	// FlashInfer and TensorRT-LLM.
	{FlashInfer, Sampling, words(`^flashinfer::sampling`), nil},
	{FlashInfer, Attention, words(`^flashinfer::batchdecode ^flashinfer::batchprefill ^flashinfer::merge ^flashinfer::persistent ^fmhasm`), nil},
	{FlashInfer, Norm, words(`^flashinfer::norm ^flashinfer::activation ^flashinfer::batchqkapply`), nil},
	{FlashInfer, MoE, words(`^bmm_e ^bmm_b ^moe::dev routingindices`), nil},
	{FlashInfer, GEMM, words(`^gemm_b`), nil},

	// PyTorch.
	{ATen, Sampling, words(`^at::native::reduce_kernel`), words(`ArgMax ArgMin`)},
	{ATen, Sampling, words(`^at::native::sbtopk ^at::native::mbtopk ^at::native::radixsort ^at::native::warpmergesort ^at::native::bitonicsort
		^at::native::sort_ ^at::native::samplemultinomial ^at::native::renormrows ^at::native::distribution ^at::native::tensor_kernel_scan ^at::native::philox
		softmax_warp_forward cunn_softmax cunn_spatialsoftmax at::native::gatherkthvalue`), nil},
	{ATen, Copy, words(`^at::native::index ^at::native::vectorized_gather ^at::native::_scatter_gather ^at::native::vectorized_scatter
		^at::native::catarray ^at::native::gather ^at::native::roll ^at::native::triu_tril
		^at::native::detail::chunk_cat ^at::native::im2col ^at::native::tma_scatter elementwise_kernel_with_index ^at::native::replication_pad
		^at::native::upsample ^at::native::grid_sampler
		^at::native::reflection_pad ^at::native::embedding`), nil},
	{ATen, Copy, words(`^at::native::vectorized_elementwise ^at::native::unrolled_elementwise ^at::native::elementwise`),
		words(`FillFunctor copy_kernel CopyKernel arange masked_fill`)},
	{ATen, Norm, words(`^at::native::vectorized_elementwise ^at::native::unrolled_elementwise ^at::native::elementwise ^at::native::reduce_kernel
		layer_norm layernorm rowwisemoments batch_norm at::native::computefusedparams multi_tensor_apply`), nil},
	{ATen, GEMM, words(`^at::native::tinygemm at::cuda::detail::prepare_grouped_gemm ^mslk::gemm`), nil},

	// Of what is left in CUB, ATen's copy sorts logits, the others sort tokens
	// by expert.
	{CUB, Copy, words(`detail::emptykernel ::devicescan ::devicecompact ::deviceselect ::devicereduce ::devicesegmentedreduce
		::deviceunique ::deviceadjacent ::transform_kernel ::static_kernel`), nil},
	{ATen, Copy, words(`^at::cuda::cub::`), nil},
	{CUB, Sampling, words(`^at_cuda_detail::`), nil},
	{CUB, MoE, words(`^cub::`), nil},
	{CUB, Copy, words(`^thrust::`), nil},

	// The rest goes by words: vLLM's CUDA and Triton kernels, and others that
	// name theirs as well. Experts first, for they hold all other words too.
	{VLLM, MoE, words(`^marlin_moe`), nil},
	{"", MoE, words(`moe expert group_gemm_starts compute_problem_sizes compute_arg_sorts
		router routing ep_gather ep_scatter expandinputrows shuffleinputrows preprocesstopk doactivation stridestma
		silu_mul_fp8_quant_deep_gemm dsv4_topk topk_softmax gate_select pack_bitmatrix sum_bitmatrix expt_data
		_matmul_ogs _topk_forward masked_topk_sum masked_act masked_sw masked_si topk_to_local compute_identity batched_triton_kernel grouped_gemm_`), nil},
	{"", Norm, words(`gelu_and_mul gemma_`), nil}, // no sparse attention, no GEMM
	{"", Copy, words(`ngram_embedding block_table slot_mapping zero_kv_blocks swap_blocks batch_memcpy`), nil},
	{"", Attention, words(`attn attention reshape_and_cache reshape_cache concat_and_cache kv_cache kvcache kvinsert rope_cache
		rope_quant_insert rope_plain_insert quantize_and_insert indexer mla_ concatmla k3mla mqa paged _fwd_kernel_stage _fwd_grouped_kernel reduce_segments
		^_fwd_kernel cp_gather gather_and_maybe_dequant sparse topkperrow persistent_topk cooperative_topk
		filteredtopk topk_index topk_indices _swa_ _qsa_ kpool _tq_ dequantize_and_gather dequant_gather cache_kernel
		mamba selective_scan causal_conv1d delta_rule gdn kda_ _chunk_ ^chunk_ state_passing l2norm_fwd recompute_w_u solve_tril
		merge_16x16 replayssm recoverssm deepseekv4full qnormropekvrope _conv_state
		_fwd_diag _fwd_kv_ _fwd_none_diag index_score block_scores candidates_kernel _split_kv_ req_index_to_global`), nil},
	{"", Sampling, words(`sampl gumbel topk_topp topp_ min_p_ logits logprob sumexp residual_mass num_nans ^expand_kernel penalt rejection argmax temperature bitmask bad_words
		post_update bincount _ranks_ draft eagle beam:: thinking_budget spec_step bias_kernel num_accepted acceptance ngram markov topk`), nil},
	{VLLM, GEMM, words(`^marlin:: ^marlin_int4 ^machete ^vllm::awq ^vllm::gptq`), nil},
	{"", GEMM, words(`gemm gemv matmul scaled_mm _mm_kernel bmm lora_ do_shrink do_expand awq w4a16 mxfp8_linear splitk rel_proj swizzle`), nil},
	{"", Norm, words(`norm silu gelu act_and_mul activation swiglu situ_and_mul relu rotary rope quant cvt_fp16 convert_fp8 hadamard fwht soft_cap
		softcap absmax max_reduction softmax mhc_ _hc_ _ihc_ rms_apply sigmoid downcast_to_mx upcast_from_mx mean_kernel tanh fixed_order_sum conv_kernel sconv`), nil},
	{"", Copy, words(`prepare copy memcpy gather scatter embed expand_idx apply_write seq_lens lookup fill pack shift_input write_ zero_ swap
		cast seq_metadata`), nil},
}

// word is what a rule looks for.
type word struct {
	text   string
	begins bool
	pairs  pairs
}

func words(s string) (ws []word) {
	for _, text := range strings.Fields(s) {
		text, begins := strings.CutPrefix(text, "^")
		ws = append(ws, word{text, begins, pairsOf(text)})
	}
	return ws
}

// holds reports whether a rule covers a function, in lower case, and the rest.
func (r *rule) holds(function string, has pairs, rest string) bool {
	return anyIn(function, has, r.function) && (r.rest == nil || anyIn(rest, all, r.rest))
}

func anyIn(s string, has pairs, words []word) bool {
	for i := range words {
		w := &words[i]
		if w.pairs&^has == 0 && (w.begins && strings.HasPrefix(s, w.text) || !w.begins && strings.Contains(s, w.text)) {
			return true
		}
	}
	return false
}

// pairs are the pairs of neighbouring bytes of a string, as a set that may hold
// more: a word with a pair that a name lacks need not be looked for in it.
type pairs uint64

const all = ^pairs(0)

func pairsOf(s string) (p pairs) {
	for i := 1; i < len(s); i++ {
		p |= 1 << ((uint32(s[i-1])*0x9e3b + uint32(s[i])*0x6d2b) >> 7 & 63)
	}
	return p
}
