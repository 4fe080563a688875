"""`cai-jax guard` as a user sees it, on the toy registry of tests/runs."""

# ruff: noqa: F811
import io
import json
from pathlib import Path

from tests.runs import _toy as toy
from tests.test_cli import call, program  # noqa: F401

GUARD = "guarded = _ |> reply() |> screen() |> amend()\n"


def test_guard(program, call, monkeypatch):
    program.write_text(GUARD)
    code, out, _ = call("guard", program, "--json", "--prompt", "a", "--prompt", "b", "--prompt", "c")
    told = json.loads(out)
    assert code == 0 and [one["prompt"] for one in told] == ["a", "b", "c"]
    for one in told:
        first = one["steps"][0]["reply"]
        if first > "r0.5":
            assert one["flagged"]["principle"] == "small" and one["revised"] and one["reply"] == "r0.0"
            assert one["steps"][-1]["critique"] == "It is large."
        else:
            assert one["flagged"] is None and not one["revised"] and one["reply"] == first
    assert {one["revised"] for one in told} == {True, False}
    assert not list(Path("runs/cache").glob("reply-*"))


def typed(text):
    return io.TextIOWrapper(io.BytesIO(text), encoding="utf-8")


def test_guard_reads_stdin_and_speaks(program, call, monkeypatch):
    program.write_text(GUARD)
    monkeypatch.setattr("sys.stdin", typed(b"a\n\nb\n"))
    code, out, _ = call("guard", program)
    told = json.loads(call("guard", program, "--json", "--prompt", "a", "--prompt", "b")[1])
    assert code == 0 and len(spoken := out.split("\n\n")) == 2
    for text, one in zip(spoken, told, strict=True):
        assert ("flagged  by small" in text) == one["revised"] != ("passed   no principle" in text)
        assert one["prompt"] in text and one["reply"] in text


def test_guard_refuses_what_is_no_prompt(program, call, monkeypatch):
    program.write_text(GUARD)
    monkeypatch.setattr("sys.stdin", typed(b"a\nb\xff\n"))
    code, _, err = call("guard", program)
    assert code == 2 and "prompt 2 is not UTF-8: 'b\\udcff'" in err
    for prompt, said in (("", "a prompt is empty"), ("\udcff", "prompt 1 is not UTF-8")):
        code, _, err = call("guard", program, "--prompt", prompt)
        assert code == 2 and said in err


def test_guard_through_one_of_several_flows(program, call):
    program.write_text(GUARD + "other = _ |> reply()\n")
    code, _, err = call("guard", program, "--prompt", "a")
    assert code == 2 and "several flows" in err and "guarded, other" in err
    code, out, _ = call("guard", program, "--prompt", "a", "--flow", "other", "--json")
    assert code == 0 and [step["stage"] for step in json.loads(out)[0]["steps"]] == ["reply"]


def test_guard_without_a_flow(program, call):
    code, _, err = call("guard", program, "--prompt", "a")
    assert code == 2 and "no flow to guard with" in err


def test_guard_writes_no_prompt_to_any_disk(program, call, monkeypatch, tmp_path):
    """Whenever it is killed: not even while it is at work."""
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    found, replied = [], toy.REGISTRY["amend"].run

    def looked(ctx):
        replied(ctx)
        found.extend(path for path in tmp_path.rglob("*") if path.is_file() and b"a secret" in path.read_bytes())

    monkeypatch.setattr(toy.REGISTRY["amend"], "run", looked)
    program.write_text(GUARD)
    assert call("guard", program, "--prompt", "a secret")[0] == 0
    assert not found and b"a secret" not in b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
