"""Labelled pairs as token arrays, for the training of preference models."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cai_jax.engine import buckets
from cai_jax.errors import UserError
from cai_jax.stages.parts.draws import draw_of
from cai_jax.stages.parts.fitting import Fitting
from cai_jax.stages.parts.rewarding import scored_segments

if TYPE_CHECKING:
    from cai_jax.data.formats import Format
    from cai_jax.models.checkpoint import Model


class Pairs:
    """Pairs as token arrays, and their batches in a fixed order.

    Attributes:
      tokens: int32 [N, 2, T]; lengths: int32 [N, 2]; p, weights: float32 [N].
    """

    def __init__(self, ctx, model: Model, format: Format, rows: Sequence[Mapping[str, Any]]) -> None:
        limit = ctx.params["length"] or model.config.max_position
        fitter = Fitting(model.tokenizer, limit, ctx.params["overlong"], "pairs")
        found = [fitter.fit(*(scored_segments(format, row["turns"], row[side]) for side in ("a", "b"))) for row in rows]
        fitter.note(ctx)
        keep = [i for i, pair in enumerate(found) if pair is not None]
        flat = [each.ids for i in keep for each in found[i]]
        self.length = min(buckets.eighth(max(map(len, flat))), limit)
        self.tokens = buckets.pad(flat, len(flat), self.length).reshape(len(keep), 2, -1)
        self.lengths = np.array([len(each) for each in flat], np.int32).reshape(len(keep), 2)
        self.p = np.array([rows[i]["p"] for i in keep], np.float32)
        self.weights = np.array([rows[i].get("weight", 1.0) for i in keep], np.float32)
        if not self.weights.any():
            raise UserError("every pair has weight 0", "keep undecided ones (undecided=keep), or add pairs")
        self.batch = ctx.params["batch"]
        self.order = draw_of(ctx).shuffled("pairs", len(keep))

    def batches(self, start: int) -> Iterator[dict[str, np.ndarray]]:
        """Batches from number `start` on, without end: arrays as above, of `batch` pairs each."""
        for number in itertools.count(start):
            chosen = self.order(number * self.batch, self.batch)
            yield {
                "tokens": self.tokens[chosen],
                "lengths": self.lengths[chosen],
                "p": self.p[chosen],
                "weights": self.weights[chosen],
            }
