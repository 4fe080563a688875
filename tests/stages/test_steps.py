"""What stages describe for `compile` is what their runs call, on two devices."""

import pytest

from tests.support import processes


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return processes.one("tests.stages.recorded", devices=2, arguments=[str(tmp_path_factory.mktemp("steps"))])


@pytest.mark.slow
@pytest.mark.parametrize("step", ["fill", "decode", "read", "score", "scores", "learn"])
def test_a_run_calls_what_its_stages_describe(found, step):
    assert found["called"][step] == found["described"][step]
