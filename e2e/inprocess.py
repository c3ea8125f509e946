#!/usr/bin/env python3
"""inprocess.py OUT.jsonl: an engine in this very process (VLLM_ENABLE_V1_MULTIPROCESSING=0).

Says "ready" when the engine is there, waits for a line, generates, writes what it got in load.py's
format, says "done", and ends when standard input does.
"""

import dataclasses
import json
import os
import random
import sys
import time

MODEL = os.path.join(os.environ.get("PMTRACE_CACHE", os.path.expanduser("~/.cache/pmtrace")), "models", "tiny")


def main(out):
    from vllm import LLM, SamplingParams
    from vllm.engine.arg_utils import EngineArgs

    say = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the engine prints
    known = {f.name for f in dataclasses.fields(EngineArgs)}
    later = {"enable_logging_iteration_details": True, "kv_cache_metrics": True, "kv_cache_metrics_sample": 1.0}
    llm = LLM(
        model=MODEL, load_format="dummy", enforce_eager=True, dtype="bfloat16", max_model_len=2048, max_num_seqs=16,
        block_size=32, num_gpu_blocks_override=96, disable_log_stats=False, **{k: v for k, v in later.items() if k in known},
    )
    print("ready", file=say, flush=True)
    sys.stdin.readline()
    rng = random.Random(1)
    shared = [rng.randrange(300, 2048) for _ in range(96)]
    prompts, params = [], []
    for n in range(60):
        own = [rng.randrange(300, 2048) for _ in range(rng.randint(16, 128))]
        prompts.append({"prompt_token_ids": (shared if n % 2 else []) + own})
        params.append(SamplingParams(max_tokens=rng.randint(8, 64), temperature=0.0, ignore_eos=True))
    sent = time.monotonic()
    results = llm.generate(prompts, params, use_tqdm=False)
    last = time.monotonic()
    with open(out, "w") as f:
        for r, p in zip(results, params):
            o = r.outputs[0]
            print(json.dumps({
                "client_id": r.request_id, "external_id": r.request_id, "kind": "length", "max_tokens": p.max_tokens,
                "prompt_tokens": len(r.prompt_token_ids), "completion_tokens": len(o.token_ids),
                "cached_tokens": r.num_cached_tokens, "finish_reason": o.finish_reason, "t_send": sent, "t_first": None,
                "t_last": last, "error": None,
            }), file=f)
    print("done", file=say, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1])
