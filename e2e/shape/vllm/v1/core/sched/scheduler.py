import time
from collections import deque
from contextlib import nullcontext

from vllm.v1.core.kv_cache_manager import KVCacheManager
from vllm.v1.core.sched.output import CachedRequestData, NewRequestData, SchedulerOutput
from vllm.v1.engine import EngineCoreOutput, EngineCoreOutputs, FinishReason
from vllm.v1.request import RequestStatus


class FCFSRequestQueue(deque):
    pass


class Scheduler:
    """More than 30 attributes, as vLLM's has."""

    def __init__(self, config, truth):
        self.vllm_config = config
        self.scheduler_config = config.scheduler_config
        self.cache_config = config.cache_config
        self.lora_config = None
        self.kv_cache_config = None
        self.kv_events_config = None
        self.parallel_config = config.parallel_config
        self.log_stats = True
        self.observability_config = None
        self.kv_metrics_collector = None
        self.structured_output_manager = None
        self.is_encoder_decoder = False
        self.finished_req_ids_dict = None
        self.prev_step_scheduled_req_ids = set()
        self.max_num_running_reqs = config.scheduler_config.max_num_seqs
        self.max_num_scheduled_tokens = config.scheduler_config.max_num_batched_tokens
        self.max_model_len = config.model_config.max_model_len
        self.enable_kv_cache_events = False
        self.connector = None
        self.connector_prefix_cache_stats = None
        self.recompute_kv_load_failures = True
        self.kv_event_publisher = None
        self.ec_connector = None
        self.block_size = config.cache_config.block_size
        self.dcp_world_size = 1
        self.requests = {}
        self.policy = "fcfs"
        self.waiting = FCFSRequestQueue()
        self.running = []
        self.finished_req_ids = set()
        self.finished_recving_kv_req_ids = set()
        self.failed_recving_kv_req_ids = set()
        self.encoder_cache_manager = None
        self.num_spec_tokens = getattr(config, "num_speculative_tokens", 0)
        self.num_lookahead_tokens = self.num_spec_tokens
        self.use_v2_model_runner = getattr(config, "use_v2_model_runner", False)
        self.kv_cache_manager = KVCacheManager(config.cache_config.num_gpu_blocks, self.block_size, truth)
        self.reset_preempted_req_ids = set()
        self.current_step = 0
        self.truth = truth
        self.liar = self.parts = None

    def add_request(self, request):
        self.requests[request.request_id] = request
        self.waiting.append(request)

    def schedule(self, throttle_prefills=False):
        self.current_step += 1
        scheduled_new_reqs = []
        scheduled_resumed_reqs = []
        scheduled_running_reqs = []
        preempted_reqs = []
        num_scheduled_tokens = {}
        req_to_new_blocks = {}
        scheduled_spec_decode_tokens = {}
        scheduled_encoder_inputs = {}
        token_budget = self.max_num_scheduled_tokens
        scheduled_timestamp = time.monotonic()
        kv_before = self.truth.kv_ops

        def budgeted(n):
            # A nested function that uses self: the local becomes a cell.
            return min(n, token_budget, self.max_num_scheduled_tokens)

        index = 0
        while index < len(self.running) and token_budget > 0:
            request = self.running[index]
            n = request.num_tokens + request.num_output_placeholders - request.num_computed_tokens
            n = budgeted(n + len(request.spec_token_ids))
            if n <= 0:
                index += 1
                continue
            while True:
                new = self.kv_cache_manager.allocate_slots(request, n)
                if new is not None:
                    break
                victim = self.running.pop()
                self._preempt_request(victim)
                preempted_reqs.append(victim)
                if victim is request:
                    break
            if new is None:
                break
            scheduled_running_reqs.append(request)
            num_scheduled_tokens[request.request_id] = n
            req_to_new_blocks[request.request_id] = tuple([b.block_id for b in g] for g in new)
            token_budget -= n
            index += 1
            if request.spec_token_ids:
                drafts = n + request.num_computed_tokens - request.num_tokens - request.num_output_placeholders
                if drafts > 0:
                    scheduled_spec_decode_tokens[request.request_id] = request.spec_token_ids[:drafts]
                request.spec_token_ids = []

        if not preempted_reqs:
            while self.waiting and token_budget > 0 and len(self.running) < self.max_num_running_reqs:
                request = self.waiting[0]
                computed = self.kv_cache_manager.get_computed_blocks(request)
                hit = len(computed) * self.block_size
                n = budgeted(request.num_tokens - hit)
                request.num_computed_tokens = 0
                if self.kv_cache_manager.allocate_slots(request, n, computed) is None:
                    break
                self.waiting.popleft()
                self.running.append(request)
                resumed = request.status == RequestStatus.PREEMPTED
                (scheduled_resumed_reqs if resumed else scheduled_new_reqs).append(request)
                request.status = RequestStatus.RUNNING
                request.num_computed_tokens = hit
                num_scheduled_tokens[request.request_id] = n
                req_to_new_blocks[request.request_id] = self.kv_cache_manager.get_block_ids(request.request_id)
                token_budget -= n
                if request.mm_features:
                    scheduled_encoder_inputs[request.request_id] = [0]

        first_time, again = scheduled_new_reqs, scheduled_resumed_reqs  # for the truth
        if self.use_v2_model_runner:
            first_time, again = list(first_time), list(again)
            scheduled_new_reqs.extend(scheduled_resumed_reqs)
            scheduled_resumed_reqs.clear()
        cached = self._make_cached_request_data(scheduled_running_reqs, scheduled_resumed_reqs, req_to_new_blocks)
        scheduler_output = SchedulerOutput(
            scheduled_new_reqs=[
                NewRequestData(r.request_id, r.prompt_token_ids, [], None, None,
                               req_to_new_blocks[r.request_id], r.num_computed_tokens, None,
                               prefill_token_ids=r._all_token_ids if self.use_v2_model_runner else None)
                for r in scheduled_new_reqs
            ],
            scheduled_cached_reqs=cached,
            num_scheduled_tokens=num_scheduled_tokens,
            total_num_scheduled_tokens=sum(num_scheduled_tokens.values()),
            scheduled_spec_decode_tokens=scheduled_spec_decode_tokens,
            scheduled_encoder_inputs=scheduled_encoder_inputs,
            num_common_prefix_blocks=[0],
            finished_req_ids=self.finished_req_ids,
            free_encoder_mm_hashes=[],
            preempted_req_ids=self.reset_preempted_req_ids,
        )
        self.truth.step(self, scheduler_output, first_time, again, kv_before)
        # A with block before the return: from 3.12 on the function has two of them.
        with nullcontext("schedule: update_after_schedule"):
            self._update_after_schedule(scheduler_output)
        if self.liar:
            self.liar.lie(self.parts(scheduler_output, scheduled_new_reqs, scheduled_resumed_reqs, preempted_reqs, self))
        return scheduler_output

    def _make_cached_request_data(self, running, resumed, blocks):
        reqs = running + resumed
        return CachedRequestData(
            req_ids=[r.request_id for r in reqs],
            resumed_req_ids={r.request_id for r in resumed},
            new_token_ids=[],
            all_token_ids={},
            new_block_ids=[blocks[r.request_id] if any(blocks[r.request_id]) else None for r in reqs],
            num_computed_tokens=[r.num_computed_tokens for r in reqs],
            num_output_tokens=[len(r._output_token_ids) + r.num_output_placeholders for r in reqs],
        )

    def _preempt_request(self, request):
        self.kv_cache_manager.free(request)
        request.status = RequestStatus.PREEMPTED
        request.num_computed_tokens = 0
        request.num_output_placeholders = 0
        request.spec_token_ids = []
        request.num_preemptions += 1
        self.waiting.appendleft(request)
        self.reset_preempted_req_ids.add(request.request_id)

    def _update_after_schedule(self, scheduler_output):
        for req_id, n in scheduler_output.num_scheduled_tokens.items():
            request = self.requests[req_id]
            request.num_computed_tokens += n
            if self.vllm_config.scheduler_config.async_scheduling:
                drafts = len(scheduler_output.scheduled_spec_decode_tokens.get(req_id, ()))
                if request.num_computed_tokens == request.num_tokens + request.num_output_placeholders + drafts:
                    request.num_output_placeholders += 1 + drafts
                    request.spec_token_ids = [-1] * self.num_spec_tokens
        self.finished_req_ids = set()
        self.reset_preempted_req_ids = set()

    def update_from_output(self, scheduler_output, model_runner_output):
        outputs = {}
        for req_id in scheduler_output.num_scheduled_tokens:
            request = self.requests.get(req_id)
            if request is None:
                continue
            tokens = model_runner_output.get(req_id, [])
            if not tokens:
                continue
            finish_reason = None
            request._output_token_ids.extend(tokens)
            request._all_token_ids.extend(tokens)
            rejected = 1 + len(scheduler_output.scheduled_spec_decode_tokens.get(req_id, ())) - len(tokens)
            if request.status == RequestStatus.RUNNING:
                request.num_computed_tokens -= rejected
                if request.num_output_placeholders:
                    request.num_output_placeholders -= len(tokens) + rejected
                elif self.num_spec_tokens:
                    request.spec_token_ids = [-1] * self.num_spec_tokens
            if len(request._output_token_ids) >= request.max_tokens:
                finish_reason = FinishReason.LENGTH
            elif tokens[-1] == 1:
                finish_reason = FinishReason.STOP
            if finish_reason is not None:
                if request in self.running:
                    self.running.remove(request)
                else:
                    self.waiting.remove(request)
                self._free_request(request)
            outputs.setdefault(request.client_index, []).append(
                EngineCoreOutput(request_id=req_id, new_token_ids=tokens, finish_reason=finish_reason))
        engine_core_outputs = {
            client: EngineCoreOutputs(outputs=outs) for client, outs in outputs.items()
        }
        self.truth.update(scheduler_output, outputs)
        if self.liar:
            self.liar.lie(self.parts(engine_core_outputs, scheduler_output))
        return engine_core_outputs

    def _free_request(self, request):
        self.finished_req_ids.add(request.request_id)
        self.kv_cache_manager.free(request)
        del self.requests[request.request_id]

    def finish_requests(self, request_ids):
        for req_id in request_ids:
            request = self.requests.get(req_id)
            if request is None:
                continue
            if request in self.running:
                self.running.remove(request)
            else:
                self.waiting.remove(request)
            self._free_request(request)
            self.truth.abort(req_id)
