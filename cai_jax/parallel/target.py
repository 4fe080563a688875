"""The devices that steps are made for: those of this process, or of a machine that is only described."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import jax

_TARGET: ContextVar[tuple[jax.Device, ...] | None] = ContextVar("target", default=None)


def devices() -> list[jax.Device]:
    """All devices that steps are made for."""
    target = _TARGET.get()
    return jax.devices() if target is None else list(target)


def local_devices() -> list[jax.Device]:
    """Those of `devices` that belong to this process, or would on the machine described."""
    target = _TARGET.get()
    return jax.local_devices() if target is None else list(target)


def platform() -> str:
    """The platform of `devices`, as `jax.default_backend()` names it: "cpu", "gpu" or "tpu"."""
    target = _TARGET.get()
    return jax.default_backend() if target is None else target[0].platform


@contextmanager
def compiling_for(chosen: Sequence[jax.Device]) -> Iterator[None]:
    """Within this context, steps are made for these devices, which need not be there (forecast/aot.py).

    A trace for one platform must not be used on another, and JAX's own caches do not distinguish them: they are
    emptied on the way in and out.
    """
    jax.clear_caches()
    token = _TARGET.set(tuple(chosen))
    try:
        yield
    finally:
        _TARGET.reset(token)
        jax.clear_caches()
