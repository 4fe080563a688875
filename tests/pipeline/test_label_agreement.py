"""Labels of pairs out of a judge's answers, and what their statistics say, by numbers worked out by hand."""

import numpy as np
import pytest

from cai_jax.pipeline import ai_feedback, questions
from cai_jax.pipeline.panel import Panel
from tests.support import artefacts
from tests.support.contexts import Context


def answers(first, second, masses=(1.0, 1.0)):
    """A pair whose first reply is better by `first` with the options as given, by `second` with them swapped."""
    judgements = [
        {"swapped": swapped, "logprobs": np.log([p * mass, (1 - p) * mass]).tolist()}
        for swapped, p, mass in ((False, first, masses[0]), (True, 1 - second, masses[1]))
    ]
    return {"soft": (first + second) / 2, "judgements": judgements}


def test_statistics_of_labels():
    rows = [
        answers(0.9, 0.7),  # A has (0.9 + 0.3) / 2
        answers(0.62, 0.2, masses=(0.05, 1.0)),  # 0.41, and the order decides; half of it without an answer
        answers(0.5, 0.505),  # a tie
        answers(0.1, 0.3),
    ]
    found = ai_feedback.statistics(rows)
    # Over the seven questions that were answered, and the three pairs of which more than half were.
    assert found["position_bias"] == pytest.approx(np.mean([0.9, 0.3, 0.8, 0.5, 0.495, 0.1, 0.7]) - 0.5)
    assert (found["pairs"], found["decided"], found["questions"], found["answered"]) == (4, 3, 8, 7)
    assert found["no_mass"] == 1 / 8 and found["undecided"] == 0.25
    assert found["ties"] == pytest.approx(1 / 3)
    assert found["flips"] == 0  # 0.5 and 0.505 say nothing
    assert found["spread"] == pytest.approx(np.std([0.8, 0.5025, 0.2]))
    turned = ai_feedback.statistics([answers(0.62, 0.2), answers(0.9, 0.7)])
    assert turned["flips"] == 0.5
    assert ai_feedback.statistics([]) == {}
    once = {"soft": 0.9, "judgements": rows[0]["judgements"][:1]}
    assert ai_feedback.statistics([once])["flips"] is None  # one order cannot turn


def test_what_is_no_number_is_no_answer():
    rows = [answers(0.9, 0.7), answers(float("nan"), float("nan"))]
    found = ai_feedback.statistics(rows)
    assert (found["decided"], found["answered"], found["undecided"]) == (1, 2, 0.5)
    assert ai_feedback.undecided_pair(rows[1]["judgements"]) and np.isnan(ai_feedback.preference(rows[1]["judgements"]))
    assert ai_feedback.preference(rows[0]["judgements"]) == pytest.approx(0.8)
    assert (
        not questions.Scored(np.array([[np.nan, -0.1], [-1e9, -1e9], [np.log(0.06), np.log(0.06)]])).answered[:2].any()
    )
    nobody = ai_feedback.statistics(rows[1:])
    assert nobody["position_bias"] is nobody["ties"] is nobody["spread"] is None
    assert dict(ai_feedback.diagnoses(nobody))["undecided"].startswith("100% of the comparisons")


def test_diagnoses_of_labels_name_what_is_wrong():
    sound = {"ties": 0.2, "undecided": 0.0, "position_bias": 0.02, "flips": 0.1}
    assert ai_feedback.diagnoses(sound) == []
    counts = {"decided": 40, "answered": 90}
    wrong = dict(ai_feedback.diagnoses({"ties": 0.97, "undecided": 0.4, "position_bias": -0.3, "flips": 0.5, **counts}))
    assert set(wrong) == {"uninformative", "undecided", "position", "flips"}
    assert "97% of 40 decided comparisons" in wrong["uninformative"] and "of 40" in wrong["flips"]
    assert "in 90 answered questions" in wrong["position"]
    assert wrong["undecided"].startswith("40% of the comparisons could not be made")
    assert "second option by 30%" in wrong["position"]


def test_options_are_normalised_and_their_mass_kept():
    scored = questions.Scored(np.log(np.array([[0.6, 0.2], [1e-30, 1e-31], [0.25, 0.25]], np.float32)))
    np.testing.assert_allclose(scored.p[:, 0], [0.75, 10 / 11, 0.5], rtol=1e-5)
    np.testing.assert_allclose(scored.mass, [0.8, 0.0, 0.5], atol=1e-6)


@pytest.mark.parametrize(
    "labels, reason, soft, label",
    [
        ("soft", False, 0.9, 0.9),
        ("hard", False, 0.9, 1.0),
        ("hard", False, 0.2, 0.0),
        ("hard", False, 0.5, 0.5),  # undecided stays undecided: never a letter or a coin
        ("clamped", False, 0.9, 0.6),
        ("clamped", False, 0.55, 0.55),
        ("soft", True, 0.1, 0.4),
        ("hard", True, 0.1, 0.0),
    ],
)
def test_labels_of_each_shape(labels, reason, soft, label, monkeypatch):
    monkeypatch.setattr(ai_feedback.Judge, "ask", lambda self, pairs: [answers(soft, soft)["judgements"]])
    inputs = {"constitution": artefacts.constitution("", []), "by": (artefacts.builtin(),)}
    ctx = Context("judge", inputs, labels=labels, reason=reason, clamp=[0.4, 0.6])
    replies = [({"id": "a-0", "turns": [], "reply": reply, "sample": n}, n) for n, reply in enumerate(("x", "y"))]
    (row,) = Panel(ctx, load=False).label([ai_feedback.pair(*replies)])
    assert (row["soft"], row["p"]) == pytest.approx((soft, label))
