"""Which of the values that a TPU makes stay on its chip, and what the others move. Imports no JAX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Value(NamedTuple):
    """A value that is made at one moment and last read at another, which in a loop may come before it.

    Attributes:
      size: bytes.
      times: how often it is written and read.
      first, last: moments.
    """

    size: float
    times: float
    first: int
    last: int

    def moments(self, count: int) -> list[int]:
        """All from the first to the last, of so many that come again and again."""
        return [(self.first + number) % count for number in range((self.last - self.first) % count + 1)]


def together(values: Sequence[Value]) -> Value:
    """Values of which all stay or none does, as one."""
    size = sum(value.size for value in values)
    moved = sum(value.size * value.times for value in values)
    return Value(size, moved / size, min(value.first for value in values), max(value.last for value in values))


def spilled(values: Sequence[Value], room: Sequence[float]) -> float:
    """Bytes that go to and from main memory since a chip has no room for the values they belong to.

    As XLA assigns memory, one by one: those first that would move most, each for as long as it lives.

    Args:
      room: bytes that are free at every moment.
    """
    room, moved = list(room), 0.0
    for value in sorted(values, key=lambda value: -value.size * value.times):
        moments = value.moments(len(room))
        if all(value.size <= room[moment] for moment in moments):
            for moment in moments:
                room[moment] -= value.size
        else:
            moved += value.size * value.times
    return moved
