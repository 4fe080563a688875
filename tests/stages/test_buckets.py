"""A run needs nothing of its folder that object storage, mounted as one, cannot do: no append, no link, no lock."""

import json
import os
import subprocess
import sys

import pytest

from tests.stages.conftest import Ran
from tests.support.processes import ROOT

PROGRAM = """\
replies = ask.train |> sample(base, max_new=8)
sl = replies |> finetune(base, batch=4, steps=3)
labels = red.train |> sample(base, n=2, max_new=8) |> judge(rules, by=base, fewshots=0)
rm = labels |> reward(sl, batch=2)
"""
# A bucket as a folder, for what Python does: whatever a bucket cannot do fails.
BUCKET = """\
import errno, os, sys

root = sys.argv.pop(1)

def inside(path):
    try:
        return os.path.realpath(os.fsdecode(path)).startswith(root)
    except TypeError:  # a file that is open
        return os.path.realpath(f"/proc/self/fd/{path}").startswith(root)

def bucket(event, arguments):
    linked = event in ("os.link", "os.symlink") and inside(arguments[1])
    locked = event in ("fcntl.flock", "fcntl.lockf") and inside(arguments[0])
    appended = event == "open" and arguments[2] & os.O_APPEND and inside(arguments[0])
    if linked or locked or appended:
        raise OSError(errno.ENOTSUP, f"a bucket cannot do {event}{arguments}")

sys.addaudithook(bucket)
if sys.argv[1] == "itself":
    link = root + "/a"
    for refused in (lambda: open(link, "a"), lambda: os.symlink("b", link), lambda: os.link(sys.executable, link)):
        try:
            refused()
        except OSError as error:
            assert error.errno == errno.ENOTSUP
        else:
            sys.exit("this is no bucket")
    sys.exit()
from cai_jax.pipeline import training
training.SAVE_EVERY = 0.0
from cai_jax.cli import main
main(sys.argv[1:])
"""


def bucket(path, *words) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", BUCKET, str(path), *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"JAX_PLATFORMS": "cpu"})


@pytest.mark.slow
def test_a_bucket_is_enough(bench, tmp_path):
    assert bucket(tmp_path, "itself").returncode == 0
    program = bench.program(PROGRAM, "bucket.cai")
    made = bucket(tmp_path, "run", program, "--json", "--out", tmp_path / "runs")
    assert made.returncode == 0, made.stderr
    there = Ran(json.loads(made.stdout), made.stderr, tmp_path / "runs", 0)
    here = bench.run(PROGRAM, out=tmp_path / "here")
    for name in ("replies", "labels"):
        assert there.rows(name) == here.rows(name)
    for name in ("sl", "rm"):
        assert there.log(name) == here.log(name)
