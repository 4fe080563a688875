"""When another shape is worth compiling a function for it: what padding costs against what compiling costs."""

from __future__ import annotations

from collections.abc import Iterable

from cai_jax.engine import buckets
from cai_jax.models.config import Config, parameters
from cai_jax.parallel import target

# What compiling one function costs, in operations that the machine could have done meanwhile: about a second of two
# CPU cores, about ten of an accelerator.
_COMPILING = {"cpu": 2.5e11}
_ON_ACCELERATORS = 1e15

# Tokens that one call reads: on CPU few enough that what a layer makes of them stays in the cache, on an accelerator
# enough to keep it busy.
_AT_ONCE = {"cpu": 2048}
_AT_ONCE_ON_ACCELERATORS = 8192


def compiling() -> float:
    """Operations that compiling one function is worth on this machine."""
    return _COMPILING.get(target.platform(), _ON_ACCELERATORS)


def at_once() -> int:
    """Tokens that one call had better read on this machine, its padding included."""
    return _AT_ONCE.get(target.platform(), _AT_ONCE_ON_ACCELERATORS)


def per_token(config: Config) -> float:
    """Operations to read a token (arXiv 2001.08361, §2.1)."""
    return 2.0 * parameters(config)


def least_tokens(config: Config) -> float:
    """A call of fewer tokens is padded rather than compiled anew: twenty such calls would not pay for it."""
    return compiling() / 20 / per_token(config)


def widths(sizes: Iterable[int], shape: float) -> tuple[tuple[int, ...], float]:
    """Widths to pad rows of these sizes to, and what that costs, in tokens.

    Chosen among `buckets.eighth`'s so that padding and shapes together cost least; `shape` is what one more width
    costs, in tokens.
    """
    ends = sorted(map(buckets.eighth, sizes))
    grid = sorted(set(ends))
    # best[i]: the cheapest way to pad all rows up to grid[i - 1], and its widths.
    best: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    counts = [ends.count(width) for width in grid]
    for end in range(1, len(grid) + 1):
        best.append(
            min(
                (best[begin][0] + sum(counts[begin:end]) * grid[end - 1] + shape, (*best[begin][1], grid[end - 1]))
                for begin in range(end)
            )
        )
    return best[-1][1], best[-1][0]
