"""Modules of the tests in processes of their own, with virtual CPU devices. Each prints one JSON value."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
# XLA_FLAGS where compiling is most of the work, as it is here and in fast tests (tests/conftest.py): with cheap passes
# alone, tests/learn/test_ppo.py takes 40 s of a processor instead of 68.
CHEAP = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
# As pyproject.toml has it for pytest.
STRICT = ("-W", "error", "-W", "ignore:Error reading persistent compilation cache entry")


def one(module: str, devices: int, arguments: Sequence[str] = ()) -> Any:
    """What `python -m module` prints."""
    done = subprocess.run(
        [sys.executable, *STRICT, "-m", module, *arguments],
        cwd=ROOT,
        env=_devices(devices),
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


def two(module: str, devices: int, arguments: Sequence[str] = ()) -> list[Any]:
    """What each of two processes prints that work together (`parallel.multihost.join`)."""
    ends = ended(started([*STRICT, "-m", module, *arguments], devices))
    assert [end.returncode for end in ends] == [0, 0], ends
    # What carries their messages says that it is connected, on the same channel.
    return [json.loads(end.stdout.splitlines()[-1]) for end in ends]


def started(words: Sequence[str], devices: int) -> list[subprocess.Popen]:
    """Two processes of Python with these arguments, told as on a pod's hosts where the other is."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    environment = _devices(devices) | {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return [
        subprocess.Popen([sys.executable, *words], cwd=ROOT, env=environment | {"JAX_PROCESS_ID": number}, **pipes)
        for number in "01"
    ]


def _devices(count: int) -> dict[str, str]:
    """An environment with so many virtual CPU devices."""
    return os.environ | {"JAX_NUM_CPU_DEVICES": str(count), "JAX_PLATFORMS": "cpu", "XLA_FLAGS": CHEAP}


def ended(both: Sequence[subprocess.Popen]) -> list[subprocess.CompletedProcess]:
    """How they ended, and what they said; none of them is left."""
    try:
        with ThreadPoolExecutor() as readers:  # together, so that none waits for the other's pipe to be read
            said = list(readers.map(lambda process: process.communicate(timeout=1200), both))
    finally:
        for process in both:
            process.kill()
            process.wait()
    return [
        subprocess.CompletedProcess(process.args, process.returncode, *each)
        for process, each in zip(both, said, strict=True)
    ]
