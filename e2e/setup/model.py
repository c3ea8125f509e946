#!/usr/bin/env python3
"""model.py DIR: a tiny Llama with a tokenizer of its own, made here: nothing is downloaded.

It has no weights: serve it with --load-format dummy, which draws them with a fixed seed. The sizes
are such that a step on two CPU cores takes a few milliseconds, as on a GPU with a real model.
Run with the Python of a vLLM environment (needs tokenizers).
"""

import json
import os
import sys

VOCAB = 2048
BOS, EOS = 0, 1

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": VOCAB,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "bos_token_id": BOS,
    "eos_token_id": EOS,
}


# By hand, not by transformers: its version 5 writes a class name that version 4 cannot read.
TOKENIZER_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": "<s>",
    "eos_token": "</s>",
    "model_max_length": 8192,
    "chat_template": "{% for m in messages %}{{ m['content'] }}{% endfor %}",
}


def write_tokenizer(path):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    vocab = {"<s>": BOS, "</s>": EOS}
    for byte in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocab[byte] = len(vocab)
    while len(vocab) < VOCAB:
        vocab[f"t{len(vocab):05d}"] = len(vocab)
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(os.path.join(path, "tokenizer.json"))


def main():
    path = sys.argv[1]
    os.makedirs(path, exist_ok=True)
    write_tokenizer(path)
    for name, value in (("config.json", CONFIG), ("tokenizer_config.json", TOKENIZER_CONFIG)):
        with open(os.path.join(path, name), "w") as f:
            json.dump(value, f, indent=2)


if __name__ == "__main__":
    main()
