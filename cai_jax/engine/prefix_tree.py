"""Beginnings that rows have in common, found from their token ids. Imports no JAX."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(eq=False)
class PrefixNode:
    """A run of tokens that follows its parent's.

    Attributes:
      start, stop: the run's place in each of its rows.
      rows: numbers of the rows that go through it; a leaf has the equal rows that end in it.
      children: nodes that continue it; none for a leaf.
    """

    start: int
    stop: int
    rows: list[int]
    children: list[PrefixNode] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Tokens of the run."""
        return self.stop - self.start


def grow(rows: Sequence[Sequence[int]], least: float) -> list[PrefixNode]:
    """Build the trees whose leaves are `rows`: a beginning of at least `least` tokens that rows share is one node.

    Every leaf has at least one token of its own, so that its last hidden state is computed. The trees, and the
    children of a node, are in the order of their first rows, whatever the others are.
    """
    order = sorted(range(len(rows)), key=lambda number: tuple(rows[number]))
    return sorted(_split(rows, order, 0, least), key=lambda node: node.rows[0])


def _split(rows: Sequence[Sequence[int]], sorted_: list[int], start: int, least: float) -> list[PrefixNode]:
    """The nodes at `start` over the rows numbered `sorted_`, which are equal so far."""
    pending, nodes = [sorted_] if sorted_ else [], []
    while pending:
        some = pending.pop()
        first, last = rows[some[0]], rows[some[-1]]
        if first == last:  # sorted, so all between are equal too
            nodes.append(PrefixNode(start, len(first), sorted(some)))
            continue
        common = start + len(os.path.commonprefix([list(first[start:]), list(last[start:])]))
        # Of sorted rows the first is the shortest if the others begin with it: its last token stays its own.
        stop = min(common, len(first) - 1)
        if stop - start >= least:
            children = sorted(_split(rows, some, stop, least), key=lambda child: child.rows[0])
            nodes.append(PrefixNode(start, stop, sorted(some), children))
            continue
        by_next = itertools.groupby(some, key=lambda number: rows[number][common : common + 1])
        pending += [list(group) for _, group in by_next]
    return nodes
