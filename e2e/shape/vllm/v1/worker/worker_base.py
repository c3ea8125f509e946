class WorkerWrapperBase:
    def __init__(self, rpc_rank=0):
        self.rpc_rank = rpc_rank
        self.worker = None
        self.mm_receiver_cache = None

    def init_worker(self, vllm_config):
        from vllm.v1.worker.gpu_worker import Worker

        self.vllm_config = vllm_config
        self.worker = Worker(vllm_config, self.rpc_rank)

    def init_device(self):
        self.worker.init_device()

    def __getattr__(self, attr):
        return getattr(self.__dict__["worker"], attr)

    def execute_model(self, scheduler_output):
        return self.worker.execute_model(scheduler_output)
