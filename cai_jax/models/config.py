"""The shape of a decoder, read from and written to a Hugging Face `config.json`. Imports no JAX."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class ModelError(ValueError):
    """A model that cannot be used; the message names the file or value at fault and the cure."""


@dataclass(frozen=True)
class Config:
    """Static shape of a decoder of the Llama architecture; hashable, so that jit may close over it.

    Attributes:
      vocab_size: V, rows of the embedding.
      hidden_size: D, width of the residual stream.
      layers: number of blocks.
      heads: N, query heads; kv_heads: K, key/value heads, a divisor of N.
      head_dim: H, width of one head; even, because of the rotary pairs.
      intermediate_size: F, width of the gated feed-forward layer.
      rope_theta: base of the rotary frequencies; rope_scaling: the "llama3" stretch, if any.
      norm_eps: added to the mean square in RMSNorm.
      tie_embeddings: the unembedding is the embedding transposed.
      max_position: context, in tokens.
      bos_id, pad_id: None where the model has none; eos_ids: any of them ends a reply.
    """

    vocab_size: int
    hidden_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate_size: int
    rope_theta: float = 10000.0
    rope_scaling: RopeScaling | None = None
    norm_eps: float = 1e-5
    tie_embeddings: bool = True
    max_position: int = 2048
    bos_id: int | None = None
    eos_ids: tuple[int, ...] = ()
    pad_id: int | None = None

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads:
            raise ModelError(f"{self.heads} heads cannot share {self.kv_heads} key/value heads evenly")
        if self.head_dim % 2:
            raise ModelError(f"head_dim is {self.head_dim}; rotary embedding needs an even number")

    @classmethod
    def from_hf(cls, values: Mapping[str, Any]) -> Config:
        """Read the fields of a `config.json`; raises ModelError for what this decoder cannot do."""
        _refuse_unsupported(values)
        try:
            heads = values["num_attention_heads"]
            eos = values.get("eos_token_id")
            rope = _rope_parameters(values)
            return cls(
                vocab_size=values["vocab_size"],
                hidden_size=values["hidden_size"],
                layers=values["num_hidden_layers"],
                heads=heads,
                kv_heads=values.get("num_key_value_heads") or heads,
                head_dim=values.get("head_dim") or values["hidden_size"] // heads,
                intermediate_size=values["intermediate_size"],
                rope_theta=float(rope.get("rope_theta", 10000.0)),
                rope_scaling=RopeScaling.from_hf(rope),
                norm_eps=values.get("rms_norm_eps", 1e-6),
                tie_embeddings=values.get("tie_word_embeddings", False),
                max_position=values.get("max_position_embeddings", 2048),
                bos_id=values.get("bos_token_id"),
                eos_ids=tuple(eos) if isinstance(eos, list) else () if eos is None else (eos,),
                pad_id=values.get("pad_token_id"),
            )
        except KeyError as missing:
            raise ModelError(f"config.json lacks {missing}") from None

    def to_hf(self) -> dict[str, Any]:
        """The `config.json` that transformers reads back as the same decoder."""
        rope = {"rope_type": "default"} if self.rope_scaling is None else self.rope_scaling.to_hf()
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "intermediate_size": self.intermediate_size,
            "hidden_act": "silu",
            "attention_bias": False,
            "mlp_bias": False,
            # transformers 4 reads rope_theta and rope_scaling, transformers 5 rope_parameters.
            "rope_theta": self.rope_theta,
            "rope_scaling": None if self.rope_scaling is None else rope,
            "rope_parameters": {**rope, "rope_theta": self.rope_theta},
            "rms_norm_eps": self.norm_eps,
            "tie_word_embeddings": self.tie_embeddings,
            "max_position_embeddings": self.max_position,
            "bos_token_id": self.bos_id,
            "eos_token_id": self.eos_ids[0] if len(self.eos_ids) == 1 else list(self.eos_ids) or None,
            "pad_token_id": self.pad_id,
            "torch_dtype": "float32",
        }


@dataclass(frozen=True)
class RopeScaling:
    """The frequency stretch of Llama 3.1 and later ("llama3" in transformers)."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position: int

    @classmethod
    def from_hf(cls, rope: Mapping[str, Any]) -> RopeScaling | None:
        """None for the plain rotary embedding; raises ModelError for any other stretch than llama3's."""
        kind = rope.get("rope_type") or rope.get("type") or "default"
        if kind == "default":
            return None
        if kind != "llama3":
            raise ModelError(f"config.json asks for rotary scaling {kind!r}; only 'llama3' is supported")
        return cls(
            factor=float(rope["factor"]),
            low_freq_factor=float(rope["low_freq_factor"]),
            high_freq_factor=float(rope["high_freq_factor"]),
            original_max_position=int(rope["original_max_position_embeddings"]),
        )

    def to_hf(self) -> dict[str, Any]:
        return {
            "rope_type": "llama3",
            "factor": self.factor,
            "low_freq_factor": self.low_freq_factor,
            "high_freq_factor": self.high_freq_factor,
            "original_max_position_embeddings": self.original_max_position,
        }


def parameters(config: Config) -> int:
    """Number of weights of the decoder, embeddings included, a tied unembedding counted once."""
    d, h = config.hidden_size, config.head_dim
    attention = 2 * d * config.heads * h + 2 * d * config.kv_heads * h
    block = attention + 3 * d * config.intermediate_size + 2 * d
    embeddings = config.vocab_size * d * (1 if config.tie_embeddings else 2)
    return embeddings + config.layers * block + d


# Architectures that load, by the "model_type" of their config.json. A family is one row.
FAMILIES: Mapping[str, tuple[str, ...]] = {
    "llama": ("LlamaForCausalLM", "LlamaForSequenceClassification"),
}


def _refuse_unsupported(values: Mapping[str, Any]) -> None:
    kind = values.get("model_type")
    if kind not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise ModelError(f"config.json has model_type {kind!r}; supported: {known}")
    for name in values.get("architectures") or ():
        if name not in FAMILIES[kind]:
            raise ModelError(f"config.json names the architecture {name!r}; supported: {', '.join(FAMILIES[kind])}")
    for flag in ("attention_bias", "mlp_bias"):
        if values.get(flag):
            raise ModelError(f"config.json sets {flag}; biases are not supported")
    if values.get("hidden_act", "silu") != "silu":
        raise ModelError(f"config.json has hidden_act {values['hidden_act']!r}; only 'silu' is supported")


def _rope_parameters(values: Mapping[str, Any]) -> dict[str, Any]:
    """Rotary settings wherever this version of transformers put them."""
    nested = values.get("rope_parameters") or values.get("rope_scaling") or {}
    flat = {"rope_theta": values["rope_theta"]} if values.get("rope_theta") is not None else {}
    return {**flat, **nested}
