"""The rooms of the package and the order in which they import each other, which CONTRIBUTING.md explains."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cai_jax

PACKAGE = Path(cai_jax.__file__).parent
GUIDE = PACKAGE.parent / "CONTRIBUTING.md"

# Who imports JAX at import time although it stands above `pipeline`: what lowers and compiles steps for `compile`.
COMPILES = {
    "cai_jax.forecast.aot",
    "cai_jax.forecast.calibration",
    "cai_jax.forecast.engine_shapes",
    "cai_jax.forecast.ppo_steps",
    "cai_jax.report.compiled_steps",
    "cai_jax.runs.compile_cache",
}
# Outside the order: what joins the rooms to one package and one command.
JOINTS = {"__init__", "__main__", "cli"}


def rooms() -> list[str]:
    """The order as CONTRIBUTING.md gives it: a table whose first column names the rooms, the lowest first."""
    text = GUIDE.read_text(encoding="utf-8").partition("## Rooms")[2].partition("\n## ")[0]
    named = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return [word.strip(" `") for cell in named for word in cell.split(",")]


def modules() -> dict[str, Path]:
    """Every module by its dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def room(module: str) -> str:
    """The room of a dotted name; "__init__" for the package itself, as in `from cai_jax import __version__`."""
    words = module.split(".")
    return words[1] if len(words) > 1 and not words[1].startswith("__version") else "__init__"


def imports(source: str) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything of the package that a module imports, within functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, each.name) for each in node.names if each.name.split(".")[0] == "cai_jax")
        elif isinstance(node, ast.ImportFrom) and node.module == "cai_jax":
            yield from ((node.lineno, f"cai_jax.{each.name}") for each in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cai_jax."):
            yield node.lineno, node.module


def upward(name: str, source: str, order: list[str]) -> list[str]:
    """What a module imports from a room above its own, as "line: name"."""
    mine = room(name)
    allowed = {*order[: order.index(mine) + 1], "__init__"}
    return [f"{line}: {found}" for line, found in imports(source) if room(found) not in allowed]


def test_every_room_is_in_the_order():
    there = {room(name) for name in modules()} - JOINTS
    assert sorted(rooms()) == sorted(there)


def test_arrows_go_down_only():
    order = rooms()
    found = {
        name: wrong
        for name, path in modules().items()
        if room(name) not in JOINTS and (wrong := upward(name, path.read_text(encoding="utf-8"), order))
    }
    assert found == {}


def test_an_arrow_up_is_found():
    order = ["errors", "lang", "pipeline", "stages"]
    source = "from cai_jax.errors import UserError\ndef f():\n    from cai_jax import stages, lang\n"
    assert upward("cai_jax.pipeline.pairs", source, order) == ["3: cai_jax.stages"]
    assert upward("cai_jax.lang.plan", "import cai_jax.pipeline.rng", order) == ["1: cai_jax.pipeline.rng"]
    assert upward("cai_jax.stages.judge", source, order) == []


def test_the_language_knows_nothing_of_the_package():
    known = {"lang", "errors", "terminal"}
    found = {
        (name, imported)
        for name, path in modules().items()
        if room(name) == "lang"
        for _, imported in imports(path.read_text(encoding="utf-8"))
        if room(imported) not in known
    }
    assert found == set()


# Imports modules in a process that has no JAX, and prints those that want it.
WITHOUT = """
import importlib, sys
sys.modules["jax"] = None
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        assert error.name.split(".")[0] == "jax", error
        print(name)
"""


def test_what_stands_above_the_pipeline_imports_no_jax():
    order = rooms()
    above = set(order[order.index("pipeline") + 1 :])
    names = [name for name in modules() if room(name) in above]
    found = subprocess.run([sys.executable, "-c", WITHOUT, *names], stdout=subprocess.PIPE, text=True, check=True)
    assert set(found.stdout.split()) == COMPILES


def long(source: str, lines: int, function: int) -> list[str]:
    """What is longer than allowed: "file", and functions by their names."""
    found = ["file"] if source.count("\n") > lines else []
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    return found + [each.name for each in functions if each.end_lineno - each.lineno >= function]


def test_no_file_and_no_function_is_longer_than_contributing_says():
    lines, function = map(
        int, re.search(r"no file over (\d+) lines, no function over (\d+)", GUIDE.read_text()).groups()
    )
    paths = [*PACKAGE.rglob("*.py"), *(PACKAGE.parent / "tests").rglob("*.py")]
    found = {
        str(path.relative_to(PACKAGE.parent)): long(path.read_text(encoding="utf-8"), lines, function) for path in paths
    }
    assert not {path: names for path, names in found.items() if names}
    assert long("def f():\n    a = 1\n    return a\n", 2, 2) == ["file", "f"]
