"""State that a training run carries from step to step: pytrees that can be checkpointed whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

Params = Any  # a nested dict of arrays
Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """A model in supervised or preference training.

    Attributes:
      params: trained parameters, float32.
      opt_state: state of the optax chain (`optim.optimizer`).
      step: int32 [], optimiser updates made.
    """

    params: Params
    opt_state: optax.OptState
    step: jax.Array

    @staticmethod
    def create(params: Params, optimizer: optax.GradientTransformation) -> TrainState:
        """Return the state before the first step. The arrays are copied, since a compiled step consumes its state."""
        params = jax.tree.map(jnp.array, params)
        return TrainState(params, optimizer.init(params), jnp.zeros((), jnp.int32))

    def update(
        self, optimizer: optax.GradientTransformationExtraArgs, grads: Params, weight: jax.Array | float = 1.0
    ) -> TrainState:
        """Return the state after one optimiser update.

        Args:
          optimizer: from `optim.optimizer`; the same in every step.
          grads: gradients like `params`.
          weight: mean weight of the batch, [], which scales the bound of the gradient clip (`optim.Optim.clip`).
        """
        updates, opt_state = optimizer.update(grads, self.opt_state, self.params, weight=weight)
        return TrainState(optax.apply_updates(self.params, updates), opt_state, self.step + 1)
