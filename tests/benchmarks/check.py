"""What `cai-jax check` costs beside the bare import of the two libraries that it needs."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from cai_jax.lang import assets
from tests.benchmarks.figures import Figure, interleaved, ratios

ROOT = Path(__file__).parents[2]
BARE = ("-c", "import click, lark")
CHECK = ("-m", "cai_jax", "check", str(assets.find("programs") / "quickstart.cai"))


def figures() -> Iterator[Figure]:
    """Processor time, which other work on the machine disturbs less than wall time."""
    with tempfile.TemporaryDirectory() as folder:
        # As for a user: compiled modules and the parser's tables are kept from one call to the next.
        kept = {"PYTHONPYCACHEPREFIX": f"{folder}/pyc", "XDG_CACHE_HOME": folder, "PYTHONPATH": str(ROOT)}
        environment = {**os.environ, **kept}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        kinds = [lambda call=call: _seconds(call, environment) for call in (CHECK, BARE)]
        interleaved(*kinds, times=1)
        checks, bares = interleaved(*kinds, times=9)
    yield Figure("cai-jax check", "times a bare `import click, lark`", ratios(checks, bares), target="<= 2")
    yield Figure("cai-jax check", "processor time", checks, "s")


def _seconds(arguments: Sequence[str], environment: dict[str, str]) -> float:
    process = subprocess.Popen([sys.executable, *arguments], env=environment, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"python {' '.join(arguments)} ended with status {status}")
    return used.ru_utime + used.ru_stime
