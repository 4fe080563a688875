"""What stages are made of, by numbers worked out by hand."""

import itertools
import json
import re
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from cai_jax.data import render
from cai_jax.data.formats import PAPER
from cai_jax.data.packing import pack
from cai_jax.errors import UserError
from cai_jax.lang import assets
from cai_jax.lang.types import Principle
from cai_jax.stages.parts import auditing, judging, pairs, principles, training, writing
from cai_jax.stages.parts.draws import Draw, told_apart
from cai_jax.stages.parts.examples import Rows, dialog
from cai_jax.stages.parts.fitting import Fitting

DRAW = Draw(run=0, seed=0, stage="judge")


def test_a_draw_belongs_to_what_it_is_about():
    assert DRAW.uniform("x", "a", 1) == DRAW.uniform("x", "a", 1)
    others = [DRAW.uniform("y", "a", 1), DRAW.uniform("x", "b", 1), DRAW._replace(seed=1).uniform("x", "a", 1)]
    others += [DRAW._replace(run=1).uniform("x", "a", 1), DRAW._replace(stage="revise").uniform("x", "a", 1)]
    assert len({DRAW.uniform("x", "a", 1), *others}) == 6
    many = [DRAW.uniform("x", number) for number in range(4000)]
    assert min(many) >= 0 and max(many) < 1
    assert np.mean(many) == pytest.approx(0.5, abs=0.02)


def test_weights_are_probabilities():
    # Standard deviation of a share of 4,000 draws is at most 0.008.
    counts = np.bincount([DRAW.weighted([1, 0, 3], "x", n) for n in range(4000)], minlength=3) / 4000
    np.testing.assert_allclose(counts, [0.25, 0, 0.75], atol=0.03)
    named = [Principle("rare", weight=1), Principle("common", weight=9)]
    drawn = [DRAW.principle(named, "x", n).name for n in range(2000)]
    assert drawn.count("rare") / 2000 == pytest.approx(0.1, abs=0.03)


def test_keys_tell_rows_purposes_and_samples_apart():
    rows = [{"id": "aa-0"}, {"id": "aa-1"}, {"id": "bb-0"}]
    keys = {DRAW.key(purpose, row, n).tobytes() for purpose in "xy" for row in rows for n in (0, 1)}
    assert len(keys) == 12
    assert DRAW.key("x", rows[0]).tobytes() in keys


def test_cut_takes_the_first_stop_of_all():
    assert writing.cut("one two three", ("three", "two")) == "one "
    assert writing.cut("one two three", ("four",)) == "one two three"
    assert writing.cut("stop", ("stop",)) == ""


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
    found = judging.statistics(rows)
    assert found["position_bias"] == pytest.approx(np.mean([0.6, 0.71, 0.4975, 0.4]) - 0.5)
    assert found["flips"] == 0.25  # of 0.62 and 0.2; 0.5 and 0.505 say nothing
    assert found["no_mass"] == 1 / 8 and found["undecided"] == 0.25 and found["ties"] == 0.25
    assert found["spread"] == pytest.approx(np.std([0.8, 0.41, 0.5025, 0.2]))
    assert judging.statistics([]) == {}
    once = {"soft": 0.9, "judgements": rows[0]["judgements"][:1]}
    assert judging.statistics([once])["flips"] == 0.0


def test_diagnoses_of_labels_name_what_is_wrong():
    sound = {"ties": 0.2, "undecided": 0.0, "position_bias": 0.02, "flips": 0.1}
    assert judging.diagnoses(sound) == []
    wrong = dict(judging.diagnoses({"ties": 0.97, "undecided": 0.4, "position_bias": -0.3, "flips": 0.5}))
    assert set(wrong) == {"uninformative", "undecided", "position", "flips"}
    assert "97%" in wrong["uninformative"]
    assert wrong["undecided"].startswith("40% of the comparisons could not be made")
    assert "second option by 30%" in wrong["position"]


def test_options_are_normalised_and_their_mass_kept():
    scored = auditing.Scored(np.log(np.array([[0.6, 0.2], [1e-30, 1e-31], [0.25, 0.25]], np.float32)))
    np.testing.assert_allclose(scored.first, [0.75, 10 / 11, 0.5], rtol=1e-5)
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
def test_labels_of_each_shape(labels, reason, soft, label):
    judge = object.__new__(judging.Judge)
    judge.params = {"labels": labels, "reason": reason, "clamp": (0.4, 0.6)}
    assert judge._shaped(soft) == label


class Numbers:
    """A corpus of examples that each fill a row: example n is a row of the number n."""

    length, shards = 4, 3

    def shard(self, number, epoch):
        sizes = (5, 3, 1)
        first = sum(sizes[:number])
        return pack([[value] * 4 for value in range(first, first + sizes[number])], 4)


def numbers(batch):
    return [int(row[0]) for row in batch["tokens"]]


