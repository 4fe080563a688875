"""`cai-jax export`: a model of a run as a folder of its own, an adapter merged into its base."""

from __future__ import annotations

from pathlib import Path

from cai_jax.lang.types import Kind, Type
from cai_jax.runs.cache import Entry
from cai_jax.runs.context import CachedArtefact
from cai_jax.runs.errors import UserError, as_user_error

_MODELS = (Kind.MODEL, Kind.REWARD_MODEL)


def export(entry: Entry, folder: Path) -> None:
    """Writes the model of a finished node in the Hugging Face layout, in the dtype in which it computes.

    Raises:
      UserError: the node is no single model, `folder` holds something, or the model cannot be read.
    """
    kind = Kind(entry.record()["kind"])
    made = CachedArtefact(entry, Type(kind))
    if kind not in _MODELS:
        raise UserError(f"{entry.key} is no model but {kind}", "name a node of finetune, reward, ppo or model")
    if "parts" in made.result:
        raise UserError(f"{entry.key} is a mixture of preference models", "export each of them")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is there already", "name a new folder, or an empty one")
    from cai_jax.models import checkpoint

    try:
        checkpoint.load(made.path, made.result.get("dtype", "float32")).save(folder)
    except checkpoint.ModelError as error:
        raise as_user_error(error) from None
