from dataclasses import dataclass

import marks
import torch
import torch.cuda
from vllm.config.compilation import CUDAGraphMode
from vllm.forward_context import BatchDescriptor, set_forward_context


@dataclass(frozen=True)
class BatchExecutionDescriptor:
    cg_mode: CUDAGraphMode
    num_tokens: int
    num_reqs: int | None
    uniform_token_count: int | None = None
    max_query_len: int | None = None
    num_active_loras: int = 0
    num_ubatches: int = 1


class CudaGraphManager:
    holder = "model"

    def __init__(self, vllm_config, cudagraph_mode, decode_query_len):
        self.vllm_config = vllm_config
        self.compilation_config = vllm_config.compilation_config
        self.cudagraph_mode = cudagraph_mode
        self.decode_query_len = decode_query_len
        self.graphs: dict[BatchExecutionDescriptor, torch.cuda.CUDAGraph] = {}
        self.pool = None
        self.use_breakable_cg = False
        self.breakable_cg_runner = None
        self.ubatch_runner = None
        self._graphs_captured = False
        self._max_full_descs_to_capture = None
        self._init_candidates()

    def _init_candidates(self):
        sizes = sorted(self.compilation_config.cudagraph_capture_sizes, reverse=True)
        q, full, piecewise = self.decode_query_len, [], []
        for size in sizes:
            if size <= self.vllm_config.scheduler_config.max_num_seqs:
                full.append(BatchExecutionDescriptor(CUDAGraphMode.FULL, size * q, size, q))
            piecewise.append(BatchExecutionDescriptor(CUDAGraphMode.PIECEWISE, size, None))
        if self.cudagraph_mode == CUDAGraphMode.FULL_DECODE_ONLY:
            piecewise = []
        self._capture_descs = {CUDAGraphMode.PIECEWISE: piecewise, CUDAGraphMode.FULL: full}

    @torch.inference_mode()
    def capture(self, create_forward_fn):
        with marks.phase(marks.CAPTURE):
            for mode in (CUDAGraphMode.PIECEWISE, CUDAGraphMode.FULL):
                descs = self._capture_descs[mode]
                if mode == CUDAGraphMode.FULL and self._max_full_descs_to_capture is not None:
                    descs = descs[: self._max_full_descs_to_capture]
                for desc in descs:
                    forward_fn = create_forward_fn(desc)
                    forward_fn(CUDAGraphMode.NONE)
                    if mode == CUDAGraphMode.PIECEWISE:
                        forward_fn(CUDAGraphMode.PIECEWISE)
                        continue
                    graph = torch.cuda.CUDAGraph()
                    with torch.cuda.graph(graph):
                        forward_fn(CUDAGraphMode.NONE)
                    self.graphs[desc] = graph
                    self.vllm_config.truth.named(graph, self.holder, "FULL", desc)
        self._graphs_captured = True

    def dispatch(self, num_reqs, num_tokens, uniform_token_count):
        best = None
        if self._graphs_captured:
            for desc in self._capture_descs[CUDAGraphMode.FULL] + self._capture_descs[CUDAGraphMode.PIECEWISE]:
                if desc.cg_mode == CUDAGraphMode.FULL and desc not in self.graphs:
                    continue
                if desc.uniform_token_count not in (None, uniform_token_count):
                    continue
                if desc.num_tokens < num_tokens or (desc.num_reqs is not None and desc.num_reqs < num_reqs):
                    continue
                if best is None or (desc.cg_mode == best.cg_mode and desc.num_tokens < best.num_tokens):
                    best = desc
        return best or BatchExecutionDescriptor(CUDAGraphMode.NONE, num_tokens, num_reqs)

    def run_fullgraph(self, desc):
        with marks.phase(marks.FORWARD if self.holder == "model" else marks.DRAFT):
            self.graphs[desc].replay()

    def run_pw_graph(self, model, model_inputs):
        with marks.phase(marks.FORWARD):
            return model(**model_inputs)


class ModelCudaGraphManager(CudaGraphManager):
    def capture(self, model):
        def create_forward_fn(desc):
            def forward_fn(cg_mode):
                with set_forward_context(cg_mode, BatchDescriptor(desc.num_tokens)):
                    model(desc.num_tokens)

            return forward_fn

        super().capture(create_forward_fn)


def profile_cudagraph_memory(runner):
    """Captures some graphs and throws them away, to see what memory they take."""
    manager, truth = runner.cudagraph_manager, runner.vllm_config.truth
    manager._max_full_descs_to_capture = 2
    truth.throwaway = True
    runner.capture_model(profile_only=True)
    truth.throwaway = False
    runner.clear_graphs()
    return 0
