"""What `plan` estimates, worked out by hand from row counts, 64 tokens a prompt, and the model's size."""

import json

import pytest

from cai_jax.lang.types import Cost, Kind, Type
from cai_jax.stages import prefs, prompts
from cai_jax.stages.parts import cost
from cai_jax.tiny import prompts as world

PROGRAM = """\
use harmless from "constitutions/starter.cai"
base = model("builtin:tiny")
red = prompts("builtin:red_team"{limit})
human = prefs("builtin:helpful_prefs"{limit})
drawn = red.train |> sample(base, n={n}, max_new=36)
mended = drawn |> revise(harmless, rounds={rounds}, max_new=72)
labels = drawn |> judge(harmless, by=base, pairs={pairs})
sl = mended |> finetune(base, epochs=2)
rm = labels + human.train |> reward(base, epochs=3)
rate = harm_rate(sl, red.test)
mean = reward_accuracy(rm, human.test)
"""


@pytest.fixture
def tokens(bench):
    """Estimated tokens of the nodes of PROGRAM with these options, by name."""

    def planned(*words, limit="", n=4, rounds=2, pairs=0):
        program = bench.root / "cost.cai"
        program.write_text(PROGRAM.format(limit=limit, n=n, rounds=rounds, pairs=pairs))
        code, out, err = bench.call("plan", program, "--json", "--out", bench.root / "plans", *words)
        assert code == 0, err
        return {node["name"] or node["label"]: node["tokens"] for node in json.loads(out)["nodes"]}

    return planned


def test_below_an_adapter_weights_have_no_gradients_and_no_moments():
    model = Type(Kind.MODEL, size=10)
    assert cost.train(model, 3) == Cost(3, 6 * 10 * 3, 4 * 4 * 10)
    assert cost.train(model, 3, {"rank": 8, "alpha": 16.0}) == Cost(3, 4 * 10 * 3, 4 * 10)


def test_tokens_follow_rows_replies_rounds_and_pairs(tokens):
    found = tokens()
    assert found["drawn"] == 768 * 4 * (64 + 36)
    # A critique and a revision a round, each after a prompt and a reply; every round's revision is kept.
    assert found["mended"] == 768 * 4 * 2 * 2 * (128 + 72)
    assert found["sl"] == 768 * 4 * 2 * 2 * 128
    # All six pairs of four replies, in both orders, each after a prompt, two replies and a principle.
    assert found["labels"] == 768 * 6 * 2 * 256
    assert found["rm"] == (768 * 6 + 512) * 3 * 256
    few = tokens(n=2, rounds=1, pairs=5)
    assert few["drawn"] == 768 * 2 * 100 and few["mended"] == 768 * 2 * 2 * 200
    assert few["labels"] == 768 * 2 * 256, "two replies make one pair, whatever is asked for"
    assert tokens(pairs=5)["labels"] == 768 * 5 * 2 * 256


def test_tokens_follow_limits(tokens):
    found = tokens(limit=", limit=10")
    assert found["drawn"] == 10 * 4 * 100 and found["rm"] == (10 * 6 + 10) * 3 * 256
    assert tokens("--limit", 10) == found
    assert tokens(limit=", limit=500")["drawn"] == 500 * 4 * 100


def test_operations_and_bytes_follow_tokens():
    model = Type(Kind.MODEL, size=1_000_000)
    read, trained = cost.forward(model, 100), cost.train(model, 100)
    assert (read.tokens, read.flops, read.bytes) == (100, 2e8, 4e6)
    assert (trained.tokens, trained.flops, trained.bytes) == (100, 6e8, 16e6)


def test_unknown_rows_are_taken_for_a_thousand_prompts():
    assert cost.rows_of(Type(Kind.PROMPTS)) == 1000
    assert cost.rows_of(Type(Kind.RESPONSES, replies=4)) == 4000
    assert cost.rows_of(Type(Kind.RESPONSES, replies=4, rows={"train": 3, "test": 2})) == 20


@pytest.mark.parametrize("name", world.PROMPT_SETS)
def test_built_in_prompts_have_the_sizes_that_are_planned_with(name):
    rows = [row["split"] for row in world.prompts(name)]
    assert {split: rows.count(split) for split in set(rows)} == prompts.BUILTIN


def test_built_in_preferences_have_the_sizes_that_are_planned_with():
    rows = [row["split"] for row in world.preferences()]
    assert {split: rows.count(split) for split in set(rows)} == prefs.BUILTIN
