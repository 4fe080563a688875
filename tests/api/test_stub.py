"""cai_jax/__init__.pyi says what the signatures of the stages say, and what calls take.

To generate it anew: CAI_JAX_GOLDEN=write python -m pytest tests/api/test_stub.py
"""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import cai_jax
from cai_jax.api import stage_calls, stub
from cai_jax.stages import registry

STUB = Path(cai_jax.__file__).with_name("__init__.pyi")


def test_the_stub_is_not_stale():
    fresh = stub.text(registry())
    if os.environ.get("CAI_JAX_GOLDEN") == "write":
        STUB.write_text(fresh, encoding="utf-8")
    assert fresh == STUB.read_text(encoding="utf-8"), "generate it anew, see the top of this file"


def functions():
    return {each.name: each for each in ast.parse(STUB.read_text("utf-8")).body if isinstance(each, ast.FunctionDef)}


def test_it_has_every_function_of_the_package():
    assert set(functions()) == {*stage_calls.callables(), "load", "stage"}


def test_a_stage_has_its_parameters_types_and_defaults():
    sample = functions()["sample"].args
    given = {each.arg: ast.unparse(each.annotation) for each in (*sample.args, *sample.kwonlyargs)}
    assert [each.arg for each in sample.args] == ["prompts", "model"]
    assert given["prompts"] == "Written | str | Path | Sequence[str | Mapping[str, Any]]"
    assert given["model"] == "Written | str | Path"
    defaults = dict(zip((each.arg for each in sample.kwonlyargs), map(ast.unparse, sample.kw_defaults), strict=True))
    assert (given["n"], defaults["n"]) == ("int", "1")
    assert (given["overlong"], defaults["overlong"]) == ("Literal['skip', 'error', 'truncate_left']", "'skip'")
    judge = functions()["judge"].args
    assert [(each.arg, ast.unparse(each.annotation)) for each in judge.args][-1] == (
        "by",
        "Written | str | Path | Sequence[Written | str | Path] | None",
    )


def test_it_is_shipped():
    assert STUB.with_name("py.typed").read_text() == ""


RIGHT = """
import cai_jax
base = cai_jax.model("builtin:tiny")
replies = cai_jax.sample(["How?"], base, n=2, temperature=0.5, overlong="error")
labels = replies.split("train")
print(replies.result, cai_jax.harm_rate(base, on="builtin:red_team").key)
"""
WRONG = {
    "cai_jax.sample(['How?'], 'builtin:tiny', m=2)": 'Unexpected keyword argument "m" for "sample"',
    "cai_jax.sample(['How?'], 'builtin:tiny', n='2')": 'Argument "n" to "sample" has incompatible type "str"',
    "cai_jax.sample(['How?'])": 'Missing positional argument "model"',
    "cai_jax.sampel": 'Module has no attribute "sampel"',
}


def test_a_type_checker_accepts_right_calls_and_refuses_wrong_ones(tmp_path):
    pytest.importorskip("mypy")
    (tmp_path / "calls.py").write_text(RIGHT + "\n".join(WRONG) + "\n", encoding="utf-8")
    # The stub and what its functions return: all else would take a minute, and is of no concern here.
    files = ["calls.py", str(STUB), stage_calls.__file__]
    words = ["-m", "mypy", "--follow-imports=skip", "--hide-error-context", f"--cache-dir={tmp_path}", *files]
    environment = {**os.environ, "MYPYPATH": str(STUB.parents[1])}
    done = subprocess.run([sys.executable, *words], cwd=tmp_path, env=environment, capture_output=True, text=True)
    told = [line for line in done.stdout.splitlines() if line.startswith("calls.py") and ": error:" in line]
    first = RIGHT.count("\n") + 1
    assert [int(line.split(":")[1]) for line in told] == [first + n for n in range(len(WRONG))], done.stdout
    for message, line in zip(WRONG.values(), told, strict=True):
        assert message in line
