"""`judge`: every option of METHOD.md §2, on a small random judge."""

import numpy as np
import pytest

from cai_jax.data import formats
from cai_jax.lang.types import Principle
from cai_jax.stages.parts import auditing
from tests.stages.conftest import CONSTITUTION

PAIRS = "pairs = red.train |> sample(base, n=2, max_new=8)\n"
COMPARE = {"honest": "Choose what is true.", "kind": "Choose what is kind.", "brief": "Choose what is brief."}


def judged(bench, **options):
    """One program that judges in several ways: name -> options of `judge`."""
    lines = [f"{name} = pairs |> judge(rules, fewshots=0{more})\n" for name, more in options.items()]
    last = f"every = {' + '.join(options)}\n" if len(options) > 1 else ""
    return bench.run(PAIRS + "".join(lines) + last)


def asked(model, row, principle, swapped):
    """P(the first option) by the judge, put to it by hand."""
    pair = (row["b"], row["a"]) if swapped else (row["a"], row["b"])
    segments = formats.comparison(row["turns"], COMPARE[principle], pair)
    ids = [token for segment in segments for token in model.tokenizer.encode(segment.text)]
    return auditing.score(model, [ids]).first[0]


def test_orders(bench):
    ran = judged(bench, both="", given=", orders=given")
    model = bench.model()
    replies = ran.rows("pairs")
    assert len(ran.rows("both")) == 8
    for number, (both, given) in enumerate(zip(ran.rows("both"), ran.rows("given"), strict=True)):
        assert (both["a"], both["b"]) == (replies[2 * number]["reply"], replies[2 * number + 1]["reply"])
        (principle,) = both["principles"]
        first, second = asked(model, both, principle, False), asked(model, both, principle, True)
        assert both["p"] == pytest.approx((first + 1 - second) / 2, abs=1e-6)
        assert both["orders"] == pytest.approx([first, 1 - second], abs=1e-6)
        assert both["position"] == pytest.approx((first + second) / 2, abs=1e-6)
        assert given["principles"] == both["principles"]
        assert given["p"] == pytest.approx(first, abs=1e-6) and given["orders"][1] is None
    assert {row["principles"][0] for row in ran.rows("both")} > {"honest"}


def test_principles_one_some_and_all(bench):
    ran = judged(bench, one="", two=", principles=2", every_one=", principles=0", more=", principles=9")
    assert {len(row["principles"]) for row in ran.rows("one")} == {1}
    assert {len(row["principles"]) for row in ran.rows("two")} == {2}
    assert {tuple(row["principles"]) for row in ran.rows("every_one")} == {("brief", "honest", "kind")}
    assert ran.rows("every_one") == ran.rows("more")
    assert len({tuple(row["principles"]) for row in ran.rows("two")}) > 1  # drawn for each pair
    model, row = bench.model(), ran.rows("every_one")[0]
    by_hand = [asked(model, row, name, False) + 1 - asked(model, row, name, True) for name in COMPARE]
    assert row["p"] == pytest.approx(np.mean(by_hand) / 2, abs=1e-6)


def test_a_principle_is_drawn_by_its_weight(bench):
    text = CONSTITUTION.replace("constitution rules", "constitution other").replace(
        'compare = "Choose what is brief."', 'compare = "Choose what is brief."  weight = 1000'
    )
    ran = bench.run(text + PAIRS + "labels = pairs |> judge(other, by=base, fewshots=0)\n")
    assert [row["principles"] for row in ran.rows("labels")].count(["brief"]) >= 7
    assert Principle("x").weight == 1.0


def test_soft_hard_and_clamped(bench):
    ran = judged(bench, soft="", hard=", labels=hard", clamped=", labels=clamped, clamp=0.499..0.501")
    soft, hard, clamped = (np.array([row["p"] for row in ran.rows(n)]) for n in ("soft", "hard", "clamped"))
    assert set(hard) <= {0.0, 1.0}
    np.testing.assert_array_equal(hard, soft > 0.5)
    np.testing.assert_array_equal(clamped, np.clip(soft, 0.499, 0.501))
    assert [row["soft"] for row in ran.rows("hard")] == soft.tolist()  # kept beside what was made of it


