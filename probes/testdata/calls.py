"""Calls the functions of calls.c from known Python functions, on lines from stdin.

Each line is a JSON list, a command and its arguments; the answer is a line of JSON.
"""
import ctypes
import json
import os
import random
import sys
import threading

sys.setrecursionlimit(5000)
libs = {}
pointers = []


def load(name, path):
    libs[name] = ctypes.CDLL(path)
    return None


def as_c(v):
    # Ints as what fills a register; "out" as a place for a pointer.
    if v == "out":
        pointers.append(ctypes.c_void_p())
        return ctypes.byref(pointers[-1])
    return ctypes.c_uint64(v & (1 << 64) - 1)


def call(lib, name, args):
    return getattr(libs[lib], name)(*[as_c(a) for a in args])


# ---- functions that are known, with the stack of their names as the truth ----

shadow = threading.local()


class SchedulerOutput:
    def __init__(self, tokens, requests):
        self.scheduled_new_reqs = []
        self.num_scheduled_tokens = {str(i): 1 for i in range(requests)}
        self.total_num_scheduled_tokens = tokens


def tell(scheduler_output):
    return scheduler_output.total_num_scheduled_tokens, scheduler_output.num_scheduled_tokens


# All have frames of the same size, so that one lies where the last one was.
SOURCE = """
def {name}(tree, scheduler_output=None):
    shadow.stack.append("{name}")
    try:
        walk(tree)
    finally:
        shadow.stack.pop()
"""

NAMES = [
    "execute", "prepare", "forward", "sample", "copy", "wait", "module", "module2", "encoder",
    "dummy", "capture", "profile", "plain1", "plain2", "plain3",
]
for n in NAMES:
    exec(SOURCE.format(name=n))


def leaf(lib, name, args):
    shadow.truth.append([name, list(shadow.stack)])
    f = shadow.bound.get(name)
    if f is None:
        f = shadow.bound[name] = getattr(libs[lib], name)
    f(*args)


def generator(tree):
    walk(tree)
    yield


def walk(tree):
    for node in tree:
        if node[0] == "call":
            leaf(*node[1:])
        elif node[0] == "generator":
            for _ in generator(node[1]):
                pass
        else:
            globals()[node[0]](node[1], SchedulerOutput(3, 2) if node[0] == "execute" else None)


CALLS = [
    ("cudaGraphLaunch", (0x1234, 0)), ("cudaEventRecordWithFlags", (0x55, 0x66, 0)),
    ("cudaEventSynchronize", (0x55,)), ("cudaMemcpyAsync", (0, 0, 100, 1, 0)), ("cudaEventRecord", (0x55, 0x66)),
    ("cudaStreamSynchronize", (0x77,)), ("cudaGraphExecDestroy", (0x1234,)),
]


def tree(r, depth, budget):
    nodes = []
    for _ in range(r.randint(1, 4)):
        if budget[0] <= 0:
            break
        if depth == 0 or r.random() < 0.4:
            budget[0] -= 1
            name, args = r.choice(CALLS)
            nodes.append(("call", "cudart", name, args))
        elif r.random() < 0.1:
            nodes.append(("generator", tree(r, depth - 1, budget)))
        else:
            nodes.append((r.choice(NAMES), tree(r, depth - 1, budget)))
    return nodes


def run_trees(seed, calls, depth, into):
    r = random.Random(seed)
    shadow.stack, shadow.truth, shadow.bound = [], [], {}
    left = calls
    while left > 0:
        budget = [min(left, 40)]
        before = budget[0]
        walk(tree(r, depth, budget))
        left -= max(before - budget[0], 1)
    into.append([threading.get_native_id(), shadow.truth])


class Waiting(threading.Thread):
    """A thread that exists, and is known, before it begins."""

    def __init__(self, *args):
        super().__init__(daemon=True)
        self.args, self.go = args, threading.Event()
        self.start()

    def run(self):
        self.go.wait()
        run_trees(*self.args)


threads, truths = [], []


def prepare_threads(n, seed, calls, depth):
    threads[:] = [Waiting(seed + i, calls, depth, truths) for i in range(n)]


def run_threads():
    del truths[:]
    for t in threads:
        t.go.set()
    for t in threads:
        t.join()
    return truths


# ---- steps of a worker process ----

def execute_model(scheduler_output, form):
    libs["cudart"].cudaGraphLaunch(ctypes.c_uint64(1), None)
    libs["cudart"].cudaGraphLaunch(ctypes.c_uint64(2), None)


def execute_shared(scheduler_output, form):
    def inner():
        return scheduler_output
    libs["cudart"].cudaGraphLaunch(ctypes.c_uint64(1), None)
    return inner() and None


def sample_tokens():
    libs["cudart"].cudaEventSynchronize(ctypes.c_uint64(1))


def steps(n, form, function):
    """Each output is made and thrown away as the next is: it lies where the last did."""
    import pickle
    same = 0
    last = None
    for i in range(n):
        out = SchedulerOutput(i + 1, i % 7)
        if form == "pickle":
            out = pickle.loads(pickle.dumps(out))
        elif form == "dict":
            out.__dict__["later"] = 1
        elif form == "many":
            for j in range(40):
                setattr(out, "x%d" % j, j)
        same += id(out) == last
        last = id(out)
        globals()[function](out, form)
        del out
        sample_tokens()
    return same


def loop(name, args, n):
    f = getattr(libs["cudart"], name)
    args = [as_c(a) for a in args]
    for _ in range(n):
        f(*args)


def cost(depth, lib, name, n):
    """CPU time of a call from so many Python frames, seconds."""
    import time
    if depth > 1:
        return cost(depth - 1, lib, name, n)
    f = getattr(libs[lib], name)
    a = ctypes.c_void_p(memory(4096, []))  # does for numbers and for what is written to
    began = time.thread_time()
    for _ in range(n):
        f(a, a, a, a, a, a, a, a, a, a, a)
    return (time.thread_time() - began) / n


def memory(size, words):
    """A piece of memory with words at offsets; -1 stands for its own address."""
    pointers.append(ctypes.create_string_buffer(size))
    at = ctypes.addressof(pointers[-1])
    for offset, word in words:
        ctypes.c_uint64.from_address(at + offset).value = at if word == -1 else word
    return at



def codes():
    out = {}
    for n, v in list(globals().items()):
        if hasattr(v, "__code__"):
            c = v.__code__
            names = list(c.co_varnames) + [x for x in c.co_cellvars if x not in c.co_varnames]
            if sys.version_info < (3, 11):  # an argument that is a cell is behind all locals
                names = [x if x not in c.co_cellvars else "" for x in c.co_varnames] + list(c.co_cellvars)
            at = names.index("scheduler_output") if "scheduler_output" in names else -1
            out[n] = [id(c), at, "scheduler_output" in c.co_cellvars]
    return out


def fork_call(n):
    pid = os.fork()
    if pid == 0:
        loop("cudaGraphLaunch", (0x99, 0), n)
        os._exit(0)
    os.waitpid(pid, 0)


print(os.getpid(), flush=True)
for line in sys.stdin:
    name, *arguments = json.loads(line)
    print(json.dumps(globals()[name](*arguments)), flush=True)
