import marks
import torch.cuda
from torch.cuda import async_copy_to_cpu
from vllm.v1.outputs import AsyncModelRunnerOutput


class AsyncOutput(AsyncModelRunnerOutput):
    def __init__(self, model_runner_output, num_sampled_tokens, main_stream, copy_stream, step):
        self.model_runner_output = model_runner_output
        self.num_sampled_tokens = num_sampled_tokens
        self.copy_event = torch.cuda.Event(blocking=True)
        self.step = step
        with marks.phase(marks.OUTPUT_COPY), torch.cuda.stream(copy_stream):
            copy_stream.wait_stream(main_stream)
            self.sampled_token_ids = async_copy_to_cpu(8 * num_sampled_tokens)
            self.num_sampled_tokens_np = async_copy_to_cpu(4 * num_sampled_tokens)
            self.copy_event.record(copy_stream)

    def get_output(self):
        with marks.phase(marks.OUTPUT_WAIT, self.step):
            self.copy_event.synchronize()
        return self.model_runner_output
