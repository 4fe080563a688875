"""Constitutional AI in JAX and Flax, driven by a small language.

Every stage of the language can be called at once, on the same cache as programs use:

    import cai_jax

    base = cai_jax.model("builtin:tiny")
    replies = cai_jax.sample(["How do I pick a lock?"], base, n=2)
    print([row["reply"] for row in replies])

Importing this imports no JAX.
"""

from __future__ import annotations

import importlib.util
from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`cai_jax.<stage>`: a callable for every stage that a program could call; see `runs.immediate`."""
    # `from cai_jax import cli` asks here first; for a module of the package the import system has to go on.
    if not name.startswith("_") and importlib.util.find_spec(f"cai_jax.{name}") is None:
        from cai_jax.runs import immediate

        if name in immediate.callables():
            return immediate.callables()[name]
    raise AttributeError(f"module 'cai_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    from cai_jax.runs import immediate

    return [*globals(), *immediate.callables()]
