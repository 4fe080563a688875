"""Tokens of options that are scored after rows, and the predictions that count. Imports no JAX.

Dimensions: M options, E tokens after every row, Q questions.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

import numpy as np

A = TypeVar("A")  # NumPy's arrays, or JAX's within a step


class Tail(NamedTuple, Generic[A]):
    """Tokens that follow every row, and the predictions that make up an option's log-probability.

    tokens, groups, offsets: int32 `[E]`: the tokens that the options begin with in common (group 0), then the rest
    of option 1, 2, …, each less its last token, which predicts nothing; offsets count from the row's end.
    sources int32 `[Q]` are the offsets in `tokens` of the predicting tokens, -1 for the row's last; targets int32
    `[Q]` the tokens they predict; member float32 `[Q, M]` is 1 where a prediction belongs to an option. Where every row
    has options of its own, each has a first axis `[R]` as well (`stack`).
    """

    tokens: A
    groups: A
    offsets: A
    sources: A
    targets: A
    member: A

    @staticmethod
    def of(options: Sequence[Sequence[int]]) -> Tail[np.ndarray]:
        """Make the tail of these options, each given as token ids."""
        shared = os.path.commonprefix([list(option) for option in options])
        size, every = len(shared), range(len(options))
        fed = [(token, 0, place) for place, token in enumerate(shared)]
        asked: list[tuple[int, int, Sequence[int]]] = [(place - 1, token, every) for place, token in enumerate(shared)]
        for number, option in enumerate(options):
            rest, source = option[size:], size - 1
            for place, token in enumerate(rest):
                asked.append((source, token, [number]))
                source = len(fed)
                if place < len(rest) - 1:
                    fed.append((token, number + 1, size + place))
        tokens, groups, offsets = np.array(fed, np.int32).reshape(-1, 3).T
        member = np.zeros((len(asked), len(options)), np.float32)
        for number, (_, _, of) in enumerate(asked):
            member[number, list(of)] = 1.0
        sources, targets = (np.array([each[i] for each in asked], np.int32) for i in (0, 1))
        return Tail(tokens, groups, offsets, sources, targets, member)

    @staticmethod
    def stack(tails: Sequence[Tail[np.ndarray]], height: int, sizes: tuple[int, int, int]) -> Tail[np.ndarray]:
        """Put tails of R rows into one whose arrays have a first axis of `height`, padded below and at their ends.

        Args:
          sizes: E, Q and M to which all are padded. A token of padding stands in a branch of its own, behind all
            others, and a prediction of padding is made by the row's last token and belongs to no option.
        """
        read, asked, options = sizes
        shape = {"member": (height, asked, options), "sources": (height, asked), "targets": (height, asked)}
        fill = {"groups": options + 1, "sources": -1}
        found = Tail(*(np.full(shape.get(n, (height, read)), fill.get(n, 0), np.int32) for n in Tail._fields))
        found = found._replace(member=found.member.astype(np.float32))
        for row, tail in enumerate(tails):
            for whole, own in zip(found, tail, strict=True):
                place: tuple[int | slice, ...] = (row, *(slice(size) for size in own.shape))
                whole[place] = own
        return found
