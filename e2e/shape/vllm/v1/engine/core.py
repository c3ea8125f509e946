from collections import deque

from vllm.v1.core.sched.scheduler import Scheduler


class EngineCore:
    def __init__(self, config, model, truth):
        self.vllm_config = config
        self.model_executor = model
        self.scheduler = Scheduler(config, truth)
        self.batch_queue = deque() if config.scheduler_config.async_scheduling else None
        self.step_fn = self.step_with_batch_queue if self.batch_queue is not None else self.step

    def step(self):
        if not self.scheduler.requests and not self.scheduler.finished_req_ids:
            return {}
        scheduler_output = self.scheduler.schedule()
        return self.scheduler.update_from_output(scheduler_output, self.model_executor(self.scheduler, scheduler_output))

    def step_with_batch_queue(self):
        if self.scheduler.requests or self.scheduler.finished_req_ids:
            scheduler_output = self.scheduler.schedule()
            self.batch_queue.appendleft((self.model_executor(self.scheduler, scheduler_output), scheduler_output))
            if len(self.batch_queue) < 2 and scheduler_output.total_num_scheduled_tokens:
                return None
        elif not self.batch_queue:
            return None
        output, scheduler_output = self.batch_queue.pop()
        return self.scheduler.update_from_output(scheduler_output, output)


class EngineCoreProc(EngineCore):
    def run_busy_loop(self, source):
        while source(self.scheduler):
            self.step_fn()
