package vllm

import "github.com/pmtrace/pmtrace/decode/wire"

// phaseRow says what calls under some functions are for.
type phaseRow struct {
	// module is a pattern (path.Match, in which * runs over dots) for names in
	// sys.modules. The functions' file names must fit it, too, so that a name that a
	// module imported from elsewhere does not count.
	module string
	// names are qualified names. *.name is a method of any class.
	names []string
	phase wire.Phase
	flags phaseFlags
}

type phaseFlags uint8

const (
	weak phaseFlags = 1 << iota
	dummy
	throwaway
	takesOutput // scheduler_output is a local
)

// phaseRows are the functions whose frames tell the phase of a CUDA call, for
// vLLM 0.12 to 0.33 (VLLM-HOOKS §6). A row that fits nothing in a version is
// none there; testdata/phases.txt says which version has which. The first row
// that a function fits counts.
//
// Where a name says less than what is under it, the row is that of the inner
// function: prepare_inputs_embeds runs in each step of a multimodal model and is
// preparation; the encoder is execute_mm_encoder, which it calls where there is
// something to encode.
var phaseRows = []phaseRow{
	// Runners. CPUModelRunner of either kind inherits from these.
	{runnerV1, []string{"GPUModelRunner.execute_model"}, wire.PhaseExecute, takesOutput},
	{runnerV2, []string{"GPUModelRunner.execute_model"}, wire.PhaseExecute, takesOutput},
	{runnerEncoder, []string{"MMEncoderModelRunner.execute_model"}, wire.PhaseExecute, takesOutput}, // 0.30+

	{runnerV1, []string{
		"GPUModelRunner._update_states", "GPUModelRunner._update_states.<locals>.correct_spec_decode_token_counts",
		"GPUModelRunner._prepare_inputs", "GPUModelRunner._prepare_input_ids", "GPUModelRunner._build_attention_metadata",
		"GPUModelRunner._get_slot_mappings", "GPUModelRunner._preprocess", "GPUModelRunner._gather_mm_embeddings",
		"GPUModelRunner._determine_batch_execution_and_padding", "GPUModelRunner.synchronize_input_prep",
		"GPUModelRunner._get_valid_sampled_token_count",
	}, wire.PhasePrepare, 0},
	{runnerV2, []string{
		"GPUModelRunner.update_states", // to 0.13
		"GPUModelRunner.finish_requests", "GPUModelRunner.free_states", "GPUModelRunner.add_requests", "GPUModelRunner.update_requests",
		"GPUModelRunner.update_pp_decode_requests", "GPUModelRunner.gather_batch_req_state",
		"GPUModelRunner.prepare_inputs", "GPUModelRunner.prepare_attn",
		"GPUModelRunner.get_mm_embeddings", // 0.15
	}, wire.PhasePrepare, 0},
	{"vllm.v1.worker.gpu.block_table", []string{"BlockTables.apply_staged_writes"}, wire.PhasePrepare, 0},
	{"vllm.v1.worker.gpu.async_utils", []string{"async_barrier"}, wire.PhasePrepare, 0}, // to 0.15
	{modelStates, []string{
		"*.preprocess_state", "*.prepare_attn", "*.prepare_inputs", "*.prepare_inputs_embeds", "*.get_mm_embeddings",
		"*.gather_mm_embeddings",
	}, wire.PhasePrepare, 0},
	{"vllm.v1.worker.lora_model_runner_mixin", []string{"LoRAModelRunnerMixin._set_active_loras", "LoRAModelRunnerMixin.set_active_loras"}, wire.PhasePrepare, 0},
	{runnerEncoder, []string{"MMEncoderModelRunner.input_tensor_semaphore"}, wire.PhasePrepare, 0},

	{"vllm.v1.worker.dp_utils", []string{"coordinate_batch_across_dp", "_synchronize_dp_ranks"}, wire.PhaseSyncRanks, 0},
	{"vllm.v1.worker.gpu.dp_utils", []string{
		"dispatch_cg_and_sync_dp", "sync_cudagraph_and_dp_padding", "get_cudagraph_and_dp_padding", "get_batch_metadata_across_dp",
	}, wire.PhaseSyncRanks, 0},
	{runnerV2, []string{"GPUModelRunner.get_cudagraph_and_dp_padding"}, wire.PhaseSyncRanks, 0}, // to 0.13
	{runnerV1, []string{
		"GPUModelRunner._pp_broadcast_prev_sampled_token_ids", "GPUModelRunner._pp_receive_prev_sampled_token_ids_to_input_batch",
	}, wire.PhaseSyncRanks, 0},
	{"vllm.v1.worker.gpu.pp_utils", []string{
		"pp_broadcast", "pp_receive", // to 0.22
		"PPHandler.broadcast", "PPHandler.receive", "PPHandler.broadcast_drafts", "PPHandler.get_prev_sampled_outputs",
	}, wire.PhaseSyncRanks, 0},
	// The worker's own part of a step is sending and receiving between stages.
	{"vllm.v1.worker.gpu_worker", []string{"Worker.execute_model", "AsyncIntermediateTensors.wait_for_comm"}, wire.PhaseSyncRanks, 0},

	{runnerV1, []string{"GPUModelRunner._execute_mm_encoder"}, wire.PhaseEncoder, 0},
	{"vllm.v1.worker.encoder_cudagraph", []string{"EncoderCudaGraphManager.execute", "EncoderCudaGraphManager._run_budget_graph"}, wire.PhaseEncoder, 0},
	{"vllm.v1.worker.gpu.mm.encoder_runner", []string{"EncoderRunner.execute_mm_encoder"}, wire.PhaseEncoder, 0},
	{models, []string{"*.embed_multimodal"}, wire.PhaseEncoder, 0},
	{newModels, []string{"*.embed_multimodal"}, wire.PhaseEncoder, 0},

	{runnerV1, []string{"GPUModelRunner._model_forward"}, wire.PhaseForward, 0},
	// Weak: speculators launch their graphs by the same methods.
	{"vllm.v1.worker.gpu.cudagraph_utils", []string{
		"CudaGraphManager.run", // to 0.15
		"CudaGraphManager.run_fullgraph", "ModelCudaGraphManager.run_fullgraph", "CudaGraphManager.run_pw_graph",
	}, wire.PhaseForward, weak},
	{"vllm.v1.worker.gpu.ubatch_utils", []string{"UBatchRunner.run"}, wire.PhaseForward, 0}, // 0.30+
	// The threads of micro-batches have no frame of the runner.
	{"vllm.v1.worker.gpu_ubatch_wrapper", []string{"UBatchWrapper.__call__", "UBatchWrapper._run_ubatches.<locals>._ubatch_thread"}, wire.PhaseForward, 0},
	// An eager forward of the V2 runner is a call of the module, right under execute_model.
	{"torch.nn.modules.module", []string{"Module._wrapped_call_impl", "Module._call_impl"}, wire.PhaseForward, weak},
	// Of the encoder's output; the decoder must run eagerly to have this frame. Not
	// HunYuan's class of the name: that is attention to another layer.
	{"vllm.model_executor.models.whisper", []string{"WhisperCrossAttention.forward"}, wire.PhaseCrossAttention, 0},
	{"vllm.model_executor.models.cohere_asr", []string{"CohereASRCrossAttention.forward"}, wire.PhaseCrossAttention, 0},
	{"vllm.model_executor.models.fireredlid", []string{"FireRedLIDCrossAttention.forward"}, wire.PhaseCrossAttention, 0},

	// Logits of models that only draft. A whole model that drafts for a larger one has
	// the same functions as the larger one: its logits count as logits.
	{"vllm.model_executor.models.*eagle*", []string{"*.compute_logits"}, wire.PhaseDraft, 0},
	{"vllm.model_executor.models.*mtp*", []string{"*.compute_logits"}, wire.PhaseDraft, 0},
	{"vllm.model_executor.models.*medusa*", []string{"*.compute_logits"}, wire.PhaseDraft, 0},
	{"vllm.model_executor.models.*dflash*", []string{"*.compute_logits"}, wire.PhaseDraft, 0},
	{models, []string{"*.compute_logits"}, wire.PhaseLogits, 0},
	{"vllm.models.*mtp*", []string{"*.compute_logits"}, wire.PhaseDraft, 0},
	{"vllm.models.*dspark*", []string{"*.compute_logits"}, wire.PhaseDraft, 0},
	{newModels, []string{"*.compute_logits"}, wire.PhaseLogits, 0}, // 0.30+

	{runnerV1, []string{"GPUModelRunner._sample"}, wire.PhaseSample, 0},
	{runnerV2, []string{"GPUModelRunner.sample"}, wire.PhaseSample, 0},
	{"vllm.v1.sample.sampler", []string{"Sampler.forward"}, wire.PhaseSample, 0},
	{"vllm.v1.sample.rejection_sampler", []string{"RejectionSampler.forward"}, wire.PhaseSample, 0},
	{"vllm.v1.worker.gpu.sample.sampler", []string{"Sampler.__call__"}, wire.PhaseSample, 0},
	{"vllm.v1.worker.gpu.spec_decode.rejection_sampler", []string{"RejectionSampler.__call__"}, wire.PhaseSample, 0},
	{"vllm.v1.structured_output.utils", []string{"apply_grammar_bitmask"}, wire.PhaseSample, 0},
	{"vllm.v1.worker.gpu.structured_outputs", []string{"StructuredOutputsWorker.apply_grammar_bitmask"}, wire.PhaseSample, 0},

	{runnerV1, []string{
		"GPUModelRunner.propose_draft_token_ids", "GPUModelRunner.sample_tokens.<locals>.propose_draft_token_ids",
		"GPUModelRunner._copy_valid_sampled_token_count", "GPUModelRunner._copy_draft_token_ids_to_cpu",
		"GPUModelRunner._get_draft_token_ids_cpu", "GPUModelRunner.take_draft_token_ids",
	}, wire.PhaseDraft, 0},
	{runnerV2, []string{"GPUModelRunner.propose_draft", "GPUModelRunner.take_draft_token_ids"}, wire.PhaseDraft, 0},
	{"vllm.v1.spec_decode.*", []string{"*.propose"}, wire.PhaseDraft, 0},
	{"vllm.v1.worker.gpu.spec_decode.*", []string{"*.propose"}, wire.PhaseDraft, 0},
	{"vllm.v1.worker.gpu.spec_decode.utils", []string{"DraftTokensHandler.set_draft_tokens", "DraftTokensHandler.get_draft_tokens"}, wire.PhaseDraft, 0},

	// _to_list records, and waits for what it recorded.
	{runnerV1, []string{
		"AsyncGPUModelRunnerOutput.__init__", "AsyncGPUPoolingModelRunnerOutput.__init__", "_copy_pooler_output_to_cpu",
		"GPUModelRunner._to_list",
	}, wire.PhaseOutputCopy, 0},
	{"vllm.v1.worker.cpu_model_runner", []string{"CPUModelRunner._to_list"}, wire.PhaseOutputCopy, 0},
	{"vllm.v1.worker.gpu.async_utils", []string{"AsyncOutput.__init__", "AsyncPoolingOutput.__init__", "async_copy_to_np"}, wire.PhaseOutputCopy, 0},

	{runnerV1, []string{"AsyncGPUModelRunnerOutput.get_output", "AsyncGPUPoolingModelRunnerOutput.get_output"}, wire.PhaseOutputWait, 0},
	{"vllm.v1.worker.gpu.async_utils", []string{"AsyncOutput.get_output", "AsyncPoolingOutput.get_output"}, wire.PhaseOutputWait, 0},
	{"vllm.v1.worker.gpu_input_batch", []string{"InputBatch.update_async_output_token_ids"}, wire.PhaseOutputWait, 0},
	{"vllm.v1.executor.uniproc_executor", []string{"AsyncOutputFuture.result"}, wire.PhaseOutputWait, 0}, // 0.22+

	{runnerV1, []string{
		"GPUModelRunner.sample_tokens", "GPUModelRunner._bookkeeping_sync", "GPUModelRunner._update_states_after_model_execute",
		"GPUModelRunner._get_prompt_logprobs_dict", "GPUModelRunner._pool", "GPUModelRunner.eplb_step",
	}, wire.PhasePostprocess, 0},
	{runnerV2, []string{
		"GPUModelRunner.sample_tokens", "GPUModelRunner.postprocess", "GPUModelRunner.postprocess_sampled",
		"GPUModelRunner.postprocess_num_computed_tokens", "GPUModelRunner.compute_prompt_logprobs", "GPUModelRunner.pool",
	}, wire.PhasePostprocess, 0},
	{"vllm.v1.worker.gpu.sample.prompt_logprob", []string{"PromptLogprobsWorker.compute_prompt_logprobs", "PromptLogprobsWorker.compute_prompt_token_id_logprobs"}, wire.PhasePostprocess, 0},

	// Captures that vLLM throws away, to learn how much memory they take.
	{runnerV1, []string{"GPUModelRunner.profile_cudagraph_memory"}, wire.PhaseCapture, dummy | throwaway},              // 0.18+
	{runnerV2, []string{"GPUModelRunner.profile_cudagraph_memory"}, wire.PhaseCapture, dummy | throwaway},              // 0.18+; no capture in it before 0.30
	{"vllm.v1.worker.gpu.cudagraph_utils", []string{"profile_cudagraph_memory"}, wire.PhaseCapture, dummy | throwaway}, // 0.30+

	{runnerV1, []string{"GPUModelRunner.capture_model", "GPUModelRunner._capture_cudagraphs", "GPUModelRunner._warmup_and_capture"}, wire.PhaseCapture, dummy},
	{runnerV2, []string{"GPUModelRunner.capture_model"}, wire.PhaseCapture, dummy},
	{runnerEncoder, []string{"MMEncoderModelRunner.capture_model"}, wire.PhaseCapture, dummy},
	{"vllm.v1.worker.gpu.cudagraph_utils", []string{
		"CudaGraphManager.capture", "ModelCudaGraphManager.capture",
		"CudaGraphManager.capture_graph", "capture_graphs", // to 0.17
	}, wire.PhaseCapture, dummy},
	{"vllm.v1.worker.gpu.spec_decode.*", []string{"*.capture", "*.capture_model", "*.capture_graph"}, wire.PhaseCapture, dummy},
	{"vllm.v1.worker.gpu.mm.encoder_runner", []string{"EncoderRunner.capture"}, wire.PhaseCapture, dummy},
	{"vllm.v1.worker.encoder_cudagraph", []string{"EncoderCudaGraphManager.capture"}, wire.PhaseCapture, dummy},
	{"vllm.v1.worker.gpu_ubatch_wrapper", []string{"UBatchWrapper._capture_ubatches", "UBatchWrapper._capture_ubatches.<locals>._capture_ubatch_thread"}, wire.PhaseCapture, dummy},
	{"vllm.v1.spec_decode.gemma4", []string{"*._setup_centroids_cuda_graphs"}, wire.PhaseCapture, dummy},

	{runnerV1, []string{
		"GPUModelRunner._dummy_run", "GPUModelRunner._dummy_sampler_run", "GPUModelRunner._dummy_pooler_run",
		"GPUModelRunner._dummy_pooler_run_task", "GPUModelRunner.profile_run",
	}, wire.PhaseDummy, dummy},
	{runnerV2, []string{
		"GPUModelRunner._dummy_run", "GPUModelRunner._dummy_sampler_run", "GPUModelRunner._dummy_pooler_run",
		"GPUModelRunner.profile_run", "GPUModelRunner.warmup_for_prefill",
	}, wire.PhaseDummy, dummy},
	{runnerEncoder, []string{"MMEncoderModelRunner._dummy_run"}, wire.PhaseDummy, dummy},
	{"vllm.v1.worker.cpu_model_runner", []string{"CPUModelRunner.warming_up_model"}, wire.PhaseDummy, dummy},
	{"vllm.v1.worker.cpu.model_runner", []string{"CPUModelRunner.warming_up_model"}, wire.PhaseDummy, dummy},
	{"vllm.v1.worker.gpu.warmup", []string{"warmup_kernels", "run_mixed_prefill_decode_warmup"}, wire.PhaseDummy, dummy},
	{"vllm.v1.worker.gpu.mm.encoder_runner", []string{"EncoderRunner.profile_encoder_cache"}, wire.PhaseDummy, dummy},
	{"vllm.model_executor.warmup.kernel_warmup", []string{"kernel_warmup"}, wire.PhaseDummy, dummy},
	{"vllm.v1.worker.gpu_worker", []string{
		"Worker.execute_dummy_batch", "Worker.compile_or_warm_up_model", "Worker.determine_available_memory",
	}, wire.PhaseDummy, dummy},
	{"vllm.v1.worker.cpu_worker", []string{"CPUWorker.compile_or_warm_up_model", "CPUWorker.determine_available_memory"}, wire.PhaseDummy, dummy},
}

const (
	runnerV1      = "vllm.v1.worker.gpu_model_runner"
	runnerV2      = "vllm.v1.worker.gpu.model_runner"
	runnerEncoder = "vllm.v1.worker.mm_encoder_model_runner"
	modelStates   = "vllm.v1.worker.gpu.model_states.*"
	models        = "vllm.model_executor.models.*"
	newModels     = "vllm.models.*"
)
