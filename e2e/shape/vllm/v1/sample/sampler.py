from torch import _C
from torch.cuda import current_stream
from torch.nn import Module


class Sampler(Module):
    def forward(self, logits):
        stream = current_stream().cuda_stream
        for _ in range(3):
            _C.launch_torch(5_000, stream)
