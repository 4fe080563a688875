"""Plan of reading rows: the trees they share, and the widths they are padded to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cai_jax.engine import batch_shapes
from cai_jax.engine.prefix_tree import PrefixNode, grow
from cai_jax.models.config import Config

# Tokens that rows must share to get a level of their own, tried from fine to coarse; with infinity none has. Chosen,
# not measured: the cheapest of the plans is taken.
_LEAST = (12, 48, 192, math.inf)


@dataclass(frozen=True)
class PrefixPlan:
    """Trees of rows with the widths to which their nodes are padded.

    Attributes:
      nodes: the trees (engine/prefix_tree.py).
      inner, leaves: by depth, the widths of nodes that others continue, and of rows' ends.
      cost: in tokens, compiling included.
    """

    nodes: list[PrefixNode]
    inner: tuple[tuple[int, ...], ...]
    leaves: tuple[tuple[int, ...], ...]
    cost: float

    def width(self, node: PrefixNode, depth: int, size: int) -> int:
        """The width to which a node is padded that has `size` tokens, including those that follow it."""
        return next(width for width in (self.inner if node.children else self.leaves)[depth] if width >= size)


def plan_prefixes(config: Config, rows: Sequence[Sequence[int]], behind: Sequence[int]) -> PrefixPlan:
    """Return the cheapest plan of reading rows, each followed by as many tokens as `behind` says.

    Sharing a beginning saves tokens, but every level is one more function to compile: for a small model and few rows
    it is cheaper to read them whole.
    """
    shape = batch_shapes.compile_cost() / batch_shapes.cost_per_token(config)
    return min((_planned(grow(rows, least), behind, shape) for least in _LEAST), key=lambda each: each.cost)


def _planned(nodes: list[PrefixNode], behind: Sequence[int], shape: float) -> PrefixPlan:
    inner: list[tuple[int, ...]] = []
    leaves: list[tuple[int, ...]] = []
    cost, level, above = 0.0, nodes, 1
    while level:
        parents = [node for node in level if node.children]
        # A function is compiled for every combination with the widths above.
        for found, sizes in (
            (inner, [node.size for node in parents]),
            (leaves, [node.size + behind[node.rows[0]] for node in level if not node.children]),
        ):
            chosen, tokens = batch_shapes.widths(sizes, shape * above)
            found.append(chosen)
            cost += tokens
        above *= max(1, len(inner[-1]))
        level = [child for node in parents for child in node.children]
    return PrefixPlan(nodes, tuple(inner), tuple(leaves), cost)
