"""Models in memory: loaded once, however many stages use them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cai_jax.models.checkpoint import Model

# Base, tuned and reward model are what a stage needs at one time; more would only fill memory.
_KEPT = 3


def model_of(artefact) -> Model:
    """The model of an artefact, loaded in the dtype that its `model(…)` asked for."""
    return load(str(artefact.path), artefact.result.get("dtype", "float32"))


@functools.lru_cache(maxsize=_KEPT)
def load(path: str, dtype: str) -> Model:
    """The model in a folder; the last few are kept in memory."""
    from cai_jax.models import checkpoint

    return checkpoint.load(path, dtype)
