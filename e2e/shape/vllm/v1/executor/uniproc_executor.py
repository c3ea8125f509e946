from concurrent.futures import Future

from vllm.v1.outputs import AsyncModelRunnerOutput
from vllm.v1.worker.worker_base import WorkerWrapperBase


class AsyncOutputFuture(Future):
    def __init__(self, async_output, single_value):
        self.async_output = async_output
        self.single_value = single_value
        super().__init__()

    def result(self, timeout=None):
        if not super().done():
            try:
                output = self.async_output.get_output()
                self.set_result(output if self.single_value else [output])
            except Exception as e:
                self.set_exception(e)
        return super().result()


class UniProcExecutor:
    def __init__(self, vllm_config):
        self.vllm_config = vllm_config
        self.driver_worker = None

    def load(self):
        self.driver_worker = WorkerWrapperBase(rpc_rank=0)
        self.driver_worker.init_worker(self.vllm_config)
        self.driver_worker.init_device()
        self.driver_worker.load_model()

    def collective_rpc(self, method, args=(), non_block=False, single_value=False):
        if not non_block:
            result = getattr(self.driver_worker, method)(*args)
            if isinstance(result, AsyncModelRunnerOutput):
                result = result.get_output()
            return result if single_value else [result]
        try:
            result = getattr(self.driver_worker, method)(*args)
            if isinstance(result, AsyncModelRunnerOutput):
                return AsyncOutputFuture(result, single_value)
            future = Future()
            future.set_result(result if single_value else [result])
        except Exception as e:
            future = Future()
            future.set_exception(e)
        return future

    def execute_model(self, scheduler_output, non_block=False):
        output = self.collective_rpc("execute_model", args=(scheduler_output,), non_block=non_block, single_value=True)
        if non_block and output.done():
            output.result()
        return output

    def sample_tokens(self, grammar_output, non_block=False):
        return self.collective_rpc("sample_tokens", args=(grammar_output,), non_block=non_block, single_value=True)

    def capture(self):
        self.collective_rpc("determine_available_memory")
        self.collective_rpc("compile_or_warm_up_model")

    def shutdown(self):
        pass
