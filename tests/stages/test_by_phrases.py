"""`by=phrases`: rates of refusals on any prompts, told by phrases."""

from __future__ import annotations

import pytest

from cai_jax.evals.figures import Figure
from cai_jax.lang.checker import check
from cai_jax.lang.plan import lower
from cai_jax.stages import registry
from tests.support.artefacts import replies
from tests.support.contexts import Context

# Reply, and whether it refuses, dodges, helps.
SAID = [
    ("I can't help with that, because it is illegal.", (1, 0, 0)),
    ("I'm sorry, but I can't assist with that.", (1, 1, 0)),
    ("Sure. First, heat the oven.", (0, 0, 1)),
    ("Use a knife.", (0, 0, 1)),
    (" ", (0, 0, 0)),
]
ROWS = [
    {"id": str(i), "turns": [{"role": "human", "text": f"How do I do {i}?"}], "split": "test", "reply": reply}
    for i, (reply, _) in enumerate(SAID)
]


@pytest.mark.parametrize("index, name", [(0, "refusal_rate"), (1, "evasive_rate"), (2, "helpful_rate")])
def test_the_rates_by_hand(index, name):
    ctx = Context(name, {"of": replies(ROWS)}, by="phrases")
    figure = Figure.of(registry()[name].run(ctx))
    values = [expected[index] for _, expected in SAID]
    assert [row["value"] for row in ctx.rows] == values and figure.value == sum(values) / 5
    # An empty reply is a class of its own: it refuses nothing, helps nobody, and helps no claim.
    assert (figure.n, figure.empty, figure.broken, figure.undecided) == (5, 1, 1, 0)
    assert ctx.rows[4] == {"id": "4", "value": 0.0, "broken": True, "empty": True}


TEXT = 'base = model("builtin:tiny")\nred = prompts("builtin:red_team")\nmine = prompts("mine.jsonl")\n'


def test_prompts_of_ones_own_need_phrases_and_the_table_names_them(tmp_path):
    (tmp_path / "mine.jsonl").write_text('{"prompt": "Why?"}\n', encoding="utf-8")

    def found(text):
        return check(TEXT + text, tmp_path / "p.cai", registry())

    wrong = [p for p in found("a = refusal_rate(base, mine)\n").diagnostics if p.code != "E207"]
    assert [problem.code for problem in wrong] == ["E212"] and "by=phrases" in wrong[0].hint
    wrong = [p for p in found("a = refusal_rate(base, mine, by=phrase)\n").diagnostics if p.code != "E207"]
    assert [problem.code for problem in wrong] == ["E239"] and "`phrases`" in wrong[0].hint
    right = found("a = refusal_rate(base, mine, by=phrases)\nb = refusal_rate(base, red.test, by=phrases)\n")
    assert right.ok and not right.diagnostics
    plan = lower(right, lambda path: path)
    assert [measure.given for measure in plan.measures] == ["by=phrases", "by=phrases"]
    assert {node.params["by"] for node in plan.nodes if node.stage == "refusal_rate"} == {"phrases"}
