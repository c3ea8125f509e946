"""worker.py SHAPE: a process with the names and the shapes of vLLM's model runners, and no vLLM.

SHAPE: v2 (V2 runner, of 0.26 and later), v1 (V1 runner, of 0.26 and later), old (V1 runner of 0.12:
descriptors are tuples, wrappers are in no list). Steps come on stdin, a JSON line answers each:

  import   vllm's modules are there, but the runner's still lacks its class
  define   the runner's class too: {"functions": {qualified name: address of the code object}}
  capture  graphs are in the objects: {"graphs": [record.Graph …]}, "exec" being what a launch would show
  more     one more graph, not launched yet
  thread   {"tids": native ids}
"""

import dataclasses
import enum
import functools
import json
import sys
import threading
import types
import weakref
from collections import namedtuple

SHAPE = sys.argv[1]
ENGINE = """
class EngineCore:
    def step(self, steps):
        return steps()
class EngineCoreProc(EngineCore):
    def run_busy_loop(self, steps):
        return self.step(steps)
"""
UTILS = """
import contextlib, functools
def inference_mode(fn):
    @functools.wraps(fn)
    def decorate_context(*args, **kwargs):
        return fn(*args, **kwargs)
    return decorate_context
def unnamed(fn):
    def wrapper(*args, **kwargs):
        return fn(*args, **kwargs)
    return wrapper
"""
V2 = """
from fake.utils import inference_mode, unnamed
class GPUModelRunner:
    @inference_mode
    def execute_model(self, scheduler_output, intermediate_tensors=None, dummy_run=False):
        return self.prepare_inputs(scheduler_output)
    @inference_mode
    @unnamed
    def sample_tokens(self, grammar_output):
        pass
    def prepare_inputs(self, scheduler_output):
        pass
    def sample(self):
        pass
    @unnamed
    def capture_model(self, steps):
        return steps()
    def profile_cudagraph_memory(self):
        pass
    def not_known(self):
        pass
"""
V1 = """
import contextlib
from fake.utils import inference_mode
class AsyncGPUModelRunnerOutput:
    def __init__(self):
        pass
    def get_output(self):
        pass
class GPUModelRunner:
    @inference_mode
    def execute_model(self, scheduler_output, intermediate_tensors=None):
        num = scheduler_output
        return [num for _ in range(2) if scheduler_output]
    @inference_mode
    def sample_tokens(self, grammar_output):
        def propose_draft_token_ids(ids):
            return self, ids
        return propose_draft_token_ids
    @contextlib.contextmanager
    def synchronize_input_prep(self):
        yield
    def _model_forward(self):
        pass
    def _to_list(self):
        pass
    def capture_model(self, steps):
        return steps()
    def profile_cudagraph_memory(self):
        pass
"""
# In CPython 3.12+ a comprehension is inlined, so that scheduler_output is a cell by a lambda.
V1 = V1.replace("return [num for _ in range(2) if scheduler_output]", "return lambda: (num, scheduler_output)")
ASYNC = """
class AsyncOutput:
    def __init__(self):
        pass
    def get_output(self):
        pass
def async_copy_to_np(x):
    return x
"""
MODEL = """
class LlamaForCausalLM:
    def compute_logits(self):
        pass
    def embed_multimodal(self):
        pass
"""
EAGLE = """
from vllm.model_executor.models.llama import LlamaForCausalLM
class Eagle3LlamaForCausalLM(LlamaForCausalLM):
    def compute_logits(self):
        pass
"""
TORCH = """
class Module:
    def _wrapped_call_impl(self, *args):
        return self._call_impl(*args)
    def _call_impl(self, *args):
        pass
    __call__ = _wrapped_call_impl
"""
WORKER = """
class Worker:
    def execute_dummy_batch(self):
        pass
class WorkerWrapperBase:
    pass
"""
WRAPPER = """
import weakref
class CUDAGraphWrapper:
    def __init__(self, runnable, mode):
        self.runnable = runnable
        self.vllm_config = None
        self.runtime_mode = mode
        self.concrete_cudagraph_entries = {}
"""
LISTED = """
        type(self)._all_instances.add(self)
CUDAGraphWrapper._all_instances = weakref.WeakSet()
"""
BREAKABLE = """
import weakref
class BreakableCUDAGraphWrapper:
    _all_instances = weakref.WeakSet()
    def __init__(self, runnable, mode=None):
        self.runnable = runnable
        self.runtime_mode = mode
        self.entries = {}
        type(self)._all_instances.add(self)
"""


