"""`expect all`: several claims at one level."""

from __future__ import annotations

import pytest

from tests.lang._plans import BASE, plan_of
from tests.lang._stages import checked

BOTH = "expect all (\n  harm_rate(base, red.test) < 90%,\n  refusal_rate(base, red.test) < 5%\n) at 99%\n"


def test_its_claims_are_made_together(world):
    plan = plan_of(BASE + BOTH + "expect evasive_rate(base, red.test) < 5% at 95%\n", world)
    assert [(claim.text, claim.level, claim.line, claim.together) for claim in plan.expects] == [
        ("harm_rate(base, red.test) < 90%", 0.99, 4, 3),
        ("refusal_rate(base, red.test) < 5%", 0.99, 5, 3),
        ("evasive_rate(base, red.test) < 5%", 0.95, 7, 0),
    ]


def test_those_of_all_arms_are_among_them(world):
    text = BASE + "let heat = 1\nsweep heat in [1, 2]\nsaid = red.test |> sample(base, temperature=heat)\n"
    plan = plan_of(text + "expect all (harm_rate(said) < 9%, harm_rate(base, red.test) < 8%) at 95%\n", world)
    assert [(claim.arm, claim.together) for claim in plan.expects] == [("heat=1", 6), ("", 6), ("heat=2", 6)]


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        (BOTH.replace(" at 99%", ""), ["E284"]),
        (BOTH.replace("< 5%", "< 500%"), ["E243"]),
        (BOTH.replace("base, red.test) < 5%", "bas, red.test) < 5%").replace("99", "9999"), ["E200", "E245"]),
        ("expect all () at 95%\n", ["E207", "E101"]),
        ("expect all (harm_rate(base, red.test)) at 95%\n", ["E101"]),
        ("expect all (harm_rate(base, red.test) < 5% at 95%)\n", ["E101"]),
        ("all = harm_rate(base, red.test)\nexpect all < 5%\nexpect red.all < 6%\n", ["E225"]),
        ("expect all # of them\n  # are\n (harm_rate(base, red.test) < 5%) at 95%\n", []),
        ("x = red |> all()\n", ["E207", "E101"]),
    ],
)
def test_what_it_takes(text, codes, world):
    assert [diagnostic.code for diagnostic in checked(BASE + text, world).diagnostics] == codes
