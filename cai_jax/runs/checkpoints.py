"""Checkpoints of a training stage's state.

The one file that knows Orbax, whose v1 interface is experimental. Beside the folder of every checkpoint stands a list
of its files, written last: a checkpoint counts if the list is there, and all that it names is there in full.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from cai_jax.runs import files

KEEP = 2


def save(folder: Path, step: int, tree: Any) -> None:
    """Saves a pytree of arrays as `folder/<step>` and drops all but the last `KEEP`.

    Blocks until it is written: the next step may donate the arrays.
    """
    import orbax.checkpoint.experimental.v1 as ocp

    folder.mkdir(exist_ok=True)
    made = folder / str(step)
    _list(folder, step).unlink(missing_ok=True)
    ocp.save(made.resolve(), _arrays(tree), overwrite=True)
    files.write_json(_list(folder, step), files.sizes(made, made.rglob("*")))
    for old in _listed(folder)[:-KEEP]:
        _list(folder, old).unlink()
        shutil.rmtree(folder / str(old), ignore_errors=True)


def restore(folder: Path, template: Any) -> tuple[int, Any] | None:
    """The latest whole checkpoint, as `(step, tree)` with the template's structure, dtypes and shardings.

    Raises:
      ValueError: there is one, but it does not fit the template.
    """
    whole = [step for step in _listed(folder) if _is_whole(folder, step)]
    if not whole:
        return None
    import orbax.checkpoint.experimental.v1 as ocp

    return whole[-1], ocp.load(folder.resolve() / str(whole[-1]), _arrays(template))


def damaged(folder: Path) -> list[int]:
    """Steps of checkpoints that were whole once, and have lost a file or a part of one; ascending."""
    return [step for step in _listed(folder) if not _is_whole(folder, step)]


def _list(folder: Path, step: int) -> Path:
    return folder / f"{step}.json"


def _listed(folder: Path) -> list[int]:
    return sorted(int(path.stem) for path in folder.glob("*.json"))


def _is_whole(folder: Path, step: int) -> bool:
    try:
        return files.intact(folder / str(step), files.read_json(_list(folder, step)))
    except (OSError, ValueError):
        return False


def _arrays(tree: Any) -> Any:
    """The tree with NumPy scalars as arrays of shape [], since Orbax knows no NumPy scalars."""
    import jax
    import numpy as np

    return jax.tree.map(lambda leaf: np.asarray(leaf) if isinstance(leaf, np.generic) else leaf, tree)