def install(name, source=""):
    """Executes a module as if it were a file of site-packages."""
    path = "/opt/site-packages/" + name.replace(".", "/") + ".py"
    mod = sys.modules.get(name) or types.ModuleType(name)
    sys.modules[name] = mod
    exec(compile(source, path, "exec"), mod.__dict__)
    return mod


class CUDAGraphMode(enum.Enum):
    NONE = 0
    PIECEWISE = 1
    FULL = 2
    FULL_AND_PIECEWISE = (FULL, PIECEWISE)


class _CUDAGraph:
    """As pybind11 lays it out: 16 bytes after the head is a pointer to what has the handles."""

    __slots__ = ("pointer",)


class CUDAGraph(_CUDAGraph):
    def __init__(self, graph, execution):
        self.pointer = b"".join(n.to_bytes(8, "little") for n in (graph, execution, 0x5CA1AB1E) + (0,) * 20)
        self._tracker = None

    def replay(self):
        pass


NamedDescriptor = namedtuple("BatchDescriptor", ["num_tokens", "num_reqs", "uniform", "has_lora"])


@dataclasses.dataclass(frozen=True)
class BatchDescriptor:
    num_tokens: int
    num_reqs: int | None = None
    uniform: bool = False
    has_lora: bool = False
    num_active_loras: int = 0


@dataclasses.dataclass(frozen=True)
class BatchExecutionDescriptor:
    cg_mode: CUDAGraphMode
    num_tokens: int
    num_reqs: int | None
    uniform_token_count: int | None = None
    max_query_len: int | None = None
    num_active_loras: int = 0
    num_ubatches: int = 1


@dataclasses.dataclass
class CUDAGraphEntry:
    batch_descriptor: object
    cudagraph: CUDAGraph | None = None
    output: object = None


class Plain:
    """An object with just these attributes."""

    def __init__(self, **attrs):
        self.__dict__.update(attrs)


class PiecewiseBackend(Plain):
    pass


class ModelCudaGraphManager(Plain):
    pass


class EncoderCudaGraphManager(Plain):
    pass


class UBatchWrapper(Plain):
    pass


@dataclasses.dataclass
class BudgetGraphMetadata:
    token_budget: int
    graph: CUDAGraph


class Truth:
    """The graphs that were made, and what is to be said of them."""

    def __init__(self):
        self.graphs, self.next = [], 0x7F0000001000

    def graph(self, holder, mode, **fields):
        self.next += 0x100
        self.graphs.append({"exec": self.next, "holder": holder, "mode": mode, **fields})
        return CUDAGraph(self.next + 8, self.next)


truth = Truth()
runner = None


def import_modules():
    install("vllm.v1")
    install("fake.utils", UTILS)
    install("torch.nn.modules.module", TORCH)
    install("vllm.model_executor.models.llama", MODEL)
    install("vllm.model_executor.models.llama_eagle3", EAGLE)
    install("vllm.v1.worker.gpu_worker", WORKER)
    install("vllm.v1.worker.gpu.async_utils", ASYNC)
    install("vllm.compilation.cuda_graph", WRAPPER + ("" if SHAPE == "old" else LISTED))
    if SHAPE != "old":
        install("vllm.compilation.breakable_cudagraph", BREAKABLE)
    install("vllm.v1.worker.gpu.model_runner")
    install("vllm.v1.worker.gpu_model_runner")
    return {}


def define():
    v2 = SHAPE == "v2"
    mod = install("vllm.v1.worker.gpu.model_runner", V2) if v2 else install("vllm.v1.worker.gpu_model_runner", V1)
    global runner
    # As the CPU's runners, a class of another module that inherits from it.
    scope = {"__name__": "vllm.v1.worker.cpu.model_runner", "GPUModelRunner": mod.GPUModelRunner}
    exec("class CPUModelRunner(GPUModelRunner): pass", scope)
    runner = scope["CPUModelRunner"]()
    runner.vllm_config = Plain(parallel_config=Plain(rank=3))
    core.model_executor = Plain(driver_worker=Plain(worker=Plain(model_runner=runner, rank=3)))
    found = {}
    for name in list(sys.modules):
        if name.startswith(("vllm.", "torch.nn")):
            codes(sys.modules[name].__dict__, found)
    return {"functions": found}


