"""Standard streams as shells and other programs leave them: what a command does and how it ends stays the same."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """\
red = ask(n=4)
drawn = red |> reply(complain=true)
model = drawn |> train(steps=2)
expect measure(model, red) {claim} 0 "said “so”"
"""


def shell(folder, words, streams="", **environment):
    """Exit code, stdout and stderr of `cai-jax` with the toy stages, its streams redirected as a shell does."""
    command = f'"{sys.executable}" -m tests.runs._toy_cli {words} {streams}'
    settings = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=settings, stdin=subprocess.DEVNULL, capture_output=True
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run's folder where everything is in the cache, and two programs: one claim holds, one does not."""
    folder = tmp_path_factory.mktemp("streams")
    for name, claim in (("good", ">"), ("bad", "<")):
        (folder / f"{name}.cai").write_text(PROGRAM.format(claim=claim))
    (folder / "wrong.cai").write_text("red = aks(n=4)\n")
    assert shell(folder, "run good.cai")[0] == 0
    return folder


@pytest.mark.parametrize("streams", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-", "2>/dev/full", ">&- 2>/dev/full"])
@pytest.mark.parametrize(("words", "code"), [("run good.cai", 0), ("run bad.cai", 1), ("check wrong.cai", 3)])
def test_nobody_listening_changes_no_exit_code(streams, words, code, folder):
    if streams != "2>/dev/full" and words != "run bad.cai":
        pytest.skip("one command is enough for each of the other redirections")
    found, out, err = shell(folder, words, streams)
    assert found == code and b"Traceback" not in out + err
    assert (b"FAILS" in out) == (words == "run bad.cai" and ">&- 2" not in streams)


def test_with_stderr_closed_no_file_of_the_run_is_written_to_instead(folder):
    assert shell(folder, "run good.cai --out fresh", "2>&-")[0] == 0
    for part in (folder / "fresh").rglob("part-*.jsonl"):
        assert all(json.loads(line)["id"] for line in part.read_text().splitlines())


@pytest.mark.parametrize("words", ["run good.cai", "ls", "--version"])
def test_what_cannot_be_told_is_no_success(words, folder):
    code, _, err = shell(folder, words, ">/dev/full")
    assert code == 2 and b"No space left on device" in err
    assert b"Traceback" not in err and b"Exception ignored" not in err


@pytest.mark.parametrize("words", ["run --help", "ls --nodes"])
def test_a_reader_that_has_gone_ends_a_command_as_sigpipe_does(words, folder):
    code, _, err = shell(folder, words, "> >(exec <&-; sleep 1)")
    assert (code, err) in ((141, b""), (0, b""))  # a short text may be in the pipe before it is closed


@pytest.mark.parametrize("encoding", ["cp1252", "ascii:strict", "utf-16"])
@pytest.mark.parametrize("words", ["run good.cai", "plan good.cai --prompts 1", "show drawn --json"])
def test_any_encoding_will_do(encoding, words, folder):
    if encoding == "utf-16" and words != "show drawn --json":
        pytest.skip("JSON is where an encoding could do harm")
    code, out, err = shell(folder, words, PYTHONIOENCODING=encoding)
    assert code == 0 and b"bug" not in err
    text = out.decode(encoding.partition(":")[0])
    if "--json" in words:
        assert json.loads(text)["names"] == ["drawn"]
    elif "run" in words:
        assert ("said “so”" if encoding == "cp1252" else "said \\u201cso\\u201d") in text
    else:
        assert "Human:\\u27e6 q0\\u27e7" in text


def test_a_panic_is_a_bug_and_no_claim_that_failed(folder):
    """What Rust raises in Python, such as the tokenizers' panics, is no Exception."""
    code = (
        "import sys; from cai_jax import cli, stages; from tests.runs import _toy as toy\n"
        "class PanicException(BaseException): pass\n"
        "def run(ctx): raise PanicException('index out of bounds')\n"
        "stages.registry = lambda: {**toy.REGISTRY, 'ask': toy.stage('ask', run, toy.Kind.PROMPTS, "
        "(toy.number('n', 8),), group='source')}\n"
        "cli.main(sys.argv[1:])"
    )
    for words, expected in ((["run", "good.cai", "--out", "other"], 4), (["plan", "good.cai", "--out", "none"], 0)):
        done = subprocess.run(
            [sys.executable, "-c", code, *words],
            cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == expected and "Traceback" not in done.stderr
        assert "PanicException: index out of bounds" in done.stderr
        assert (folder / words[-1]).exists() is (words[0] == "run")


@pytest.mark.parametrize("words", ["run", "check", "plan", "fmt"])
def test_a_program_whose_name_is_not_utf8(words, folder):
    (folder / "odd").mkdir(exist_ok=True)
    name = b"\xff\x1b[31m.cai"
    Path(os.fsdecode(os.fsencode(folder / "odd") + b"/" + name)).write_text(PROGRAM.format(claim=">"))
    code, out, err = shell(folder, f"{words} odd/$'\\xff\\x1b[31m.cai'")
    assert code == 0 and b"\x1b" not in out + err and b"Traceback" not in err
    if words == "run":
        assert b"odd" in shell(folder, "ls --json")[1]
    if words == "check":
        assert b"odd/\\udcff\\x1b[31m.cai: 0 errors" in out


@pytest.mark.parametrize("value", ["$'steps=\\xff'", "steps=1_", "$'steps=\\x1b'", "steps=", "=", "steps=1e999"])
def test_a_setting_that_is_none_is_an_error_without_a_traceback(value, folder):
    (folder / "knob.cai").write_text(
        "let steps = 2 in 1..9\n" + PROGRAM.format(claim=">").replace("steps=2", "steps=steps")
    )
    code, out, err = shell(folder, f"check knob.cai --set {value}")
    assert code in (2, 3) and b"Traceback" not in err and b"bug" not in err and b"\x1b" not in out + err


def test_a_home_that_cannot_be_written_to(folder):
    assert shell(folder, "run good.cai", HOME="/dev/null", XDG_CACHE_HOME="")[0] == 0
