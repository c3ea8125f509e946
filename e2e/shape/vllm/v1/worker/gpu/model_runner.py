"""The V2 model runner."""
from contextlib import nullcontext
from types import SimpleNamespace

import marks
import torch
import torch.cuda
from torch import _C
from torch.cuda import async_copy_to_gpu, current_stream
from vllm.compilation.cuda_graph import CUDAGraphWrapper
from vllm.config.compilation import CUDAGraphMode
from vllm.forward_context import BatchDescriptor, set_forward_context
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.worker.gpu.async_utils import AsyncOutput
from vllm.v1.worker.gpu.block_table import BlockTables
from vllm.v1.worker.gpu.cudagraph_utils import ModelCudaGraphManager
from vllm.v1.worker.gpu.cudagraph_utils import profile_cudagraph_memory as _profile_cudagraph_memory
from vllm.v1.worker.gpu.dp_utils import dispatch_cg_and_sync_dp
from vllm.v1.worker.gpu.sample.sampler import Sampler
from vllm.v1.worker.gpu.spec_decode.target_dependent_ar.speculator import TargetDependentARSpeculator
from vllm.v1.worker.gpu.spec_decode.utils import DraftTokensHandler
from vllm.v1.worker.gpu.states import RequestState


class GPUModelRunner:
    def __init__(self, vllm_config, communicator):
        self.vllm_config = vllm_config
        self.model_config = vllm_config.model_config
        self.compilation_config = vllm_config.compilation_config
        self.scheduler_config = vllm_config.scheduler_config
        self.communicator = communicator
        self.num_speculative_steps = vllm_config.num_speculative_tokens
        self.decode_query_len = self.num_speculative_steps + 1
        self.req_states = RequestState(self.num_speculative_steps)
        self.block_tables = BlockTables()
        self.sampler = Sampler()
        self.main_stream = current_stream()
        self.output_copy_stream = torch.cuda.Stream()
        self.execute_model_state = None
        self.is_pooling_model = False
        self.cudagraph_manager = None
        self.speculator = None
        self.step = 0

    def load_model(self):
        self.model = self.vllm_config.build_model(self.vllm_config, self.communicator)
        self.is_encoder_decoder = self.model.is_encoder_decoder
        if self.is_encoder_decoder:
            from vllm.v1.worker.gpu.model_states.encoder_decoder import EncoderDecoderModelState as State
        else:
            from vllm.v1.worker.gpu.model_states.default import DefaultModelState as State
        self.model_state = State(self.vllm_config, self.model)
        if self.num_speculative_steps:
            self.speculator = TargetDependentARSpeculator(self.vllm_config)
            self.draft_tokens_handler = DraftTokensHandler()
        self.init_cudagraph_managers()

    def init_cudagraph_managers(self):
        mode = self.compilation_config.cudagraph_mode
        self.cudagraph_manager = ModelCudaGraphManager(self.vllm_config, mode, self.decode_query_len)
        if self.speculator is not None:
            self.speculator.init_cudagraph_manager()

    @torch.inference_mode()
    def _dummy_run(self, num_tokens):
        with marks.phase(marks.DUMMY):
            self.execute_model(SimpleNamespace(num_scheduled_tokens={"dummy": num_tokens},
                                               total_num_scheduled_tokens=num_tokens,
                                               scheduled_encoder_inputs={}), None, dummy_run=True, is_profile=True)

    @torch.inference_mode()
    def profile_run(self):
        self._dummy_run(self.scheduler_config.max_num_batched_tokens)
        torch.cuda.synchronize()

    def profile_cudagraph_memory(self):
        return _profile_cudagraph_memory(self)

    @torch.inference_mode()
    def capture_model(self, *, profile_only=False):
        with marks.phase(marks.CAPTURE):
            if self.model_state.supports_mm_inputs and self.model_state.encoder_runner.has_cudagraph():
                self.model_state.encoder_runner.capture()
            self.cudagraph_manager.capture(self.model)
            if self.speculator is not None:
                self.speculator.capture()

    def clear_graphs(self):
        self.init_cudagraph_managers()
        CUDAGraphWrapper.clear_all_graphs()
        if self.model_state.supports_mm_inputs and self.model_state.encoder_runner.has_cudagraph():
            self.model_state.encoder_runner.cudagraph_manager.budget_graphs.clear()

    def any_graph(self):
        return next(iter(self.cudagraph_manager.graphs.values()), None)

    def finish_requests(self, scheduler_output):
        for req_id in scheduler_output.finished_req_ids:
            self.req_states.remove_request(req_id)

    def free_states(self, scheduler_output):
        pass

    def add_requests(self, scheduler_output):
        for new in scheduler_output.scheduled_new_reqs:
            self.req_states.add_request(new)
            async_copy_to_gpu(4 * len(new.prompt_token_ids))

    def update_requests(self, scheduler_output):
        self.req_states.update_requests(scheduler_output.scheduled_cached_reqs)

    def prepare_inputs(self, scheduler_output, batch_desc, uniform_token_count):
        num_tokens = scheduler_output.total_num_scheduled_tokens
        stream = current_stream().cuda_stream
        for _ in range(3):
            async_copy_to_gpu(4 * num_tokens)
        for _ in range(4):
            _C.launch_triton(2_000, stream)
        return SimpleNamespace(req_ids=list(scheduler_output.num_scheduled_tokens),
                               num_reqs=len(scheduler_output.num_scheduled_tokens), num_tokens=num_tokens,
                               num_tokens_after_padding=batch_desc.num_tokens, uniform_token_count=uniform_token_count)

    def prepare_attn(self, input_batch):
        stream = current_stream().cuda_stream
        _C.launch_triton(2_000, stream)
        _C.launch_triton(2_000, stream)

    @torch.inference_mode()
    def execute_model(self, scheduler_output, intermediate_tensors=None, dummy_run=False, is_profile=False):
        with nullcontext() if dummy_run else marks.phase(marks.EXECUTE, self.step):
            if not dummy_run:
                with marks.phase(marks.PREPARE):
                    self.finish_requests(scheduler_output)
                    self.free_states(scheduler_output)
                    self.add_requests(scheduler_output)
                    self.update_requests(scheduler_output)
                    self.block_tables.apply_staged_writes()
                if scheduler_output.total_num_scheduled_tokens == 0:
                    self.vllm_config.truth.step(self.step, scheduler_output)
                    self.step += 1
                    return ModelRunnerOutput([], {})
            num_reqs = len(scheduler_output.num_scheduled_tokens)
            num_toks = scheduler_output.total_num_scheduled_tokens
            skip_compiled = self.is_encoder_decoder and bool(scheduler_output.scheduled_encoder_inputs)
            uniform = None if dummy_run else self.req_states.uniform_token_count(scheduler_output)
            batch_desc = dispatch_cg_and_sync_dp(self.cudagraph_manager, num_reqs, num_toks, uniform,
                                                 need_eager=is_profile or skip_compiled)
            model_inputs, input_batch = {}, None
            if not dummy_run:
                self.vllm_config.truth.step(self.step, scheduler_output, batch_desc.cg_mode, batch_desc)
                with marks.phase(marks.PREPARE):
                    input_batch = self.prepare_inputs(scheduler_output, batch_desc, uniform)
                    self.prepare_attn(input_batch)
                    self.model_state.prepare_attn()
                if self.model_state.supports_mm_inputs:
                    self.model_state.prepare_inputs_embeds(scheduler_output.scheduled_encoder_inputs)
                model_inputs = self.model_state.prepare_inputs()
            model_inputs["input_ids"] = batch_desc.num_tokens
            if batch_desc.cg_mode == CUDAGraphMode.FULL:
                self.cudagraph_manager.run_fullgraph(batch_desc)
            else:
                with set_forward_context(batch_desc.cg_mode, BatchDescriptor(batch_desc.num_tokens)):
                    if batch_desc.cg_mode == CUDAGraphMode.PIECEWISE:
                        self.cudagraph_manager.run_pw_graph(self.model, model_inputs)
                    else:
                        with marks.phase(marks.FORWARD):
                            self.model(**model_inputs)
            if not dummy_run:
                if self.communicator:
                    self.communicator.met()
                self.execute_model_state = (scheduler_output, input_batch)
            return None

    def sample(self, input_batch):
        with marks.phase(marks.LOGITS):
            self.model.compute_logits(input_batch.num_reqs)
        with marks.phase(marks.SAMPLE):
            self.sampler(input_batch)

    def postprocess_sampled(self, input_batch):
        _C.launch_triton(2_000, current_stream().cuda_stream)

    @torch.inference_mode()
    def sample_tokens(self, grammar_output):
        if self.execute_model_state is None:
            return None
        scheduler_output, input_batch = self.execute_model_state
        self.execute_model_state = None
        with marks.phase(marks.POSTPROCESS, self.step):
            self.sample(input_batch)
            output = ModelRunnerOutput(input_batch.req_ids, self.req_states.sample(scheduler_output))
            async_output = AsyncOutput(output, input_batch.num_reqs, self.main_stream, self.output_copy_stream, self.step)
            self.postprocess_sampled(input_batch)
            if self.speculator is not None:
                self.speculator.propose(input_batch)
                with marks.phase(marks.DRAFT):
                    self.draft_tokens_handler.set_draft_tokens(input_batch)
        self.step += 1
        return async_output