def codes(scope, found, prefix=""):
    """The code objects of the functions in a scope, by qualified name, decorators undone."""
    for value in list(scope.values()):
        if isinstance(value, type) and value.__dict__ is not scope:
            codes(value.__dict__, found, value.__qualname__ + ".")
        while isinstance(value, types.FunctionType):
            code(value.__code__, found, prefix)
            inner = [c.cell_contents for c in value.__closure__ or () if isinstance(c.cell_contents, types.FunctionType)]
            value = inner[0] if inner else None


def code(co, found, prefix):
    name = getattr(co, "co_qualname", prefix + co.co_name)  # 3.10 has none
    found[name] = id(co)
    for const in co.co_consts:
        if isinstance(const, types.CodeType):
            code(const, found, name + ".<locals>.")


def capture():
    {"v2": capture_v2, "v1": capture_v1, "old": capture_old}[SHAPE]()
    return {"graphs": truth.graphs}


def full_key(n, uniform):
    return BatchExecutionDescriptor(CUDAGraphMode.FULL, n, n, uniform, uniform or 4)


def full_truth(n, uniform, holder="model"):
    more = {"uniform": uniform is not None, "num_tokens": n, "num_reqs": n, "max_query_len": uniform or 4}
    if uniform is not None:
        more["uniform_token_count"] = uniform
    return truth.graph(holder, "FULL", num_active_loras=0, num_ubatches=1, **more)


def pieces(prefix, total, sizes, key, fields, holder="piecewise"):
    """The wrappers of a model that is compiled in pieces, in no order."""
    backend, wrappers = Plain(prefix=prefix), []
    for i in reversed(range(total)):
        runnable = PiecewiseBackend(
            graph=None, piecewise_compile_index=i, total_piecewise_compiles=total, vllm_backend=backend,
            is_encoder_compilation=False,
        )
        w = wrapper_class()(runnable, CUDAGraphMode.PIECEWISE)
        for n in sizes:
            k = key(n)
            w.concrete_cudagraph_entries[k] = CUDAGraphEntry(
                k, truth.graph(holder, "PIECEWISE", piece=i, pieces=total, num_tokens=n, **fields)
            )
        w.concrete_cudagraph_entries[key(999)] = CUDAGraphEntry(key(999))  # not captured yet
        wrappers.append(w)
    return wrappers


def wrapper_class():
    return sys.modules["vllm.compilation.cuda_graph"].CUDAGraphWrapper


def breakable_class():
    return sys.modules["vllm.compilation.breakable_cudagraph"].BreakableCUDAGraphWrapper


NEW = {"uniform": False, "has_lora": False, "num_active_loras": 0}


def segments(holder, mode, n, count, **fields):
    made = [truth.graph(holder, mode, piece=i, pieces=count, num_tokens=n, **NEW, **fields) for i in range(count)]
    out = []
    for g in made:
        out += [g.replay, lambda: None]
    return Plain(segments=out[:-1])


def capture_v2():
    keys = [(8, 1), (16, None)]
    runner.cudagraph_manager = ModelCudaGraphManager(
        graphs={full_key(n, u): full_truth(n, u) for n, u in keys}, pool=None, _candidates={(1, 0): [1]},
        hidden_states=None,
    )
    runner.keep = pieces("backbone", 3, [8, 16], lambda n: BatchDescriptor(n), NEW)
    runner.keep += pieces("eagle_head", 2, [8], lambda n: BatchDescriptor(n), NEW, "speculator")
    runner.speculator = Plain(
        model=Plain(), decode_cudagraph_manager=ModelCudaGraphManager(graphs={full_key(4, 1): full_truth(4, 1, "speculator")})
    )
    w = breakable_class()(Plain())
    w.entries[BatchDescriptor(32)] = Plain(capture=segments("breakable", "PIECEWISE", 32, 3))
    w.entries[(BatchDescriptor(64), 5)] = Plain(capture=None)
    runner.cudagraph_manager.breakable_cg_runner = w
    manager = EncoderCudaGraphManager(budget_graphs={"default": {
        512: BudgetGraphMetadata(512, truth.graph("encoder", "FULL", key="default/512")),
        (1024, (2,)): BudgetGraphMetadata(1024, truth.graph("encoder", "FULL", key="default/(1024, (2))")),
    }})
    runner.model_state = Plain(encoder_runner=Plain(cudagraph_manager=manager), requests={})
    partitioned()


