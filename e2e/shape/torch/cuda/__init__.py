from torch import _C
from torch.cuda.graphs import CUDAGraph, graph  # noqa: F401
from torch.cuda.memory import async_copy_to_cpu, async_copy_to_gpu  # noqa: F401
from torch.cuda.streams import Event, Stream, current_stream, stream  # noqa: F401


def synchronize():
    _C.device_sync()