def test_batches_lose_no_row_and_go_on_anywhere():
    rows = Rows(Numbers(), batch=2, epochs=2, draw=DRAW)
    assert rows.count() == 9  # 2 epochs of 9 rows in batches of 2
    whole = [numbers(batch) for batch in itertools.islice(rows.batches(0), 9)]
    assert {len(batch) for batch in whole} == {2}
    seen = sum(whole, [])
    assert sorted(seen[:9]) == sorted(seen[9:]) == list(range(9))
    assert seen[:9] != seen[9:]
    for start in range(9):
        assert [numbers(batch) for batch in itertools.islice(rows.batches(start), 9 - start)] == whole[start:]
    again = [numbers(batch) for batch in itertools.islice(Rows(Numbers(), 2, 2, DRAW._replace(seed=1)).batches(0), 9)]
    assert again != whole


@pytest.mark.parametrize("epochs, steps", [(1, 4), (0.5, 2), (0.1, 1), (3, 14)])
def test_fractional_epochs(epochs, steps):
    assert Rows(Numbers(), batch=2, epochs=epochs, draw=DRAW).count() == steps  # of 9 rows


def test_a_corpus_in_which_nothing_fits_is_an_error_and_no_endless_loop():
    empty = SimpleNamespace(length=4, shards=2, shard=lambda number, epoch: pack([], 4))
    with pytest.raises(UserError, match="short enough"):
        next(Rows(empty, 2, 1, DRAW).batches(0))


class Words:
    """A tokenizer of one id per letter, in a model of 32 positions."""

    config = SimpleNamespace(max_position=32)

    class tokenizer:
        pad_id, eos_id, begin, special_ids = 0, 1, "", frozenset({0, 1})
        encode = staticmethod(lambda text, **how: [ord(letter) for letter in text])


def labelled(count, **more):
    return [
        {"turns": [{"role": "human", "text": "?"}], "a": chr(65 + n), "b": "no", "p": n / count, **more}
        for n in range(count)
    ]


def noted(**params):
    notes = {}
    params = {"length": 0, "overlong": "skip", "batch": 3, "seed": 0} | params
    node = SimpleNamespace(stage="reward")
    return SimpleNamespace(params=params, seed=0, node=node, note=notes.__setitem__, notes=notes)


def test_pairs_are_permuted_every_epoch_and_none_is_lost():
    # "\n\nHuman: ?\n\nAssistant: A" has 24 letters, and the end.
    found = pairs.Pairs(noted(), Words(), PAPER, labelled(5))
    assert found.tokens.shape == (5, 2, 26) and found.lengths.tolist() == [[25, 26]] * 5
    assert found.tokens[2, 0, 23:26].tolist() == [ord("C"), 1, 0]
    batches = list(itertools.islice(found.batches(0), 5))  # three epochs of 5 in batches of 3
    p = np.concatenate([batch["p"] for batch in batches])
    for epoch in range(3):
        np.testing.assert_allclose(sorted(p[5 * epoch : 5 * epoch + 5]), np.arange(5) / 5, rtol=1e-6)
    assert not np.array_equal(p[:5], p[5:10])
    later = next(found.batches(2))
    assert all(np.array_equal(later[name], batches[2][name]) for name in later)


def test_overlong_pairs():
    long = [*labelled(2), {**labelled(1)[0], "turns": [{"role": "human", "text": "x" * 20}], "a": "yes"}]
    ctx = noted()
    assert len(pairs.Pairs(ctx, Words(), PAPER, long).tokens) == 2
    assert ctx.notes["overlong"].startswith("1 of 3 pairs")
    with pytest.raises(UserError, match="does not fit"):
        pairs.Pairs(noted(overlong="error"), Words(), PAPER, long)
    cut = pairs.Pairs(noted(overlong="truncate_left"), Words(), PAPER, long)
    assert len(cut.tokens) == 3 and cut.lengths[2].tolist() == [32, 32]
    assert cut.tokens[2, 0, -2:].tolist() == [ord("s"), 1]  # the end stays, where the score is read


def test_the_weights_of_pairs_reach_their_batches():
    found = pairs.Pairs(noted(batch=5), Words(), PAPER, [*labelled(3, weight=2.0), *labelled(2)])
    batch = next(found.batches(0))
    assert sorted(batch["weights"].tolist()) == [1, 1, 2, 2, 2]


def letters(room, overlong="truncate_left"):
    return Fitting(Words.tokenizer, room, overlong)


def text(found):
    return "".join(map(chr, found.ids))


def test_a_conversation_is_cut_from_its_oldest_words_and_markers_and_options_stay():
    turns = [
        {"role": "system", "text": "Be kind."},
        {"role": "human", "text": "abc"},
        {"role": "human", "text": "defg"},
    ]
    segments = PAPER.comparison(turns, "Which?", ("one", "two"))
    whole = render.text_of(segments)
    (found,) = letters(len(whole)).fit(segments)
    assert text(found) == whole and not found.cut
    (found,) = letters(len(whole) - 6).fit(segments)  # " abc" and " d"
    assert text(found) == whole.replace(" abc", "").replace(" defg", "efg") and found.cut
    assert letters(len(whole) - 10).fit(segments) is None  # a reply would have to be cut
    ctx, fitter = noted(), letters(len(whole) - 6)
    assert [fitter.fit(each) is None for each in (segments, segments[:3], [*segments, *segments])] == [
        False,
        False,
        True,
    ]
    fitter.note(ctx)
    assert (
        ctx.notes["overlong"] == "1 of 3 rows are too long and were left out; 1 of 3 rows are too long and lost "
        "their beginning"
    )


