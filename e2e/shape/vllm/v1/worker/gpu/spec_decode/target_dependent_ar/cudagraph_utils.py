from dataclasses import dataclass

from vllm.v1.worker.gpu.cudagraph_utils import BatchExecutionDescriptor, CudaGraphManager


@dataclass(frozen=True)
class SpeculatorBatchDescriptor(BatchExecutionDescriptor):
    num_speculative_tokens: int = 0


class SpeculatorCudaGraphManager(CudaGraphManager):
    holder = "speculator"

    def capture(self, forward_fn):
        super().capture(lambda desc: lambda cg_mode: forward_fn(desc.num_tokens))
