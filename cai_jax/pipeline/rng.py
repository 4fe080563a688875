"""Random choices that depend on what they are about, never on the order of work."""

from __future__ import annotations

import functools
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from cai_jax.data.row_columns import Row
from cai_jax.lang.signature import Principle
from cai_jax.pipeline.context import CompilingContext

if TYPE_CHECKING:
    import numpy as np

Which = int | tuple[int, int]


class Draw(NamedTuple):
    """A stage's source of randomness.

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
        return int.from_bytes(self._digest(purpose, about), "big") / 2**64

    def permutation(self, purpose: str, n: int, *about: Any) -> np.ndarray:
        """A shuffle of the numbers 0 … n-1, int64 [n], that belongs to this purpose and whatever it is about."""
        import numpy as np

        return np.random.default_rng(int.from_bytes(self._digest(purpose, about), "big")).permutation(n)

    def shuffled(self, purpose: str, n: int, weights: Sequence[float] | None = None) -> Callable[[int, int], list[int]]:
        """`take(start, size)`: that piece of an endless row of shuffles of 0 … n-1, an epoch each.

        With n weights that differ an epoch has as many places as they add up to, and every number as many of them as
        its weight says, up to less than one: another draw in every epoch, at equal distances along the weights
        (systematic sampling; Madow and Madow, 1944).
        """
        uneven = weights if weights is not None and len(set(weights)) > 1 else None
        size = n if uneven is None else max(1, round(sum(uneven)))

        # Two are kept, since a piece may reach over into the next epoch.
        @functools.lru_cache(maxsize=2)
        def order(epoch: int) -> np.ndarray:
            import numpy as np

            places = self.permutation(purpose, size, epoch)
            if uneven is None:
                return places
            ends = np.cumsum(uneven)
            at = (places + self.uniform(f"{purpose} of an epoch", epoch)) * (ends[-1] / size)
            return np.minimum(np.searchsorted(ends, at, side="right"), n - 1)

        def take(start: int, count: int) -> list[int]:
            return [int(order(place // size)[place % size]) for place in range(start, start + count)]

        return take

    def _digest(self, purpose: str, about: tuple[Any, ...]) -> bytes:
        text = repr((self.run, self.seed, self.stage, purpose, *about))
        return hashlib.blake2b(text.encode(), digest_size=8).digest()

    def key(self, purpose: str, row: Row, sample: Which = 0) -> np.ndarray:
        """The sampling key of one row, uint32 [2] (engine.rng)."""
        from cai_jax.engine.rng import row_key

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


def draw_of(ctx: CompilingContext) -> Draw:
    """The source of randomness of the stage that runs in `ctx`."""
    return Draw(ctx.seed, ctx.params.get("seed", 0), ctx.node.stage)


def distinguish_replies(rows: Iterable[Row]) -> list[tuple[Row, Which]]:
    """Replies, each with an identity among those to its prompt.

    That is its sample; and of several with one sample (the rounds of revision that were kept, or two datasets
    joined) the later ones also have their number among these.
    """
    seen: Counter[tuple[str, int]] = Counter()
    out: list[tuple[Row, Which]] = []
    for row in rows:
        copy = seen[row["id"], row["sample"]]
        seen[row["id"], row["sample"]] += 1
        out.append((row, (row["sample"], copy) if copy else row["sample"]))
    return out
