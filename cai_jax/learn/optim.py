"""Optimisers: gradient clipping, then AdamW or Muon, under a warm-up and a schedule.

AdamW is that of arXiv 1711.05101, here without weight decay, which makes it Adam (arXiv 1412.6980). Muon is that of
Jordan et al. (2024, "Muon: An optimizer for hidden layers in neural networks").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from optax import contrib

from cai_jax.learn.state import Params


@dataclass(frozen=True)
class Optim:
    """Static settings of an optimiser.

    Attributes:
      learning_rate: peak.
      kind: "adamw", or "muon" (matrices of the layers by Muon, the rest by AdamW; the update's root mean
        square is matched to AdamW's (arXiv 2502.16982), so that one learning rate serves both).
      schedule: "constant", "linear" or "cosine" after the warm-up.
      warmup: updates of linear warm-up, the first of them at 1/(warmup + 1) of the peak.
      steps: updates in all; needed by "linear" and "cosine", which end at 0.
      clip: global gradient norm, in a batch of mean weight 1, above which gradients are scaled down; 0 switches it off.
      b1, b2, eps: β₁, β₂ and ε of AdamW, which is Adam here: no weight decays.
    """

    learning_rate: float
    kind: str = "adamw"
    schedule: str = "constant"
    warmup: int = 0
    steps: int = 0
    clip: float = 1.0
    # β₂ as usual for language models (arXiv 2005.14165, appendix B), shorter than Adam's own 0.999.
    b1: float = 0.9
    b2: float = 0.95
    eps: float = 1e-8


def schedule(settings: Optim) -> optax.Schedule:
    """Return the learning rate as a function of the number of updates made.

    With a warm-up of w the rate of update n + 1 is peak · (n + 1) / (w + 1) for n < w, so that no update is wasted on a
    rate of zero. From n = w on, with s = (n - w) / (steps - w): peak ("constant"), peak · (1 - s) ("linear"), or
    peak · (1 + cos π s) / 2 ("cosine").

    Raises:
      ValueError: an unknown schedule, or a decaying one without a length beyond its warm-up.

    Example:
      Two updates of warm-up, then linear to 0 over the next four.

      >>> rate = schedule(Optim(learning_rate=0.3, schedule="linear", warmup=2, steps=6))
      >>> [round(float(rate(n)), 3) for n in range(7)]
      [0.1, 0.2, 0.3, 0.225, 0.15, 0.075, 0.0]
    """
    peak, warmup = settings.learning_rate, settings.warmup
    if settings.schedule == "constant":
        after = optax.constant_schedule(peak)
    elif settings.schedule not in ("linear", "cosine"):
        raise ValueError(f"schedule {settings.schedule!r} is none of constant, linear, cosine")
    elif settings.steps <= warmup:
        raise ValueError(f"{settings.schedule} schedule: steps {settings.steps} must exceed warmup {warmup}")
    elif settings.schedule == "linear":
        after = optax.linear_schedule(peak, 0.0, settings.steps - warmup)
    else:
        after = optax.cosine_decay_schedule(peak, settings.steps - warmup)
    if not warmup:
        return after
    return optax.join_schedules([optax.linear_schedule(peak / (warmup + 1), peak, warmup), after], [warmup])


def _muon_dimensions(params: Params) -> Any:
    """Muon's view of each leaf: layer matrices `[in, out]`; None (AdamW) for (un)embeddings and vectors."""

    def of(path: jax.tree_util.KeyPath, leaf: jax.Array) -> contrib.MuonDimensionNumbers | None:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if leaf.ndim != 2 or "embed" in name:
            return None
        return contrib.MuonDimensionNumbers(reduction_axis=0, output_axis=1)

    return jax.tree_util.tree_map_with_path(of, params)


def optimizer(settings: Optim) -> optax.GradientTransformationExtraArgs:
    """Build the optax chain that `settings` describes; its updates take the mean `weight` in a batch, by default 1.

    Raises:
      ValueError: an unknown kind or schedule.
    """
    rate = schedule(settings)
    if settings.kind == "adamw":
        core = optax.adamw(rate, settings.b1, settings.b2, settings.eps, weight_decay=0.0)
    elif settings.kind == "muon":
        core = contrib.muon(
            rate,
            adam_b1=settings.b1,
            adam_b2=settings.b2,
            consistent_rms=0.2,  # of AdamW's updates, as measured in arXiv 2502.16982
            muon_weight_dimension_numbers=_muon_dimensions,
        )
    else:
        raise ValueError(f"optimiser {settings.kind!r} is neither adamw nor muon")
    clip = _clipping(settings.clip) if settings.clip else optax.identity()
    return optax.with_extra_args_support(optax.chain(clip, core))


def _clipping(limit: float) -> optax.GradientTransformationExtraArgs:
    """Scale gradients down to a global norm of `limit` times `weight`, the mean weight in a batch.

    A bound that is the same for all batches would undo the weight of an example that is alone in one: light and heavy
    gradients, where both are large, would come out equal.
    """

    def update(
        grads: Params,
        state: optax.EmptyState,
        params: Params | None = None,
        *,
        weight: jax.Array | float = 1.0,
        **_: Any,
    ) -> tuple[Params, optax.EmptyState]:
        norm, bound = optax.tree.norm(grads), limit * weight
        clipped = jax.tree.map(lambda leaf: jnp.where(norm <= bound, leaf, leaf / norm * bound), grads)
        return clipped, state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
