"""One run of the quickstart, shared by the tests that ask what it shows and by the controls that vary it."""

import pytest

from tests.programs import running


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory) -> running.Run:
    """`cai-jax run programs/quickstart.cai` in a folder of its own, with nothing cached."""
    # What it shows is for the tests to say.
    return running.run(running.QUICKSTART, tmp_path_factory.mktemp("quickstart"), codes=(0, 1))
