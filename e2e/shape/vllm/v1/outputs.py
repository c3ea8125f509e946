from dataclasses import dataclass


@dataclass
class ModelRunnerOutput:
    req_ids: list
    sampled_token_ids: dict  # of each request; vLLM has lists in the order of req_ids


class AsyncModelRunnerOutput:
    def get_output(self):
        raise NotImplementedError