def test_a_random_judge_is_found_out(bench):
    ran = judged(bench, labels="", dropped=", undecided=drop")
    assert {row["weight"] for row in ran.rows("labels")} == {1.0}
    assert {row["weight"] for row in ran.rows("dropped")} == {0.0}
    assert ran.result("labels")["no_mass"] == 1.0
    assert "100% of the comparisons could not be made" in ran.notes("labels")["undecided"]
    failed = bench.run(
        PAIRS + "rm = pairs |> judge(rules, fewshots=0, undecided=drop) |> reward(base, batch=8)\n", code=4
    )
    assert "weight 0" in failed.err and "undecided=keep" in failed.err


def test_equal_replies_carry_no_information(bench):
    ran = bench.run("""\
same   = red.train |> sample(base, n=2, max_new=8, temperature=0)
labels = same |> judge(rules, fewshots=0)
""")
    assert {row["p"] for row in ran.rows("labels")} == {0.5}  # both orders cancel exactly
    assert "labels carry no information: 100%" in ran.notes("labels")["uninformative"]


def test_reasoning(bench):
    ran = bench.run(
        PAIRS
        + """\
free  = pairs |> judge(rules, fewshots=0, reason=true, chains=2, clamp=0..1, max_new=8)
thought = pairs |> judge(rules, fewshots=0, reason=true, chains=2, clamp=0.499..0.501, max_new=8)
every = free + thought
"""
    )
    for free, thought in zip(ran.rows("free"), ran.rows("thought"), strict=True):
        assert len(free["reasoning"]) == 4  # two chains in each order
        assert len(set(free["reasoning"])) == 4
        assert free["p"] == free["soft"] == thought["soft"]
        assert thought["p"] == min(max(free["p"], 0.499), 0.501)
    default = bench.run(PAIRS + "labels = pairs |> judge(rules, fewshots=0, reason=true, max_new=8)\n")
    assert all(0.4 <= row["p"] <= 0.6 for row in default.rows("labels"))


def test_all_pairs_or_some(bench):
    ran = bench.run("""\
three = red.train |> sample(base, n=3, max_new=8)
whole = three |> judge(rules, fewshots=0)
two   = three |> judge(rules, fewshots=0, pairs=2)
thought = three |> judge(rules, fewshots=0, reason=true, max_new=8)
every = whole + two + thought
""")
    replies = [row["reply"] for row in ran.rows("three")]
    whole, two = ran.rows("whole"), ran.rows("two")
    assert len(whole) == 24 and len(two) == 16
    assert [(row["a"], row["b"]) for row in whole[:3]] == [
        (replies[0], replies[1]),
        (replies[0], replies[2]),
        (replies[1], replies[2]),
    ]
    assert two[:2] == whole[:2]
    chains = [text for row in ran.rows("thought")[:3] for text in row["reasoning"]]
    assert len(set(chains)) == 6  # every pair has its own draw


def test_what_cannot_judge_is_refused(bench):
    one = bench.run("pairs = red.train |> sample(base, max_new=8) |> judge(rules)\n", code=3)
    assert "E210" in one.err and "n=2" in one.err
    silent = 'constitution silent {\n  principle p { critique = "c" revise = "r" }\n}\n'
    none = bench.run(silent + PAIRS + "labels = pairs |> judge(silent)\n", code=3)
    assert "E211" in none.err and "compare" in none.err


def test_broken_few_shots_name_line_and_field(bench):
    (bench.root / "broken.jsonl").write_text('{"form": "critique"}\n')
    broken = CONSTITUTION.replace("rules", "other").replace("shots.jsonl", "broken.jsonl")
    ran = bench.run(broken + PAIRS + "labels = pairs |> judge(other)\n", code=4)
    assert "broken.jsonl:1" in ran.err and "`turns`" in ran.err
