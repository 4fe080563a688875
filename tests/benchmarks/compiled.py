"""What `cai-jax compile` tells, in a process of its own: it settles how many devices there are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def compiled(program: str, topology: str, *words: str) -> dict[str, Any]:
    """A program, given as its text, as `--json` tells it; also what does not fit.

    What compiling told is kept in `runs`, so that a benchmark that was stopped goes on.

    Raises:
      ChildProcessError: the program cannot be compiled.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "p.cai"
        file.write_text(program)
        command = [sys.executable, "-m", "cai_jax", "compile", file, "--topology", topology, "--json", *words]
        environment = os.environ | {"JAX_PLATFORMS": "cpu"}
        command += ["--out", ROOT / "runs"]
        done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    if not done.stdout:
        raise ChildProcessError(f"compiling for {topology} has failed")
    return json.loads(done.stdout)
