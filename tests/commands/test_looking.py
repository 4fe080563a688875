"""Commands that look: they write nothing, and what data says in them is shown to the letter and steers nothing."""

# ruff: noqa: F811
import sys

import pytest

from cai_jax.lang import assets
from cai_jax.terminal import unescaped
from tests.commands.test_guard import GUARD
from tests.runs import _toy as toy
from tests.test_cli import call, program  # noqa: F401


@pytest.mark.parametrize("ran", [False, True])
def test_looking_writes_nothing(ran, program, call, tmp_path):
    if ran:
        call("run", program)
    stamps = lambda: {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}  # noqa: E731
    before = stamps()
    looks = "check toy.cai, plan toy.cai --prompts 1, plan toy.cai --set steps=7, show drawn, show nothing, ls --verify"
    for words in f"{looks}, ls --nodes, explain E204, plan toy.cai --topology none".split(", "):
        call(*words.split())
    assert stamps() == before


STEERING = "\x1b[31mRED\r\x08\u202e ⟧\nholds  a > 0\n--- 2\npassed   no principle flagged it"


@pytest.fixture
def steering(monkeypatch, program):
    """Prompts and replies that would paint, move the cursor, and pass for lines of the tool."""
    row = {"id": "p0-0", "turns": [{"role": "human", "text": STEERING}], "split": "test"}
    monkeypatch.setattr(toy.REGISTRY["ask"], "run", lambda ctx: ctx.commit([row]))
    replied = lambda ctx: ctx.commit([{**row, "reply": f"r0.1{STEERING}"} for row in ctx.inputs["prompts"].rows()])  # noqa: E731
    monkeypatch.setattr(toy.REGISTRY["reply"], "run", replied)
    return program


def test_what_data_says_steers_nothing_and_forges_no_line(steering, call):
    shown = call("plan", steering, "--prompts", 1)[1]
    call("run", steering, "--only", "drawn")
    shown += call("show", "drawn")[1]
    steering.write_text(GUARD)
    guarded = call("guard", steering, "--prompt", STEERING)[1]
    assert not set("\x1b\r\x08\u202e") & set(shown + guarded) and "\\x1b[31mRED\\x0d\\x08\\u202e" in shown
    lines = (shown + guarded).split("\n")
    assert not [line for line in lines if line.startswith(("holds", "--- 2"))]
    assert sum(line.startswith("passed") for line in lines) == 1


def test_prompts_are_shown_to_the_letter(steering, call):
    _, _, body = call("plan", steering, "--prompts", 1)[1].partition("--- 1\n")
    text = "\n".join(line[2:] for line in body.removesuffix("\n").split("\n"))
    trusted, _, rest = text.partition("⟦")
    data, _, behind = rest.partition("⟧")
    assert (unescaped(trusted), unescaped(data), behind) == ("\n\nHuman:", f" {STEERING}", "")


LONG = """\
red = ask(n=8)
drawn_with_a_name_that_is_long = red |> reply(complain=true)
model = drawn_with_a_name_that_is_long |> train(steps=6)
expect measure(model, red) > 0 at 95% "it is positive, and the reason for it is a sentence"
"""


@pytest.mark.parametrize("ran", [False, True])
@pytest.mark.parametrize("command", ["plan toy.cai", "run toy.cai", "ls", "ls --nodes", "show measure(model,red)"])
def test_nothing_is_wider_than_the_terminal_and_all_of_it_goes_through_a_pipe(ran, program, call, monkeypatch, command):
    program.write_text(LONG)
    if ran or not command.startswith("plan"):
        call("run", program)
    words = command.split()
    monkeypatch.setenv("COLUMNS", "60")
    piped = call(*words)[1]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    code, shown, err = call(*words)
    assert code == 0, err
    assert [line for line in shown.splitlines() if len(line) > 60] == []
    wide = call(*words, "-o", "wide")[1]
    if command.startswith("run"):  # each run has a folder of its own
        piped, shown, wide = (text.rpartition("ok: ")[0] for text in (piped, shown, wide))
    assert max(map(len, piped.splitlines())) > 60 and wide == piped  # as wide as it needs
    assert letters(shown) == letters(piped)


@pytest.mark.parametrize("example", ["quickstart", "rl", "paper"])
def test_a_plan_of_a_shipped_program_is_no_wider_than_the_terminal(example, call, monkeypatch, tmp_path):
    words = ("plan", assets.find("programs") / f"{example}.cai", "--out", tmp_path)
    monkeypatch.setenv("COLUMNS", "60")
    piped = call(*words)[1]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    shown = call(*words)[1]
    assert [line for line in shown.splitlines() if len(line) > 60] == []
    assert max(map(len, piped.splitlines())) > 60 and letters(shown) == letters(piped)


def letters(text):
    """What a text says, however its lines are broken."""
    return sorted("".join(text.replace("-", "").split()))
