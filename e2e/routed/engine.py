#!/usr/bin/env python3
"""engine.py DIR: an engine with a tiny mixture of experts that returns its routed experts.

Says "ready" when the engine is there, waits for a line, generates, writes DIR/routed.jsonl (a request a line: prompt,
output and cached tokens, and the experts of each token of each layer, those of cached tokens too), says "done", and ends
when standard input does.
"""

import json
import os
import random
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, os.pardir, "setup"))
import model as tiny  # noqa: E402

CONFIG = dict(
    tiny.CONFIG, architectures=["Qwen3MoeForCausalLM"], model_type="qwen3_moe", num_hidden_layers=4, mlp_only_layers=[1],
    num_experts=16, num_experts_per_tok=4, moe_intermediate_size=64, decoder_sparse_step=1, norm_topk_prob=True,
)


def make(path):
    os.makedirs(path, exist_ok=True)
    tiny.write_tokenizer(path)
    for name, value in (("config.json", CONFIG), ("tokenizer_config.json", tiny.TOKENIZER_CONFIG)):
        with open(os.path.join(path, name), "w") as f:
            json.dump(value, f)
    return path


def main(out):
    from vllm import LLM, SamplingParams

    say = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the engine prints
    llm = LLM(
        model=make(os.path.join(out, "model")), load_format="dummy", enforce_eager=True, dtype="bfloat16", max_model_len=2048,
        max_num_seqs=16, block_size=32, num_gpu_blocks_override=800,
        max_num_batched_tokens=int(os.environ.get("PMTRACE_ROUTED_TOKENS", "256")), enable_return_routed_experts=True,
    )
    print("ready", file=say, flush=True)
    sys.stdin.readline()
    rng = random.Random(1)
    shared = [rng.randrange(300, 2048) for _ in range(96)]
    prompts, params = [], []
    for n in range(40):
        own = [rng.randrange(300, 2048) for _ in range(rng.randint(16, 400))]
        prompts.append({"prompt_token_ids": (shared if n % 2 else []) + own})
        params.append(SamplingParams(max_tokens=rng.randint(8, 64), temperature=1.0, ignore_eos=True))
    with open(os.path.join(out, "routed.jsonl"), "w") as f:
        for r in llm.generate(prompts, params, use_tqdm=False):
            o = r.outputs[0]
            rows = o.routed_experts.tolist()
            before = getattr(r, "prompt_routed_experts", None)  # some versions have the prompt's by themselves
            if before is not None and len(rows) < len(r.prompt_token_ids):
                rows = before.tolist() + rows
            print(json.dumps({
                "prompt": len(r.prompt_token_ids), "output": len(o.token_ids), "cached": r.num_cached_tokens, "routed": rows,
            }), file=f)
    print("done", file=say, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1])
