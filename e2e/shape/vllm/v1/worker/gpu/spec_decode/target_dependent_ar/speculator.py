import marks
from torch import _C
from torch.cuda import current_stream
from vllm.config.compilation import CUDAGraphMode
from vllm.v1.worker.gpu.spec_decode.target_dependent_ar.cudagraph_utils import SpeculatorCudaGraphManager


class TargetDependentARSpeculator:
    def __init__(self, vllm_config):
        self.vllm_config = vllm_config
        self.num_speculative_steps = vllm_config.num_speculative_tokens
        self.prefill_cudagraph_manager = None
        self.decode_cudagraph_manager = None

    def init_cudagraph_manager(self):
        decode_only, steps = CUDAGraphMode.FULL_DECODE_ONLY, self.num_speculative_steps
        self.prefill_cudagraph_manager = SpeculatorCudaGraphManager(self.vllm_config, decode_only, steps + 1)
        self.decode_cudagraph_manager = SpeculatorCudaGraphManager(self.vllm_config, decode_only, 1)

    def capture(self):
        self.prefill_cudagraph_manager.capture(self._prefill)
        self.decode_cudagraph_manager.capture(self._generate_draft)

    def _prefill(self, num_tokens):
        stream = current_stream().cuda_stream
        _C.launch_cublas(30_000, stream)
        _C.launch_triton(10_000, stream)

    def _generate_draft(self, num_tokens):
        _C.launch_cublas(20_000, current_stream().cuda_stream)

    def propose(self, input_batch):
        with marks.phase(marks.DRAFT):
            batch_desc = self.prefill_cudagraph_manager.dispatch(
                input_batch.num_reqs, input_batch.num_tokens_after_padding, input_batch.uniform_token_count)
            if batch_desc.cg_mode == CUDAGraphMode.FULL:
                self.prefill_cudagraph_manager.run_fullgraph(batch_desc)
            else:
                self._prefill(batch_desc.num_tokens)
            batch_desc = self.decode_cudagraph_manager.dispatch(input_batch.num_reqs, input_batch.num_reqs, 1)
            for _ in range(self.num_speculative_steps - 1):
                if batch_desc.cg_mode == CUDAGraphMode.FULL:
                    self.decode_cudagraph_manager.run_fullgraph(batch_desc)
                else:
                    self._generate_draft(input_batch.num_reqs)
