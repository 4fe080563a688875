"""The stages: one file each, found here by name. Importing this imports no JAX."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from types import ModuleType


@functools.cache
def registry() -> Mapping[str, ModuleType]:
    """Every stage by the name under which programs call it: each module here that has a SIGNATURE."""
    found = {}
    for info in pkgutil.iter_modules(__path__):
        if info.ispkg or info.name == "protocol":
            continue
        module = importlib.import_module(f"{__name__}.{info.name}")
        found[module.SIGNATURE.name] = module
    return found
