from torch import _C
from torch.cuda import current_stream
from vllm.v1.worker.encoder_cudagraph import EncoderCudaGraphManager
from vllm.v1.worker.gpu.mm.encoder_runner import EncoderRunner


class ModelState:
    def __init__(self, vllm_config, model):
        self.vllm_config = vllm_config
        self.model = model
        self.supports_mm_inputs = bool(vllm_config.encoder)
        if self.supports_mm_inputs:
            graphs = vllm_config.encoder == "vision"
            self.encoder_runner = EncoderRunner(model, EncoderCudaGraphManager(vllm_config, model) if graphs else None)

    def execute_mm_encoder(self, scheduled_encoder_inputs):
        return self.encoder_runner.execute_mm_encoder(len(scheduled_encoder_inputs))

    def preprocess_state(self):
        pass

    def prepare_attn(self):
        _C.launch_triton(2_000, current_stream().cuda_stream)
