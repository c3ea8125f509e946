#!/usr/bin/env python3
"""multimodal.py MODEL_DIR {vision|whisper}: generates for random images or sounds with vLLM's LLM class.

MODEL_DIR is one of those that models.py wrote. The engine runs in a child process, as by default.
Says "ready PID" when the engine is there, waits for a line (or for --wait-file) so that a tracer can
attach, generates, and writes one line of JSON about what it did. Every image and sound is another,
so no cache of encoder outputs hits. What the engine itself prints goes to standard error.
"""

import argparse
import json
import os
import sys
import time

import numpy as np

SAMPLE_RATE = 16000  # Whisper's own: nothing has to be resampled


def image_prompt(rng, size):
    from PIL import Image

    pixels = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
    words = "".join(chr(c) for c in rng.integers(97, 123, rng.integers(8, 64)))
    return {"prompt": "<image>" + words, "multi_modal_data": {"image": Image.fromarray(pixels)}}


def sound_prompt(rng, seconds):
    samples = rng.uniform(-0.1, 0.1, int(seconds * SAMPLE_RATE)).astype(np.float32)
    return {
        "encoder_prompt": {"prompt": "", "multi_modal_data": {"audio": (samples, SAMPLE_RATE)}},
        "decoder_prompt": {"prompt": "<|startoftranscript|><|en|><|transcribe|><|notimestamps|>"},
    }


def arguments():
    p = argparse.ArgumentParser()
    p.add_argument("model")
    p.add_argument("kind", choices=["vision", "whisper"])
    p.add_argument("--requests", type=int, default=32)
    p.add_argument("--concurrency", type=int, default=8, help="requests that run at one time at most")
    p.add_argument("--max-tokens", type=int, default=64, help="from half of it to all of it are generated")
    p.add_argument("--max-model-len", type=int, help="default: 1024 for vision, 448 for whisper")
    # Inputs are encoded within this: more than one in a step. One sound alone takes 1500.
    p.add_argument("--max-num-batched-tokens", type=int, default=4096)
    p.add_argument("--image-size", type=int, default=336)
    p.add_argument("--seconds", type=float, default=5, help="of sound (the encoder always sees 30)")
    p.add_argument("--gpu-memory-utilization", type=float, default=0.1)
    p.add_argument("--kv-cache-memory-bytes", type=int)
    p.add_argument("--wait-file", help="go on when this file is there, instead of at a line of standard input")
    p.add_argument("--seed", type=int, default=1)
    return p.parse_args()


def main(a):
    say = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the engine prints
    from vllm import LLM, SamplingParams

    rng = np.random.default_rng(a.seed)
    if a.kind == "vision":
        modality, length = "image", a.max_model_len or 1024
        prompts = [image_prompt(rng, a.image_size) for _ in range(a.requests)]
    else:
        modality, length = "audio", a.max_model_len or 448
        prompts = [sound_prompt(rng, a.seconds) for _ in range(a.requests)]
    params = [
        SamplingParams(max_tokens=int(n), temperature=0.0, ignore_eos=True, detokenize=False)
        for n in rng.integers((a.max_tokens + 1) // 2, a.max_tokens + 1, a.requests)
    ]
    llm = LLM(
        model=a.model, load_format="dummy", dtype="bfloat16", max_model_len=length, max_num_seqs=a.concurrency,
        max_num_batched_tokens=a.max_num_batched_tokens, limit_mm_per_prompt={modality: 1},
        gpu_memory_utilization=a.gpu_memory_utilization, kv_cache_memory_bytes=a.kv_cache_memory_bytes,
    )
    print("ready", os.getpid(), file=say, flush=True)
    if a.wait_file:
        while not os.path.exists(a.wait_file):
            time.sleep(0.05)
    else:
        sys.stdin.readline()
    start = time.monotonic()
    results = llm.generate(prompts, params, use_tqdm=False)
    print(json.dumps({
        "requests": len(results),
        "prompt_tokens": sum(len(r.prompt_token_ids) for r in results),
        "generated_tokens": sum(len(r.outputs[0].token_ids) for r in results),
        "multimodal_inputs": len(prompts),
        "seconds": round(time.monotonic() - start, 3),
    }), file=say, flush=True)


if __name__ == "__main__":
    main(arguments())
