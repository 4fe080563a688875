"""Models that read long texts with another rotary embedding (models/rope_scaling.py, LongRope). Imports no JAX.

A text's own length, its prefix included, decides how all of it is read, so texts of both kinds are never
read together. Every other model has a single configuration, for all lengths.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cai_jax.models.rope_scaling import LongRope

if TYPE_CHECKING:
    from cai_jax.models.attention import Prefix
    from cai_jax.models.config import Config


def original_context(config: Config) -> int | None:
    """Tokens of the longest text that is still read as a short one; None where all are read alike."""
    scaling = config.rope_scaling
    return scaling.original_max_position_embeddings if isinstance(scaling, LongRope) else None


def configs(config: Config) -> tuple[Config, ...]:
    """The decoder for short texts, and that for long ones; a single one where all are read alike."""
    most = original_context(config)
    return (config,) if most is None else (config.reaching(most), config.reaching(most + 1))


def split_by_length(config: Config, lengths: Sequence[int]) -> list[tuple[Config, list[int]]]:
    """The decoders as in `configs`, each with the indices of the texts, of these lengths, that it reads."""
    most = original_context(config)
    if most is None:
        return [(config, list(range(len(lengths))))]
    far = [length > most for length in lengths]
    return [(each, [n for n, is_far in enumerate(far) if is_far == long]) for long, each in enumerate(configs(config))]


def seen_prefix(prefix: Prefix | None, long: bool) -> Prefix | None:
    """A prefix (`make_prefix`) as short texts see it, or as long ones do."""
    if prefix is None or prefix.long is None:
        return prefix
    return prefix.long if long else prefix._replace(long=None)
