"""The stages: one file each, here and in `metrics`, found by their SIGNATURE. Importing this imports no JAX."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from types import ModuleType


@functools.cache
def registry() -> Mapping[str, ModuleType]:
    """Every stage by the name under which programs call it: each module of this room that has a SIGNATURE."""
    modules = [importlib.import_module(info.name) for info in pkgutil.walk_packages(__path__, f"{__name__}.")]
    return {module.SIGNATURE.name: module for module in modules if hasattr(module, "SIGNATURE")}
