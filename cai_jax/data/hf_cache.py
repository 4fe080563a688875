"""The local Hugging Face cache, read from disk as it is: no network request is made."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import constants

from cai_jax.errors import UserError


def snapshot(kind: str, name: str) -> Path | None:
    """Folder of a repository's cached snapshot, or a folder or file in it, where `hf download` puts it; else None.

    Args:
      kind: "models" or "datasets".
      name: "org/name", or an old repository's "name" alone; it may go on inside, as in "org/name/folder".
    """
    parts = name.split("/")
    for named in (2, 1):
        folder = Path(constants.HF_HUB_CACHE) / "--".join([kind, *parts[:named]])
        inside = "/".join(parts[named:])
        try:
            found = folder / "snapshots" / (folder / "refs" / "main").read_text(encoding="utf-8").strip() / inside
        except (OSError, ValueError):
            continue
        if found.is_dir() or (inside and found.is_file()):
            return found
    return None


def on_disk(path: str) -> str:
    """The place of the data named by `path`: for "hf:org/name" the folder in the local cache, else `path` itself.

    Raises:
      UserError: it is not in the local cache.
    """
    if not path.startswith("hf:"):
        return path
    found = snapshot("datasets", path.removeprefix("hf:"))
    if found is None:
        raise UserError(f"the dataset {path} is not on this machine", "fetch it into the local Hugging Face cache")
    return str(found)
