"""Few-shot examples: chosen so that they favour no answer, and the paper's own."""

import json
import re

import pytest

from cai_jax.data.rows import DataError
from cai_jax.lang import assets
from cai_jax.pipeline import principles
from cai_jax.pipeline.rng import Draw
from cai_jax.prompting import render
from cai_jax.prompting.paper_format import PAPER
from tests.stages._letters import DRAW, noted
from tests.stages.conftest import CONSTITUTION
from tests.support import artefacts


def test_every_comparison_shot_has_a_principle_of_its_own(tmp_path):
    shot = {"form": "comparison", "turns": [{"role": "human", "text": "?"}], "a": "x", "b": "y", "answer": "A"}
    (tmp_path / "shots.jsonl").write_text("".join(json.dumps(shot) + "\n" for _ in range(5)))
    named = [{"name": f"p{n}", "compare": f"Rule {n}?", "tags": []} for n in range(40)]
    constitution = artefacts.constitution(tmp_path / "shots.jsonl", named)
    shown = principles.comparison_shots(constitution, 5, PAPER, DRAW).text
    assert len(set(re.findall(r"Rule \d+", shown))) > 1


def few(tmp_path, *shots):
    """A constitution of two principles with these few-shot examples."""
    (tmp_path / "shots.jsonl").write_text("".join(json.dumps(shot) + "\n" for shot in shots))
    named = [{"name": name, "compare": f"{name}?", "tags": []} for name in ("kind", "true")]
    return artefacts.constitution(tmp_path / "shots.jsonl", named)


def asked(number):
    return [{"role": "human", "text": f"question {number}"}]


def answered(given):
    """The options that few-shots answer with, and the text of each shot."""
    shots, each = [], []
    for segment in (*given.segments, *given.format.begin):
        each.append(segment)
        if segment.text in (" (A)", " (B)"):
            shots.append((segment.text, render.text_of(each)))
            each = []
    assert not each
    return shots


DRAWS = [Draw(0, seed, "judge") for seed in range(12)]


@pytest.mark.parametrize("count", range(1, 8))
def test_comparison_shots_favour_neither_answer(tmp_path, count):
    # Every example's answer is B, and the better reply of example n is "good n".
    given = [
        {"form": "comparison", "turns": asked(n), "a": f"bad {n}", "b": f"good {n}", "answer": "B"} for n in range(7)
    ]
    orders = set()
    for draw in DRAWS:
        shown = answered(principles.comparison_shots(few(tmp_path, *given), count, PAPER, draw))
        letters = [letter for letter, _ in shown]
        assert len(shown) == count and abs(letters.count(" (A)") - letters.count(" (B)")) == count % 2
        for number, (letter, text) in enumerate(shown):
            assert f"{letter} [[[ good {number}]]]" in text and f"question {number}" in text
        assert answered(principles.comparison_shots(few(tmp_path, *given), count, PAPER, draw)) == shown
        orders.add(tuple(letters))
    assert len(orders) > 1, "no answer can be told from its place"


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_reasoned_shots_are_chosen_so_that_they_favour_neither_answer(tmp_path, count):
    given = [
        {"form": "reasoning", "turns": asked(n), "a": "x", "b": "y", "reasoning": f"{answer} is.", "answer": answer}
        for n, answer in enumerate("BBBABA")
    ]
    for draw in DRAWS:
        shown = answered(principles.comparison_shots(few(tmp_path, *given), count, PAPER, draw, reasoned=True))
        letters = [letter for letter, _ in shown]
        assert len(shown) == count and abs(letters.count(" (A)") - letters.count(" (B)")) == count % 2
        assert all(f"{letter[2]} is." in text for letter, text in shown)


@pytest.mark.parametrize(
    "answers, fewshots, told",
    [("AAA", 5, True), ("AAA", 2, True), ("BAA", 2, False), ("AAA", 1, False), ("A", 5, False), ("", 5, False)],
)
def test_examples_that_all_give_one_answer_are_told(answers, fewshots, told):
    ctx = noted(fewshots=fewshots)
    principles.note_one_answer(ctx, [{"answer": answer} for answer in answers])
    assert [code for code, _ in ctx.notes] == ["one-answer"] * told
    if told:
        assert ctx.notes[0][1].startswith(f"all {min(fewshots, 3)} examples of the constitution answer A,")


