import dataclasses
import weakref

import torch.cuda
from vllm.forward_context import BatchDescriptor, get_forward_context


@dataclasses.dataclass
class CUDAGraphEntry:
    batch_descriptor: BatchDescriptor
    cudagraph: torch.cuda.CUDAGraph | None = None
    output: object = None
    input_addresses: list | None = None


class CUDAGraphWrapper:
    _all_instances = weakref.WeakSet()

    @classmethod
    def clear_all_graphs(cls):
        for instance in list(cls._all_instances):
            instance.clear_graphs()

    def __init__(self, runnable, vllm_config, runtime_mode):
        self.runnable = runnable
        self.vllm_config = vllm_config
        self.runtime_mode = runtime_mode
        self.compilation_config = vllm_config.compilation_config
        self.first_run_finished = False
        self.is_debugging_mode = False
        self._runnable_str = None
        self.graph_pool = None
        self.cudagraph_options = None
        self.concrete_cudagraph_entries = {}
        CUDAGraphWrapper._all_instances.add(self)

    def __getattr__(self, key):
        return getattr(self.__dict__["runnable"], key)

    def unwrap(self):
        return self.runnable

    def clear_graphs(self):
        self.concrete_cudagraph_entries.clear()

    def __call__(self, *args, **kwargs):
        forward_context = get_forward_context()
        if forward_context is None or forward_context.cudagraph_runtime_mode != self.runtime_mode:
            return self.runnable(*args, **kwargs)
        batch_descriptor = forward_context.batch_descriptor
        if batch_descriptor not in self.concrete_cudagraph_entries:
            self.concrete_cudagraph_entries[batch_descriptor] = CUDAGraphEntry(batch_descriptor=batch_descriptor)
        entry = self.concrete_cudagraph_entries[batch_descriptor]
        if entry.cudagraph is None:
            cudagraph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(cudagraph):
                entry.output = self.runnable(*args, **kwargs)
            entry.cudagraph = cudagraph
            self.vllm_config.truth.captured(self, entry)
            return entry.output
        entry.cudagraph.replay()
        return entry.output
