"""A model taken in hand, `cai_jax.load`: of an adapter that a run has made, on the base that the run's record says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cai_jax.errors import UserError
from cai_jax.models.errors import ModelError
from cai_jax.models.locate import ADAPTER
from cai_jax.report import browse
from cai_jax.runs.context import MODELS, CachedArtefact, inputs_of
from cai_jax.runs.fingerprints import Fingerprints

if TYPE_CHECKING:
    from cai_jax.models.checkpoint import Model, Shardings


def load(path: Path, dtype: str, shardings: Shardings | None, base: Path | None) -> Model:
    """See `cai_jax.load`.

    Raises:
      ModelError: it cannot be used, or the base of an adapter is not the one that it was made for.
    """
    from cai_jax.models import checkpoint

    path = path.resolve()
    if not (path / ADAPTER).exists():
        if base is not None:
            raise ModelError(f"{path} holds no adapter, so that it has no base; leave base= out")
        return checkpoint.load(path, dtype, shardings)
    try:
        made = browse.written(path)
        if base is not None:
            if made is not None:
                _refuse_another(made, base)
            return checkpoint.adapted(load(base, dtype, shardings, None), path, shardings)
        if made is None:
            return checkpoint.load(path, dtype, shardings)
        model = checkpoint.chain((made.path, *made.bases), dtype, shardings)
        made.source("path")  # what has changed while it was read is another model
        return model
    except ModelError:
        raise
    except UserError as error:
        cure = "say where its base is, base=…, or run the program again"
        raise ModelError(f"{path} is an adapter whose base cannot be had: {error.message}; {cure}") from error


def _refuse_another(made: CachedArtefact, base: Path) -> None:
    """Raise ModelError if a folder holds another model than that on which the run has trained an adapter."""
    start = next(one for one in inputs_of(made) if one.type.kind in MODELS)
    known = start.record.get("data", {}).get("path")
    if known is not None and Fingerprints().of(str(base.resolve())) != known:
        raise ModelError(f"{base} is not the model on which the adapter {made.key} was trained; name that one")
