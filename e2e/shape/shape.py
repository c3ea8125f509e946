"""Runs a program of vLLM's shape and writes down what it did.

    python shape.py [--truth FILE] [--counter FILE] [--steps N] [--rate STEPS/S] [--requests N]
                    [--concurrency N] [--blocks N] [--async] [--abort FRACTION]
                    [--cuda v1|v2 --stub DIR [--tp N] [--encoder vision|whisper] [--spec N] …]

It prints its pid, waits for a line on standard input (so that a tracer can
attach first), runs, waits again, and ends. --go: do not wait. SIGTERM ends the run.
The truth is JSON lines: step, update, request, eviction, kv, abort, total.
The counter is 8 bytes, the number of steps made so far, for who watches its pace.

--cuda: a model runner with CUDA graphs on the GPU that e2e/stub/build.sh made in
DIR. The truth about the GPU comes in FILE.gpu0 (a worker process each: gpu0, gpu1,
…), see cuda_truth.py.
"""
import argparse
import json
import mmap
import os
import random
import signal
import sys
import time
from types import SimpleNamespace

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from vllm.v1.engine.core import EngineCoreProc  # noqa: E402
from vllm.v1.request import Request  # noqa: E402
from vllm.version import __version__  # noqa: E402,F401

BLOCK = 16

# What a client may send as X-Request-Id, or worse. ID stands for what is unique.
HOSTILE = [
    "ID" + "x" * 10_000, "x" * 10_000 + "ID", "ID" + "\u00e9" * 10_000, "ID" + "\u6f22" * 10_000, "ID" + "\U0001f600" * 10_000,
    'ID","forged\n1,2,3', "ID\r\nforged: 1", "ID'; drop table requests; --", 'ID"} 1\npmtrace_forged_total{x="', "ID\\n\\",
    "ID</script><script>forged()</script>", "ID\x00after", "\x1b[2J\x1b]0;forged\x07ID", "\u202eID", "ID\ud800", "=cmd|'/c forged'!ID",
    "../../../../tmp/ID", "ID \u2028\u2029\ufeff\u0085", "\u00e9ID\u00e9", "ID",
]


class Truth:
    """What happened, kept in memory and written at the end."""

    def __init__(self):
        self.lines = []
        self.kv_ops = 0
        self.steps = 0

    def step(self, scheduler, out, new, resumed, kv_before):
        self.lines.append(("step", self.steps, id(out), out.total_num_scheduled_tokens, {
            r: [n, scheduler.requests[r].num_computed_tokens] for r, n in out.num_scheduled_tokens.items()
        }, [r.request_id for r in new], [r.request_id for r in resumed], sorted(out.preempted_req_ids),
            sorted(out.finished_req_ids), len(scheduler.running), len(scheduler.waiting),
            scheduler.kv_cache_manager.block_pool.free_block_queue.num_free_blocks, time.monotonic(),
            self.kv_ops - kv_before))
        self.steps += 1

    def update(self, out, outputs):
        self.lines.append(("update", id(out), [
            [o.request_id, len(o.new_token_ids), None if o.finish_reason is None else int(o.finish_reason)]
            for outs in outputs.values() for o in outs]))

    def eviction(self, block, lifetime, idle, hashed):
        self.lines.append(("eviction", block, lifetime, idle, hashed))

    def kv(self, op, n):
        self.kv_ops += 1
        self.lines.append(("kv", op, n))

    def abort(self, req_id):
        self.lines.append(("abort", req_id))


class NoTruth:
    """Keeps nothing, for runs of millions of steps."""

    kv_ops = 0

    def ignore(self, *_):
        pass

    step = update = eviction = kv = abort = ignore


def counter(path):
    """Eight bytes of a file that others read while it changes."""
    if not path:
        return memoryview(bytearray(8)).cast("Q")
    with open(path, "w+b") as f:
        f.write(bytes(8))
        f.flush()
        return memoryview(mmap.mmap(f.fileno(), 8)).cast("Q")


