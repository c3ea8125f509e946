#!/usr/bin/env python3
"""models.py DIR: configurations of two small multimodal models, for vLLM's --load-format dummy.

DIR/vision is LLaVA: a SigLIP encoder (336x336 pixels, 576 tokens an image) before a Llama of four layers.
DIR/whisper is Whisper: an encoder of 1500 positions beside a decoder of four layers.
The decoders are tiny; the encoders are big enough that their time on a GPU can be told from a step's.
Everything is made here, nothing comes from a hub. Weights are not written. Needs transformers and tokenizers.
"""

import os
import sys

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPImageProcessor, GenerationConfig, LlamaConfig, LlavaConfig, LlavaProcessor, PreTrainedTokenizerFast,
    SiglipVisionConfig, WhisperConfig, WhisperFeatureExtractor, WhisperProcessor, WhisperTokenizer,
)

VOCABULARY = 8192


def vocabulary(special):
    """Ids by token: the special ones, every byte, and filler that only sampling produces."""
    tokens = special + sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens += ["t%06d" % n for n in range(len(tokens), VOCABULARY)]
    return {token: n for n, token in enumerate(tokens)}


def vision(path, hidden=512, encoder_hidden=1024, size=336, patch=14):
    special = ["<s>", "</s>", "<pad>", "<image>"]
    ids = vocabulary(special)
    t = Tokenizer(models.BPE(vocab=ids, merges=[]))
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=t, bos_token="<s>", eos_token="</s>", pad_token="<pad>",
        extra_special_tokens={"image_token": "<image>"},
    )
    sides = {"height": size, "width": size}
    pixels = CLIPImageProcessor(size=sides, crop_size=sides, do_center_crop=False, do_resize=True)
    # "full": SigLIP has no class token that would have to be left out.
    LlavaProcessor(
        image_processor=pixels, tokenizer=tokenizer, patch_size=patch, vision_feature_select_strategy="full",
        image_token="<image>", num_additional_image_tokens=0,
    ).save_pretrained(path)
    config = LlavaConfig(
        vision_config=SiglipVisionConfig(
            hidden_size=encoder_hidden, intermediate_size=4 * encoder_hidden, num_hidden_layers=12,
            num_attention_heads=encoder_hidden // 64, image_size=size, patch_size=patch,
        ),
        text_config=LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=hidden, intermediate_size=4 * hidden, num_hidden_layers=4,
            num_attention_heads=hidden // 64, num_key_value_heads=2, head_dim=64, max_position_embeddings=4096,
            bos_token_id=ids["<s>"], eos_token_id=ids["</s>"], pad_token_id=ids["<pad>"],
        ),
        image_token_index=ids["<image>"], vision_feature_select_strategy="full", vision_feature_layer=-1,
        image_seq_length=(size // patch) ** 2, architectures=["LlavaForConditionalGeneration"], dtype="bfloat16",
    )
    config.save_pretrained(path)


def whisper(path, hidden=512, encoder_layers=12):
    # The encoder is as wide as the decoder here: it gets its weight from 1500 positions and its layers.
    special = [
        "<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|translate|>", "<|startoflm|>",
        "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>",
    ]
    ids = vocabulary(special)
    end = ids["<|endoftext|>"]
    tokenizer = WhisperTokenizer(
        vocab=ids, merges=[], bos_token=special[0], eos_token=special[0], unk_token=special[0], pad_token=special[0],
        extra_special_tokens=special[1:],
    )
    WhisperProcessor(feature_extractor=WhisperFeatureExtractor(), tokenizer=tokenizer).save_pretrained(path)
    common = dict(
        bos_token_id=end, eos_token_id=end, pad_token_id=end, decoder_start_token_id=ids["<|startoftranscript|>"],
        suppress_tokens=None, begin_suppress_tokens=None,
    )
    WhisperConfig(
        vocab_size=VOCABULARY, d_model=hidden, encoder_layers=encoder_layers, encoder_attention_heads=hidden // 64,
        encoder_ffn_dim=4 * hidden, decoder_layers=4, decoder_attention_heads=hidden // 64, decoder_ffn_dim=4 * hidden,
        architectures=["WhisperForConditionalGeneration"], dtype="bfloat16", **common,
    ).save_pretrained(path)
    GenerationConfig(**common).save_pretrained(path)


def main(out):
    for name, make in ("vision", vision), ("whisper", whisper):
        path = os.path.join(out, name)
        os.makedirs(path, exist_ok=True)
        make(path)
        print(path)


if __name__ == "__main__":
    main(sys.argv[1])
