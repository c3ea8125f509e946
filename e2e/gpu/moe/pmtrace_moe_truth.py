"""The tests' own witness of which experts tokens choose: a plugin of vLLM's (on PYTHONPATH, with its dist-info) which
copies each router's ids, counts those of real tokens after each step, and writes them down. Not part of pmtrace.

PMTRACE_MOE_TRUTH=PREFIX: PREFIX.PID.json, every second: steps, tokens, counts[layer][expert], pairs[layer][e1 * E + e2].
"""
import json
import os
import threading
import time

K = {}


def capture(layer, ids):
    import torch

    if "ids" not in K:
        K["ids"] = torch.full((len(K["layers"]), 16384, ids.shape[1]), 0, dtype=torch.int64, device=ids.device)
        E = K["experts"]
        K["counts"] = torch.zeros((len(K["layers"]), E), dtype=torch.int64, device=ids.device)
        K["pairs"] = torch.zeros((len(K["layers"]), E * E), dtype=torch.int64, device=ids.device)
        K["steps"] = K["tokens"] = 0
    K["ids"][layer, : ids.shape[0]].copy_(ids)


def account(n):
    import torch

    with torch.inference_mode():  # in which the tensors were made
        count(torch, n)
    K["steps"] += 1
    K["tokens"] += n
    if "writer" not in K:
        K["writer"] = threading.Thread(target=write, daemon=True)
        K["writer"].start()


def count(torch, n):
    ids = K["ids"][:, :n]
    layers, _, k = ids.shape
    flat = ids.reshape(layers, -1)
    K["counts"].scatter_add_(1, flat, torch.ones_like(flat))
    s = ids.sort(dim=2).values
    for i in range(k):
        for j in range(i + 1, k):
            pair = s[:, :, i] * K["experts"] + s[:, :, j]
            K["pairs"].scatter_add_(1, pair, torch.ones_like(pair))


def write():
    path, last = f"{os.environ['PMTRACE_MOE_TRUTH']}.{os.getpid()}.json", None
    while True:
        time.sleep(1)
        if K["steps"] == last:
            continue
        time.sleep(0.5)
        last = K["steps"]
        data = {"steps": last, "tokens": K["tokens"], "counts": K["counts"].cpu().tolist(), "pairs": K["pairs"].cpu().tolist()}
        if K["steps"] != last:  # the counts were of a moment between
            last = None
            continue
        with open(path + ".new", "w") as f:
            json.dump(data, f)
        os.rename(path + ".new", path)


def witness(router, own):
    """Calls own with a router's ids; vLLM's capture (--enable-return-routed-experts), which is set later, goes on as well."""
    router.set_capture_fn(own)

    def both(vllms):
        router.capture_fn = own if vllms is None else lambda ids: (own(ids), vllms(ids))

    router.set_capture_fn = both


def register():
    if "PMTRACE_MOE_TRUTH" not in os.environ or "layers" in K:
        return
    from vllm.model_executor.layers.fused_moe.runner import moe_runner
    from vllm.v1.worker import gpu_worker

    K["layers"] = []
    init, execute = moe_runner.MoERunner.__init__, gpu_worker.Worker.execute_model

    def new_init(self, *args, **kwargs):
        init(self, *args, **kwargs)
        layer = len(K["layers"])
        K["layers"].append(self.layer_name)
        K["experts"] = self.router.global_num_experts
        witness(self.router, lambda ids: capture(layer, ids))

    def new_execute(self, scheduler_output):
        r = execute(self, scheduler_output)
        # The V2 runner warms up with batches that no scheduler made.
        warm_up = any(r.startswith(("_warmup_", "_v2_mixed_warmup_")) for r in scheduler_output.num_scheduled_tokens)
        if scheduler_output.total_num_scheduled_tokens and K["layers"] and not warm_up:
            account(scheduler_output.total_num_scheduled_tokens)
        return r

    moe_runner.MoERunner.__init__ = new_init
    gpu_worker.Worker.execute_model = new_execute
