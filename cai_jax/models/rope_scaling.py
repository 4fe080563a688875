"""Stretches of the rotary frequencies, by which models read texts beyond their original context. Imports no JAX.

The plain frequency of pair i is f_i = θ^(-2i/R), in radians per token (models/rope.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from cai_jax.models.errors import ModelError


@dataclass(frozen=True)
class Linear:
    """All positions closer together: f_i / factor (position interpolation, arXiv 2306.15595)."""

    factor: float


@dataclass(frozen=True)
class Llama3:
    """Slow frequencies stretched, fast ones kept: Llama 3.1 and later (arXiv 2407.21783; as in its released code).

    With n_i = L f_i / 2π full turns within the original context of L tokens, and the share
    k = clip((n_i - low_freq_factor) / (high_freq_factor - low_freq_factor), 0, 1), the frequency is
    k f_i + (1 - k) f_i / factor. This is the "NTK-by-parts" interpolation of YaRN (arXiv 2309.00071 §3.2), without
    its attention temperature.
    """

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position_embeddings: int


@dataclass(frozen=True)
class LongRope:
    """A divisor for every frequency, one set for texts within the original context and one for longer ones: Phi-3.

    A text's own length selects the set (LongRoPE, arXiv 2402.13753). A text that grows beyond the original context
    while it is generated is read again there, since the other set changes every layer's keys of its first tokens.

    Attributes:
      short_factor, long_factor: R / 2 divisors each.
      original_max_position_embeddings: L, tokens of the original context.
    """

    short_factor: tuple[float, ...]
    long_factor: tuple[float, ...]
    original_max_position_embeddings: int

    def magnitude(self, max_position: int) -> float:
        """The factor of queries and keys, for short rows too: sqrt(1 + ln(s) / ln(L)), with s = max_position / L.

        It is 1 where s is at most 1.
        """
        ratio = max_position / self.original_max_position_embeddings
        return 1.0 if ratio <= 1 else math.sqrt(1 + math.log(ratio) / math.log(self.original_max_position_embeddings))

    def reaching(self, length: int, max_position: int) -> Divided:
        """Return the set for texts of `length` tokens."""
        factors = self.long_factor if length > self.original_max_position_embeddings else self.short_factor
        return Divided(factors, self.magnitude(max_position))


@dataclass(frozen=True)
class Divided:
    """A divisor for every frequency, and the factor of queries and keys: a `LongRope` for texts of one length."""

    factors: tuple[float, ...]
    magnitude: float


Scaling = Linear | Llama3 | LongRope | Divided
_KINDS: Mapping[str, type[Scaling]] = {"linear": Linear, "llama3": Llama3, "longrope": LongRope}


# Keys of config.json's rotary settings that say nothing about the stretch.
_BESIDE = ("rope_type", "type", "rope_theta", "partial_rotary_factor", "original_max_position_embeddings")


def kind_of(rope: Mapping[str, Any]) -> str:
    """Return the stretch that config.json's rotary settings ask for, by transformers' name; "default" for none.

    Raises:
      ModelError: it is not a name.
    """
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if not isinstance(kind, str):
        raise ModelError(f"config.json has the rotary scaling {kind!r}; it is a name")
    return {"su": "longrope"}.get(kind, kind)  # as early Phi-3 files call it


def from_hf(rope: Mapping[str, Any], known: tuple[str, ...], pairs: int) -> Scaling | None:
    """Return the stretch that config.json's rotary settings ask for; None for the plain embedding.

    Args:
      rope: the rotary settings.
      known: names of the stretches that the family supports.
      pairs: R / 2, the number of channel pairs that are turned.

    Raises:
      ModelError: it is none of the `known`, lacks a value, or has one that cannot be.
    """
    kind = kind_of(rope)
    if kind == "default":
        return None
    if kind not in known:
        raise ModelError(f"config.json asks for rotary scaling {kind!r}; supported: {', '.join(known)}")
    cls = _KINDS[kind]
    names = [each.name for each in fields(cls)]
    missing = [name for name in names if rope.get(name) is None]
    if missing:
        raise ModelError(f"config.json asks for rotary scaling {kind!r} without {missing[0]!r}; fetch it again")
    strange = [name for name, value in rope.items() if value is not None and name not in (*names, *_BESIDE)]
    if strange:
        raise ModelError(f"config.json asks for rotary scaling {kind!r} with {strange[0]!r}; that is not supported")
    return cls(**{name: _value(name, rope[name], pairs) for name in names})


def _value(name: str, value: Any, pairs: int) -> Any:
    """Return a setting of a stretch; raises ModelError if it is not of its kind."""
    many = name in ("short_factor", "long_factor")
    numbers = value if many and isinstance(value, list) else [value]
    for each in numbers:
        if isinstance(each, bool) or not isinstance(each, int | float) or not 0 < each < 1e30:
            raise ModelError(f"config.json's rotary scaling has {name} with {each!r}; it is a number above 0")
    if many and (not isinstance(value, list) or len(value) != pairs):
        raise ModelError(f"config.json's rotary scaling has {name} of another length than {pairs}; fetch it again")
    if name == "original_max_position_embeddings" and (not isinstance(value, int) or value < 2):
        raise ModelError(f"config.json's rotary scaling has {name} {value!r}; it is a whole number from 2 on")
    return tuple(map(float, value)) if many else value


def to_hf(scaling: Scaling | None) -> dict[str, Any]:
    """Return the rotary settings that `from_hf` reads back."""
    kind = next((name for name, cls in _KINDS.items() if isinstance(scaling, cls)), "default")
    values = {} if scaling is None else asdict(scaling)
    return {"rope_type": kind} | {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
