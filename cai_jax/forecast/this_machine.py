"""This machine's devices, memory and rates: measured once, in a process of its own, and kept. Imports no JAX."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

from cai_jax.forecast import machines
from cai_jax.forecast.machines import BYTES, Machine
from cai_jax.lang.parser_cache import cache_folder

# Seconds after which measuring is given up; it takes about fifteen, and more where an accelerator starts.
PATIENCE = 180
# What decides which devices JAX finds, and how fast they are.
_ENVIRONMENT = ("JAX_PLATFORMS", "JAX_NUM_CPU_DEVICES", "XLA_FLAGS", "CUDA_VISIBLE_DEVICES", "TPU_VISIBLE_CHIPS")


def machine(topology: str | None, again: bool = False, rates: bool = True) -> Machine:
    """The machine of this name; without one this machine. Virtual CPU devices share this machine's CPU.

    Where measuring fails (the accelerator is taken by another process), of this machine nothing is known but that it
    has one device.

    Args:
      again: measure this machine even if it has been measured.
      rates: whether its rates are wanted; else it is not measured.

    Raises:
      UserError: there is none of this name.
    """
    known = Machine("this machine", "cpu", 1) if topology is None else machines.named(topology)
    if known.platform != "cpu":
        return known
    here = _measured(known.name, {}, again) if rates else None
    if topology is None or here is None:
        return here or known
    if here.platform != "cpu":
        here = _measured(known.name, {"JAX_PLATFORMS": "cpu"}, again)
    return known if here is None else _shared(here, known.devices)


def _shared(here: Machine, devices: int) -> Machine:
    """This machine's CPU as so many devices instead of those as which it was measured."""
    count = devices / here.devices
    rates = {size: rate / count for size, rate in (here.flops or {}).items()}
    memory = None if here.memory is None else here.memory / count
    return replace(here, devices=devices, flops=rates, bandwidth=here.bandwidth / count, memory=memory)


def _measured(name: str, environment: Mapping[str, str], again: bool) -> Machine | None:
    """This machine under this environment besides, as it was measured once or is now; None where that fails."""
    folder, file = cache_folder(), _file({**os.environ, **environment})
    if folder is not None and not again:
        with suppress(OSError, ValueError, KeyError, TypeError):  # there is none, or it is damaged
            return _machine(name, json.loads((folder / file).read_text("utf-8")))
    found = _measure(environment)
    if found is None:
        return None
    if folder is not None:
        _keep(folder / file, found)
    return _machine(name, found)


def _machine(name: str, found: Mapping[str, Any]) -> Machine:
    """What calibration.py says; devices of a CPU share what one of them had for itself."""
    shared = found["devices"] if found["platform"] == "cpu" else 1
    rates = {BYTES[dtype]: rate / shared for dtype, rate in dict(found["flops"]).items()}
    memory, bandwidth = found["memory"] / shared, found["bandwidth"] / shared
    return Machine(name, found["platform"], found["devices"], memory, rates, bandwidth, measured=True)


def _measure(environment: Mapping[str, str]) -> dict[str, Any] | None:
    """What calibration.py prints in a process of its own; None where it fails."""
    words = [sys.executable, "-m", "cai_jax.forecast.calibration"]
    # An accelerator's memory is not to be taken as a whole for so little; glibc keeps memory, as it does in a run.
    kept = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)}
    around = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false", **kept, **environment}
    try:
        done = subprocess.run(words, env=around, capture_output=True, timeout=PATIENCE, check=True, text=True)
        return dict(json.loads(done.stdout.splitlines()[-1]))
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def _file(environment: Mapping[str, str]) -> str:
    """The name of the file for this machine: what decides how fast it is, and with which JAX."""
    about = [platform.node(), platform.machine(), str(len(_cores())), version_of("jaxlib")]
    about += [environment.get(name, "") for name in _ENVIRONMENT]
    return f"machine-{hashlib.blake2b(chr(0).join(about).encode(), digest_size=8).hexdigest()}.json"


def _cores() -> set[int]:
    affinity = getattr(os, "sched_getaffinity", None)
    return affinity(0) if affinity else set(range(os.cpu_count() or 1))


def version_of(package: str) -> str:
    """The version of an installed package; "" where it is not."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _keep(path: Path, found: Mapping[str, Any]) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    with suppress(OSError):
        temporary.write_text(json.dumps(found), "utf-8")
        os.replace(temporary, path)
