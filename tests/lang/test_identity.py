"""Keys: what enters them, and what does not."""

from __future__ import annotations

import json
from hashlib import blake2b

import pytest

from cai_jax.lang.checker import check
from cai_jax.lang.plan import lower
from cai_jax.stages import registry
from tests.lang._plans import BASE, QUICKSTART, plan_of
from tests.lang._stages import REGISTRY


def test_a_key_is_the_hash_of_the_meaning(world):
    plan = plan_of(BASE + "harm = harm_rate(base, red)\n", world, fingerprint=lambda path: f"print of {path}")
    prompts = registry()["prompts"].SIGNATURE
    meaning = {
        "stage": "prompts",
        "version": prompts.version,
        "params": {param.name: param.default for param in prompts.params if param.name != "path"},
        "inputs": {},
        "data": {"path": "print of builtin:red_team"},
        "run": {},
    }
    text = json.dumps(meaning, sort_keys=True, separators=(",", ":"))
    assert plan.names["red"] == f"prompts-{blake2b(text.encode(), digest_size=8).hexdigest()}"


def test_text_comments_names_and_schedule_do_not_enter_keys(world):
    plan = plan_of(QUICKSTART, world)
    other = QUICKSTART.replace("revised", "mended").replace("# 1.", "# one").replace(" |> ", "\n  |> ")
    other = other.replace(", steps=100)", ") with (slots=8)").replace("10%", "0.1")  # 100 is the default
    again = plan_of(other, world)
    assert [node.key for node in again.nodes] == [node.key for node in plan.nodes]
    assert again.node(again.names["rl"]).schedule["slots"] == 8


def test_where_the_program_lies_does_not_enter_keys(world, tmp_path):
    data = 'mine = prompts("mine.jsonl")\nbase = model("builtin:tiny")\nr = mine |> sample(base)\n'
    keys = []
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.jsonl").write_text('{"prompt": "Hello"}\n', encoding="utf-8")
        found = check(data, tmp_path / name / "p.cai", REGISTRY, root=world)
        plan = lower(found, lambda path: "contents")
        assert plan.node(plan.names["mine"]).params["path"] == str(tmp_path / name / "mine.jsonl")
        keys.append([node.key for node in plan.nodes])
    assert keys[0] == keys[1]


@pytest.mark.parametrize(
    "old, new, changed",
    [
        ("kl=0.05", "kl=0.1", "rl"),
        ("rounds=2", "rounds=3", "revised sl labels rm rl label_quality"),
        ("n=2", "n=3", "labels rm rl label_quality"),
        ("sample(sl, n=2)", "sample(sl, n=2, seed=1)", "labels rm rl label_quality"),
        ("# quickstart.cai", "run (seed=1)", "revised chat sl labels rm rl label_quality"),
    ],
)
def test_a_change_reaches_what_depends_on_it_and_nothing_else(world, old, new, changed):
    before, after = plan_of(QUICKSTART, world), plan_of(QUICKSTART.replace(old, new), world)
    assert [name for name, key in before.names.items() if after.names[name] != key] == changed.split()


def test_changed_data_changes_keys(world):
    before = plan_of(QUICKSTART, world)
    after = plan_of(QUICKSTART, world, fingerprint=lambda path: path.replace("helpful_prefs", "changed"))
    assert before.names["human"] != after.names["human"] and before.names["labels"] == after.names["labels"]
