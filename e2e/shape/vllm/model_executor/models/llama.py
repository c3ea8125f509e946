from functools import partial

from torch import _C
from torch.cuda.streams import current_stream
from torch.nn import Module
from vllm.compilation.backends import GraphModule
from vllm.forward_context import get_forward_context


class Times:
    """How long the model's kernels take, in ns: a part of the forward pass each."""

    def __init__(self, forward_us, token_us, layers):
        self.forward, self.token, self.layers = forward_us * 1000, token_us * 1000, layers

    def kernel(self, tokens):
        return int((self.forward + self.token * tokens) / (4 * self.layers + 1))


class LlamaModel(Module):
    def __init__(self, vllm_config, times, communicator):
        self.times, self.communicator = times, communicator
        self.routers = {layer: self.experts(vllm_config, layer) for layer in range(1, times.layers) if vllm_config.experts}
        pieces = [partial(self.piece, i) for i in range(times.layers + 1)]
        self.compiled = GraphModule(vllm_config, pieces, [self.attention] * times.layers)

    @staticmethod
    def experts(vllm_config, layer):
        """A layer with experts; the first one of the model has none."""
        vllm_config.compilation_config.static_all_moe_layers.append(f"model.layers.{layer}.mlp.experts")
        return _C.TopkGating(layer, vllm_config.scheduler_config.max_num_batched_tokens, vllm_config.top_k,
                             vllm_config.experts)

    def piece(self, index, tokens):
        """What is between two attention operations."""
        stream, ns = current_stream().cuda_stream, self.times.kernel(tokens)
        _C.launch_torch(ns, stream)
        if index - 1 in self.routers:  # of the layer whose attention was before
            self.routers[index - 1].launch(tokens, 5_000, stream)
        if index < self.times.layers:
            _C.launch_cublas(ns, stream)
            _C.launch_cublas(ns, stream)
        if self.communicator:
            self.communicator.all_reduce(tokens * 64)

    def attention(self, tokens):
        _C.launch_triton(self.times.kernel(tokens), current_stream().cuda_stream)

    def forward(self, tokens):
        self.compiled.forward(tokens)


class LlamaForCausalLM(Module):
    is_encoder_decoder = False

    def __init__(self, vllm_config, times, communicator=None):
        self.vllm_config = vllm_config
        self.communicator = communicator
        self.model = LlamaModel(vllm_config, times, communicator)

    def forward(self, input_ids, encoder_outputs=0):
        assert get_forward_context() is not None or self.vllm_config.model_config.enforce_eager is not None
        self.model(input_ids)
        return input_ids

    def compute_logits(self, hidden_states):
        stream = current_stream().cuda_stream
        _C.launch_cublas(20_000, stream)
        if self.communicator:
            self.communicator.all_gather(hidden_states * 128)
        return hidden_states

    def embed_multimodal(self, items):
        """The encoder of a vision model."""
        stream = current_stream().cuda_stream
        for _ in range(items):
            for _ in range(3):
                _C.launch_cublas(30_000, stream)
                _C.launch_triton(20_000, stream)
