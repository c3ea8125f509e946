"""What profilers inside of the server do, to be compared with pmtrace. Only the benchmark uses it.

On PYTHONPATH it is imported by each Python that starts, vLLM's engine too. By itself it does nothing:
SIGUSR1 puts wrappers around vLLM's methods, or takes them away again; SIGUSR2 begins or ends cProfile.
Python runs a signal's handler in the main thread, which is the one that schedules and runs the model.

The wrappers are the technique of profilers that patch vLLM as it is imported: each call is timed and
looked at in Python, and becomes a row of a CSV file in BENCH_INSIDE_DIR.
"""

import cProfile
import csv
import functools
import os
import signal
import sys
import time

restore = []  # (class, name, method) of what is wrapped now
files = []
profile = None


def rows(name, *columns):
    f = open(os.path.join(os.environ["BENCH_INSIDE_DIR"], f"{name}.{os.getpid()}.csv"), "a", newline="")
    files.append(f)
    writer = csv.writer(f)
    writer.writerow(columns)
    return writer.writerow


def wrap(cls, name, after):
    method = cls.__dict__[name]

    @functools.wraps(method)
    def wrapper(self, *args, **kwargs):
        began = time.perf_counter()
        result = method(self, *args, **kwargs)
        after(self, args, result, began, time.perf_counter() - began)
        return result

    setattr(cls, name, wrapper)
    restore.append((cls, name, method))


def wrap_scheduler(cls):
    batches = rows("batch_utilization", "timestamp_sec", "num_seqs", "max_num_seqs", "num_tokens", "max_tokens", "phase", "running", "waiting")
    times = rows("scheduling", "timestamp_sec", "duration_ms")

    def after(self, _args, out, began, took):
        counts = out.num_scheduled_tokens
        phase = "prefill" if any(n > 1 for n in counts.values()) else "decode"
        batches((f"{began:.3f}", len(counts), self.max_num_running_reqs, out.total_num_scheduled_tokens,
                 self.max_num_scheduled_tokens, phase, len(self.running), len(self.waiting)))
        times((f"{began:.3f}", f"{took * 1e3:.3f}"))

    wrap(cls, "schedule", after)


def wrap_block_pool(cls):
    usage = rows("kv_cache_usage", "timestamp_sec", "usage_pct", "num_blocks", "total_blocks")

    def after(self, _args, _result, began, _took):
        total, free = self.num_gpu_blocks, self.get_num_free_blocks()
        usage((f"{began:.3f}", f"{100 * (1 - free / total):.2f}", total - free, total))

    for name in ("get_new_blocks", "free_blocks", "touch", "get_usage"):
        wrap(cls, name, after)


def wrap_runner(cls):
    passes = rows("forward_pass_timing", "timestamp_sec", "phase", "batch_size", "num_tokens", "forward_time_ms", "tokens_per_sec")

    def after(_self, args, _result, began, took):
        counts = args[0].num_scheduled_tokens
        tokens = args[0].total_num_scheduled_tokens
        phase = "prefill" if any(n > 1 for n in counts.values()) else "decode"
        passes((f"{began:.3f}", phase, len(counts), tokens, f"{took * 1e3:.3f}", f"{tokens / max(took, 1e-9):.1f}"))

    wrap(cls, "execute_model", after)


wrapped = (
    ("vllm.v1.core.sched.scheduler", "Scheduler", wrap_scheduler),
    ("vllm.v1.core.block_pool", "BlockPool", wrap_block_pool),
    ("vllm.v1.worker.gpu_model_runner", "GPUModelRunner", wrap_runner),  # V1's
    ("vllm.v1.worker.gpu.model_runner", "GPUModelRunner", wrap_runner),  # V2's
)


def wrappers(_signal, _frame):
    if restore:
        while restore:
            cls, name, method = restore.pop()
            setattr(cls, name, method)
        while files:
            files.pop().flush()  # not closed: a call that is under way has a row to write
        return
    for module, name, wrap_class in wrapped:
        cls = getattr(sys.modules.get(module), name, None)  # an engine has a scheduler, a worker has a runner
        if cls:
            wrap_class(cls)


def c_profile(_signal, _frame):
    global profile
    if profile is None:
        profile = cProfile.Profile()
        profile.enable()
        return
    profile.disable()
    profile.dump_stats(os.path.join(os.environ["BENCH_INSIDE_DIR"], f"cprofile.{os.getpid()}.pstats"))
    profile = None


if "BENCH_INSIDE_DIR" in os.environ:
    signal.signal(signal.SIGUSR1, wrappers)
    signal.signal(signal.SIGUSR2, c_profile)
