"""Checkpoints of a training stage's state.

The one file that knows Orbax, whose v1 interface is experimental.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

KEEP = 2


def save(folder: Path, step: int, tree: Any) -> None:
    """Saves a pytree of arrays as `folder/<step>` and drops all but the last `KEEP`.

    Orbax writes beside and renames, so a checkpoint is there whole or not at all. Blocks until it is written:
    the next step may donate the arrays.
    """
    import orbax.checkpoint.experimental.v1 as ocp

    folder.mkdir(exist_ok=True)
    ocp.save(folder.resolve() / str(step), _arrays(tree), overwrite=True)
    for old in steps(folder)[:-KEEP]:
        shutil.rmtree(folder / str(old))


def restore(folder: Path, template: Any) -> tuple[int, Any] | None:
    """The latest checkpoint, as `(step, tree)` with the template's structure, dtypes and shardings.

    Raises:
      ValueError: there are checkpoints, but they do not fit the template.
    """
    found = steps(folder)
    if not found:
        return None
    import orbax.checkpoint.experimental.v1 as ocp

    return found[-1], ocp.load(folder.resolve() / str(found[-1]), _arrays(template))


def steps(folder: Path) -> list[int]:
    """Steps of the whole checkpoints in `folder`, ascending."""
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())


def _arrays(tree: Any) -> Any:
    """The tree with NumPy scalars as arrays of shape [], since Orbax knows no NumPy scalars."""
    import jax
    import numpy as np

    return jax.tree.map(lambda leaf: np.asarray(leaf) if isinstance(leaf, np.generic) else leaf, tree)
