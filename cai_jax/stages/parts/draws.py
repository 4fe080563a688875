"""Random choices that depend on what they are about, never on the order of work (DESIGN.md §1, randomness)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cai_jax.lang.types import Principle


class Draw(NamedTuple):
    """Names a stage's source of randomness.

    Attributes:
      run: the run's seed.
      seed: the `seed=` of the call.
      stage: name of the stage.
    """

    run: int
    seed: int
    stage: str

    def uniform(self, purpose: str, *about: Any) -> float:
        """A number in [0, 1) that belongs to this purpose and whatever it is about."""
        text = repr((self.run, self.seed, self.stage, purpose, *about))
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") / 2**64

    def key(self, purpose: str, row: Mapping[str, Any], sample: int = 0):
        """The sampling key of one row, uint32 [2] (engine.random)."""
        from cai_jax.engine.random import row_key

        text, _, occurrence = row["id"].rpartition("-")
        return row_key(self.run, self.seed, self.stage, purpose, text, int(occurrence), sample)

    def weighted(self, weights: Sequence[float], purpose: str, *about: Any) -> int:
        """An index, drawn in proportion to `weights`."""
        point = self.uniform(purpose, *about) * sum(weights)
        for index, weight in enumerate(weights):
            point -= weight
            if point < 0:
                return index
        return len(weights) - 1

    def principle(self, principles: Sequence[Principle], purpose: str, *about: Any) -> Principle:
        """One principle, drawn in proportion to its weight."""
        return principles[self.weighted([p.weight for p in principles], purpose, *about)]


def draw_of(ctx) -> Draw:
    """The source of randomness of the stage that runs in `ctx`."""
    return Draw(ctx.seed, ctx.params.get("seed", 0), ctx.node.stage)
