"""Training that is begun on one device and ended on eight, laid out in another way."""

import json
import os
import re
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

from cai_jax.models import checkpoint
from tests.stages.conftest import Ran
from tests.stages.test_resume import CASES, KILLED
from tests.support.processes import ROOT

MESHES = {
    "finetune": "mesh(data=8)",
    "reward": "mesh(fsdp=4, tensor=2)",
    "dpo": "mesh(fsdp=2, tensor=2)",
    "ppo": "mesh(data=2, fsdp=2, tensor=2)",
}


@pytest.fixture(scope="module")
def wide(bench) -> dict[str, str]:
    """The programs of `test_resume`, with batches that divide over eight devices."""
    return {stage: re.sub("batch=[24]", "batch=8", text) for stage, (_, text) in CASES.items()}


def run(bench, text: str, out, *, devices: int, mesh: str, after: tuple[str, int] | None = None) -> Ran | None:
    """Runs a program on that many devices, to its end or until it is killed after so many steps of a stage."""
    program = bench.program(f"run (mesh={mesh})\n{text}")
    stage, steps = after or ("", 0)
    command = [sys.executable, "-c", KILLED, stage, str(steps), "run", program, "--json", "--out", out]
    done = subprocess.run(
        list(map(str, command)),
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == (-signal.SIGKILL if after else 0), done.stderr
    return None if after else Ran(json.loads(done.stdout), done.stderr, out, 0)


@pytest.mark.slow
@pytest.mark.parametrize("stage", MESHES)
def test_a_run_begun_on_one_device_is_ended_on_eight(bench, wide, tmp_path, stage):
    whole = run(bench, wide[stage], tmp_path / "whole", devices=1, mesh="one")
    run(bench, wide[stage], tmp_path / "parts", devices=1, mesh="one", after=(stage, CASES[stage][0]))
    ended = run(bench, wide[stage], tmp_path / "parts", devices=8, mesh=MESHES[stage])
    assert ended.entry("x").record()["schedule"]["mesh"] != "one"
    assert len(ended.log("x")) == len(whole.log("x")) >= 2
    for ours, theirs in zip(ended.log("x"), whole.log("x"), strict=True):
        assert ours == pytest.approx(theirs, rel=2e-3, abs=2e-4)
    first, second = (jax.tree.leaves(checkpoint.load(ran.entry("x").dir / "hf").params) for ran in (whole, ended))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-3)
