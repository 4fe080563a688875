"""Two processes are one engine: the host loop is the same on both, and so is what comes out."""

import pytest

from tests.support import processes


@pytest.mark.slow
def test_two_processes_write_and_score_as_one_device_does():
    for apart in processes.two("tests.parallel._two_processes", devices=2):
        assert apart is not None and apart < 1e-5
