"""Layout of our parameters' leaves in the tensors of a checkpoint. Imports no JAX."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cai_jax.models.config import Config
from cai_jax.models.errors import ModelError
from cai_jax.models.families import FAMILIES, Family

HEAD = "score.weight"

Shape = tuple[int, ...]
Slices = tuple[slice, ...]


@dataclass(frozen=True)
class Stored:
    """One tensor of a checkpoint.

    Its output dimension is that of one leaf, or of several concatenated (q, k and v in one kernel), or of several
    whose groups (heads) alternate.

    Attributes:
      name: in the file; shape: in the file.
      leaves: paths of ours that it holds, in order; widths: of each within one group.
      groups: number of times the leaves alternate.
      transposed: a kernel stored `[out, in]`.
    """

    name: str
    shape: Shape
    leaves: tuple[str, ...]
    widths: tuple[int, ...]
    groups: int = 1
    transposed: bool = False

    def outputs(self, path: str, wanted: slice) -> list[slice]:
        """Return the places of the outputs `wanted` of a leaf along the file's output dimension, in runs."""
        place = self.leaves.index(path)
        width, before, total = self.widths[place], sum(self.widths[:place]), sum(self.widths)
        runs = []
        for group in range(wanted.start // width, -(-wanted.stop // width)):
            first = max(wanted.start - group * width, 0)
            last = min(wanted.stop - group * width, width)
            runs.append(slice(group * total + before + first, group * total + before + last))
        return runs

    def where(self, path: str, index: Slices) -> tuple[list[slice], slice]:
        """Return the rows, in runs, and columns of the file that hold `index` (slices with both ends) of a leaf.

        A vector counts as a column, but the head's kernel is a row.
        """
        runs = self.outputs(path, index[-1])
        if len(self.shape) == 1:
            return runs, slice(0, 1)
        if self.transposed:
            return runs, index[0]
        return [index[0] if len(index) > 1 else slice(0, 1)], runs[0]

    def joined(self, leaves: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the file's tensor made of all of its leaves: the inverse of reading them."""
        parts = [leaves[path] for path in self.leaves]
        if self.transposed:
            parts = [part.T for part in parts]
        if len(parts) == 1:
            whole = parts[0].reshape(self.shape)
        elif self.transposed or len(self.shape) == 1:
            grouped = [part.reshape(self.groups, -1, *part.shape[1:]) for part in parts]
            whole = np.concatenate(grouped, axis=1).reshape(self.shape)
        else:
            whole = np.concatenate(parts, axis=1)
        return np.ascontiguousarray(whole)


def stored(config: Config, shapes: Mapping[str, Shape]) -> Iterator[Stored]:
    """Every tensor of a checkpoint whose leaves, by path, have these shapes. `head/kernel` is a reward model's."""
    family = FAMILIES[config.family]
    for ours, theirs in family.outer.items():
        if ours != "layers":
            yield from _module(family, config, shapes, [ours], family.prefix + theirs)
    shared: dict[str, list[str]] = {}
    for leaf, module in family.modules.items():
        shared.setdefault(module, []).append(leaf)
    for layer in range(config.layers):
        for module, leaves in shared.items():
            name = f"{family.prefix}{family.outer['layers']}.{layer}.{module}"
            yield from _module(family, config, shapes, [f"layers_{layer}/{leaf}" for leaf in leaves], name)
    yield from _module(family, config, shapes, ["unembed"], family.unembed)
    if "head/kernel" in shapes:
        yield Stored(HEAD, (1, *shapes["head/kernel"]), ("head/kernel",), shapes["head/kernel"])


def of_text(family: Family, files: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checkpoint's contents by name; of a wrapper its text part alone, under the names it has by itself."""
    within = next((each for each in family.within if any(name.startswith(each) for name in files)), None)
    if within is None:
        return dict(files)
    renamed = {within: family.prefix, "language_model.lm_head.": "lm_head."}
    found = {}
    for name, held in files.items():
        if not name.startswith(family.beside):
            begins = next((each for each in renamed if name.startswith(each)), "")
            found[renamed.get(begins, "") + name.removeprefix(begins)] = held
    return found


def refuse_shallow(path: Path, config: Config, files: Mapping[str, Any]) -> None:
    """Raise ModelError if the weights, by name, lack the last of the layers, before tables of so many are built."""
    family = FAMILIES[config.family]
    last = f"{family.outer['layers']}.{config.layers - 1}."
    if not any(last in name for name in files):
        raise ModelError(f"{path}: the weights lack {family.prefix}{last}…; config.json is of another model")


def _module(
    family: Family, config: Config, shapes: Mapping[str, Shape], paths: list[str], module: str
) -> Iterator[Stored]:
    """Yield the weight and the bias of one of their modules, as far as we have them."""
    biases = [path.replace("_proj", "") + "_bias" for path in paths]
    for suffix, named in (("weight", paths), ("bias", biases)):
        held = [path for path in named if path in shapes]
        if not held:
            continue
        matrix = len(shapes[held[0]]) == 2
        turned = matrix and family.transposed and held[0].endswith(("_proj", "unembed"))
        # GPT-2 has Conv1D kernels, but its unembedding is a Linear.
        turned = turned or held[0] == "unembed"
        groups = config.heads if family.interleaved and len(held) > 1 else 1
        outputs = [shapes[path][-1] for path in held]
        shape: Shape = (sum(outputs),)
        if matrix:
            inputs = shapes[held[0]][0]
            shape = (*shape, inputs) if turned else (inputs, *shape)
        yield Stored(f"{module}.{suffix}", shape, tuple(held), tuple(n // groups for n in outputs), groups, turned)
