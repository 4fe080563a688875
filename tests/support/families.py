"""Small random checkpoints of every family, written by transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import transformers

from tests.support import llama

WINDOW = 8

_COMMON = {
    "vocab_size": llama.VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,
    "tie_word_embeddings": True,
}
_GEMMA = _COMMON | {"head_dim": 12, "query_pre_attn_scalar": 10, "sliding_window": WINDOW}
_NEOX = {k: v for k, v in _COMMON.items() if k != "num_key_value_heads"} | {"tie_word_embeddings": False}
_LONG = {"rope_type": "longrope", "short_factor": [1.0, 1.5, 2.0], "long_factor": [2.0, 5.0, 9.0]}
_LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
    "rope_theta": 500.0,
}

# Name of the case -> class of the configuration, and what it is given. Some families stand here twice, with settings
# that exclude each other.
CASES = {
    "llama": (transformers.LlamaConfig, _COMMON | {"head_dim": 10}),
    "llama-biased": (
        transformers.LlamaConfig,
        _COMMON | {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False},
    ),
    "llama-linear": (
        transformers.LlamaConfig,
        _COMMON | {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 500.0}},
    ),
    "llama-llama3": (transformers.LlamaConfig, _COMMON | {"rope_parameters": _LLAMA3}),
    "mistral": (transformers.MistralConfig, _COMMON | {"sliding_window": WINDOW, "tie_word_embeddings": False}),
    "qwen2": (transformers.Qwen2Config, _COMMON),
    "qwen2-windows": (
        transformers.Qwen2Config,
        _COMMON | {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1},
    ),
    "qwen3": (transformers.Qwen3Config, _COMMON | {"head_dim": 12, "tie_word_embeddings": False}),
    "gemma2": (
        transformers.Gemma2Config,
        _GEMMA | {"attn_logit_softcapping": 5.0, "final_logit_softcapping": 3.0},
    ),
    "gemma3": (
        transformers.Gemma3TextConfig,
        _GEMMA
        | {
            "attn_logit_softcapping": 5.0,
            "layer_types": ["sliding_attention", "full_attention"],
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
            },
        },
    ),
    "gpt2": (
        transformers.GPT2Config,
        {
            "vocab_size": llama.VOCAB,
            "n_embd": 32,
            "n_layer": 2,
            "n_head": 4,
            "n_positions": 128,
            "initializer_range": 0.2,
        },
    ),
    "gpt_neox": (transformers.GPTNeoXConfig, _NEOX),
    "gpt_neox-serial": (
        transformers.GPTNeoXConfig,
        _NEOX
        | {
            "use_parallel_residual": False,
            "hidden_act": "gelu_new",
            "attention_bias": False,
            "rope_parameters": {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.5},
        },
    ),
    "olmo2": (transformers.Olmo2Config, _COMMON | {"tie_word_embeddings": False}),
    "phi3": (
        transformers.Phi3Config,
        _COMMON
        | {
            "sliding_window": WINDOW,
            "rope_parameters": {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.5},
        },
    ),
    "phi3-long": (
        transformers.Phi3Config,
        _COMMON
        | {
            "original_max_position_embeddings": 32,
            "rope_parameters": _LONG | {"rope_theta": 500.0, "partial_rotary_factor": 0.75},
        },
    ),
}


def configuration(case: str, **changes):
    """transformers' configuration of a case."""
    cls, settings = CASES[case]
    ids = {"bos_token_id": llama.BOS, "eos_token_id": llama.EOS, "pad_token_id": llama.PAD}
    return cls(**settings | ids | changes)


def write(case: str, path: Path, *, dtype: torch.dtype = torch.float32, shards: str = "5GB", **changes):
    """A random model of the case with its tokenizer; returns it, ready to compare with."""
    torch.manual_seed(0)
    config = configuration(case, **changes)
    # Gemma 2's softcap is left out by every other implementation.
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").to(dtype).eval()
    randomise(model)
    model.save_pretrained(path, max_shard_size=shards)
    llama.write_tokenizer(path)
    return model


def randomise(model) -> None:
    """Draws norms and biases: at ones and zeros, one that is left out would not show."""
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 1:
                weight.add_(torch.empty_like(weight).uniform_(-0.5, 0.5))


def read(path: Path, cls: str = "AutoModelForCausalLM"):
    """What transformers makes of a folder; nothing may be missing from it or left over."""
    loader = getattr(transformers, cls)
    model, report = loader.from_pretrained(path, output_loading_info=True, attn_implementation="eager")
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")), report
    return model.eval()


def logits(model, rows) -> np.ndarray:
    """transformers' logits of rows of equal length, `[B, T, …]` float32."""
    with torch.no_grad():
        return model(torch.tensor(rows)).logits.float().numpy()
