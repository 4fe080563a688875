"""Public data that lies beside the repository and is no part of it."""

from __future__ import annotations

import os
from pathlib import Path


def shared_data(name: str) -> Path | None:
    """A file or folder of `../shared/data`, or of the folder that CAI_JAX_SHARED names; None where it is not there."""
    beside = Path(__file__).resolve().parents[3] / "shared"
    found = Path(os.environ.get("CAI_JAX_SHARED", beside)) / "data" / name
    return found if found.exists() else None
