"""What `check` can know of a program: what cannot run, and what is said in vain."""

from __future__ import annotations

import json

import pytest

from cai_jax.lang.checker import check
from cai_jax.lang.diagnostics import render
from cai_jax.stages import registry

HEAD = """use harmless from "constitutions/starter.cai"
base = model("builtin:tiny")
red = prompts("builtin:red_team")
ask = prompts("builtin:helpful")
one = red.test |> sample(base)
two = red.train |> sample(base, n=2)
labels = two |> judge(harmless)
rm = labels |> reward(base)
sl = one + two |> finetune(base)
rate = harm_rate(sl, ask.test, by=rm)
"""


def found(text: str, folder):
    return check(HEAD + text + "\n", folder / "p.cai", registry()).diagnostics


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "rows.jsonl").write_text('{"text": "Some text."}\n' * 3, encoding="utf-8")
    long = {
        "form": "critique",
        "turns": [{"role": "human", "text": "so " * 3000}],
        "reply": "r",
        "critique_request": "c",
    }
    long |= {"critique": "c", "revision_request": "r", "revision": "r"}
    (tmp_path / "long.jsonl").write_text(json.dumps(long), encoding="utf-8")
    (tmp_path / "letters.jsonl").write_text(json.dumps({**long, "turns": SHORT, "reply": "xq" * 999}))
    audit = {"form": "audit", "turns": SHORT, "reply": "xq" * 999, "question": "q", "answer": "no"}
    (tmp_path / "audits.jsonl").write_text(json.dumps(audit))
    for name in ("said", "told"):
        rows = [{"prompt": f"q{i}", "response": name} for i in range(40)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    others = [{"prompt": f"q{i}", "response": "so"} for i in range(30, 50)]
    (tmp_path / "others.jsonl").write_text("".join(json.dumps(row) + "\n" for row in others))
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


LONG = 'constitution long { fewshots = "long.jsonl" principle p { critique = "c" revise = "r" compare = "c" } }\n'
# Of these examples the words are few, and only the tokenizer tells how long they are.
LETTERS = LONG.replace("long", "letters")
AUDITS = 'constitution audits { fewshots = "audits.jsonl" principle p { audit = "a" } }\n'
SAID, TOLD = 'replies("said.jsonl")', 'replies("told.jsonl")'  # what these reply to, a run finds
SHORT = [{"role": "human", "text": "so"}]
IN_VAIN = [
    "labels2 = two |> judge(harmless, clamp=0.4..0.6)",
    "labels2 = two |> judge(harmless, labels=hard, reason=true, clamp=0.4..0.6)",
    "labels2 = two |> judge(harmless, chains=4)",
    "labels2 = two |> judge(harmless, max_new=50)",
    'm = one |> finetune(model("builtin:tiny", seed=1))',
    'm = one |> finetune(model("builtin:tiny", shape="tiny"))',
    'm = one |> finetune(model("builtin:tiny", tokenizer="builtin:tiny"))',
    'r = harm_rate(sl, prompts("builtin:helpful", column="prompt").test, by=rm)',
    'r = harm_rate(sl, prompts("builtin:helpful", test=50%).test, by=rm)',
    'm = prefs("builtin:helpful_prefs", chosen="a", rejected="b").train |> reward(base)',
    'm = documents("rows.jsonl", shots=2) |> finetune(base)',
    'm = documents("rows.jsonl", form=audit) |> finetune(base)',
    'm = documents("rows.jsonl", contrast=true) |> finetune(base)',
    'm = documents("builtin:world", rows=5, column="text") |> finetune(base)',
    "r = harm_rate(one, under=harmless)",
    "r = harm_rate(sl, ask.test, by=rm, under=harmless)",
    "m = two |> sample(base) with (microbatch=2)",
    'x = prompts("builtin:helpful") with (slots=2)',
    "r = harm_rate(sl, ask.test, by=rm) with (slots=4)",
    "m = one |> finetune(base) with (slots=4)",
]


@pytest.mark.parametrize("text", IN_VAIN)
def test_what_changes_nothing_is_an_error(text, folder):
    text = text.replace("two |> sample", "red.train |> sample")
    wrong = [each for each in found(text, folder) if each.code != "E207"]
    assert [each.code for each in wrong] in (["E241"], ["E241"] * 2), render(wrong)
    assert all(each.span.start >= len(HEAD) for each in wrong)


CANNOT_RUN = [
    ("m = one |> revise(harmless, max_new=5000) |> finetune(base)", "E220", "5000 new tokens"),
    ("l = two |> judge(harmless, reason=true, max_new=5000)\nm = l |> reward(base)", "E220", "5000 new tokens"),
    (f"{LONG}m = one |> revise(long) |> finetune(base)", "E220", "examples of 3"),
    (f"{LETTERS}m = one |> revise(letters) |> finetune(base)", "E220", "examples of"),
    (f"{AUDITS}m = one |> screen(audits) |> finetune(base)", "E220", "examples of"),
    (f"{AUDITS}r = harm_rate(one, by=base, under=audits)", "E220", "examples of"),
    (f'm = one |> refuse("{"no " * 1200}") |> finetune(base)', "E220", "a reply of"),
    (f'm = one |> refuse("{"xq" * 999}") |> finetune(base)', "E220", "a reply of"),
    ('m = one |> refuse(" ") |> finetune(base)', "E237", "an empty reply"),
    ("l = two |> judge(harmless, principles=99)\nm = l |> reward(base)", "E237", "principles, and 99"),
    ("r = win_rate(sl, base, ask.test, by=base, under=harmless, principles=99)", "E237", "principles, and 99"),
    ('m = prefs("rows.jsonl", chosen="text").train |> reward(base)', "E223", "without `rejected`"),
    ('m = prefs("rows.jsonl", a="text", b="x").train |> reward(base)', "E223", "without `label`"),
    (
        'm = prefs("rows.jsonl", chosen="b", rejected="a", a="a", b="b", label="p").train |> reward(base)',
        "E241",
        "either",
    ),
    ("l = two |> judge(harmless, pairs=10)\nm = l |> reward(base)", "E237", "make 1 pairs, not 10"),
    ("m = (red.test + ask.test).train |> sample(base) |> finetune(base)", "E226", "one split is selected"),
    ("m = (red.train + ask.test).dev |> sample(base) |> finetune(base)", "E226", "no `dev` in it"),
    ("m = red.train + red.train |> sample(base) |> finetune(base)", "E246", "joined with itself"),
    ("m = red.train + red |> sample(base) |> finetune(base)", "E246", "joined with itself"),
    ("m = red + (ask + red.train) |> sample(base) |> finetune(base)", "E246", "joined with itself"),
    ("m = labels + labels |> reward(base)", "E246", "joined with itself"),
    ("r = win_rate(one, one, by=rm)", "E246", "the same as its `of`"),
    ("r = win_rate(sl, sl, ask.test, by=rm)", "E246", "the same as its `of`"),
    ("r = win_rate(one, red.train |> sample(sl), by=rm)", "E244", "the same prompts"),
    (f'r = win_rate({SAID}, replies("others.jsonl"), by=rm)', "E244", "40 and 20 replies, of which 10 are to the same"),
    (f'r = win_rate({SAID}, replies("told.jsonl", limit=9), by=rm)', "E244", "40 and 11 replies, of which 11 are"),
    ("r = harm_rate(_ |> sample(base), by=rm)", "E209", "no place here"),
    ("r = harm_rate(_ |> sample(base), ask.test)", "E209", "no place here"),
    ("r = win_rate(sl, _ |> sample(base), ask.test, by=rm)", "E209", "no place here"),
    ("r = harm_rate(sl, on=_, by=rm)", "E209", "no place here"),
    ("r = _ |> sample(base) |> harm_rate(by=rm)", "E207", "nothing uses the name `r`"),
    ("m = finetune(_ |> sample(base), base)", "E207", "nothing uses the name `m`"),
    (f"r = win_rate({SAID}.train, {SAID}.test, by=rm)", "E244", "the same prompts"),
    (f"r = harm_rate({SAID}.test, ask.test, by=rm)", "E244", "other prompts than those"),
    ("m = sl |> ppo(rm, on=ask.train, watch=rm)", "E246", "the same as its `reward`"),
    ("m = one |> finetune(base) with (mesh=mesh(tensor=3))", "E247", "heads of this model"),
    ("expect rate >= 0", "E243", "always holds"),
    ("expect rate > 1.5 at 95%", "E243", "never holds"),
    ("expect rate < 0%", "E243", "never holds"),
    ("expect 100% >= rate", "E243", "always holds"),
    ("expect rate < harm_rate(sl, ask.test, by=rm)", "E243", "compared with itself"),
    ("expect rate < 1e999", "E121", "too large"),
    ("expect rate < 0 * 1e999", "E121", "too large"),
    ("m = one |> finetune(base, adapter=lora(alpha=1e308))", "E237", "too large"),
    ("m = one |> finetune(base, epochs=1e-300)", "E237", "must be 1e-06..1000000"),
    ("m = one |> finetune(base, learning_rate=1e-300)", "E237", "too small"),
    ('m = documents("rows.jsonl", few=50%) |> finetune(base)', "E231", "no parameter `few`"),
    (
        'm = prefs("rows.jsonl", chosen="text", rejected="text").train |> reward(base)',
        "E246",
        "the same as its `chosen`",
    ),
    ('m = documents("rows.jsonl", skip=3) |> finetune(base)', "E237", "holds no more than 3"),
    ('m = one |> finetune(model("init:tiny", tokenizer="empty"))', "E227", "no tokenizer"),
]


@pytest.mark.parametrize(("text", "code", "told"), CANNOT_RUN)
def test_what_cannot_run_or_tells_nothing_is_an_error(text, code, told, folder):
    wrong = found(text, folder)
    assert [each.code for each in wrong] == [code], render(wrong)
    assert told in wrong[0].message and wrong[0].span.start >= len(HEAD)


MEANT = [
    "f = _ |> sample(base) |> finetune(base)\nm = red.train |> f()",
    "f = _ |> sample(base) |> harm_rate(by=rm)\nr = ask.test |> f()",
    "f = _ |> sample(base)\nr = win_rate(sl, f, ask.test, by=rm)",
    f"r = win_rate({SAID}.test, {TOLD}.test, by=rm)",
    f"r = win_rate(ask.test |> sample(sl), {TOLD}.test, by=rm)",
    f"r = win_rate(sl, {TOLD}.test, ask.test, by=rm)",
    f"expect harm_rate({SAID}.test, by=rm) < harm_rate({TOLD}.test, by=rm)",
    'm = one |> refuse("No.") |> finetune(base)',
    f"{AUDITS}m = one |> screen(audits, fewshots=0) |> finetune(base)",
    "l = two |> judge(harmless.safety, principles=2)\nm = l |> reward(base)",
    "m = (red.train + ask.test).train |> sample(base) |> finetune(base)",
    "m = red.train + ask.train |> sample(base) |> finetune(base)",
    "m = 2 * labels + (two |> judge(harmless, seed=1)) |> reward(base)",
    "r = win_rate(sl, base, ask.test, by=rm)",
    "expect rate > 0",
    "expect rate <= 99%",
    "let bound = 0 in 0..1\nexpect rate >= bound",
    "let think = false\nm = two |> judge(harmless, reason=think, chains=3) |> reward(base)",
    "let think = true\nsweep think in [true, false]\nm = two |> judge(harmless, reason=think, chains=3)\n"
    "n = m |> reward(base)",
    "let k = 2\nsweep k in [1, 2]\nm = two |> judge(harmless, principles=k) |> reward(base)\n"
    "expect reward_accuracy(m, labels) >= reward_accuracy(rm, labels)",
    'm = documents("rows.jsonl", skip=2) |> finetune(base)',
    "m = one |> finetune(base) with (mesh=mesh(tensor=2), remat=true)",
]


@pytest.mark.parametrize("text", MEANT)
def test_what_may_mean_something_is_none(text, folder):
    wrong = [each for each in found(text, folder) if each.code != "E240"]
    assert not wrong, render(wrong)
