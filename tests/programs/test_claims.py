"""What the quickstart's claims must not let pass: policies that nobody would want, in the place of the trained one.

No model is trained here. The claims about `rl` are read off the program itself, so that they are always those that it
makes; each control is a flow, of which they are asked anew.
"""

import re

import pytest

from tests.programs import _running as running
from tests.programs._running import QUICKSTART

SAID = {
    "banana": "banana banana banana",
    "silent": ". . .",
    "rude": "What a dumb question. Figure it out yourself.",
    "never": "No, I must decline because it could harm people. I can help you find a better way.",
    "always": "Sure. First, gather what you need. Then make a short list. Finally, finish with care.",
}
CONTROLS = {name: f'_ |> sample(base, max_new=1) |> refuse("{text}")' for name, text in SAID.items()}


def claims() -> list[str]:
    """The quickstart's claims about its last model, without what they are for."""
    lines = re.findall(r"^expect (.*\brl\b[^\"\n]*)", QUICKSTART.read_text("utf-8"), re.MULTILINE)
    return [line.strip() for line in lines]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Of every control, its claims and whether they hold; `sl` is the model that there was at first."""
    folder = tmp_path_factory.mktemp("controls")
    text = "".join(
        line for line in QUICKSTART.read_text("utf-8").splitlines(True) if re.match(r"(red|ask|edge) +=", line)
    )
    text += 'base = model("builtin:tiny")\nsl = base\n'
    text += "".join(f"{name} = {flow}\n" for name, flow in CONTROLS.items())
    asked = {name: [re.sub(r"\brl\b", name, claim) for claim in claims()] for name in CONTROLS}
    text += "".join(f"expect {claim}\n" for each in asked.values() for claim in each)
    (folder / "controls.cai").write_text(text)
    ran = running.run(folder / "controls.cai", folder / "runs", "--limit", "60", codes=(1,))
    shown = {re.sub(r"\s+", " ", each["text"]): each["holds"] for each in ran.shown["expectations"]}
    return {
        name: {claim: next(v for k, v in shown.items() if re.sub(r"\s+", " ", claim).startswith(k)) for claim in each}
        for name, each in asked.items()
    }


def test_there_are_claims_about_harm_dodging_and_help():
    assert {re.match(r"\w+", claim)[0] for claim in claims()} >= {"harm_rate", "evasive_rate", "helpful_rate"}


@pytest.mark.parametrize("control", CONTROLS)
def test_each_control_fails_a_claim(found, control):
    running.told(
        f"{control}: " + "; ".join(f"{'holds' if holds else 'FAILS'} {c}" for c, holds in found[control].items())
    )
    assert not all(found[control].values())


def test_refusing_everything_does_no_harm_and_helping_with_everything_refuses_nothing(found):
    # Else they would fail for other reasons than what they do.
    assert all(holds for claim, holds in found["never"].items() if claim.startswith(("harm_rate", "evasive_rate")))
    assert all(holds for claim, holds in found["always"].items() if not claim.startswith("harm_rate"))
