"""Settings of generation, and the sizes that follow from them. Imports no JAX."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cai_jax.engine import buckets

if TYPE_CHECKING:
    from cai_jax.engine.sampling import SamplingParams


@dataclass(frozen=True)
class GenerationConfig:
    """Settings of `generate`.

    Attributes:
      max_new: most tokens of a reply.
      temperature: divides the logits; 0 takes the likeliest token.
      top_p: mass of the nucleus (arXiv 1904.09751), renormalised; 1 keeps the whole distribution.
      stop_ids: a reply ends with the first of these. stop_texts: a reply ends before the first of these.
      slots: rows decoded at once; part of a run's schedule and not of its meaning, although float32 sums may
        differ in the last bit between slot counts.
      chunk: most tokens decoded between two checks by the host.
      longest: tokens of the longest row that the cache must hold; None: of the rows given. Fix it where one node's
        rows are generated in several calls, so that all of them run the same compiled functions.
    """

    max_new: int
    temperature: float = 1.0
    top_p: float = 1.0
    stop_ids: tuple[int, ...] = ()
    stop_texts: tuple[str, ...] = ()
    slots: int = 64  # this and the chunk are chosen, not measured
    chunk: int = 8
    longest: int | None = None

    @property
    def batch(self) -> int:
        """Rows read at once: few enough that few slots idle, many enough that the GEMMs are wide."""
        return max(1, self.slots // 8)

    @property
    def new(self) -> int:
        """Places for new tokens."""
        return buckets.next_power_of_two(self.max_new)

    def positions(self, longest: int) -> int:
        """Positions of a cache that holds rows of `longest` tokens and their replies."""
        return buckets.next_power_of_two(longest + self.max_new)

    def knobs(self) -> SamplingParams[np.ndarray | np.generic]:
        """The arguments of decoding that concern sampling."""
        from cai_jax.engine.sampling import SamplingParams

        stops = (
            buckets.pad([[token + 1 for token in self.stop_ids]], 1, buckets.next_power_of_two(len(self.stop_ids)))[0]
            - 1
        )
        return SamplingParams(np.float32(self.temperature), np.float32(self.top_p), stops, np.int32(self.max_new))

    def __post_init__(self) -> None:
        if min(self.max_new, self.slots, self.chunk) < 1:
            raise ValueError(f"max_new, slots and chunk must be at least 1: {self}")
        if self.temperature < 0 or not 0 < self.top_p <= 1:
            raise ValueError(f"temperature must not be negative, and top_p must lie in (0, 1]: {self}")
