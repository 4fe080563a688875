"""Two processes load one model: each reads the parts of its own devices, and nothing else."""

import pytest

from tests.support import families, processes

# Kernels as they are, fused side by side, alternating head by head, and not transposed.
CASES = ("llama-biased", "phi3", "gpt_neox", "gpt2")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """By case, what each of the two processes says."""
    folder = tmp_path_factory.mktemp("sharded")
    for case in CASES:
        families.write(case, folder / case)
    said = processes.two("tests.models._sharded", devices=4, arguments=[str(folder / case) for case in CASES])
    return dict(zip(CASES, zip(*said, strict=True), strict=True))


@pytest.mark.parametrize("case", CASES)
def test_each_process_reads_its_own_part_of_every_matrix(found, case):
    for process in found[case]:
        assert process["right"]
        assert process["read"] == process["held"]
        assert process["matrices"] == process["all matrices"] / 2
