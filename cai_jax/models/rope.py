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
    """A divisor for every frequency, one set for rows within the original context and one for longer ones: Phi-3.

    A row's set follows from its length, so that a row which grows beyond the original context while it is generated
    keeps the keys it has, turned by the short set; transformers' cache does so too.
    """

    short_factor: tuple[float, ...]
    long_factor: tuple[float, ...]
    original_max_position_embeddings: int

    def magnitude(self, max_position: int) -> float:
        """By how much queries and keys grow, short rows included."""
        ratio = max_position / self.original_max_position_embeddings
        return 1.0 if ratio <= 1 else math.sqrt(1 + math.log(ratio) / math.log(self.original_max_position_embeddings))


Scaling = Linear | Llama3 | LongRope
_KINDS: Mapping[str, type[Scaling]] = {"linear": Linear, "llama3": Llama3, "longrope": LongRope}


def from_hf(rope: Mapping[str, Any], known: tuple[str, ...]) -> Scaling | None:
    """The stretch that config.json's rotary settings ask for; None for the plain embedding.

    Raises:
      ModelError: it is none of the `known`, or lacks a value.
    """
    kind = rope.get("rope_type") or rope.get("type") or "default"
    kind = {"su": "longrope"}.get(kind, kind)  # as early Phi-3 files call it
    if kind == "default":
        return None
    if kind not in known:
        raise ModelError(f"config.json asks for rotary scaling {kind!r}; supported: {', '.join(known)}")
    cls = _KINDS[kind]
    missing = [each.name for each in fields(cls) if each.name not in rope]
    if missing:
        raise ModelError(f"config.json asks for rotary scaling {kind!r} without {missing[0]!r}; fetch it again")
    values = {each.name: rope[each.name] for each in fields(cls)}
    return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def to_hf(scaling: Scaling | None) -> dict[str, Any]:
    """The rotary settings that `from_hf` reads back."""
    kind = next((name for name, cls in _KINDS.items() if isinstance(scaling, cls)), "default")
    values = {} if scaling is None else asdict(scaling)
    return {"rope_type": kind} | {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
