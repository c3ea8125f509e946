import torch
import torch.cuda
from torch import _C
from vllm.distributed.device_communicators.pynccl import PyNcclCommunicator


class Worker:
    def __init__(self, vllm_config, rank):
        self.vllm_config = vllm_config
        self.rank = self.local_rank = rank
        self.parallel_config = vllm_config.parallel_config
        self.use_v2_model_runner = vllm_config.use_v2_model_runner
        self.model_runner = None

    def init_device(self):
        tp = self.parallel_config.tensor_parallel_size
        communicator = PyNcclCommunicator(tp, self.rank, self.vllm_config.barrier) if tp > 1 else None
        if self.use_v2_model_runner:
            from vllm.v1.worker.gpu.model_runner import GPUModelRunner as GPUModelRunnerV2

            self.model_runner = GPUModelRunnerV2(self.vllm_config, communicator)
        else:
            from vllm.v1.worker.gpu_model_runner import GPUModelRunner

            self.model_runner = GPUModelRunner(self.vllm_config, communicator)

    def load_model(self):
        self.model_runner.load_model()

    def determine_available_memory(self):
        self.model_runner.profile_run()
        return self.model_runner.profile_cudagraph_memory()

    def compile_or_warm_up_model(self):
        self.model_runner.capture_model()

    @torch.inference_mode()
    def sample_tokens(self, grammar_output):
        return self.model_runner.sample_tokens(grammar_output)

    @torch.inference_mode()
    def execute_model(self, scheduler_output):
        output = self.model_runner.execute_model(scheduler_output, None)
        return output

    def recapture(self):
        """Destroys all graphs and captures them again, as a server does after sleep."""
        torch.cuda.synchronize()
        self.model_runner.clear_graphs()
        self.model_runner.capture_model()

    def replay_on_thread(self, times):
        """Has a graph launched by a thread that has no Python frames."""
        graph = self.model_runner.any_graph()
        if _C.c10 is None or graph is None:
            return
        if _C.c10.c10_replay_on_thread(graph.graph_exec_, None, times):
            raise RuntimeError("c10_replay_on_thread")

    def write_truth(self):
        self.vllm_config.truth.write(self.rank)
