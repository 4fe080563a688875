"""Packing: several tokenised documents in one row, so that no compute goes into padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Packed(NamedTuple):
    """Rows of whole documents, padded at the end.

    Attributes:
      tokens: int32 [N, T].
      segments: int32 [N, T]; 1, 2, … for the documents of a row, 0 for padding.
      positions: int32 [N, T]; from 0 in every document.
      weights: float32 [N, T]; weight of the loss on each token, 0 for padding.
    """

    tokens: np.ndarray
    segments: np.ndarray
    positions: np.ndarray
    weights: np.ndarray


def first_fit(lengths: Sequence[int], length: int) -> list[list[int]]:
    """Assign each document, in order, to the first row with room for it.

    Args:
      lengths: tokens of each document, each at most `length`.
      length: tokens of a row.

    Returns:
      For every row, indices into `lengths`.

    Raises:
      ValueError: a document is empty or longer than a row.
    """
    size = 1
    while size < len(lengths):
        size *= 2
    # A tournament tree over the rows' free room: the leftmost row with enough room is found, and its room
    # lowered, in log n steps, where a scan would take n.
    room = [length] * (2 * size)
    rows: list[list[int]] = []
    for document, need in enumerate(lengths):
        if not 0 < need <= length:
            raise ValueError(f"document {document} has {need} tokens, which does not fit a row of {length}")
        at = 1
        while at < size:
            at = 2 * at if room[2 * at] >= need else 2 * at + 1
        if at - size == len(rows):
            rows.append([])
        rows[at - size].append(document)
        room[at] -= need
        while at > 1:
            at //= 2
            room[at] = max(room[2 * at], room[2 * at + 1])
    return rows


def pack(
    documents: Sequence[Sequence[int]],
    length: int,
    *,
    weights: Sequence[Sequence[float]] | None = None,
    pad: int = 0,
) -> Packed:
    """Documents packed first-fit into rows of `length` tokens; the same documents always give the same rows.

    Args:
      documents: token ids of each.
      length: T, tokens of a row.
      weights: of each token of each document as a target; by default 1.
      pad: token id of padding.

    Raises:
      ValueError: a document is empty or longer than a row.
    """
    rows = first_fit([len(document) for document in documents], length)
    shape = (len(rows), length)
    packed = Packed(
        tokens=np.full(shape, pad, np.int32),
        segments=np.zeros(shape, np.int32),
        positions=np.zeros(shape, np.int32),
        weights=np.zeros(shape, np.float32),
    )
    for row, members in enumerate(rows):
        start = 0
        for segment, document in enumerate(members, 1):
            ids = documents[document]
            span = (row, slice(start, start + len(ids)))
            packed.tokens[span] = ids
            packed.segments[span] = segment
            packed.positions[span] = np.arange(len(ids))
            packed.weights[span] = 1.0 if weights is None else weights[document]
            start += len(ids)
    return packed
