from contextlib import contextmanager
from dataclasses import dataclass

from vllm.config.compilation import CUDAGraphMode


@dataclass(frozen=True)
class BatchDescriptor:
    num_tokens: int
    num_reqs: int | None = None
    uniform: bool = False
    has_lora: bool = False
    num_active_loras: int = 0


@dataclass
class ForwardContext:
    cudagraph_runtime_mode: CUDAGraphMode
    batch_descriptor: BatchDescriptor | None


_forward_context: ForwardContext | None = None


def get_forward_context():
    return _forward_context


@contextmanager
def set_forward_context(cudagraph_runtime_mode=CUDAGraphMode.NONE, batch_descriptor=None):
    global _forward_context
    before, _forward_context = _forward_context, ForwardContext(cudagraph_runtime_mode, batch_descriptor)
    try:
        yield
    finally:
        _forward_context = before
