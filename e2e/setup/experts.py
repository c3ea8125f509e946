#!/usr/bin/env python3
"""experts.py DIR: the tiny model (model.py) as a mixture of experts, which data-parallel engines run together.

Run with the Python of a vLLM environment (needs tokenizers).
"""

import json
import os
import sys

from model import CONFIG, TOKENIZER_CONFIG, write_tokenizer

EXPERTS = {"architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None}


def main(path):
    os.makedirs(path, exist_ok=True)
    write_tokenizer(path)
    for name, value in (("tokenizer_config.json", TOKENIZER_CONFIG), ("config.json", CONFIG | EXPERTS)):  # last: it says that all is there
        with open(os.path.join(path, name), "w") as f:
            json.dump(value, f, indent=2)


main(sys.argv[1])
