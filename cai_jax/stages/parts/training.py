"""The loop that all training shares: steps that can stop and go on, with metrics logged one step behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cai_jax.errors import UserError

if TYPE_CHECKING:
    from cai_jax.learn.optim import Optim
    from cai_jax.parallel.step import Compiled

Batch = Mapping[str, np.ndarray]

# Seconds between two checkpoints: what an interruption may cost.
SAVE_EVERY = 60.0


def optim_of(params: Mapping[str, Any], steps: int) -> Optim:
    """The optimiser that a stage's parameters describe, over `steps` updates."""
    from cai_jax.learn.optim import Optim

    # A short run keeps the shape of its schedule: the warm-up shrinks with it.
    return Optim(
        params["learning_rate"],
        kind=params.get("optimizer", "adamw"),
        schedule=params.get("schedule", "constant"),
        warmup=min(params.get("warmup", 0), steps // 2),
        steps=steps,
    )


def compiled(ctx, make: Callable, out: tuple | None = None) -> Compiled:
    """A step of `learn` compiled for the devices that the node's schedule asks for (`with (mesh=…)`).

    Args:
      make: `make(axis) -> step`; see `parallel.step.compile_step`.
      out: what the step returns; by default a state and metrics.
    """
    from cai_jax.parallel.mesh import make_mesh
    from cai_jax.parallel.step import STEP, compile_step

    asked = ctx.node.schedule
    mesh = asked.get("mesh", "auto")
    sizes = [asked.get("data", 0) or -1, asked.get("fsdp", 1), asked.get("tensor", 1)]
    if mesh == "auto" and sizes != [-1, 1, 1]:
        mesh = make_mesh(*sizes)
    return compile_step(make, mesh, out=out or STEP)


def wide(params: Any) -> Any:
    """A float32 copy: optimisation happens in float32, whatever the model computes in."""
    import jax

    return jax.tree.map(lambda leaf: jax.numpy.array(leaf, "float32"), params)


class Checkpoints:
    """Saves a training state when it is due, and finds the last one."""

    def __init__(self, ctx) -> None:
        self.ctx = ctx
        self.last = time.monotonic()

    def resume(self, state: Any) -> tuple[int, Any]:
        """Steps made and the state after them; 0 and `state` itself at the beginning."""
        return self.ctx.restore(state) or (0, state)

    @property
    def due(self) -> bool:
        """It is time to save, or the run is about to stop."""
        return self.ctx.stopping or time.monotonic() - self.last > SAVE_EVERY

    def save(self, step: int, state: Any) -> None:
        """Saves the state after `step` steps; what these steps have logged must be logged by now."""
        self.ctx.save(step, state)
        self.last = time.monotonic()


def finite(metrics: Mapping[str, Any], step: int) -> dict[str, float]:
    """The metrics as floats.

    Raises:
      UserError: the loss is not a number; names the step.
    """
    values = {name: float(value) for name, value in metrics.items()}
    for name in ("loss", "policy_loss", "value_loss"):
        if not np.isfinite(values.get(name, 0.0)):
            raise UserError(
                f"{name} is {values[name]} at step {step}",
                "lower the learning rate, or check the data for extremes",
            )
    return values


def train(
    ctx,
    state: Any,
    step: Compiled,
    batches: Callable[[int], Iterator[Batch]],
    total: int,
    tokens: int,
) -> Any:
    """Runs `total` steps, going on from the last checkpoint.

    Args:
      state: before the first step.
      step: compiled `(state, batch) -> (state, metrics)`.
      batches: `batches(n)` yields the batches from number n on.
      tokens: tokens of a batch, for the progress display.

    Returns:
      The state after the last step.
    """
    checkpoints = Checkpoints(ctx)
    begun, state = checkpoints.resume(step.place(state))
    feed, pending = batches(begun), None
    for number in range(begun, total):
        state, metrics = step(state, next(feed))
        if pending is not None:  # the device works on this step while the host reads the last one's metrics
            ctx.log(number, **finite(pending, number))
        pending = metrics
        if checkpoints.due:
            ctx.log(number + 1, **finite(pending, number + 1))
            pending = None
            checkpoints.save(number + 1, state)
        ctx.progress(number + 1, total, tokens=(number + 1 - begun) * tokens, unit="steps")
    if pending is not None:
        ctx.log(total, **finite(pending, total))
    return state


def row_length(longest: int, limit: int) -> int:
    """The length of training rows: the smallest multiple of 32 that holds `longest` tokens, at most `limit`.

    It is fixed for a node, so nothing but padding would be won by a power of two.
    """
    return min(-(-longest // 32) * 32, limit)


def bucket(longest: int, limit: int) -> int:
    """The shortest power of two, from 16 on, that holds `longest` tokens, but no more than `limit`."""
    size = 16
    while size < longest:
        size *= 2
    return min(size, limit)
