#!/usr/bin/env python3
"""adapter.py DIR: a LoRA adapter for the tiny model (model.py), with random weights, made here.

Run with the Python of a vLLM environment (needs torch and safetensors).
"""

import json
import os
import sys

import torch
from safetensors.torch import save_file

from model import CONFIG

RANK = 8


def main(path):
    os.makedirs(path, exist_ok=True)
    torch.manual_seed(1)
    hidden, heads = CONFIG["hidden_size"], CONFIG["num_attention_heads"] * CONFIG["head_dim"]
    weights = {}
    for layer in range(CONFIG["num_hidden_layers"]):
        at = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        weights[f"{at}.lora_A.weight"] = torch.randn(RANK, hidden) / 10
        weights[f"{at}.lora_B.weight"] = torch.randn(heads, RANK) / 10
    with open(os.path.join(path, "adapter_config.json"), "w") as f:
        json.dump({"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": RANK, "lora_dropout": 0.0,
                   "bias": "none", "target_modules": ["q_proj"], "base_model_name_or_path": "tiny"}, f, indent=2)
    save_file(weights, os.path.join(path, "adapter_model.safetensors"))  # last: it says that all is there


main(sys.argv[1])
