"""The V1 model runner."""
from contextlib import contextmanager, nullcontext

import marks
import torch
import torch.cuda
from torch import _C
from torch.cuda import async_copy_to_cpu, async_copy_to_gpu, current_stream
from vllm.compilation.cuda_graph import CUDAGraphWrapper
from vllm.config.compilation import CUDAGraphMode
from vllm.forward_context import BatchDescriptor, set_forward_context
from vllm.v1.outputs import AsyncModelRunnerOutput, ModelRunnerOutput
from vllm.v1.sample.sampler import Sampler
from vllm.v1.worker.encoder_cudagraph import EncoderCudaGraphManager
from vllm.v1.worker.gpu.states import RequestState


class AsyncGPUModelRunnerOutput(AsyncModelRunnerOutput):
    def __init__(self, model_runner_output, num_sampled_tokens, async_output_copy_stream, step):
        self._model_runner_output = model_runner_output
        self.async_copy_ready_event = torch.cuda.Event(blocking=True)
        self.step = step
        default_stream = current_stream()
        with marks.phase(marks.OUTPUT_COPY), torch.cuda.stream(async_output_copy_stream):
            async_output_copy_stream.wait_stream(default_stream)
            self.sampled_token_ids_cpu = async_copy_to_cpu(8 * num_sampled_tokens)
            self.async_copy_ready_event.record()

    def get_output(self):
        with marks.phase(marks.OUTPUT_WAIT, self.step):
            self.async_copy_ready_event.synchronize()
        return self._model_runner_output


class CudagraphDispatcher:
    def __init__(self, vllm_config, uniform_decode_query_len):
        self.cudagraph_keys = {CUDAGraphMode.FULL: set(), CUDAGraphMode.PIECEWISE: set()}
        for size in vllm_config.compilation_config.cudagraph_capture_sizes:
            self.cudagraph_keys[CUDAGraphMode.PIECEWISE].add(BatchDescriptor(size))
            if size <= vllm_config.scheduler_config.max_num_seqs:
                tokens = size * uniform_decode_query_len
                self.cudagraph_keys[CUDAGraphMode.FULL].add(BatchDescriptor(tokens, size, True))
        self.keys_initialized = True

    def get_capture_descs(self):
        return [(mode, sorted(self.cudagraph_keys[mode], key=lambda d: -d.num_tokens))
                for mode in (CUDAGraphMode.PIECEWISE, CUDAGraphMode.FULL)]

    def dispatch(self, num_tokens, uniform_decode):
        for mode in (CUDAGraphMode.FULL, CUDAGraphMode.PIECEWISE):
            if mode == CUDAGraphMode.FULL and not uniform_decode:
                continue
            fits = [d for d in self.cudagraph_keys[mode] if d.num_tokens >= num_tokens]
            if fits:
                return mode, min(fits, key=lambda d: d.num_tokens)
        return CUDAGraphMode.NONE, BatchDescriptor(num_tokens)


