class RequestState:
    """What a runner knows of its requests: all that it is told comes with
    SchedulerOutputs, which other processes get as copies."""

    def __init__(self, num_speculative_tokens):
        self.num_speculative_tokens = num_speculative_tokens
        self.known = {}  # tokens whose value is known: prompt and sampled
        self.computed = {}
        self.prefill_len = {}

    def remove_request(self, req_id):
        for of in (self.known, self.computed, self.prefill_len):
            of.pop(req_id, None)

    def add_request(self, new):
        tokens = new.prefill_token_ids or new.prompt_token_ids
        self.known[new.req_id] = self.prefill_len[new.req_id] = len(tokens)
        self.computed[new.req_id] = new.num_computed_tokens

    def update_requests(self, cached):
        for req_id, computed in zip(cached.req_ids, cached.num_computed_tokens):
            if req_id in cached.resumed_req_ids:
                self.computed[req_id] = computed
                self.prefill_len[req_id] = self.known[req_id]

    def has_prefill(self, scheduler_output):
        return any(self.computed[r] < self.prefill_len[r] for r in scheduler_output.num_scheduled_tokens)

    def uniform_token_count(self, scheduler_output):
        counts = set(scheduler_output.num_scheduled_tokens.values())
        if len(counts) == 1 and not self.has_prefill(scheduler_output):
            return counts.pop()
        return None

    def sample(self, scheduler_output):
        """Tokens for each request whose newest token is computed. Of its drafts some
        are accepted; the others were computed in vain."""
        sampled = {}
        for req_id, n in scheduler_output.num_scheduled_tokens.items():
            self.computed[req_id] += n
            if self.computed[req_id] < self.known[req_id]:
                continue
            drafts = len(scheduler_output.scheduled_spec_decode_tokens.get(req_id, ()))
            accepted = self.known[req_id] % (drafts + 1)
            self.computed[req_id] -= drafts - accepted
            self.known[req_id] += 1 + accepted
            sampled[req_id] = [2] * (1 + accepted)
        return sampled
