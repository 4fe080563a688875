"""Log-probabilities of options after a prompt. No decoding.

Dimensions: R rows at once, T padded tokens, M options, L tokens of the longest option, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from cai_jax.engine import buckets
from cai_jax.models import decoder
from cai_jax.models.attention import Prefix
from cai_jax.models.config import Config


def score_options(
    params: decoder.Params,
    config: Config,
    rows: Sequence[Sequence[int]],
    options: Sequence[Sequence[int]],
    *,
    prefix: Prefix | None = None,
    batch: int = 32,
) -> np.ndarray:
    """Log-probability of every option after every row, float32 `[len(rows), len(options)]`.

    Summed over an option's tokens. One prefill: the options stand behind the row as branches that see the
    row but not each other. `batch` rows run at once, remainders padded. Raises ValueError for an empty row or
    option, or a row beyond the model's context.
    """
    if not options or not all(options):
        raise ValueError("every option needs at least one token")
    most = max(len(option) for option in options)
    _check_rows(config, rows, prefix, most)
    tail = [token for option in options for token in option]
    shape = np.array([len(option) for option in options], np.int32)
    result = np.zeros((len(rows), len(options)), np.float32)
    for width, chosen in buckets.batches([len(row) + len(tail) for row in rows], batch):
        table = buckets.pad([[*rows[index], *tail] for index in chosen], batch, width)
        lengths = _lengths([len(rows[index]) for index in chosen], batch)
        scores = _branches(params, config, most, table, lengths, shape, prefix)
        result[chosen] = np.asarray(scores)[: len(chosen)]
    return result


@partial(jax.jit, static_argnums=(1, 2))
def _branches(
    params: decoder.Params,
    config: Config,
    most: int,
    table: Array,
    lengths: Array,
    shape: Array,
    prefix: Prefix | None,
) -> Array:
    """Scores of all options: table `[R, T]` holds rows of `lengths` `[R]`, all options behind each.

    shape `[M]` counts each option's tokens. Returns float32 `[R, M]`.
    """
    rows = jnp.arange(table.shape[0])[:, None, None]
    offsets = jnp.cumsum(shape) - shape
    # Of a column: how far behind its row's end it stands, in which option, and at which token of that.
    beyond = jnp.arange(table.shape[1]) - lengths[:, None]
    option = jnp.sum(beyond[:, :, None] >= offsets, axis=-1)
    within = beyond - offsets[jnp.maximum(option - 1, 0)]
    positions = jnp.where(option > 0, lengths[:, None] + within, jnp.arange(table.shape[1]))
    hidden, _ = decoder.prefill(
        params,
        config,
        table,
        positions=positions,
        branches=option,
        prefix=prefix,
        dtype=params["embed"].dtype,
    )
    # Token 0 of an option is predicted at the row's last token, the others at the option's previous one.
    step = jnp.arange(most)
    target = lengths[:, None, None] + offsets[:, None] + step
    source = jnp.where(step == 0, lengths[:, None, None] - 1, target - 1)
    real = step < shape[:, None]
    target = jnp.minimum(target, table.shape[1] - 1)
    source = jnp.minimum(source, table.shape[1] - 1)
    logprobs = _picked(params, config, hidden[rows, source], table[rows, target])
    return jnp.sum(jnp.where(real, logprobs, 0.0), axis=-1)


def _picked(params: decoder.Params, config: Config, hidden: Array, tokens: Array) -> Array:
    """Log-probability of tokens `[...]` after hidden `[..., D]`."""
    logprobs = jax.nn.log_softmax(decoder.unembed(params, config, hidden), axis=-1)
    return jnp.take_along_axis(logprobs, tokens[..., None], axis=-1)[..., 0]


def _lengths(lengths: list[int], batch: int) -> np.ndarray:
    """int32 `[batch]`; a row of padding counts as one token long, so that it has a last one."""
    return np.array(lengths + [1] * (batch - len(lengths)), np.int32)


def _check_rows(config: Config, rows: Sequence[Sequence[int]], prefix: Prefix | None, extra: int) -> None:
    shared = 0 if prefix is None else int(prefix.length)
    for index, row in enumerate(rows):
        if not row:
            raise ValueError(f"row {index} is empty; it needs at least one token")
        if shared + len(row) + extra > config.max_position:
            raise ValueError(
                f"row {index} needs {shared + len(row) + extra} tokens (prefix {shared}, row {len(row)}, "
                f"option {extra}), but the model's context is {config.max_position}"
            )
