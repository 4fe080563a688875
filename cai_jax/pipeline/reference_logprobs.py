"""Log-probabilities of the replies of pairs under the policy that training starts from, taken once and kept as rows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from cai_jax.data.row_columns import Row
from cai_jax.parallel.multihost import to_host
from cai_jax.pipeline.context import CompilingContext, Context
from cai_jax.pipeline.generation import in_batches
from cai_jax.pipeline.pairs import PolicyPairs
from cai_jax.pipeline.training import compiled, filled, micro_batches, micro_size

if TYPE_CHECKING:
    from cai_jax.learn.dpo import DPO
    from cai_jax.models.checkpoint import Model
    from cai_jax.parallel.step import CompiledStep


def reader(ctx: CompilingContext, model: Model, settings: DPO) -> CompiledStep:
    """The compiled `(decoder params, batch) -> log-probabilities` of both replies (`learn.dpo.make_logprobs`)."""
    from cai_jax.learn import dpo
    from cai_jax.parallel.step import ROWWISE

    return compiled(ctx, partial(dpo.make_logprobs, model.config, settings), ROWWISE)


def references(ctx: Context, step: CompiledStep, model: Model, pairs: PolicyPairs) -> np.ndarray:
    """Log-probabilities of both replies of every pair, float32 [N, 2], in nats; those that are committed are not read.

    The rows have the `id` of the pair's prompt and `reference_logprobs`, those two log-probabilities.

    Args:
      step: from `reader`.
    """
    params, size = step.place(model.params), ctx.params["batch"]

    def read(numbers: Sequence[int]) -> list[Row]:
        found: list[Row] = []
        for start in range(0, len(numbers), size):
            chosen = list(numbers[start : start + size])
            batch = filled({"tokens": pairs.tokens[chosen], "mask": pairs.mask[chosen]}, size)
            both = to_host(step(params, micro_batches(batch, micro_size(ctx)))).reshape(size, 2)[: len(chosen)]
            ids = [pairs.rows[number]["id"] for number in chosen]
            found += [{"id": id, "reference_logprobs": each} for id, each in zip(ids, both.tolist(), strict=True)]
        return found

    rows = [row for batch in in_batches(ctx, range(len(pairs.rows)), 1, read) for row in batch]
    return np.array([row["reference_logprobs"] for row in rows], np.float32)
