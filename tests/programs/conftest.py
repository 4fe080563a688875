"""One run of the quickstart, shared by the tests that ask what it shows and by the controls that vary it."""

import dataclasses
import json
import os
from pathlib import Path

import pytest
from filelock import FileLock

from tests.programs import _running as running


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory) -> running.Run:
    """`cai-jax run programs/quickstart.cai` in a folder of its own, with nothing cached.

    With -n, one worker runs it and the others wait for what it made.
    """
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    kept = root / "quickstart.json"
    with FileLock(root / "quickstart.lock"):
        if not kept.exists():
            # What it shows is for the tests to say.
            ran = running.run(running.QUICKSTART, root / "quickstart", codes=(0, 1))
            kept.write_text(json.dumps(dataclasses.asdict(ran) | {"out": str(ran.out)}))
    ran = json.loads(kept.read_text())
    return running.Run(**{**ran, "out": Path(ran["out"])})
