"""Choice of batch shapes: the cost of padding against that of compiling one more shape. Imports no JAX.

Costs are in floating-point operations, or in tokens of one model (`cost_per_token`).
"""

from __future__ import annotations

from collections.abc import Iterable

from cai_jax.engine import buckets
from cai_jax.models.config import Config, parameters

# Cost of compiling one function, in operations that the machine could have done meanwhile: about a second of two
# CPU cores, about ten of an accelerator.
_COMPILING = {"cpu": 2.5e11}
_ON_ACCELERATORS = 1e15

# Tokens that one call reads: on CPU few enough that a layer's activations stay in the cache, on an accelerator
# enough to keep it busy. Chosen, not measured.
_AT_ONCE = {"cpu": 2048}
_AT_ONCE_ON_ACCELERATORS = 8192
# A position whose logits are made weighs as much as so many that are only read. Chosen, not measured: the logits of a
# vocabulary of 50,000 words are as large as what a small model's layer holds of a hundred positions.
ASKED = 8


def compile_cost() -> float:
    """Operations that compiling one function is worth on this machine."""
    from cai_jax.parallel import target

    return _COMPILING.get(target.platform(), _ON_ACCELERATORS)


def tokens_at_once(platform: str) -> int:
    """Tokens that one call should read on a machine of this platform ("cpu", "gpu", "tpu"), its padding included."""
    return _AT_ONCE.get(platform, _AT_ONCE_ON_ACCELERATORS)


def rows_at_once(parts: int, tokens: int, width: int) -> int:
    """Rows of `width` tokens that make about `tokens` tokens: a power of two for each of the mesh's `parts`."""
    return parts << max(1, tokens // (parts * width)).bit_length() - 1


def cost_per_token(config: Config) -> float:
    """Operations to read a token: 2 N, with N the number of parameters (arXiv 2001.08361, §2.1)."""
    return 2.0 * parameters(config)


def least_tokens(config: Config) -> float:
    """Tokens below which a call is padded rather than compiled for: twenty such calls would not pay for compiling."""
    return compile_cost() / 20 / cost_per_token(config)


def widths(sizes: Iterable[int], shape: float) -> tuple[tuple[int, ...], float]:
    """Choose widths to pad rows of these sizes to.

    Chosen among those of `buckets.next_eighth_octave` so that padding and shapes together cost least, by dynamic
    programming over the sorted sizes.

    Args:
      sizes: tokens of each row.
      shape: cost of one more width, in tokens.

    Returns:
      the widths, ascending, and the cost of padding and shapes, in tokens.
    """
    ends = sorted(map(buckets.next_eighth_octave, sizes))
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
