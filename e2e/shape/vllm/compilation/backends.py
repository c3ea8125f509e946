from vllm.compilation.cuda_graph import CUDAGraphWrapper
from vllm.compilation.piecewise_backend import PiecewiseBackend
from vllm.config.compilation import CUDAGraphMode


class GraphModule:
    """A model cut at its attention operations. Even submodules are compiled pieces,
    odd ones attention."""

    def __init__(self, vllm_config, pieces, attention):
        for i, piece in enumerate(pieces):
            backend = PiecewiseBackend(piece, vllm_config, i, len(pieces))
            self.__dict__[f"submod_{2 * i}"] = CUDAGraphWrapper(backend, vllm_config, CUDAGraphMode.PIECEWISE)
        for i, attend in enumerate(attention):
            self.__dict__[f"submod_{2 * i + 1}"] = attend
        self.submods = [self.__dict__[f"submod_{i}"] for i in range(len(pieces) + len(attention))]

    def forward(self, *args):
        for submod in self.submods:
            submod(*args)
