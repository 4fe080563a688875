"""One device, pmap, a mesh of eight and a mixed mesh agree; a process of its own holds the eight devices."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def found():
    # Unoptimised kernels: the test is about reductions and layouts, and compiling is nearly all of its time.
    environment = os.environ | {
        "JAX_NUM_CPU_DEVICES": "8",
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
    }
    command = [sys.executable, "-W", "error", "-m", "tests.parallel.eight"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "case",
    ["sft pmap", "sft data", "sft mixed", "preference pmap", "preference data", "ppo pmap", "ppo mixed"],
)
def test_every_way_of_running_a_step_agrees_with_one_device(found, case):
    assert found["devices"] == 8
    assert found[case] < 3e-6


def test_parameters_and_moments_keep_the_layout_of_the_rules(found):
    assert found["layout"] == found["moment"] == ["fsdp", "tensor"]


def test_rows_that_do_not_divide_are_refused(found):
    assert found["refused"] == "6 rows in a micro-batch do not divide over 8 devices"


def test_a_kernel_is_divided_over_the_mesh(found):
    assert found["splash"] < 3e-6
