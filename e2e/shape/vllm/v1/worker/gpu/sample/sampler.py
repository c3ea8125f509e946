from torch import _C
from torch.cuda import current_stream


class Sampler:
    def __call__(self, logits):
        stream = current_stream().cuda_stream
        _C.launch_torch(5_000, stream)
        _C.launch_triton(8_000, stream)
        _C.launch_torch(5_000, stream)