def test_who_shows_examples_of_one_answer_says_so(bench):
    audit = {"form": "audit", "turns": asked(0), "reply": "x", "question": "Rude?", "answer": "yes"}
    reasoned = {"form": "reasoning", "turns": asked(0), "a": "x", "b": "y", "reasoning": "So.", "answer": "A"}
    bench.write("one.jsonl", [audit, audit, reasoned, reasoned])
    ran = bench.run(
        CONSTITUTION.replace("shots.jsonl", "one.jsonl").replace("rules", "few")
        + "pairs = red.train |> sample(base, n=2, max_new=4)\n"
        + "labels = pairs |> judge(few, fewshots=2, reason=true, max_new=4)\nright = label_accuracy(labels)\n"
        + "seen = pairs |> screen(few, fewshots=2)\nharm = harm_rate(seen, by=base, under=few, fewshots=2)\n"
    )
    told = {note["node"]: note["message"].split()[7] for note in ran.shown["notes"] if note["code"] == "one-answer"}
    assert told == {"labels": "A,", "seen": "yes,", "harm": "yes,"}


@pytest.mark.parametrize("count", range(1, 7))
def test_audit_shots_favour_neither_word_nor_letter(tmp_path, count):
    given = [
        {"form": "audit", "turns": asked(n), "reply": "x", "question": f"{answer}?", "answer": answer}
        for n, answer in enumerate(("no", "no", "yes", "yes", "no", "yes"))
    ]
    for draw in DRAWS:
        shown = answered(principles.audit_shots(few(tmp_path, *given), count, PAPER, draw))
        letters = [letter for letter, _ in shown]
        words = [re.search(r"\n\n\n(yes|no)\? Options:", text)[1] for _, text in shown]
        assert len(shown) == count
        assert abs(letters.count(" (A)") - letters.count(" (B)")) == count % 2
        assert abs(words.count("yes") - words.count("no")) == count % 2
        for letter, word, (_, text) in zip(letters, words, shown, strict=True):
            assert f"\n{letter} {word.title()}\n" in text


@pytest.mark.parametrize(("form", "right"), [("comparison", "neither A nor B"), ("audit", "neither yes nor no")])
def test_an_answer_is_one_that_the_form_knows(tmp_path, form, right):
    shot = {"form": form, "turns": asked(0), "a": "x", "b": "y", "reply": "x", "question": "?", "answer": "maybe"}
    with pytest.raises(DataError, match=f"jsonl:1: field `answer`: is {right}"):
        principles.examples(few(tmp_path, shot), form)


def test_the_papers_constitution_has_the_papers_examples():
    """As in the paper (2212.08073 §3.1, appendix E), five critiques of which two leave the reply, and comparisons."""
    path = assets.root() / "constitutions" / "paper16.fewshots.jsonl"
    text = path.with_name("paper16.cai").read_text("utf-8")
    names = re.findall(r"principle (\w+) \{\n    compare", text)
    assert f'fewshots = "{path.name}"' in text and len(names) == 16
    constitution = artefacts.constitution(path, [{"name": n, "compare": "?", "tags": []} for n in names])
    critiques = principles.examples(constitution, "critique")
    assert [shot["reply"] == shot["revision"] for shot in critiques].count(True) == 2 and len(critiques) == 5
    assert all(shot["critique_request"] in text and shot["revision_request"] in text for shot in critiques)
    for reasoned, count in ((False, 5), (True, 6)):
        shots = principles.suited_shots(constitution, reasoned)
        assert len(shots) == count and {shot["answer"] for shot, _ in shots} == {"A", "B"}
        assert all(set(shot["principles"]) <= set(names) for shot, _ in shots)
        assert all(f"Reply {shot['answer']} is better." in shot["reasoning"] for shot, _ in shots if reasoned)