class GPUModelRunner:
    def __init__(self, vllm_config, communicator):
        self.vllm_config = vllm_config
        self.model_config = vllm_config.model_config
        self.compilation_config = vllm_config.compilation_config
        self.scheduler_config = vllm_config.scheduler_config
        self.communicator = communicator
        self.use_async_scheduling = self.scheduler_config.async_scheduling
        self.num_spec_tokens = vllm_config.num_speculative_tokens
        self.uniform_decode_query_len = self.num_spec_tokens + 1
        self.requests = RequestState(self.num_spec_tokens)
        self.sampler = Sampler()
        self.prepare_inputs_event = torch.cuda.Event(blocking=True) if self.use_async_scheduling else None
        self.transfer_event = torch.cuda.Event()
        self.async_output_copy_stream = torch.cuda.Stream() if self.use_async_scheduling else None
        self.cudagraph_dispatcher = CudagraphDispatcher(vllm_config, self.uniform_decode_query_len)
        self.encoder_cudagraph_manager = None
        self.execute_model_state = None
        self.drafter = None
        self.step = 0

    def load_model(self):
        self.model = self.vllm_config.build_model(self.vllm_config, self.communicator)
        self.is_encoder_decoder = self.model.is_encoder_decoder
        self.model = CUDAGraphWrapper(self.model, self.vllm_config, CUDAGraphMode.FULL)
        if self.num_spec_tokens:
            from vllm.v1.spec_decode.eagle import EagleProposer

            self.drafter = EagleProposer(self.vllm_config)

    def get_model(self):
        return self.model.unwrap()

    @torch.inference_mode()
    def _dummy_run(self, num_tokens, cudagraph_runtime_mode=CUDAGraphMode.NONE, batch_desc=None):
        with marks.phase(marks.DUMMY):
            with set_forward_context(cudagraph_runtime_mode, batch_desc or BatchDescriptor(num_tokens)):
                self._model_forward(num_tokens)
            if self.drafter is not None:
                self.drafter.dummy_run(num_tokens, cudagraph_runtime_mode)

    def profile_run(self):
        self._dummy_run(self.scheduler_config.max_num_batched_tokens)
        torch.cuda.synchronize()

    def profile_cudagraph_memory(self):
        """Captures some graphs and throws them away, to see what memory they take."""
        self.vllm_config.truth.throwaway = True
        for mode, descs in self.cudagraph_dispatcher.get_capture_descs():
            for desc in descs[:2]:
                self._warmup_and_capture(desc, mode)
        self.vllm_config.truth.throwaway = False
        self.clear_graphs()
        return 0

    @torch.inference_mode()
    def capture_model(self):
        with marks.phase(marks.CAPTURE):
            for runtime_mode, batch_descs in self.cudagraph_dispatcher.get_capture_descs():
                self._capture_cudagraphs(batch_descs, runtime_mode)
                torch.cuda.synchronize()
            if self.vllm_config.encoder == "vision":
                self.encoder_cudagraph_manager = EncoderCudaGraphManager(self.vllm_config, self.get_model())
                self.encoder_cudagraph_manager.capture()

    def clear_graphs(self):
        CUDAGraphWrapper.clear_all_graphs()
        self.encoder_cudagraph_manager = None

    def any_graph(self):
        return next((e.cudagraph for e in self.model.concrete_cudagraph_entries.values()), None)

    def _capture_cudagraphs(self, batch_descriptors, cudagraph_runtime_mode):
        for desc in batch_descriptors:
            self._warmup_and_capture(desc, cudagraph_runtime_mode)

    def _warmup_and_capture(self, desc, cudagraph_runtime_mode):
        with marks.phase(marks.CAPTURE):
            self._dummy_run(desc.num_tokens)
            self._dummy_run(desc.num_tokens, cudagraph_runtime_mode, desc)

    @contextmanager
    def synchronize_input_prep(self):
        if self.prepare_inputs_event is None:
            yield
            return
        with marks.phase(marks.PREPARE):
            self.prepare_inputs_event.synchronize()
        try:
            yield
        finally:
            with marks.phase(marks.PREPARE):
                self.prepare_inputs_event.record()

    def _update_states(self, scheduler_output):
        with marks.phase(marks.PREPARE):
            for req_id in scheduler_output.finished_req_ids:
                self.requests.remove_request(req_id)
            for new in scheduler_output.scheduled_new_reqs:
                self.requests.add_request(new)
            self.requests.update_requests(scheduler_output.scheduled_cached_reqs)

    def _prepare_inputs(self, scheduler_output):
        with marks.phase(marks.PREPARE):
            for _ in range(6):
                async_copy_to_gpu(4 * scheduler_output.total_num_scheduled_tokens)
            _C.launch_torch(2_000, current_stream().cuda_stream)
            _C.launch_torch(2_000, current_stream().cuda_stream)

    def _determine_batch_execution_and_padding(self, scheduler_output, force_eager):
        counts = set(scheduler_output.num_scheduled_tokens.values())
        uniform_decode = counts == {self.uniform_decode_query_len}
        num_tokens = scheduler_output.total_num_scheduled_tokens
        if force_eager:
            return CUDAGraphMode.NONE, BatchDescriptor(num_tokens)
        return self.cudagraph_dispatcher.dispatch(num_tokens, uniform_decode)

    def _build_attention_metadata(self):
        with marks.phase(marks.PREPARE):
            async_copy_to_gpu(1024)
            _C.launch_triton(2_000, current_stream().cuda_stream)

    def _execute_mm_encoder(self, scheduler_output):
        with marks.phase(marks.ENCODER):
            items = len(scheduler_output.scheduled_encoder_inputs)
            manager = self.encoder_cudagraph_manager
            if items and (manager is None or not manager.execute(items)):
                self.model.embed_multimodal(items)
            return items

    def _preprocess(self, scheduler_output):
        return self._execute_mm_encoder(scheduler_output) if self.vllm_config.encoder else 0

    def _model_forward(self, input_ids, **model_kwargs):
        with marks.phase(marks.FORWARD):
            return self.model(input_ids, **model_kwargs)

    @torch.inference_mode()
    def execute_model(self, scheduler_output, intermediate_tensors=None):
        with marks.phase(marks.EXECUTE, self.step):
            with self.synchronize_input_prep():
                self._update_states(scheduler_output)
                if not scheduler_output.total_num_scheduled_tokens:
                    self.vllm_config.truth.step(self.step, scheduler_output)
                    self.step += 1
                    return ModelRunnerOutput([], {})
                self._prepare_inputs(scheduler_output)
                has_encoder_input = self.is_encoder_decoder and bool(scheduler_output.scheduled_encoder_inputs)
                cudagraph_mode, batch_desc = self._determine_batch_execution_and_padding(
                    scheduler_output, has_encoder_input)
                self.vllm_config.truth.step(self.step, scheduler_output, cudagraph_mode, batch_desc)
                self._build_attention_metadata()
                encoder_outputs = self._preprocess(scheduler_output)
            model_kwargs = {"encoder_outputs": encoder_outputs} if self.is_encoder_decoder else {}
            with set_forward_context(cudagraph_mode, batch_desc), nullcontext("gpu_model_runner: forward"):
                self._model_forward(batch_desc.num_tokens, **model_kwargs)
            if self.communicator:
                self.communicator.met()
            with marks.phase(marks.LOGITS):
                self.model.compute_logits(len(scheduler_output.num_scheduled_tokens))
            self.execute_model_state = scheduler_output
        return None

    def _sample(self, scheduler_output):
        with marks.phase(marks.SAMPLE):
            self.sampler(len(scheduler_output.num_scheduled_tokens))
            return self.requests.sample(scheduler_output)

    def _to_list(self, num_sampled_tokens):
        with marks.phase(marks.OUTPUT_COPY):
            _C.copy(8 * num_sampled_tokens, False, current_stream().cuda_stream)  # into its own buffer
            self.transfer_event.record()
            self.transfer_event.synchronize()

    def _bookkeeping_sync(self, num_sampled_tokens):
        if not self.use_async_scheduling:
            self._to_list(num_sampled_tokens)

    def propose_draft_token_ids(self, scheduler_output):
        with marks.phase(marks.DRAFT):
            mode, desc = self.cudagraph_dispatcher.dispatch(scheduler_output.total_num_scheduled_tokens, False)
            self.drafter.propose(desc.num_tokens, mode)

    @torch.inference_mode()
    def sample_tokens(self, grammar_output):
        if self.execute_model_state is None:
            return None
        scheduler_output, self.execute_model_state = self.execute_model_state, None
        num_reqs, step = len(scheduler_output.num_scheduled_tokens), self.step
        self.step += 1
        with marks.phase(marks.POSTPROCESS, step):
            sampled = self._sample(scheduler_output)
            if self.drafter is not None:
                self.propose_draft_token_ids(scheduler_output)
            self._bookkeeping_sync(num_reqs)
            output = ModelRunnerOutput(list(scheduler_output.num_scheduled_tokens), sampled)
            if not self.use_async_scheduling:
                return output
            return AsyncGPUModelRunnerOutput(output, num_reqs, self.async_output_copy_stream, step)
