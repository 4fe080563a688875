"""Models in memory, loaded once, however many stages use them; and the formats in which they read."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cai_jax.data.file_stamps import Stamp, stamps
from cai_jax.pipeline.context import Artefact, CompilingContext
from cai_jax.pipeline.node_devices import devices_of

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from cai_jax.models.checkpoint import Model
    from cai_jax.models.tokenizer import Tokenizer
    from cai_jax.prompting.paper_format import Format

# Files of a folder and what tells whether they have changed: of a folder that has, the model is loaded anew.
Stamps = tuple[tuple[str, Stamp], ...]

# Base, tuned and reward model are what a stage needs at one time; more would only fill memory.
KEPT = 3


def model_of(ctx: CompilingContext, artefact: Artefact, trained: bool = False) -> Model:
    """The model of an artefact, in the dtype that its `model(…)` asked for, on the devices of the node `ctx`.

    On a mesh it is laid out to be read, or with `trained` as training lays out its state. The last few are kept in
    memory.
    """
    devices = devices_of(ctx)
    mesh = None if isinstance(devices, str) else devices
    folders = tuple((str(folder), stamps(folder)) for folder in (artefact.path, *artefact.bases))
    # Where both layouts are one, so is the model.
    laid = trained and two_layouts(devices)
    model = _load(folders, artefact.result.get("dtype", "float32"), mesh, laid)
    artefact.source("path")  # what has changed while it was read is another model
    return model


def format_of(artefact: Artefact) -> Format:
    """The format in which an artefact's model reads, as its `model(…)` asked for it; needs its tokenizer alone."""
    folder = _described(artefact)
    return _format(str(folder), stamps(folder), artefact.result.get("format", "auto"))


def tokenizer_of(artefact: Artefact) -> Tokenizer:
    """The tokenizer of an artefact's model, without its weights."""
    folder = _described(artefact)
    return _tokenizer(str(folder), stamps(folder))


def _described(artefact: Artefact) -> Path:
    """The folder that says what model an artefact is: its own, or the nearest below that of an adapter."""
    folders = (artefact.path, *artefact.bases)
    return next((each for each in folders if (each / "config.json").is_file()), folders[0])


def format_choices(artefact: Artefact) -> dict[str, Any]:
    """The arguments of `model(…)` that a model made from this one keeps: dtype and format."""
    return {"dtype": artefact.result.get("dtype", "float32"), "format": artefact.result.get("format", "auto")}


@functools.lru_cache(maxsize=16)
def _format(path: str, held: Stamps, choice: str) -> Format:
    """The format of the model in a folder, with a config.json or without.

    Raises:
      UserError: it has no chat template, or none that can be used, where one is asked for.
    """
    from cai_jax.prompting import chat_format

    return chat_format.format_of(_tokenizer(path, held), choice)


@functools.lru_cache(maxsize=16)
def _tokenizer(path: str, held: Stamps) -> Tokenizer:
    """The tokenizer in a folder, with a config.json or without."""
    from cai_jax.models.config import Config, read_json
    from cai_jax.models.tokenizer import Tokenizer

    folder = Path(path)
    file = folder / "config.json"
    config = Config.from_hf(read_json(file)) if file.is_file() else None
    return Tokenizer.load(folder, config)


def two_layouts(devices: Mesh | str) -> bool:
    """True if training and reading shard a model over these devices (`devices_of`) in different ways."""
    return not isinstance(devices, str) and devices.shape["fsdp"] > 1


@functools.lru_cache(maxsize=KEPT)
def _load(folders: tuple[tuple[str, Stamps], ...], dtype: str, mesh: Mesh | None, trained: bool) -> Model:
    """The model in the first folder, which is an adapter of the model in the following ones, if there are any."""
    from cai_jax.models import checkpoint
    from cai_jax.parallel.sharding_rules import SERVED, TRAINED, shardings

    axes, ((path, _), *below) = TRAINED if trained else SERVED, folders
    laid = None if mesh is None else lambda tree: shardings(tree, mesh, axes)
    if below:  # on which other adapters may stand as well
        return checkpoint.adapted(_load(tuple(below), dtype, mesh, trained), Path(path), laid)
    return checkpoint.load(path, dtype, laid)
