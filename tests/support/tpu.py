"""What tests that compile for a TPU have in common; no TPU is needed."""

import importlib.util
import json

import pytest

NEEDED = [
    pytest.mark.tpu,
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs the extra [tpu]"),
]

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 8192,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def write_shape(folder, **changed):
    """A folder that says a model's shape and has no weights."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(LLAMA | changed))