class Load:
    """Feeds requests so that `concurrency` are always under way."""

    def __init__(self, args):
        self.args = args
        self.rng = random.Random(args.seed)
        self.made = 0
        self.steps = 0
        self.ended = False
        self.counter = counter(args.counter)
        self.next = time.monotonic()
        self.prefixes = [[self.rng.randrange(1000) for _ in range(BLOCK * 4)] for _ in range(4)]

    def name(self, plain):
        if self.args.ids == "plain":
            return plain
        return HOSTILE[self.made % len(HOSTILE)].replace("ID", plain)

    def request(self):
        rng, a = self.rng, self.args
        prompt = list(rng.choice(self.prefixes)) if rng.random() < a.prefix else []
        prompt += [rng.randrange(1000) for _ in range(rng.randint(1, a.prompt))]
        r = Request(self.name(f"cmpl-{self.made}-{rng.randrange(1 << 32):08x}"), prompt, rng.randint(1, a.output))
        tokens = tuple(prompt)
        if a.encoder == "whisper" or (a.encoder and rng.random() < 0.3):
            r.mm_features = [SimpleNamespace(modality="audio" if a.encoder == "whisper" else "image")]
        r.block_hashes = [hash(tokens[: (i + 1) * BLOCK]).to_bytes(8, "little", signed=True)
                          for i in range(len(tokens) // BLOCK)]
        self.made += 1
        return r

    def end(self, *_):
        self.ended = True

    def __call__(self, scheduler):
        a = self.args
        while self.made < a.requests and len(scheduler.requests) < a.concurrency:
            scheduler.add_request(self.request())
        if a.abort and scheduler.requests and self.rng.random() < a.abort:
            scheduler.finish_requests([self.rng.choice(list(scheduler.requests))])
        self.counter[0] = self.steps
        self.steps += 1
        if self.ended or a.steps and self.steps > a.steps:
            return False
        if a.rate:
            self.next += 1 / a.rate
            pause = self.next - time.monotonic()
            if pause > 0:
                time.sleep(pause)
            else:
                self.next = time.monotonic()
        return bool(scheduler.requests) or bool(scheduler.finished_req_ids) or self.made < a.requests


def model(scheduler, out):
    """A token for each request whose newest token is computed."""
    got = {}
    for r, n in out.num_scheduled_tokens.items():
        request = scheduler.requests[r]
        if request.num_computed_tokens >= request.num_tokens:
            got[r] = [2]
    return got


def start_cuda(config, args):
    """Gives the executor; its load() loads CUDA and the model, capture() captures the
    graphs."""
    from cuda_truth import CudaTruth
    from vllm.config.compilation import CUDAGraphMode
    from vllm.v1.executor.multiproc_executor import MultiprocExecutor
    from vllm.v1.executor.uniproc_executor import UniProcExecutor

    def build_model(vllm_config, communicator):
        from vllm.model_executor.models.llama import LlamaForCausalLM, Times
        from vllm.model_executor.models.whisper import WhisperForConditionalGeneration

        model = WhisperForConditionalGeneration if args.encoder == "whisper" else LlamaForCausalLM
        return model(vllm_config, Times(args.forward, args.token, args.layers), communicator)

    os.environ["SHAPE_STUB"] = os.path.abspath(args.stub)
    os.environ["SHAPE_CUDART"] = args.cudart
    os.environ["SHAPE_EXEC_OFFSET"] = str(args.exec_offset)
    config.device_config.device_type = "cuda"
    config.parallel_config.tensor_parallel_size = max(args.tp, 1)
    config.use_v2_model_runner = args.cuda == "v2"
    config.num_speculative_tokens = args.spec
    config.encoder = args.encoder
    config.experts, config.top_k = args.experts, args.top_k
    config.build_model = build_model
    config.truth = CudaTruth(args.truth)
    config.compilation_config = SimpleNamespace(
        static_all_moe_layers=[], cudagraph_mode=CUDAGraphMode.FULL_AND_PIECEWISE,
        cudagraph_capture_sizes=[int(size) for size in args.capture.split(",")])
    return MultiprocExecutor(config) if args.tp else UniProcExecutor(config)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--truth")
    p.add_argument("--counter")
    p.add_argument("--steps", type=int, default=0)
    p.add_argument("--rate", type=float, default=0)
    p.add_argument("--requests", type=int, default=200)
    p.add_argument("--concurrency", type=int, default=16)
    p.add_argument("--batch", type=int, default=512, help="tokens a step at most")
    p.add_argument("--blocks", type=int, default=400)
    p.add_argument("--lies", type=int, default=0, help="returns at which objects are not what they should be")
    p.add_argument("--ids", choices=["plain", "hostile"], default="plain",
                   help="hostile: request ids of 10 kB, with quotes, newlines and what is not ASCII")
    p.add_argument("--prompt", type=int, default=100)
    p.add_argument("--output", type=int, default=40)
    p.add_argument("--prefix", type=float, default=0.5)
    p.add_argument("--abort", type=float, default=0)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--async", dest="asynchronous", action="store_true")
    p.add_argument("--go", action="store_true")
    p.add_argument("--cuda", choices=["v1", "v2"])
    p.add_argument("--stub", help="directory of e2e/stub/build.sh")
    p.add_argument("--cudart", choices=["dynamic", "static"], default="dynamic",
                   help="static: libcudart is not mapped, calls go to libcuda")
    p.add_argument("--exec-offset", type=int, default=8, help="of the cudaGraphExec_t in at::cuda::CUDAGraph")
    p.add_argument("--late", action="store_true", help="load CUDA after go, say loaded, and wait for a line before the capture")
    p.add_argument("--tp", type=int, default=0, help="worker processes; 0: the model runs in the engine's")
    p.add_argument("--dp", type=int, default=0, help="the engine's number in a data-parallel group")
    p.add_argument("--encoder", choices=["vision", "whisper"])
    p.add_argument("--spec", type=int, default=0, help="draft tokens a step")
    p.add_argument("--experts", type=int, default=0, help="of each layer but the first; 0: a model without")
    p.add_argument("--top-k", type=int, default=4, help="experts of a token")
    p.add_argument("--layers", type=int, default=4)
    p.add_argument("--capture", default="1,2,4,8,16,32,64", help="sizes of graphs")
    p.add_argument("--forward", type=float, default=400, help="us of a forward pass")
    p.add_argument("--token", type=float, default=2, help="us for each token of it")
    p.add_argument("--recapture", type=int, default=0, help="capture all graphs anew every so many steps")
    p.add_argument("--native", type=int, default=0, help="launch a graph on a native thread every so many steps")
    args = p.parse_args()
    config = SimpleNamespace(
        model_config=SimpleNamespace(model="shape", max_model_len=4096),
        device_config=SimpleNamespace(device_type="cpu"),
        scheduler_config=SimpleNamespace(max_num_seqs=max(args.concurrency, 1), max_num_batched_tokens=args.batch,
                                         policy="fcfs", async_scheduling=args.asynchronous),
        cache_config=SimpleNamespace(block_size=BLOCK, num_gpu_blocks=args.blocks, enable_prefix_caching=True),
        parallel_config=SimpleNamespace(tensor_parallel_size=1, pipeline_parallel_size=1, data_parallel_size=1,
                                        data_parallel_rank=0, data_parallel_index=args.dp),
    )
    truth = Truth() if args.truth else NoTruth()
    load = Load(args)
    signal.signal(signal.SIGTERM, load.end)
    executor = start_cuda(config, args) if args.cuda else None
    if executor and not args.late:
        executor.load()
        executor.capture()
    engine = EngineCoreProc(config, executor or model, truth)
    if args.lies:
        from lies import Liar, parts

        engine.scheduler.liar, engine.scheduler.parts = Liar(args.lies, args.seed), parts
    state = {"go": args.go, "started": not args.late}

    def finish():
        if args.truth:
            with open(args.truth, "w") as f:
                for line in truth.lines:
                    f.write(json.dumps(line) + "\n")
                f.write(json.dumps(("total", truth.steps, load.made)) + "\n")
        if not args.go:
            print("done", flush=True)
            sys.stdin.readline()

    def source(scheduler):
        # Inside run_busy_loop, where a tracer looks for the engine.
        if not state["go"]:
            print(os.getpid(), flush=True)
            sys.stdin.readline()
            state["go"] = True
            load.next = time.monotonic()
        if executor:
            if not state["started"]:
                executor.load()
                if not args.go:
                    print("loaded", flush=True)
                    sys.stdin.readline()
                executor.capture()
                state["started"] = True
            for every, method, arguments in ((args.recapture, "recapture", ()), (args.native, "replay_on_thread", (2,))):
                if every and load.steps and load.steps % every == 0:
                    executor.collective_rpc(method, arguments)
        more = load(scheduler)
        if not more and executor:
            # Here, too, inside run_busy_loop: a server does not leave it.
            executor.collective_rpc("write_truth")
            finish()
        return more

    engine.run_busy_loop(source)
    if executor:
        executor.shutdown()
    else:
        finish()


if __name__ == "__main__":
    main()
