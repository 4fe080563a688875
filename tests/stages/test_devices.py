"""The training stages give the same figures on one device, on a mesh of two, and with pmap."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "2", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "tests.stages.two", str(tmp_path_factory.mktemp("two"))]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["auto", "pmap"])
def test_two_devices_agree_with_one(found, way):
    assert found["devices"] == 2
    for name, lines in found["one"].items():
        assert len(lines) == len(found[way][name]) >= 2
        for one, two in zip(lines, found[way][name], strict=True):
            assert one == pytest.approx(two, rel=2e-3, abs=2e-4), name


@pytest.mark.slow
def test_a_batch_that_does_not_split_over_the_devices_found_is_refused(found):
    assert "3 rows at once cannot be split over 2 devices" in found["refused"]
    assert "Traceback" not in found["refused"]
