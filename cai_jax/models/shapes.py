"""Shapes of well-known models, for checking and planning without their files. Imports no JAX."""

from __future__ import annotations

from typing import Any

from cai_jax.models.config import Config
from cai_jax.models.families import FAMILIES
from cai_jax.models.rope_scaling import Llama3

_LLAMA_3: dict[str, Any] = dict(
    vocab_size=128256, rope_theta=500000.0, max_position=131072, bos_id=128000, eos_ids=(128009,)
)

_QWEN = dict(rope_theta=1e6, norm_eps=1e-6, bos_id=151643, eos_ids=(151645, 151643), pad_id=151643)
_GEMMA = dict(
    head_dim=256,
    activation="gelu_pytorch_tanh",
    norm_eps=1e-6,
    query_scalar=256,
    bos_id=2,
    pad_id=0,
)
_GEMMA_2 = _GEMMA | dict(
    vocab_size=256000, max_position=8192, attention_softcap=50.0, logit_softcap=30.0, eos_ids=(1, 107)
)


def _of(family: str, **shape: Any) -> Config:
    """A shape with what its architecture settles; as many key/value heads as heads unless it says otherwise."""
    shape.setdefault("kv_heads", shape["heads"])
    shape.setdefault("head_dim", shape["hidden_size"] // shape["heads"])
    return Config(family=family, **FAMILIES[family].fixed, **shape)


def _sliding(layers: int, size: int, every: int) -> tuple[int | None, ...]:
    """Return windows of all layers but every n-th."""
    return tuple(None if (layer + 1) % every == 0 else size for layer in range(layers))


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
    "mistral-7b": _of(
        "mistral",
        vocab_size=32000,
        hidden_size=4096,
        layers=32,
        heads=32,
        kv_heads=8,
        intermediate_size=14336,
        tie_embeddings=False,
        max_position=32768,
        windows=(4096,) * 32,
        bos_id=1,
        eos_ids=(2,),
    ),
    "qwen2.5-0.5b": _of(
        "qwen2",
        vocab_size=151936,
        hidden_size=896,
        layers=24,
        heads=14,
        kv_heads=2,
        intermediate_size=4864,
        max_position=32768,
        **_QWEN,
    ),
    "qwen2.5-7b": _of(
        "qwen2",
        vocab_size=152064,
        hidden_size=3584,
        layers=28,
        heads=28,
        kv_heads=4,
        intermediate_size=18944,
        tie_embeddings=False,
        max_position=32768,
        **_QWEN,
    ),
    "qwen3-8b": _of(
        "qwen3",
        vocab_size=151936,
        hidden_size=4096,
        layers=36,
        heads=32,
        kv_heads=8,
        intermediate_size=12288,
        tie_embeddings=False,
        max_position=40960,
        **_QWEN,
    ),
    "gemma-2-2b": _of(
        "gemma2",
        hidden_size=2304,
        layers=26,
        heads=8,
        kv_heads=4,
        intermediate_size=9216,
        windows=_sliding(26, 4096, every=2),
        **_GEMMA_2,
    ),
    "gemma-2-9b": _of(
        "gemma2",
        hidden_size=3584,
        layers=42,
        heads=16,
        kv_heads=8,
        intermediate_size=14336,
        windows=_sliding(42, 4096, every=2),
        **_GEMMA_2,
    ),
    "gemma-3-1b": _of(
        "gemma3_text",
        vocab_size=262144,
        hidden_size=1152,
        layers=26,
        heads=4,
        kv_heads=1,
        intermediate_size=6912,
        rope_theta=1e6,
        local_rope_theta=1e4,
        max_position=32768,
        windows=_sliding(26, 512, every=6),
        eos_ids=(1, 106),
        **_GEMMA,
    ),
    "gpt2": _of(
        "gpt2",
        vocab_size=50257,
        hidden_size=768,
        layers=12,
        heads=12,
        intermediate_size=3072,
        activation="gelu_new",
        max_position=1024,
        bos_id=50256,
        eos_ids=(50256,),
    ),
    "pythia-1.4b": _of(
        "gpt_neox",
        vocab_size=50304,
        hidden_size=2048,
        layers=24,
        heads=16,
        intermediate_size=8192,
        activation="gelu",
        qkv_bias=True,
        out_bias=True,
        parallel=True,
        rotary_fraction=0.25,
        tie_embeddings=False,
        bos_id=0,
        eos_ids=(0,),
    ),
    "olmo-2-7b": _of(
        "olmo2",
        vocab_size=100352,
        hidden_size=4096,
        layers=32,
        heads=32,
        intermediate_size=11008,
        rope_theta=500000.0,
        norm_eps=1e-6,
        tie_embeddings=False,
        max_position=4096,
        eos_ids=(100257,),
        pad_id=100277,
    ),
    "phi-3-mini": _of(
        "phi3",
        vocab_size=32064,
        hidden_size=3072,
        layers=32,
        heads=32,
        intermediate_size=8192,
        tie_embeddings=False,
        max_position=4096,
        windows=(2047,) * 32,
        bos_id=1,
        eos_ids=(32000, 32001, 32007),
        pad_id=32000,
    ),
}
