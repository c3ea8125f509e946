def dispatch_cg_and_sync_dp(cudagraph_manager, num_reqs, num_tokens, uniform_token_count, need_eager=False):
    from vllm.config.compilation import CUDAGraphMode
    from vllm.v1.worker.gpu.cudagraph_utils import BatchExecutionDescriptor

    if need_eager or cudagraph_manager is None:
        return BatchExecutionDescriptor(CUDAGraphMode.NONE, num_tokens, num_reqs)
    return cudagraph_manager.dispatch(num_reqs, num_tokens, uniform_token_count)
