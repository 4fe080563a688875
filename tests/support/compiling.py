"""`cai-jax compile` in a process of its own, since it settles how many devices there are."""

import os
import subprocess
import sys

from tests.support.processes import ROOT


def called(folder, *words, program):
    """How `cai-jax compile` of a program ends that lies in `folder`."""
    (folder / "p.cai").write_text(program)
    command = [sys.executable, "-m", "cai_jax", "compile", folder / "p.cai", "--out", folder / "runs", *words]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1200)
