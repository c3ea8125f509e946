"""An encoder-decoder model: its decoder attends to what its encoder made."""
import marks
from torch import _C
from torch.cuda.streams import current_stream
from torch.nn import Module
from vllm.model_executor.models.llama import LlamaForCausalLM


class WhisperCrossAttention(Module):
    def forward(self, tokens):
        with marks.phase(marks.CROSS_ATTENTION):
            stream = current_stream().cuda_stream
            _C.launch_cublas(10_000, stream)
            _C.launch_triton(15_000, stream)


class WhisperDecoderLayer(Module):
    def __init__(self):
        self.encoder_attn = WhisperCrossAttention()

    def forward(self, tokens):
        self.encoder_attn(tokens)


class WhisperForConditionalGeneration(LlamaForCausalLM):
    is_encoder_decoder = True

    def __init__(self, vllm_config, times, communicator=None):
        super().__init__(vllm_config, times, communicator)
        self.layers = [WhisperDecoderLayer() for _ in range(times.layers)]

    def forward(self, input_ids, encoder_outputs=0):
        if not encoder_outputs:
            return super().forward(input_ids)
        # The first pass of a request runs eagerly.
        super().forward(input_ids)
        for layer in self.layers:
            layer(input_ids)
        return input_ids
