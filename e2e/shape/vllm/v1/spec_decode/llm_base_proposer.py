from torch import _C
from torch.cuda import current_stream
from torch.nn import Module
from vllm.compilation.cuda_graph import CUDAGraphWrapper
from vllm.config.compilation import CUDAGraphMode
from vllm.forward_context import BatchDescriptor, set_forward_context


class EagleModel(Module):
    holder = "piecewise"  # nothing but the phase of its launches tells it from the model

    def forward(self, num_tokens):
        stream = current_stream().cuda_stream
        _C.launch_cublas(30_000, stream)
        _C.launch_triton(10_000, stream)


class SpecDecodeBaseProposer:
    def __init__(self, vllm_config):
        self.vllm_config = vllm_config
        self.num_speculative_tokens = vllm_config.num_speculative_tokens
        self.model = CUDAGraphWrapper(EagleModel(), vllm_config, CUDAGraphMode.PIECEWISE)

    def dummy_run(self, num_tokens, cudagraph_runtime_mode=CUDAGraphMode.NONE):
        with set_forward_context(cudagraph_runtime_mode, BatchDescriptor(num_tokens)):
            self.model(num_tokens)

    def propose(self, num_tokens, cudagraph_runtime_mode):
        for _ in range(self.num_speculative_tokens):
            with set_forward_context(cudagraph_runtime_mode, BatchDescriptor(num_tokens)):
                self.model(num_tokens)
