"""Workers in processes of their own, which get pickled copies of the scheduler's
outputs."""
import ctypes
import os
import queue
import threading
from concurrent.futures import Future
from multiprocessing import get_context
from types import SimpleNamespace

from vllm.v1.outputs import AsyncModelRunnerOutput
from vllm.v1.worker.worker_base import WorkerWrapperBase

PR_SET_NAME = 15


def set_process_title(title):
    """As setproctitle does it: over the arguments, and the first 15 bytes in comm."""
    title = title.encode()
    ctypes.CDLL(None).prctl(PR_SET_NAME, title)
    with open("/proc/self/stat") as f:
        start, end = map(int, f.read().rpartition(")")[2].split()[45:47])  # arg_start, arg_end
    ctypes.memmove(start, title[: end - start - 1].ljust(end - start, b"\0"), end - start)


class FutureWrapper(Future):
    """An answer that comes through the pipes, which are read in the order of the
    questions."""

    def __init__(self, executor):
        self.executor = executor
        super().__init__()

    def result(self, timeout=None):
        while not super().done():
            self.executor.answer()
        return super().result()


class MultiprocExecutor:
    def __init__(self, vllm_config):
        self.vllm_config = vllm_config
        self.futures_queue = []
        self.workers = []

    def load(self):
        context = get_context("fork")  # before this process has anything of CUDA
        self.vllm_config.barrier = context.Barrier(self.vllm_config.parallel_config.tensor_parallel_size)
        for rank in range(self.vllm_config.parallel_config.tensor_parallel_size):
            ours, theirs = context.Pipe()
            inherited = [ours] + [worker.pipe for worker in self.workers]
            proc = context.Process(target=WorkerProc.worker_main, args=(self.vllm_config, rank, theirs, inherited))
            proc.start()
            theirs.close()
            self.workers.append(SimpleNamespace(proc=proc, rank=rank, pipe=ours))
        import torch._C  # noqa: F401 - the engine's process has CUDA's libraries mapped, too, and makes no calls

    def collective_rpc(self, method, args=(), non_block=False, output_rank=None):
        for worker in self.workers:
            worker.pipe.send((method, args, {}, output_rank))
        future = FutureWrapper(self)
        self.futures_queue.append((future, output_rank))
        return future if non_block else future.result()

    def answer(self):
        future, output_rank = self.futures_queue.pop(0)
        answers = [w.pipe.recv() for w in self.workers if output_rank is None or w.rank == output_rank]
        future.set_result(answers[0])

    def execute_model(self, scheduler_output, non_block=False):
        return self.collective_rpc("execute_model", (scheduler_output,), non_block, output_rank=0)

    def sample_tokens(self, grammar_output, non_block=False):
        return self.collective_rpc("sample_tokens", (grammar_output,), non_block, output_rank=0)

    def capture(self):
        self.collective_rpc("determine_available_memory")
        self.collective_rpc("compile_or_warm_up_model")

    def shutdown(self):
        for worker in self.workers:
            worker.pipe.close()
            worker.proc.join()


class WorkerProc:
    def __init__(self, vllm_config, rank, pipe):
        self.rank = rank
        self.rpc_broadcast_mq = self.worker_response_mq = pipe
        set_process_title("VLLM::Worker")
        wrapper = WorkerWrapperBase(rpc_rank=rank)
        wrapper.init_worker(vllm_config)
        self.worker = wrapper
        self.worker.init_device()
        set_process_title(f"VLLM::Worker_TP{rank}")
        self.worker.load_model()
        self.use_async_scheduling = vllm_config.scheduler_config.async_scheduling
        if self.use_async_scheduling:
            self.async_output_queue = queue.Queue()
            self.async_output_copy_thread = threading.Thread(
                target=self.async_output_busy_loop, daemon=True, name="WorkerAsyncOutputCopy")
            self.async_output_copy_thread.start()

    @staticmethod
    def worker_main(vllm_config, rank, pipe, inherited):
        for other in inherited:  # so that the engine's end is noticed
            other.close()
        worker = WorkerProc(vllm_config, rank, pipe)
        try:
            worker.worker_busy_loop()
        except EOFError:
            os._exit(0)  # the engine has gone

    def enqueue_output(self, output):
        if isinstance(output, AsyncModelRunnerOutput):
            output = output.get_output()
        self.worker_response_mq.send(output)

    def handle_output(self, output):
        if self.use_async_scheduling:
            self.async_output_queue.put(output)
        else:
            self.enqueue_output(output)

    def async_output_busy_loop(self):
        while True:
            output = self.async_output_queue.get()
            self.enqueue_output(output)

    def worker_busy_loop(self):
        while True:
            rpc_request = self.rpc_broadcast_mq.recv()
            self._execute_worker_rpc(rpc_request)
            del rpc_request

    def _execute_worker_rpc(self, rpc_request):
        method, args, kwargs, output_rank = rpc_request
        output = getattr(self.worker, method)(*args, **kwargs)
        if output_rank is None or self.rank == output_rank:
            self.handle_output(output)
