"""A vLLM plugin that has --enable-return-routed-experts on a CPU, where vLLM 0.31 and later refuse it.

They have it in the V2 model runner alone, which needs a GPU. Here the V1 runner does what that one does with vLLM's own
classes: real routers tell vLLM's capturer, whose snapshot is the PendingAuxOutput of a step, which its AsyncOutput holds
until the scheduler takes the output. PMTRACE_ROUTED_EXECUTOR=uni: the model runs in the engine's process, as on one GPU,
which vLLM's CPU platform does otherwise.
"""

import os
from types import SimpleNamespace


def run_by(executor):
    from vllm.v1.executor.abstract import Executor

    choose = Executor.get_class

    def get_class(vllm_config):
        vllm_config.parallel_config.distributed_executor_backend = executor
        return choose(vllm_config)

    Executor.get_class = staticmethod(get_class)


def on():
    from vllm.config import VllmConfig

    if VllmConfig._verify_aux_output_compatibility.__name__ == "verified":
        return

    def verified(self):
        pass

    VllmConfig._verify_aux_output_compatibility = verified
    if "PMTRACE_ROUTED_EXECUTOR" in os.environ:
        run_by(os.environ["PMTRACE_ROUTED_EXECUTOR"])

    import numpy as np
    from vllm.distributed.aux_output_connector.worker import get_aux_output_connector
    from vllm.v1.worker.gpu.async_utils import AsyncOutput
    from vllm.v1.worker.gpu_model_runner import GPUModelRunner

    class Output(AsyncOutput):
        def __init__(self, output, pending):
            self.model_runner_output = output
            self.pending_aux_output = pending

        def get_output(self):
            if self.pending_aux_output is not None:
                self.model_runner_output.aux_output_connector_output = self.pending_aux_output.process_output()
            return self.model_runner_output

    initialize, execute, sample = GPUModelRunner.initialize_kv_cache, GPUModelRunner.execute_model, GPUModelRunner.sample_tokens

    def initialize_kv_cache(self, kv_cache_config, *args, **kwargs):
        r = initialize(self, kv_cache_config, *args, **kwargs)
        if self.vllm_config.aux_output_config.enabled:
            self.aux = get_aux_output_connector(self.model, self.vllm_config, kv_cache_config)
        return r

    def execute_model(self, scheduler_output, *args, **kwargs):
        aux = getattr(self, "aux", None)
        if aux is None:
            return execute(self, scheduler_output, *args, **kwargs)
        aux.begin_step(scheduler_output.aux_output_connector_metadata)
        r = execute(self, scheduler_output, *args, **kwargs)
        self.pending_aux = None
        n = self.input_batch.num_reqs
        if scheduler_output.total_num_scheduled_tokens:
            self.pending_aux = aux.prepare_output(SimpleNamespace(
                req_ids=list(self.input_batch.req_ids), query_start_loc_np=self.query_start_loc.np[: n + 1].copy(),
                num_computed_tokens_np=self.input_batch.num_computed_tokens_cpu[:n].copy(),
            ))
        return r

    def sample_tokens(self, *args, **kwargs):
        r = sample(self, *args, **kwargs)
        pending = getattr(self, "pending_aux", None)
        if pending is None or r is None:
            return r
        self.pending_aux = None
        index = {name: i for i, name in enumerate(r.req_ids)}
        sampled = np.array([len(r.sampled_token_ids[index[name]]) for name in pending.request_ids], dtype=np.int32)
        pending.enqueue_cpu_copy(num_sampled=sampled, num_rejected=np.zeros_like(sampled))
        return Output(r, pending)

    GPUModelRunner.initialize_kv_cache = initialize_kv_cache
    GPUModelRunner.execute_model = execute_model
    GPUModelRunner.sample_tokens = sample_tokens
