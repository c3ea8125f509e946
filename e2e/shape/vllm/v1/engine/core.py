from collections import deque

from vllm.v1.core.sched.scheduler import Scheduler


class EngineCore:
    def __init__(self, config, model, truth):
        self.vllm_config = config
        self.model_executor = model
        # A plain function gives the tokens at once; an executor has workers that run
        # a model on a GPU.
        self.has_workers = hasattr(model, "execute_model")
        self.scheduler = Scheduler(config, truth)
        self.batch_queue = deque() if config.scheduler_config.async_scheduling else None
        self.step_fn = self.step_with_batch_queue if self.batch_queue is not None else self.step

    def step(self):
        if not self.scheduler.requests and not self.scheduler.finished_req_ids:
            return {}
        liar = self.scheduler.liar
        scheduler_output = self.scheduler.schedule()
        if liar:
            liar.restore()
            output = self.scheduler.update_from_output(scheduler_output, self.model_executor(self.scheduler, scheduler_output))
            liar.restore()
            return output
        if self.has_workers:
            future = self.model_executor.execute_model(scheduler_output, non_block=True)
            model_output = future.result()
            if model_output is None:
                model_output = self.model_executor.sample_tokens(None)
            return self.scheduler.update_from_output(scheduler_output, model_output.sampled_token_ids)
        return self.scheduler.update_from_output(scheduler_output, self.model_executor(self.scheduler, scheduler_output))

    def step_with_batch_queue(self):
        if self.scheduler.requests or self.scheduler.finished_req_ids:
            scheduler_output = self.scheduler.schedule()
            self.batch_queue.appendleft((self.submit(scheduler_output), scheduler_output))
            if len(self.batch_queue) < 2 and scheduler_output.total_num_scheduled_tokens:
                return None
        elif not self.batch_queue:
            return None
        output, scheduler_output = self.batch_queue.pop()
        if self.has_workers:
            output = output.result().sampled_token_ids
        return self.scheduler.update_from_output(scheduler_output, output)

    def submit(self, scheduler_output):
        if not self.has_workers:
            return self.model_executor(self.scheduler, scheduler_output)
        exec_future = self.model_executor.execute_model(scheduler_output, non_block=True)
        if not scheduler_output.total_num_scheduled_tokens:
            return exec_future
        return self.model_executor.sample_tokens(None, non_block=True)


class EngineCoreProc(EngineCore):
    def run_busy_loop(self, source):
        while source(self.scheduler):
            self.step_fn()
