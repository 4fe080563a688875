"""Models in memory, loaded once, however many stages use them; and the formats in which they read."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cai_jax.stages.parts.devices import devices_of

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from cai_jax.data.formats import Format
    from cai_jax.models.checkpoint import Model

# Base, tuned and reward model are what a stage needs at one time; more would only fill memory.
KEPT = 3


def model_of(ctx, artefact, trained: bool = False) -> Model:
    """The model of an artefact, in the dtype that its `model(…)` asked for, on the devices of the node `ctx`.

    On a mesh it is laid out to be read, or with `trained` as training lays out its state.
    """
    return load(ctx, str(artefact.path), artefact.result.get("dtype", "float32"), trained)


def format_of(artefact) -> Format:
    """The format in which an artefact's model reads, as its `model(…)` asked for it; needs its tokenizer alone."""
    return read_format(str(artefact.path), artefact.result.get("format", "auto"))


def choices(artefact) -> dict[str, Any]:
    """What a model made from this one keeps of what its `model(…)` asked for: dtype and format."""
    return {"dtype": artefact.result.get("dtype", "float32"), "format": artefact.result.get("format", "auto")}


@functools.lru_cache(maxsize=16)
def read_format(path: str, choice: str) -> Format:
    """The format of the model in a folder.

    Raises:
      UserError: it has no chat template, or none that can be used, where one is asked for.
    """
    from cai_jax.data import chat
    from cai_jax.models.config import Config, read_json
    from cai_jax.models.locate import described
    from cai_jax.models.tokenizer import Tokenizer

    folder = described(Path(path))
    file = folder / "config.json"
    config = Config.from_hf(read_json(file)) if file.is_file() else None
    return chat.format_of(Tokenizer.load(folder, config), choice)


def load(ctx, path: str, dtype: str, trained: bool = False) -> Model:
    """The model in a folder, on the devices of the node `ctx` (`model_of`); the last few are kept in memory."""
    devices = devices_of(ctx)
    mesh = None if isinstance(devices, str) else devices
    # Where both layouts are one, so is the model.
    return _load(str(Path(path).resolve()), dtype, mesh, trained and two_layouts(devices))


def two_layouts(devices: Mesh | str) -> bool:
    """Whether training lays a model out on these devices (`devices_of`) in another way than reading."""
    return not isinstance(devices, str) and devices.shape["fsdp"] > 1


@functools.lru_cache(maxsize=KEPT)
def _load(path: str, dtype: str, mesh: Mesh | None, trained: bool) -> Model:
    from cai_jax.models import checkpoint
    from cai_jax.models.locate import base_of
    from cai_jax.parallel.rules import SERVED, TRAINED, shardings

    axes, base = TRAINED if trained else SERVED, base_of(Path(path))
    laid = None if mesh is None else lambda tree: shardings(tree, mesh, axes)
    if base is not None:  # which other adapters may stand on as well
        return checkpoint.adapted(_load(str(base), dtype, mesh, trained), Path(path), laid)
    return checkpoint.load(path, dtype, laid)
