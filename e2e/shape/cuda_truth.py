"""What a worker did with its GPU, as JSON lines: the stub's (e2e/stub/gpu.c, all
calls and when the GPU did their work) and the program's own: which graph is what
(named), and what each step was to run (step). A graph is known by the number that
the stub gave it, since handles are used again."""
import json


class CudaTruth:
    def __init__(self, path):
        self.path = path
        self.throwaway = False
        self.lines = []

    def named(self, graph, holder, mode, descriptor, **more):
        from torch import _C

        if not self.path:
            return
        fields = {k: v for k, v in vars(descriptor).items() if isinstance(v, int)}
        self.lines.append({"work": "named", "graph": _C.stub.stub_graph(graph.graph_exec_), "handle": graph.graph_exec_,
                           "holder": holder, "mode": mode, "throwaway": self.throwaway, "descriptor": fields, **more})

    def captured(self, wrapper, entry):
        """A graph of a CUDAGraphWrapper."""
        runnable, more = wrapper.runnable, {}
        holder = getattr(runnable, "holder", "model")
        if hasattr(runnable, "piecewise_compile_index"):
            holder = "piecewise"
            more = {"piece": runnable.piecewise_compile_index, "pieces": runnable.total_piecewise_compiles}
        self.named(entry.cudagraph, holder, wrapper.runtime_mode.name, entry.batch_descriptor, **more)

    def step(self, step, scheduler_output, mode=None, descriptor=None):
        from torch import _C

        _C.stub.stub_tokens(scheduler_output.total_num_scheduled_tokens)
        if not self.path:
            return
        self.lines.append({"work": "step", "step": step, "tokens": scheduler_output.total_num_scheduled_tokens,
                           "requests": len(scheduler_output.num_scheduled_tokens), "mode": mode and mode.name,
                           "padded": descriptor.num_tokens if descriptor else 0,
                           "encoder_inputs": len(scheduler_output.scheduled_encoder_inputs)})

    def write(self, rank):
        """FILE.gpuRANK"""
        if not self.path:
            return
        from torch import _C

        path = f"{self.path}.gpu{rank}"
        with open(path, "w") as f:
            for line in self.lines:
                f.write(json.dumps(line) + "\n")
        if _C.stub.stub_truth(path.encode()):
            raise OSError(path)
