"""What stages describe for `compile` is what their runs call, on two devices."""

import pytest

from tests.support import processes


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return processes.one("tests.stages._recorded", devices=2, arguments=[str(tmp_path_factory.mktemp("steps"))])


@pytest.mark.slow
@pytest.mark.parametrize("step", ["fill", "decode", "read", "score", "scores", "diverge", "learn"])
def test_a_run_calls_what_its_stages_describe(found, step):
    assert found["called"][step] == found["described"][step]


def test_a_model_counts_once_for_each_layout_in_which_it_is_loaded(tmp_path):
    found = processes.one("tests.stages._held", devices=2, arguments=[str(tmp_path)])
    layer = 4 * 128 * 128 + 3 * 128 * 384
    whole = 4 * (1024 * 128 + 5 * (layer + 2 * 128) + 128)
    # Matrices are split for training, norms are not.
    split = 4 * (1024 * 128 // 2 + 5 * (layer // 2 + 2 * 128) + 128)
    assert found["data"]["sl"] == {"base": whole}
    assert found["fsdp"]["sl"] == {"base": whole, "base, laid out for training": split}
    # The policy is an adapter, whose base is among the arguments; the preference model's stands on the same one.
    assert "base" not in found["data"]["rl"]
    assert found["fsdp"]["rl"]["base"] == whole and found["fsdp"]["rl"]["base, laid out for training"] == split
