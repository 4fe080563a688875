"""Checkpoints of a training stage's state.

The one file that knows Orbax, whose v1 interface is experimental. Next to the folder of every checkpoint is a list
of its files, written last: a checkpoint counts if the list exists, and all files that it names are complete.
"""

from __future__ import annotations

import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cai_jax.errors import UserError
from cai_jax.parallel import multihost
from cai_jax.runs import files

# One to go on from, and the one before in case it has lost a file.
KEEP = 2


class Checkpoints:
    """A node's checkpoints: `folder/<step>` and its list, the last `KEEP` of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writing: Future | None = None

    def save(self, step: int, tree: Any) -> None:
        """Begin to write a pytree of arrays, which may be donated as soon as this returns.

        All processes call it, each writing its parts. Waits for the save before; raises OSError if that failed.
        """
        import orbax.checkpoint.experimental.v1 as ocp

        self.wait()
        made = self._folder / str(step)
        if multihost.is_leader():
            self._folder.mkdir(exist_ok=True)
            self._list(step).unlink(missing_ok=True)
        response = ocp.save_async(made.resolve(), _copied(tree), overwrite=True)
        beside = ThreadPoolExecutor(1, "checkpoint")
        self._writing = beside.submit(self._finish, step, response)
        beside.shutdown(wait=False)

    def wait(self) -> None:
        """Until the checkpoint that is being written counts. Raises OSError if it could not be written."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def newest(self) -> int | None:
        """The step of the latest whole checkpoint."""
        return max((step for step in self._listed() if self._is_whole(step)), default=None)

    def damaged(self) -> list[int]:
        """Steps of checkpoints that were whole once, and have lost a file or a part of one; ascending."""
        return [step for step in self._listed() if not self._is_whole(step)]

    def load(self, step: int, template: Any) -> Any:
        """The checkpoint of a step, with the template's structure, dtypes and shardings.

        Raises:
          UserError: it is damaged, or does not fit the template.
        """
        import orbax.checkpoint.experimental.v1 as ocp

        made = self._folder.resolve() / str(step)
        try:
            return ocp.load(made, _arrays(template))
        except Exception as error:  # Orbax and TensorStore raise what they like of what they cannot read
            first_line = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise UserError(
                f"the checkpoint {made} cannot be read: {first_line}",
                "delete it, and run again: an earlier one is taken",
            ) from error

    def _finish(self, step: int, response: Any) -> None:
        """Make the checkpoint count when it is written, and drop older ones."""
        response.result()
        if not multihost.is_leader():
            return
        made = self._folder / str(step)
        files.write_json(self._list(step), files.sizes(made, made.rglob("*")))
        for old in self._listed()[:-KEEP]:
            self._list(old).unlink()
            shutil.rmtree(self._folder / str(old), ignore_errors=True)

    def _list(self, step: int) -> Path:
        return self._folder / f"{step}.json"

    def _listed(self) -> list[int]:
        return sorted(int(path.stem) for path in self._folder.glob("*.json") if path.stem.isdecimal())

    def _is_whole(self, step: int) -> bool:
        try:
            return files.intact(self._folder / str(step), files.read_json(self._list(step)))
        except (OSError, ValueError, TypeError, AttributeError, RecursionError):
            return False


def _arrays(tree: Any) -> Any:
    """The tree with NumPy scalars as arrays of shape [], since Orbax knows no NumPy scalars."""
    import jax
    import numpy as np

    return jax.tree.map(lambda leaf: np.asarray(leaf) if isinstance(leaf, np.generic) else leaf, tree)


def _copied(tree: Any) -> Any:
    """The tree in a form that can be written while the next step consumes it.

    Orbax copies arrays on an accelerator to the host before it returns, but reads arrays on the host in place.
    """
    import jax
    import numpy as np

    read_in_place = (np.ndarray, jax.Array) if jax.default_backend() == "cpu" else np.ndarray
    return jax.tree.map(lambda leaf: leaf.copy() if isinstance(leaf, read_in_place) else leaf, _arrays(tree))