def test_a_loss_is_taken_on_the_reply_and_on_an_end_of_its_own():
    row = {"turns": [{"role": "human", "text": "a?"}], "reply": "yes"}
    before = len("\n\nHuman: a?\n\nAssistant:")
    ended, cut = (dialog(letters(99), PAPER, {**row, "ended": ended}) for ended in (True, False))
    assert ended.weights == [0.0] * before + [1.0] * 5 and ended.ids[-1] == Words.tokenizer.eos_id
    assert cut.weights == [0.0] * before + [1.0] * 4 and cut.ids[-1] == ord("s")
    assert dialog(letters(99), PAPER, row) == ended  # a reply from elsewhere is whole
    assert dialog(letters(99), PAPER, {**row, "weight": 3.0}).weights[-5:] == [3.0] * 5


def test_shuffles_belong_to_their_stage_and_purpose():
    one = DRAW.permutation("rows", 100, 0, 0)
    assert sorted(one) == list(range(100)) and (one == DRAW.permutation("rows", 100, 0, 0)).all()
    others = [
        DRAW.permutation("examples", 100, 0, 0),
        DRAW.permutation("rows", 100, 0),
        DRAW.permutation("rows", 100, 1, 0),
    ]
    others += [DRAW._replace(stage="reward").permutation("rows", 100, 0, 0)]
    assert all((one != other).any() for other in others)


def test_replies_to_one_prompt_are_told_apart():
    rows = [
        {"id": "a-0", "sample": 0},
        {"id": "a-0", "sample": 1},
        {"id": "a-0", "sample": 0},
        {"id": "b-0", "sample": 0},
    ]
    assert [which for _, which in told_apart(rows)] == [0, 1, (0, 1), 0]
    assert len({DRAW.key("x", row, which).tobytes() for row, which in told_apart(rows)}) == 4


def test_every_comparison_shot_has_a_principle_of_its_own(tmp_path):
    shot = {"form": "comparison", "turns": [{"role": "human", "text": "?"}], "a": "x", "b": "y", "answer": "A"}
    (tmp_path / "shots.jsonl").write_text("".join(json.dumps(shot) + "\n" for _ in range(5)))
    named = [{"name": f"p{n}", "compare": f"Rule {n}?", "tags": []} for n in range(40)]
    constitution = SimpleNamespace(result={"principles": named, "fewshots": str(tmp_path / "shots.jsonl")})
    shown = render.text_of(principles.comparison_shots(constitution, 5, PAPER, DRAW))
    assert len(set(re.findall(r"Rule \d+", shown))) > 1


def test_pairs_without_any_weight_are_an_error():
    with pytest.raises(UserError, match="weight 0"):
        pairs.Pairs(noted(), Words(), PAPER, labelled(3, weight=0.0))


def test_the_papers_constitution_has_the_papers_examples():
    """METHOD.md §1.3, §2.2, §2.6: five critiques of which two leave the reply, five comparisons, six with reasoning."""
    path = assets.root() / "constitutions" / "paper16.fewshots.jsonl"
    text = path.with_name("paper16.cai").read_text("utf-8")
    names = re.findall(r"principle (\w+) \{\n    compare", text)
    assert f'fewshots = "{path.name}"' in text and len(names) == 16
    constitution = SimpleNamespace(
        result={"fewshots": str(path), "principles": [{"name": n, "compare": "?", "tags": []} for n in names]}
    )
    critiques = principles.examples(constitution, "critique")
    assert [shot["reply"] == shot["revision"] for shot in critiques].count(True) == 2 and len(critiques) == 5
    assert all(shot["critique_request"] in text and shot["revision_request"] in text for shot in critiques)
    for reasoned, count in ((False, 5), (True, 6)):
        shots = principles.suited_shots(constitution, reasoned)
        assert len(shots) == count and {shot["answer"] for shot, _ in shots} == {"A", "B"}
        assert all(set(shot["principles"]) <= set(names) for shot, _ in shots)
        assert all(f"Reply {shot['answer']} is better." in shot["reasoning"] for shot, _ in shots if reasoned)


EVERY = {"data": len(jax.devices()), "fsdp": 1, "tensor": 1}


@pytest.mark.parametrize(
    ("asked", "used"),
    [
        ({"mesh": "one", "microbatch": 2}, {"mesh": "one", "microbatch": 2}),
        ({"mesh": EVERY | {"data": 0}}, {"mesh": EVERY}),
    ],
)
def test_a_step_says_what_schedule_it_uses(asked, used):
    said = {}
    node = SimpleNamespace(schedule=asked)
    batch = 4 * len(jax.devices())
    training.compiled(SimpleNamespace(node=node, params={"batch": batch}, used=said.update), lambda axis: print)
    assert {"microbatch": batch, **used} == said
