"""Labelled pairs as token arrays, for the training of preference models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cai_jax.errors import UserError
from cai_jax.stages.parts.rewarding import padded, scored_ids
from cai_jax.stages.parts.training import row_length

if TYPE_CHECKING:
    from cai_jax.models.checkpoint import Model


class Pairs:
    """Pairs as token arrays, and their batches in a fixed order.

    Attributes:
      tokens: int32 [N, 2, T]; lengths: int32 [N, 2]; p, weights: float32 [N].
    """

    def __init__(self, ctx, model: Model, rows: Sequence[Mapping[str, Any]]) -> None:
        limit = ctx.params["length"] or model.config.max_position
        overlong = ctx.params["overlong"]
        unbounded = 1 << 30
        ids = [[scored_ids(model, row["turns"], row[side], unbounded) for side in ("a", "b")] for row in rows]
        if overlong == "error" and any(len(each) > limit for pair in ids for each in pair):
            raise UserError(f"a pair does not fit rows of {limit} tokens", "raise length=, or say overlong=skip")
        keep = [i for i, pair in enumerate(ids) if overlong == "truncate_left" or max(map(len, pair)) <= limit]
        if len(keep) < len(rows):
            ctx.note("overlong", f"{len(rows) - len(keep)} of {len(rows)} pairs were too long and left out")
        if not keep:
            raise UserError("no pair is short enough to train on", "raise length=")
        flat = [each[-limit:] for i in keep for each in ids[i]]
        self.length = row_length(max(map(len, flat)), limit)
        tokens, lengths = padded(flat, self.length, model.tokenizer.pad_id or 0)
        self.tokens, self.lengths = tokens.reshape(len(keep), 2, -1), lengths.reshape(len(keep), 2)
        self.p = np.array([rows[i]["p"] for i in keep], np.float32)
        self.weights = np.array([rows[i].get("weight", 1.0) for i in keep], np.float32)
        if not self.weights.any():
            raise UserError("every pair has weight 0", "keep undecided ones (undecided=keep), or add pairs")
        self.batch, self.seed = ctx.params["batch"], (ctx.seed, ctx.params["seed"])

    def batches(self, start: int) -> Iterator[dict[str, np.ndarray]]:
        """Batches from number `start` on, without end; each epoch is a permutation, and epochs join seamlessly."""
        number, count = start * self.batch, len(self.tokens)
        while True:
            at = np.arange(number, number + self.batch)
            orders = {epoch: self._order(epoch) for epoch in set(at // count)}
            chosen = np.array([orders[epoch][place] for epoch, place in zip(at // count, at % count, strict=True)])
            yield {
                "tokens": self.tokens[None, chosen],
                "lengths": self.lengths[None, chosen],
                "p": self.p[None, chosen],
                "weights": self.weights[None, chosen],
            }
            number += self.batch

    def _order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng((*self.seed, int(epoch))).permutation(len(self.tokens))
