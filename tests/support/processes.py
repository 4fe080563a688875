"""Modules of the tests in processes of their own, with virtual CPU devices. Each prints one JSON value."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def one(module: str, devices: int, arguments: Sequence[str] = (), **environment: str) -> Any:
    """What `python -m module` prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", module, *arguments],
        cwd=ROOT,
        env=os.environ | {"JAX_NUM_CPU_DEVICES": str(devices), "JAX_PLATFORMS": "cpu"} | environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


def two(module: str, devices: int, arguments: Sequence[str] = ()) -> list[Any]:
    """What each of two processes prints that work together; they are given their number and a meeting place first."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": str(devices), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-W", "error", "-m", module]
    both = [
        subprocess.Popen([*command, number, address, *arguments], cwd=ROOT, env=environment, stdout=subprocess.PIPE)
        for number in "01"
    ]
    try:
        said = [process.communicate(timeout=300)[0] for process in both]
    finally:
        for process in both:
            process.kill()
            process.wait()
    assert [process.returncode for process in both] == [0, 0]
    # What carries their messages says that it is connected, on the same channel.
    return [json.loads(each.splitlines()[-1]) for each in said]
