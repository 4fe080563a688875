"""google-tunix's own sampler on the same weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
from tunix.generate import sampler
from tunix.models.llama3 import model as llama
from tunix.models.llama3 import params

from tests.benchmarks import works


class _Numbers:
    """The tokenizer that the sampler insists on: a text is its ids, written out."""

    def encode(self, text: str) -> list[int]:
        return [int(word) for word in text.split()]

    def decode(self, ids: list[int]) -> str:
        return " ".join(map(str, ids))

    def bos_id(self) -> int:
        return 0  # 0 adds none

    def eos_id(self) -> int:
        return 1

    def pad_id(self) -> int:
        return 2


def load(source: str) -> Any:
    values = json.loads((Path(source) / "config.json").read_text())
    rope = values.get("rope_parameters") or values
    config = llama.ModelConfig(
        num_layers=values["num_hidden_layers"],
        vocab_size=values["vocab_size"],
        embed_dim=values["hidden_size"],
        hidden_dim=values["intermediate_size"],
        num_heads=values["num_attention_heads"],
        head_dim=values["head_dim"],
        num_kv_heads=values["num_key_value_heads"],
        rope_theta=rope["rope_theta"],
        norm_eps=values["rms_norm_eps"],
        weight_tying=values["tie_word_embeddings"],
    )
    return params.create_model_from_safe_tensors(source, config, dtype=jnp.float32), config


def sampling(model: Any, work: works.Sampling) -> Callable[[], list]:
    transformer, config = model
    cache = sampler.CacheConfig(work.prompt + work.new, config.num_layers, config.num_kv_heads, config.head_dim)
    sample = sampler.Sampler(transformer, _Numbers(), cache)
    prompts = [" ".join(map(str, ids)) for ids in work.prompts()]
    draws = {"temperature": work.temperature, "top_p": 1.0} if work.temperature else {}

    def call() -> list:
        made = sample(prompts, work.new, max_prompt_length=work.prompt, eos_tokens=[-1], **draws)
        return [tokens.tolist() for tokens in made.tokens]

    return call
