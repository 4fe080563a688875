"""Stretches of the rotary frequencies, by which models reach beyond the context that they began with. No JAX."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from cai_jax.models.errors import ModelError


@dataclass(frozen=True)
class Linear:
    """All positions closer together, by `factor`."""

    factor: float


@dataclass(frozen=True)
class Llama3:
    """Only the slow frequencies are stretched: Llama 3.1 and later.

    Pairs of channels that turn more than high_freq_factor times within the original context stay, those that turn
    less than low_freq_factor times are slowed by `factor`, and those between are mixed.
    """

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position_embeddings: int


@dataclass(frozen=True)
class LongRope:
    """A divisor for every frequency, one set for texts within the original context and one for longer ones: Phi-3.

    A text's own length decides (LongRoPE, arXiv 2402.13753). One that grows beyond the original context while it is
    generated is read anew there, since the other set changes what every layer makes of its first tokens.
    """

    short_factor: tuple[float, ...]
    long_factor: tuple[float, ...]
    original_max_position_embeddings: int

    def magnitude(self, max_position: int) -> float:
        """By how much queries and keys grow, short rows included."""
        ratio = max_position / self.original_max_position_embeddings
        return 1.0 if ratio <= 1 else math.sqrt(1 + math.log(ratio) / math.log(self.original_max_position_embeddings))

    def reaching(self, length: int, max_position: int) -> Divided:
        """The set for texts of `length` tokens."""
        factors = self.long_factor if length > self.original_max_position_embeddings else self.short_factor
        return Divided(factors, self.magnitude(max_position))


@dataclass(frozen=True)
class Divided:
    """A divisor for every frequency, and by how much queries and keys grow: a `LongRope` for texts of one length."""

    factors: tuple[float, ...]
    magnitude: float


Scaling = Linear | Llama3 | LongRope | Divided
_KINDS: Mapping[str, type[Scaling]] = {"linear": Linear, "llama3": Llama3, "longrope": LongRope}


# Keys of config.json's rotary settings that say nothing about the stretch.
_BESIDE = ("rope_type", "type", "rope_theta", "partial_rotary_factor", "original_max_position_embeddings")


def kind_of(rope: Mapping[str, Any]) -> str:
    """The stretch that config.json's rotary settings ask for, as transformers calls it; "default" for none."""
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if not isinstance(kind, str):
        raise ModelError(f"config.json has the rotary scaling {kind!r}; it is a name")
    return {"su": "longrope"}.get(kind, kind)  # as early Phi-3 files call it


def from_hf(rope: Mapping[str, Any], known: tuple[str, ...], pairs: int) -> Scaling | None:
    """The stretch that config.json's rotary settings ask for; None for the plain embedding.

    Args:
      pairs: how many pairs of channels are turned.

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
    """A setting of a stretch; raises ModelError if it is not of its kind."""
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
    """The rotary settings that `from_hf` reads back."""
    kind = next((name for name, cls in _KINDS.items() if isinstance(scaling, cls)), "default")
    values = {} if scaling is None else asdict(scaling)
    return {"rope_type": kind} | {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
