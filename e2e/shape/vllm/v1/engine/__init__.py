import enum


class FinishReason(enum.IntEnum):
    STOP = 0
    LENGTH = 1
    ABORT = 2


class EngineCoreOutput:
    """Slots, as msgspec.Struct has."""

    __slots__ = ("request_id", "new_token_ids", "new_logprobs", "pooling_output", "finish_reason",
                 "stop_reason", "events", "kv_transfer_params", "trace_headers", "prefill_stats",
                 "routed_experts", "num_nans_in_logits")

    def __init__(self, request_id, new_token_ids, finish_reason=None):
        for name in self.__slots__:
            setattr(self, name, None)
        self.request_id = request_id
        self.new_token_ids = new_token_ids
        self.finish_reason = finish_reason


class EngineCoreOutputs:
    __slots__ = ("engine_index", "outputs", "scheduler_stats", "timestamp", "utility_output", "finished_requests")

    def __init__(self, outputs):
        for name in self.__slots__:
            setattr(self, name, None)
        self.outputs = outputs
