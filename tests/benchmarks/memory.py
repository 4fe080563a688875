"""What PPO's update holds: four models, or adapters on one base. Compiled from shapes, so that no weights are needed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp

from cai_jax.learn import ppo, rollout
from cai_jax.models import decoder, heads, lora
from cai_jax.models.config import Config
from cai_jax.models.shapes import SHAPES
from tests.benchmarks.figures import Figure

SHAPE, RANK = "tinyllama-1.1b", 16
ROWS, LENGTH = 8, 256


def figures() -> Iterator[Figure]:
    """Bytes at the height of an update, everything that stays resident beside it included."""
    work = f"PPO of {SHAPE} in bfloat16, {ROWS} × {LENGTH} tokens"
    four, one = (_bytes(SHAPES[SHAPE], rank) / 2**30 for rank in (None, RANK))
    yield Figure(work, "memory of an update with four models", (four,), "GiB")
    yield Figure(work, f"memory of an update with one base and adapters of rank {RANK}", (one,), "GiB")
    yield Figure(work, "one base beside four models", (one / four,))


def _bytes(config: Config, rank: int | None) -> int:
    """Of the compiled update, and of the reference and the preference model, which wait beside it."""
    base = jax.eval_shape(lambda: jax.tree.map(lambda leaf: leaf.astype("bfloat16"), decoder.init(config, jax.random.key(0))))
    head = jax.eval_shape(lambda: heads.init_head(config, jax.random.key(0)))
    if rank is None:
        trained = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.float32), base)
        frozen, beside = None, (base, decoder.trunk(base), head)
    else:
        trained = jax.eval_shape(lambda: lora.init(base, rank, jax.random.key(0)))
        # The policy starts from a tuned model, and the critic from the preference model: each has an adapter already.
        earlier = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, "bfloat16"), trained)
        frozen, beside = rollout.Frozen(base, earlier, earlier), (earlier, head)
    settings = ppo.PPO(dtype="bfloat16", remat=True, scale=2.0)
    critic = {"decoder": decoder.trunk(trained), "head": head}
    state = jax.eval_shape(partial(ppo.PPOState.create, settings), trained, critic)
    table = jax.ShapeDtypeStruct((1, ROWS, LENGTH), jnp.float32)
    batch = dict.fromkeys(("logprobs", "values", "advantages", "returns"), table)
    batch |= {name: jax.ShapeDtypeStruct(table.shape, kind) for name, kind in (("tokens", jnp.int32), ("mask", bool))}
    step = jax.jit(ppo.make_update(config, settings), donate_argnums=0)
    used = step.lower(state, batch, frozen).compile().memory_analysis()
    held = used.argument_size_in_bytes + used.output_size_in_bytes - used.alias_size_in_bytes + used.temp_size_in_bytes
    return held + sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(beside))

