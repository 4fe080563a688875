"""`cai-jax check` starts fast: no heavy import, and at most twice the time of `import click, lark`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cai_jax.lang import assets

ROOT = Path(__file__).parents[2]
PROGRAM = assets.find("programs") / "quickstart.cai"
BARE = ["-c", "import click, lark"]
CHECK = ["-m", "cai_jax", "check", str(PROGRAM)]


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    """As for a user: compiled modules and the parser's tables are kept from one call to the next."""
    folder = tmp_path_factory.mktemp("caches")
    kept = {"PYTHONPYCACHEPREFIX": str(folder / "pyc"), "XDG_CACHE_HOME": str(folder), "PYTHONPATH": str(ROOT)}
    environment = {**os.environ, **kept}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment


def seconds(arguments: list[str], environment: dict[str, str]) -> float:
    """Processor time of one call, which other work on the machine disturbs less than wall time."""
    before = os.times()
    subprocess.run([sys.executable, *arguments], env=environment, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    return after.children_user - before.children_user + after.children_system - before.children_system


def test_check_costs_at_most_twice_a_bare_import(environment):
    seconds(CHECK, environment)
    seconds(BARE, environment)
    pairs = [(seconds(BARE, environment), seconds(CHECK, environment)) for _ in range(7)]
    assert min(check for _, check in pairs) <= 2 * min(bare for bare, _ in pairs), pairs


def test_check_imports_nothing_heavy(environment):
    code = (
        "import sys; sys.argv = ['cai-jax', 'check', sys.argv[1]]\n"
        "from cai_jax.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "heavy = {'jax', 'jaxlib', 'flax', 'transformers', 'numpy', 'torch', 'pyarrow', 'rich', 'orbax'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(PROGRAM)], env=environment, check=True, stdout=subprocess.DEVNULL)
