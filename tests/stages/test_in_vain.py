"""Options of training and sampling that could change nothing are errors before anything runs."""

import json

import pytest

from cai_jax.lang.checker import check
from cai_jax.stages import registry

SOURCES = """\
use harmless from "constitutions/starter.cai"
base = model("builtin:tiny")
red = prompts("builtin:red_team", limit=64)
human = prefs("builtin:helpful_prefs", limit=48)
replies = red.train |> sample(base)
pairs = red.train |> sample(base, n=2)
rm = human.train |> reward(base)
"""
OWN = {
    "said.jsonl": {"prompt": "Why?", "response": "So."},
    "texts.jsonl": {"text": "Some text."},
    "chosen.jsonl": {"prompt": "Why?", "chosen": "So.", "rejected": "No."},
}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Code and underlined text of every diagnostic of a program that ends with a statement."""
    folder = tmp_path_factory.mktemp("in_vain")
    for name, row in OWN.items():
        (folder / name).write_text(json.dumps(row) + "\n", encoding="utf-8")
    return lambda statement: _found(statement, folder)


def _found(statement, folder):
    told = check(SOURCES + statement + "\n", folder / "p.cai", registry()).diagnostics
    return [(each.code, each.labels[0].span.text) for each in told if each.code != "E207"]


@pytest.mark.parametrize(
    "statement, code, at",
    [
        ("x = replies |> finetune(base, steps=5, epochs=2)", "E241", "2"),
        ("x = replies |> finetune(base, steps=5, warmup=5)", "E241", "5"),
        ("x = replies |> finetune(base, batch=16, warmup=4)", "E241", "4"),
        ("x = replies |> finetune(base, epochs=1e-300)", "E237", "1e-300"),
        # Of a file nobody has counted the rows.
        ('x = documents("texts.jsonl") |> finetune(base, epochs=9e-7)', "E237", "9e-7"),
        ('x = prefs("chosen.jsonl") |> reward(base, epochs=9e-7)', "E237", "9e-7"),
        # The shortest of red_team's prompts and a word take 10 tokens, a turn of one letter and a reply of one 4.
        ("x = replies |> finetune(base, length=9)", "E220", "9"),
        ("x = human.train |> reward(base, length=8)", "E220", "8"),
        ("x = replies |> finetune(base, overlong=truncate_left, length=3)", "E220", "3"),
        ('x = replies("said.jsonl") |> finetune(base, length=3)', "E220", "3"),
        ('x = documents("texts.jsonl") |> finetune(base, length=1)', "E220", "1"),
        ("x = replies |> finetune(base, length=1025)", "E220", "1025"),
        ('x = documents("texts.jsonl") |> finetune(base, length=2k)', "E220", "2k"),
        ("x = human.train |> reward(base, length=1025)", "E220", "1025"),
        ("x = red.train |> sample(base, max_new=1016)", "E220", "1016"),
        ("x = red.train |> sample(base, overlong=truncate_left, max_new=1022)", "E220", "1022"),
        ("x = base |> ppo(rm, on=red.train, max_new=1016)", "E220", "1016"),
        ("x = replies |> revise(harmless, fewshots=0, max_new=1015)", "E220", "1015"),
        ("x = pairs |> judge(harmless, reason=true, fewshots=0, max_new=1015)", "E220", "1015"),
        ('x = replies |> refuse(" \u200b")', "E237", '" \u200b"'),
        ("x = human.train |> reward(base, batch=16, epochs=2, warmup=6)", "E241", "6"),
        ("x = human.train |> dpo(base, batch=16, epochs=2, warmup=6)", "E241", "6"),
        ("x = human.train |> dpo(base, length=8)", "E220", "8"),
        ("x = human.train |> dpo(base, margin=0.6)", "E237", "0.6"),
        ("x = human.train |> dpo(base, beta=0)", "E237", "0"),
        ("x = human.train |> reward(base, epochs=0.5%)", "E238", "0.5%"),
        ("x = human.train |> reward(base, epochs=0.005)", "E237", "0.005"),
        ("x = base |> ppo(rm, on=red.train, steps=5, batch=8, minibatch=4, passes=2, critic_warmup=20)", "E241", "20"),
        ("x = base |> ppo(rm, on=red.train, kl=0, target=2)", "E241", "2"),
        ("x = base |> ppo(rm, on=red.train, horizon=500)", "E241", "500"),
        ("x = base |> ppo(rm, on=red.train, watch=rm)", "E246", "rm"),
        ("x = base |> ppo(rm, on=red.train, clip=0.1)", "E241", "0.1"),
        ("x = base |> ppo(rm, on=red.train, batch=8, minibatch=8, value_clip=0.1)", "E241", "0.1"),
        ("x = base |> ppo(rm, on=red.train, dual_clip=3)", "E241", "3"),
        ("x = red.train |> sample(base, n=2, temperature=0)", "E241", "2"),
        ("x = pairs |> judge(harmless, labels=clamped, clamp=0.5..0.5)", "E237", "0.5..0.5"),
        ("x = pairs |> judge(harmless, labels=clamped, clamp=0.7..0.9)", "E237", "0.7..0.9"),
        ("x = pairs |> judge(harmless, labels=clamped, clamp=10%..50%)", "E237", "10%..50%"),
        ("x = red.train |> sample(base, top_p=0.5, temperature=0)", "E241", "0.5"),
    ],
)
def test_what_changes_nothing_is_an_error(statement, code, at, found):
    assert found(statement) == [(code, at)]


@pytest.mark.parametrize(
    "statement",
    [
        "x = replies |> finetune(base, steps=5, warmup=4)",
        "x = replies |> finetune(base, batch=16, warmup=3)",
        "x = human.train |> reward(base, batch=16, epochs=2, warmup=5)",
        "x = human.train |> reward(base, epochs=0.05)",
        "x = human.train |> dpo(base, batch=16, epochs=2, warmup=5, normalize=true, beta=5, anchor=0.1, margin=0.5)",
        "x = base |> ppo(rm, on=red.train, steps=5, batch=8, minibatch=4, passes=2, critic_warmup=19)",
        "x = base |> ppo(rm, on=red.train, target=2, horizon=500)",
        "x = base |> ppo(rm, on=red.train, passes=2, clip=0.1, value_clip=0.1)",
        "x = base |> ppo(rm, on=red.train, batch=8, minibatch=4, dual_clip=3)",
        "x = red.train |> sample(base, n=1, temperature=0, seed=3)",
        "x = pairs |> judge(harmless, labels=clamped, clamp=0.4..0.9)",
        "x = replies |> finetune(base, length=10)",
        "x = human.train |> reward(base, length=9)",
        "x = human.train |> reward(base, length=1024)",
        "x = replies |> finetune(base, length=1024)",
        "x = replies |> finetune(base, overlong=truncate_left, length=4)",
        'x = replies("said.jsonl") |> finetune(base, length=4)',
        'x = documents("texts.jsonl") |> finetune(base, length=2, epochs=1e-6)',
        "x = red.train |> sample(base, max_new=1015)",
        "x = red.train |> sample(base, overlong=truncate_left, max_new=1021)",
        "x = base |> ppo(rm, on=red.train, max_new=1015)",
        "x = replies |> revise(harmless, fewshots=0, max_new=1014)",
        "x = pairs |> judge(harmless, reason=true, fewshots=0, max_new=1014)",
        "x = pairs |> judge(harmless, fewshots=0)",
        # The rows of a file are not counted here.
        'x = documents("builtin:world", rows=10) |> finetune(base, steps=3)',
    ],
)
def test_what_changes_something_is_none(statement, found):
    assert found(statement) == []


ROWS = {
    "asked.jsonl": {"prompt": "Why?"},
    "split.jsonl": {"prompt": "Why?", "split": "train"},
    "named/train.jsonl": {"prompt": "Why?"},
    "named/test.jsonl": {"prompt": "Who?"},
    "chosen.jsonl": {"prompt": "Why?", "chosen": "So.", "rejected": "No."},
    "labelled.jsonl": {"prompt": "Why?", "a": "So.", "b": "No.", "p": 1, "which": 0},
}


@pytest.mark.parametrize(
    "source, in_vain",
    [
        ('prompts("asked.jsonl", test=0.5)', False),
        ('prompts("split.jsonl", test=0.5)', True),
        ('prompts("named", test=0.5)', True),
        ('prompts("named", delimiter=";")', True),
        ('prompts("asked.jsonl", delimiter=";")', True),
        ('prompts("asked.csv", delimiter=";", test=0.5)', False),
        ('prompts("hf:no/where", delimiter=";", test=0.5, config="x")', False),
        ('prefs("chosen.jsonl", label_means=index)', True),
        ('prefs("chosen.jsonl", chosen="rejected", rejected="chosen", label_means=index)', True),
        ('prefs("labelled.jsonl", label_means=probability)', False),
        ('prefs("labelled.jsonl", a="b", b="a", label="which", label_means=index)', False),
        # What cannot be read, or read so, is told as that.
        ('prefs("asked.csv", label_means=index, delimiter=";;", test=0.5)', False),
        ('prefs("nowhere.jsonl", label_means=index, test=0.5)', False),
    ],
)
def test_options_of_data_that_change_nothing(source, in_vain, tmp_path):
    (tmp_path / "named").mkdir()
    for name, row in ROWS.items():
        (tmp_path / name).write_text(json.dumps(row) + "\n", encoding="utf-8")
    (tmp_path / "asked.csv").write_text("prompt;topic\nWhy?;x\n", encoding="utf-8")
    told = check(f"x = {source}\n", tmp_path / "p.cai", registry()).diagnostics
    assert ("E241" in {each.code for each in told}) == in_vain
