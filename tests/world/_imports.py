"""Which modules of the package import which, read from their text: imports inside functions count."""

from __future__ import annotations

import ast
import functools
from pathlib import Path


@functools.cache
def graph(package: Path) -> dict[str, frozenset[str]]:
    """Module -> modules of the package that it imports, both named without the package."""
    files = {_name(package, file): file for file in package.rglob("*.py")}
    return {name: frozenset(_imports(package.name, file, files)) for name, file in files.items()}


def importers(package: Path, module: str) -> set[str]:
    """The modules that import this one."""
    return {name for name, imported in graph(package).items() if module in imported}


def reached(package: Path, module: str, past: frozenset[str] = frozenset()) -> set[str]:
    """The modules that this one imports, and those that they import, and so on, but not by way of `past`."""
    edges, found, todo = graph(package), set(), [module]
    while todo:
        new = edges[todo.pop()] - found - past
        found |= new
        todo += new
    return found


def _name(package: Path, file: Path) -> str:
    parts = file.relative_to(package).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(package: str, file: Path, files: dict[str, Path]) -> set[str]:
    named = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            named |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    inside = {name.removeprefix(f"{package}.") for name in named if name.startswith(f"{package}.")}
    return inside & set(files)
