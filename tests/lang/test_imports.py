"""`cai-jax check` imports nothing heavy; what it costs is a benchmark's to say (tests/benchmarks/check.py)."""

from __future__ import annotations

import subprocess
import sys

from cai_jax.lang import assets

CODE = """
import sys
from cai_jax.cli import main
sys.argv = ["cai-jax", "check", sys.argv[1]]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
heavy = {"jax", "jaxlib", "flax", "transformers", "numpy", "torch", "pyarrow", "rich", "orbax"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""


def test_check_imports_nothing_heavy():
    program = str(assets.find("programs") / "quickstart.cai")
    subprocess.run([sys.executable, "-c", CODE, program], check=True, stdout=subprocess.DEVNULL)
