"""Divergence of a policy from a reference, at the tokens of the policy's own replies."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from cai_jax.engine import buckets
from cai_jax.learn.chunks import PPO as CHUNK

if TYPE_CHECKING:
    import jax
    import numpy as np

    from cai_jax.models.checkpoint import Model
    from cai_jax.models.config import Config

BATCH = 32  # replies read at once: twice the weights of a score, and logits


class Divergences(NamedTuple):
    """Of every reply, float64 [N] each: exact divergences and estimates (`learn.kl`), summed over its tokens, in nats.

    Attributes:
      tokens: how many.
    """

    exact: np.ndarray
    k1: np.ndarray
    k3: np.ndarray
    tokens: np.ndarray


def divergences(policy: Model, reference: Model, rows: Sequence[Sequence[int]], marked: Sequence[Sequence[bool]]) -> (
    Divergences
):  # fmt: skip
    """The divergence of replies, given as token ids of prompt and reply, of which the reply's are marked.

    A row's first token is no reply's.
    """
    import numpy as np

    from cai_jax.parallel.placement import on_mesh_of

    out = np.zeros((4, len(rows)))
    limit = min(policy.config.max_position, reference.config.max_position)
    function = compiled(policy.config, reference.config, policy.params["embed"].dtype.name)
    for width, chosen in buckets.batches([len(row) for row in rows], BATCH, limit):
        tokens, mask = (buckets.pad([each[i] for i in chosen], BATCH, width) for each in (rows, marked))
        with on_mesh_of(policy.params):
            found = np.asarray(function(policy.params, reference.params, tokens, mask.astype(bool)))
        out[:, chosen] = found[:, : len(chosen)]
    return Divergences(*out)


@functools.cache
def compiled(policy: Config, reference: Config, dtype: str) -> Callable[..., jax.Array]:
    """The jitted `(policy, reference, tokens [R, T], mask [R, T]) -> sums over the mask, float32 [4, R]`."""
    import jax
    import jax.numpy as jnp

    from cai_jax.learn import kl
    from cai_jax.models import decoder
    from cai_jax.parallel.mesh import ROWS
    from cai_jax.parallel.placement import constrain

    @jax.jit
    def summed(ours: Mapping[str, Any], theirs: Mapping[str, Any], tokens: jax.Array, mask: jax.Array) -> jax.Array:
        tokens, mask = constrain(tokens, ROWS), constrain(mask, ROWS)
        lengths = jnp.max(jnp.where(mask, 1 + jnp.arange(mask.shape[1]), 1), axis=1)
        models = ((ours, policy), (theirs, reference))
        hidden = [decoder.hidden(p, c, tokens, lengths=lengths, dtype=dtype)[:, :-1] for p, c in models]
        unembed = [decoder.unembedding(p, c) for p, c in models]
        targets, kept = tokens[:, 1:], mask[:, 1:]
        chunk = min(CHUNK, targets.shape[1])
        short = -targets.shape[1] % chunk
        hidden = [jnp.pad(each, ((0, 0), (0, short), (0, 0))) for each in hidden]
        targets, kept = (jnp.pad(each, ((0, 0), (0, short))) for each in (targets, kept))

        def block(number: jax.Array, total: jax.Array) -> jax.Array:
            def cut(x: jax.Array) -> jax.Array:
                return jax.lax.dynamic_slice_in_dim(x, number * chunk, chunk, axis=1)

            logits = [logits_of(cut(each)) for logits_of, each in zip(unembed, hidden, strict=True)]
            drawn = cut(targets)[..., None]
            found = [jnp.take_along_axis(jax.nn.log_softmax(each), drawn, axis=-1)[..., 0] for each in logits]
            each = jnp.stack([kl.exact(*logits), kl.k1(*found), kl.k3(*found), jnp.ones_like(found[0])])
            return total + jnp.sum(jnp.where(cut(kept), each, 0.0), axis=-1)

        return jax.lax.fori_loop(0, targets.shape[1] // chunk, block, jnp.zeros((4, len(tokens)), jnp.float32))

    return summed
