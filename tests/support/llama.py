"""Small random Llama checkpoints, written by transformers."""

from __future__ import annotations

import json
from pathlib import Path

import tokenizers
import torch
from tokenizers import decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM

VOCAB = 300
EOS, BOS, PAD = 0, 1, 2


def write(path: Path, *, tie: bool = True, dtype: torch.dtype = torch.float32, **changes) -> LlamaForCausalLM:
    """A random model with two key/value heads for four heads, and a byte-level tokenizer; returns it."""
    torch.manual_seed(0)
    settings = {
        "vocab_size": VOCAB,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "rope_theta": 500.0,
        "initializer_range": 0.2,
        "tie_word_embeddings": tie,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "pad_token_id": PAD,
    }
    model = LlamaForCausalLM(LlamaConfig(**settings | changes)).to(dtype).eval()
    with torch.no_grad():  # a norm of ones would hide a norm left out
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight.uniform_(0.5, 1.5)
    model.save_pretrained(path)
    write_tokenizer(path)
    return model


def write_tokenizer(path: Path) -> None:
    """Bytes, a few merges, and three special tokens of which the file marks only the first as special."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {word: number for number, word in enumerate(["<eos>", "<bos>", "<pad>", *alphabet, "th", "the"])}
    backend = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=[("t", "h"), ("th", "e")]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<eos>"])
    backend.add_tokens(["<bos>", "<pad>"])
    backend.save(str(path / "tokenizer.json"))
    names = {"eos_token": "<eos>", "bos_token": {"content": "<bos>"}, "pad_token": "<pad>"}
    (path / "tokenizer_config.json").write_text(json.dumps(names))
