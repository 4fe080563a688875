"""What PPO keeps in memory: four models, or adapters on one base. Counted from shapes, without weights."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax

from cai_jax.learn import ppo, rollout
from cai_jax.models import decoder, heads, lora
from cai_jax.models.config import Config
from cai_jax.models.shapes import SHAPES
from tests.benchmarks.figures import Figure

RANK = 16


def figures() -> Iterator[Figure]:
    """For a small and a usual model, in bfloat16; what a step makes for itself (activations, logits) left out."""
    for shape in ("tinyllama-1.1b", "llama-3.1-8b"):
        work = f"PPO of {shape}: states, gradients, reference and preference model"
        four, one = (size(held(SHAPES[shape], rank)) / 2**30 for rank in (None, RANK))
        yield Figure(work, "four models", (four,), "GiB")
        yield Figure(work, f"one base, adapters of rank {RANK}", (one,), "GiB")
        yield Figure(work, "one base beside four models", (one / four,))


def held(config: Config, rank: int | None, dtype: str = "bfloat16") -> Any:
    """Shapes of all that is in memory during an update: each array once, as the stage `ppo` shares them.

    Args:
      rank: of the adapters of policy and critic, of what the policy starts from, and of the preference model; None for
        full training.
    """
    base = jax.eval_shape(lambda: decoder.init(config, jax.random.key(0)))
    narrow = _in(base, dtype)
    head = jax.eval_shape(lambda: heads.init_head(config, jax.random.key(0)))
    if rank is None:
        trained, others = base, (narrow, decoder.trunk(narrow), head)  # the reference, and the preference model
    else:
        trained = jax.eval_shape(lambda: lora.init(base, rank, jax.random.key(0)))
        # The critic's frozen adapter is the preference model's, the policy's is what sets the reference apart.
        others = (rollout.Frozen(narrow, _in(trained, dtype), _in(trained, dtype)), head)
    critic = {"decoder": decoder.trunk(trained), "head": head}
    state = jax.eval_shape(partial(ppo.PPOState.create, ppo.PPO()), trained, critic)
    gradients = (trained, critic)
    return state, gradients, others


def size(tree: Any) -> int:
    """Bytes of a tree of shapes."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _in(tree: Any, dtype: str) -> Any:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype), tree)
