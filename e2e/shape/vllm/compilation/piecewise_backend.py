class PiecewiseBackend:
    """A compiled piece of a model."""

    def __init__(self, graph, vllm_config, piecewise_compile_index, total_piecewise_compiles):
        self.graph = graph
        self.vllm_config = vllm_config
        self.compilation_config = vllm_config.compilation_config
        self.piecewise_compile_index = piecewise_compile_index
        self.total_piecewise_compiles = total_piecewise_compiles
        self.submod_name = f"submod_{2 * piecewise_compile_index}"
        self.is_first_graph = piecewise_compile_index == 0
        self.is_last_graph = piecewise_compile_index == total_piecewise_compiles - 1

    def __call__(self, *args):
        return self.graph(*args)
