"""Find a model's folder on this machine. Imports no JAX, and makes no network request."""

from __future__ import annotations

import re
from pathlib import Path

from cai_jax.data.hf_cache import snapshot
from cai_jax.models.config import read_json
from cai_jax.models.errors import ModelError

ADAPTER = "adapter_config.json"  # in the folder of an adapter
_CHECKPOINTS = Path(__file__).parent.parent / "world" / "checkpoints"
# The second is an early checkpoint: its comparisons are often wrong, and favour a position.
BUILTIN = {name: _CHECKPOINTS / name for name in ("tiny", "novice")}
MODELS = " or ".join(f'"builtin:{name}"' for name in BUILTIN)


def locate(path: str) -> Path | None:
    """The folder of a `builtin:`, `hf:` or plain path; None where it is not here or is still to be made (`init:`)."""
    scheme, _, name = path.partition(":")
    if scheme == "builtin":
        return BUILTIN.get(name)
    if scheme == "init":
        return None
    if scheme == "hf":
        return snapshot("models", name)
    return Path(path) if Path(path).is_dir() else None


def folder(path_or_id: str | Path) -> Path:
    """The folder of a built-in model, of a path, or of "hf:org/name" or "org/name" in the local Hugging Face cache.

    Some old repositories have no organisation, and are called "hf:name" or "name".

    Raises:
      ModelError: there is none; the text says what can be given.
    """
    name = str(path_or_id)
    found = locate(name)
    repository = re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name)
    if found is None and repository:
        found = snapshot("models", name)
    if found is not None:
        return found
    scheme, _, rest = name.partition(":")
    if scheme == "builtin":
        raise ModelError(f"there is no built-in model {rest!r}; give {MODELS}")
    if scheme == "init":
        raise ModelError(f"{name} is fresh weights, which a program makes with model({name!r}); give what it wrote")
    if scheme == "hf" or (repository and repository[1]):
        asked = name.removeprefix("hf:")
        raise ModelError(
            f"{asked} is neither a folder nor in the local Hugging Face cache; fetch it first, for example with "
            f"`hf download {asked}`"
        )
    raise ModelError(
        f'there is no model folder {name}; give a folder, "builtin:tiny", or "org/name" of the local cache'
    )


def base_of(path: Path) -> Path | None:
    """The folder of the model to which the adapter in a folder belongs; None where the folder holds whole weights.

    Raises:
      ModelError: the base is not on this machine.
    """
    if not (path / ADAPTER).exists():
        return None
    name = read_json(path / ADAPTER).get("base_model_name_or_path")
    if not isinstance(name, str) or not name or "\0" in name:
        raise ModelError(f"{path / ADAPTER} names no base; say it there as base_model_name_or_path")
    if (path / name).is_dir():
        return (path / name).resolve()
    try:
        return folder(name).resolve()
    except ModelError:
        message = f"{path} is an adapter, and its base {name} is not on this machine; "
        raise ModelError(f"{message}fetch it, or say in {ADAPTER} where it is (base_model_name_or_path)") from None


def bases(path: Path) -> list[Path]:
    """The folders of all models below the adapter in a folder: its base, the base of that, …, the whole weights.

    Raises:
      ModelError: one of them is not on this machine, or the adapters are based on one another in a circle.
    """
    found: list[Path] = []
    while (base := base_of(found[-1] if found else path)) is not None:
        if base in found or base == path.resolve():
            raise ModelError(f"{path} is an adapter that stands on itself; say in {ADAPTER} what its base is")
        found.append(base)
    return found


def described(path: Path) -> Path:
    """The folder with a model's config.json and tokenizer: its own, or for an adapter without them that of a base.

    Raises:
      ModelError: as `bases`.
    """
    if (path / "config.json").is_file():
        return path
    return next((each for each in bases(path) if (each / "config.json").is_file()), path)
