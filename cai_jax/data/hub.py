"""The local Hugging Face cache, read as it lies on disk: the network is never asked."""

from __future__ import annotations

import os
from pathlib import Path


def snapshot(kind: str, name: str) -> Path | None:
    """Folder of the cached snapshot of `org/name`, None if there is none.

    Args:
      kind: "models" or "datasets".
      name: of the repository; a dataset's may go on with a folder in it, as in "org/name/folder".
    """
    organisation, _, rest = name.partition("/")
    repository, _, inside = rest.partition("/")
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    hub = Path(os.environ.get("HF_HUB_CACHE", home / "hub"))
    folder = hub / f"{kind}--{organisation}--{repository}"
    try:
        found = folder / "snapshots" / (folder / "refs" / "main").read_text(encoding="utf-8").strip() / inside
    except OSError:
        return None
    return found if found.is_dir() else None
