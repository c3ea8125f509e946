import enum
import time


class RequestStatus(enum.IntEnum):
    WAITING = 1
    RUNNING = 5
    PREEMPTED = 6
    FINISHED_STOPPED = 7
    FINISHED_LENGTH_CAPPED = 8
    FINISHED_ABORTED = 9


class Request:
    """More than 30 attributes, so that CPython gives each its own dict."""

    def __init__(self, request_id, prompt_token_ids, max_tokens, priority=0):
        self.request_id = request_id
        self.client_index = 0
        self.priority = priority
        self.sampling_params = None
        self.pooling_params = None
        self.lora_request = None
        self.structured_output_request = None
        self.arrival_time = time.time()
        self.status = RequestStatus.WAITING
        self.events = []
        self.stop_reason = None
        self.kv_transfer_params = None
        self.ec_transfer_params = None
        self.max_tokens = max_tokens
        self.prompt_token_ids = prompt_token_ids
        self.prompt_embeds = None
        self._prompt_embeds_per_block_hashes = {}
        self.num_prompt_tokens = len(prompt_token_ids)
        self._output_token_ids = []
        self._all_token_ids = list(prompt_token_ids)
        self.num_output_placeholders = 0
        self.num_in_flight_tokens = 0
        self.spec_token_ids = []
        self.num_computed_tokens = 0
        self.cache_salt = None
        self.mm_features = []
        self.trace_headers = None
        self.is_prefill_chunk = False
        self.num_nans_in_logits = 0
        self.num_preemptions = 0
        self.prefill_stats = None
        self.block_hashes = []
        self.skip_reading_prefix_cache = False
        self.resumable = False
        self.streaming_queue = None
        self.abort_immediately = False

    @property
    def num_tokens(self):
        return len(self._all_token_ids)
