"""Shapes of well-known models, for checking and planning without their files. Imports no JAX."""

from __future__ import annotations

from cai_jax.models.config import Config
from cai_jax.models.rope import Llama3

_LLAMA_3 = dict(vocab_size=128256, rope_theta=500000.0, max_position=131072, bos_id=128000, eos_ids=(128009,))

SHAPES: dict[str, Config] = {
    "tiny": Config(
        vocab_size=1024,
        hidden_size=128,
        layers=5,
        heads=4,
        kv_heads=4,
        head_dim=32,
        intermediate_size=384,
        max_position=1024,
    ),
    "stories-260k": Config(
        vocab_size=512,
        hidden_size=64,
        layers=5,
        heads=8,
        kv_heads=4,
        head_dim=8,
        intermediate_size=172,
        max_position=512,
        bos_id=1,
        eos_ids=(2,),
    ),
    "smollm2-135m": Config(
        vocab_size=49152,
        hidden_size=576,
        layers=30,
        heads=9,
        kv_heads=3,
        head_dim=64,
        intermediate_size=1536,
        rope_theta=100000.0,
        max_position=8192,
        bos_id=1,
        eos_ids=(2,),
    ),
    "tinyllama-1.1b": Config(
        vocab_size=32000,
        hidden_size=2048,
        layers=22,
        heads=32,
        kv_heads=4,
        head_dim=64,
        intermediate_size=5632,
        tie_embeddings=False,
        max_position=2048,
        bos_id=1,
        eos_ids=(2,),
    ),
    "llama-3.2-1b": Config(
        hidden_size=2048,
        layers=16,
        heads=32,
        kv_heads=8,
        head_dim=64,
        intermediate_size=8192,
        rope_scaling=Llama3(32.0, 1.0, 4.0, 8192),
        **_LLAMA_3,
    ),
    "llama-3.1-8b": Config(
        hidden_size=4096,
        layers=32,
        heads=32,
        kv_heads=8,
        head_dim=128,
        intermediate_size=14336,
        rope_scaling=Llama3(8.0, 1.0, 4.0, 8192),
        tie_embeddings=False,
        **_LLAMA_3,
    ),
    "llama-3.1-70b": Config(
        hidden_size=8192,
        layers=80,
        heads=64,
        kv_heads=8,
        head_dim=128,
        intermediate_size=28672,
        rope_scaling=Llama3(8.0, 1.0, 4.0, 8192),
        tie_embeddings=False,
        **_LLAMA_3,
    ),
}
