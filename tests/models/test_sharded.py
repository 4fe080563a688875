"""Two processes load one model: each reads the parts of its own devices, and nothing else."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import families

ROOT = Path(__file__).parents[2]
# Kernels as they are, fused side by side, alternating head by head, and not transposed.
CASES = ("llama-biased", "phi3", "gpt_neox", "gpt2")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """By case, what each of the two processes says."""
    folder = tmp_path_factory.mktemp("sharded")
    for case in CASES:
        families.write(case, folder / case)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "4", "JAX_PLATFORMS": "cpu"}
    paths = [str(folder / case) for case in CASES]
    command = [sys.executable, "-W", "error", "-m", "tests.models.sharded"]
    both = [
        subprocess.Popen([*command, number, address, *paths], cwd=ROOT, env=environment, stdout=subprocess.PIPE)
        for number in "01"
    ]
    said = [json.loads(process.communicate(timeout=300)[0] or "null") for process in both]
    assert [process.returncode for process in both] == [0, 0]
    return dict(zip(CASES, zip(*said, strict=True), strict=True))


@pytest.mark.parametrize("case", CASES)
def test_each_process_reads_its_own_part_of_every_matrix(found, case):
    for process in found[case]:
        assert process["right"]
        assert process["read"] == process["held"]
        assert process["matrices"] == process["all matrices"] / 2
