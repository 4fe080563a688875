"""The local Hugging Face cache, read as it lies on disk: the network is never asked."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import constants


def snapshot(kind: str, name: str) -> Path | None:
    """Folder of the cached snapshot of `org/name`, or a dataset's file in it, where `hf download` puts it; else None.

    Args:
      kind: "models" or "datasets".
      name: of the repository; a dataset's may go on with a folder or a file in it, as in "org/name/folder".
    """
    organisation, _, rest = name.partition("/")
    repository, _, inside = rest.partition("/")
    folder = Path(constants.HF_HUB_CACHE) / f"{kind}--{organisation}--{repository}"
    try:
        found = folder / "snapshots" / (folder / "refs" / "main").read_text(encoding="utf-8").strip() / inside
    except (OSError, ValueError):
        return None
    return found if found.is_dir() or (inside and found.is_file()) else None
