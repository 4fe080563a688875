"""`cai-jax export`: a model of a run as a folder of its own, an adapter merged into its base."""

from __future__ import annotations

from pathlib import Path

from cai_jax.exit_codes import UserError
from cai_jax.runs.context import MODELS, Made


def export(made: Made, folder: Path) -> None:
    """Writes a model in the Hugging Face layout, in the dtype in which it computes.

    Raises:
      UserError: it is no single model, `folder` holds something, or the model cannot be read.
    """
    if made.type.kind not in MODELS:
        raise UserError(f"{made.key} is no model but {made.type.kind}", "name a node of finetune, reward, ppo or model")
    if "parts" in made.result:
        raise UserError(f"{made.key} is a mixture of preference models", "export each of them")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is there already", "name a new folder, or an empty one")
    from cai_jax.models import checkpoint

    model = checkpoint.chain((made.path, *made.bases), made.result.get("dtype", "float32"))
    made.source("path")  # what has changed while it was read is another model
    model.save(folder)