def partitioned():
    scope = {}
    exec("def partition_0(): pass\ndef partition_1(): pass", scope)
    for i in range(2):
        w = wrapper_class()(scope[f"partition_{i}"], CUDAGraphMode.PIECEWISE)
        key = BatchDescriptor(24)
        graph = truth.graph("piecewise", "PIECEWISE", piece=i, pieces=2, num_tokens=24, **NEW)
        w.concrete_cudagraph_entries[key] = CUDAGraphEntry(key, graph)
        runner.keep.append(w)


def capture_v1():
    w = wrapper_class()(Plain(compute_logits=None), CUDAGraphMode.FULL)
    key = BatchDescriptor(8, 8, True)
    w.concrete_cudagraph_entries[key] = CUDAGraphEntry(
        key, truth.graph("model", "FULL", num_tokens=8, num_reqs=8, uniform=True, has_lora=False, num_active_loras=0)
    )
    runner.model = UBatchWrapper(
        runnable=w.runnable, cudagraph_wrapper=w, cudagraphs={16: Plain(cudagraph=truth.graph("ubatch", "FULL", num_tokens=16))}
    )
    # Attributes beyond 30 are in a dict of their own.
    for i in range(60):
        setattr(runner, f"attribute_{i}", {} if i % 2 else {"a": i})
    runner.keep = pieces("language_model", 2, [8], lambda n: BatchDescriptor(n), NEW)
    b = breakable_class()(Plain())
    b.entries[BatchDescriptor(8)] = Plain(capture=segments("speculator", "PIECEWISE", 8, 2))
    runner.drafter = Plain(model=b, _centroids_graphs={4: truth.graph("speculator", "FULL", num_tokens=4)})
    runner.encoder_cudagraph_manager = EncoderCudaGraphManager(
        budget_graphs={256: BudgetGraphMetadata(256, truth.graph("encoder", "FULL", key="256"))}
    )


def capture_old():
    key = NamedDescriptor(8, 8, True, False)
    w = wrapper_class()(Plain(), CUDAGraphMode.FULL)
    w.concrete_cudagraph_entries[key] = CUDAGraphEntry(
        key, truth.graph("model", "FULL", num_tokens=8, num_reqs=8, uniform=True, has_lora=False)
    )
    split = Plain()
    named = pieces("backbone", 3, [8, 16], lambda n: NamedDescriptor(n, None, False, False), {"uniform": False, "has_lora": False})
    for i, piece in enumerate(named):
        setattr(split, f"submod_{i}", piece)
    backend = Plain(split_gm=split)

    def compiled():
        return backend

    inner = Plain(_compiled_callable=functools.wraps(compiled)(lambda: compiled))
    w.runnable.model = inner
    inner.layers = Plain(_modules={str(i): Plain(weight=i, parent=w.runnable) for i in range(50)})
    runner.model = w
    runner.speculator = Plain(cudagraph_manager=ModelCudaGraphManager(graphs={2: truth.graph("speculator", "FULL", num_tokens=2)}))


def more():
    graphs = runner.cudagraph_manager.graphs
    graphs[full_key(128, None)] = full_truth(128, None)
    graphs["bad", object()] = CUDAGraph(1, 0)  # a key like no other, and not instantiated
    return {"graphs": truth.graphs}


def thread():
    done, tids = threading.Event(), [threading.get_native_id()]
    started = threading.Event()

    def run():
        tids.append(threading.get_native_id())
        started.set()
        done.wait()

    threading.Thread(target=run, daemon=True).start()
    started.wait()
    return {"tids": tids}


STEPS = {"import": import_modules, "define": define, "capture": capture, "more": more, "thread": thread}


def steps():
    """Answers until the frames around are to be left (step "leave"), or all is over."""
    for line in iter(sys.stdin.readline, ""):
        step = line.strip()
        if step == "leave":
            answer({})
            return
        if step == "enter":
            answer({})
            runner.capture_model(steps)
            continue
        answer(STEPS[step]())


def answer(value):
    print(json.dumps(value), flush=True)


install("vllm")
core = install("vllm.v1.engine.core", ENGINE).EngineCoreProc()
answer({})
core.run_busy_loop(steps)
