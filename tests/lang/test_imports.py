"""`cai-jax check` imports nothing heavy, and `plan` no JAX; tests/benchmarks/check.py measures what they cost."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cai_jax.lang import assets

CODE = """
import sys
from cai_jax.cli import main
heavy = set(sys.argv.pop(1).split())
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
COMPUTING = "jax jaxlib flax torch transformers orbax"


@pytest.mark.parametrize(("command", "heavy"), [("check", f"{COMPUTING} numpy pyarrow rich"), ("plan", COMPUTING)])
def test_what_runs_nothing_imports_nothing_heavy(command, heavy, tmp_path):
    words = [command, str(assets.find("programs") / "quickstart.cai")]
    words += ["--out", str(tmp_path)] if command == "plan" else []
    subprocess.run([sys.executable, "-c", CODE, heavy, *words], check=True, stdout=subprocess.DEVNULL)
