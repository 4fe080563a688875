"""Texts that say nothing, and texts that were cut off: counted, noted, and never taken for what was asked for."""

import numpy as np
import pytest

from cai_jax.pipeline import generation

PAIRS = "pairs = red.train |> sample(base, n=2, max_new=7)\n"


@pytest.fixture
def scripted(monkeypatch):
    """`scripted(reply=…, critique=…)`: what is written for each purpose, told by its stop texts, in turn."""

    def script(**texts):
        from cai_jax.prompting.paper_format import PAPER

        stops = {
            PAPER.reply_stops: "reply", PAPER.critique_stops: "critique", PAPER.revision_stops: "revision",
            PAPER.thought_stops: "thought",
        }  # fmt: skip

        def write(self, prompts, keys):
            said = texts[stops[self.stops]]
            return [
                generation.Generated(text, [-1.0], [5], not text.endswith("…")) for text in (said * 99)[: len(prompts)]
            ]

        monkeypatch.setattr(generation.Writer, "generate", write)

    return script


def test_empty_and_unended_replies_are_counted(bench, scripted, tmp_path):
    scripted(reply=["Yes.", "\u200b", "No.", "Well…"])
    ran = bench.run(PAIRS, out=tmp_path)
    assert ran.result("pairs") == {"rows": 16, "ended": 0.75, "empty": 4}
    assert ran.notes("pairs")["empty"] == "4 of 16 replies are empty"
    assert ran.notes("pairs")["unended"] == "only 75% of the replies end by themselves: raise max_new="


def test_an_empty_revision_never_replaces_the_reply(bench, scripted, tmp_path):
    scripted(reply=["Yes."], critique=["Bad…", "Bad.", ""], revision=["", "Never…", "No.", "Stop."])
    ran = bench.run(PAIRS + "x = pairs |> revise(rules, rounds=1, fewshots=0, max_new=7)\n", out=tmp_path)
    rows = ran.rows("x")
    assert [row["reply"] for row in rows] == ["Yes.", "Never…", "No.", "Stop."] * 4
    assert [row["ended"] for row in rows] == [True, False, True, True] * 4
    assert rows[0]["rounds"][0]["reply"] == "" and rows[0]["round"] == 1 and rows[0]["tokens"] == 1
    found = ran.result("x")
    assert (found["ended"], found["empty"], found["critiques_ended"]) == (0.75, 4, 10 / 16)
    notes = [note["message"] for note in ran.entry("x").record()["notes"]]
    assert "4 of 16 revisions are empty; those replies stayed as they were" in notes
    assert "5 of 16 critiques are empty" in notes
    assert "only 75% of the revisions end by themselves: raise max_new=" in notes
    assert "only 62% of the critiques end by themselves: raise max_new=" in notes


def test_rounds_of_another_node_are_not_counted_again(bench, scripted, tmp_path):
    scripted(reply=["Yes."], revision=["\u200b"])
    once = "revise(rules, rounds=1, fewshots=0, max_new=7, critique=false)"
    twice = once.replace("rounds=1", "rounds=2")
    ran = bench.run(PAIRS + f"x = pairs |> {twice} |> {once}\n", out=tmp_path)
    assert ran.result("x")["empty"] == 32 and "critiques_ended" not in ran.result("x")
    assert {row["reply"] for row in ran.rows("x")} == {"Yes."}


def test_reasoning_that_is_cut_off_is_counted(bench, scripted, tmp_path):
    scripted(reply=["Yes.", "No."], thought=["It is so…", "It is so."])
    text = PAIRS + "x = pairs |> judge(rules, fewshots=0, reason=true, max_new=7)\n"
    ran = bench.run(text, out=tmp_path)
    assert ran.result("x")["reasoning_ended"] == 0.5
    assert ran.notes("x")["unended"] == "only 50% of the chains of thought end by themselves: raise max_new="
    assert [each["ended"] for each in ran.rows("x")[0]["judgements"]] == [False, True]
    scripted(reply=["Yes.", "No."], thought=["It is so."])
    assert "unended" not in bench.run(text, out=tmp_path / "other").notes("x")


def test_empty_replies_are_not_compared(bench, scripted, tmp_path):
    scripted(reply=["Yes.", "\u200b", "No.", "Yes."])
    ran = bench.run(PAIRS + "x = pairs |> judge(rules, fewshots=0)\n", out=tmp_path)
    assert [(row["a"], row["b"]) for row in ran.rows("x")] == [("No.", "Yes.")] * 4
    assert ran.result("x")["equal"] == 4 and ran.notes("x")["equal"].startswith("4 of 8 pairs were not compared")


def test_empty_replies_are_not_trained_on(bench, scripted, tmp_path):
    scripted(reply=["", "Yes.", "No.", "\u200b"])
    tune = "x = pairs |> finetune(base, batch=2, steps=1)\n"
    ran = bench.run(PAIRS + tune, out=tmp_path)
    assert ran.notes("x")["empty"] == "8 of 16 replies are empty and were left out"
    assert np.isfinite(ran.log("x")[0]["loss"])
    scripted(reply=[""])
    failed = bench.run(PAIRS + tune, out=tmp_path / "none", code=4)
    assert "every reply is empty" in failed.err
