from dataclasses import dataclass

import marks
import torch.cuda

TOKENS_PER_ITEM = 64


@dataclass
class BudgetGraphMetadata:
    token_budget: int
    max_batch_size: int
    max_frames_per_batch: int
    graph: torch.cuda.CUDAGraph


class EncoderCudaGraphManager:
    def __init__(self, vllm_config, model):
        self.vllm_config = vllm_config
        self.model = model
        self.token_budgets = [TOKENS_PER_ITEM, 2 * TOKENS_PER_ITEM]
        self.budget_graphs = {}
        self.graph_hits = self.graph_misses = 0

    def capture(self):
        with marks.phase(marks.CAPTURE):
            for budget in self.token_budgets:
                self._capture_budget_graph(budget)

    def _capture_budget_graph(self, budget):
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.model.embed_multimodal(budget // TOKENS_PER_ITEM)
        metadata = BudgetGraphMetadata(budget, budget // TOKENS_PER_ITEM, 0, graph)
        self.budget_graphs.setdefault("default", {})[budget] = metadata
        self.vllm_config.truth.named(graph, "encoder", "FULL", metadata, key=budget)

    def execute(self, items):
        return self._run_budget_graph(items, items * TOKENS_PER_ITEM)

    def _run_budget_graph(self, items, token_budget):
        metadata = self.budget_graphs["default"].get(token_budget)
        if metadata is None:
            self.graph_misses += items
            return False
        self.graph_hits += items
        metadata.graph.replay()
        return True
