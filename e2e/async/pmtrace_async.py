"""A vLLM plugin that has the scheduler run asynchronously on a CPU.

That is how it runs on GPUs, but vLLM's CPU platform switches it off for good. Here it is switched
on again when the workers have been started, so that they know nothing of it: they keep the tokens
that they sample, and compute one step after the other; the engine schedules the next step before it
knows the output of the last.
"""


def on():
    from vllm.v1.executor.abstract import Executor

    begin = Executor.__init__

    def init(self, vllm_config, *args, **kwargs):
        begin(self, vllm_config, *args, **kwargs)
        vllm_config.scheduler_config.async_scheduling = True
        self.__dict__.pop("max_concurrent_batches", None)  # cached in some versions

    if begin.__name__ != "init":
        Executor.__init__ = init
