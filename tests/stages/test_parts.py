"""What stages are made of, by numbers worked out by hand."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from cai_jax.data.packing import pack
from cai_jax.errors import UserError
from cai_jax.lang.types import Principle
from cai_jax.stages.parts import auditing, judging, pairs, reinforcing, training, writing
from cai_jax.stages.parts.draws import Draw
from cai_jax.stages.parts.examples import Rows

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


def test_bucket_is_a_power_of_two_up_to_the_limit():
    assert [training.bucket(n, 100) for n in (1, 16, 17, 64, 65, 100)] == [16, 16, 32, 64, 100, 100]


def answers(first, second, position=0.5, mass=1.0):
    soft = (first + second) / 2
    return {"soft": soft, "orders": [first, second], "position": position, "mass": mass}


def test_statistics_of_labels():
    rows = [
        answers(0.9, 0.7, position=0.6),
        answers(0.62, 0.2, position=0.7, mass=0.05),  # 0.41, and the order decides
        answers(0.5, 0.505, position=0.5),  # a tie
        answers(0.1, 0.3, position=0.4),
    ]
    found = judging.statistics(rows)
    assert found["position_bias"] == pytest.approx(0.05)
    assert found["flips"] == 0.25  # of 0.62 and 0.2; 0.5 and 0.505 say nothing
    assert found["no_mass"] == 0.25 and found["ties"] == 0.25
    assert found["spread"] == pytest.approx(np.std([0.8, 0.41, 0.5025, 0.2]))
    assert judging.statistics([]) == {}
    assert judging.statistics([{**rows[0], "orders": [0.9, None]}])["flips"] == 0.0


def test_diagnoses_of_labels_name_what_is_wrong():
    sound = {"ties": 0.2, "no_mass": 0.0, "position_bias": 0.02, "flips": 0.1}
    assert judging.diagnoses(sound) == []
    wrong = dict(judging.diagnoses({"ties": 0.97, "no_mass": 0.4, "position_bias": -0.3, "flips": 0.5}))
    assert set(wrong) == {"uninformative", "undecided", "position", "flips"}
    assert "97%" in wrong["uninformative"]
    assert wrong["undecided"].startswith("40% of the comparisons could not be made")
    assert "second option by 30%" in wrong["position"]


def test_diagnoses_of_ppo():
    sound = {"kl": 3.0, "eos_rate": 0.99, "score": 2.0, "watch": 1.5}
    assert reinforcing.diagnoses(sound, {}) == []
    found = dict(reinforcing.diagnoses({"kl": 31.0, "eos_rate": 0.5, "score": 4.0, "watch": 1.0}, {}))
    assert set(found) == {"divergence", "unended", "over-optimised"}
    assert "31 nats" in found["divergence"] and "50%" in found["unended"]
    assert reinforcing.diagnoses({}, {}) == []


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

    def shard(self, number, seed):
        sizes = (5, 3, 1)
        first = sum(sizes[:number])
        return pack([[value] * 4 for value in range(first, first + sizes[number])], 4)


def numbers(batch):
    return [int(row[0]) for row in batch["tokens"][0]]


def test_batches_lose_no_row_and_go_on_anywhere():
    rows = Rows(Numbers(), batch=2, epochs=2, seed=(0, 0))
    assert rows.count() == 9  # 2 epochs of 9 rows in batches of 2
    whole = [numbers(batch) for batch in itertools.islice(rows.batches(0), 9)]
    assert {len(batch) for batch in whole} == {2}
    seen = sum(whole, [])
    assert sorted(seen[:9]) == sorted(seen[9:]) == list(range(9))
    assert seen[:9] != seen[9:]
    for start in range(9):
        assert [numbers(batch) for batch in itertools.islice(rows.batches(start), 9 - start)] == whole[start:]
    again = [numbers(batch) for batch in itertools.islice(Rows(Numbers(), 2, 2, (0, 1)).batches(0), 9)]
    assert again != whole


@pytest.mark.parametrize("epochs, steps", [(1, 4), (0.5, 2), (0.1, 1), (3, 14)])
def test_fractional_epochs(epochs, steps):
    assert Rows(Numbers(), batch=2, epochs=epochs, seed=(0, 0)).count() == steps  # of 9 rows


def test_a_corpus_in_which_nothing_fits_is_an_error_and_no_endless_loop():
    empty = SimpleNamespace(length=4, shards=2, shard=lambda number, seed: pack([], 4))
    with pytest.raises(UserError, match="short enough"):
        next(Rows(empty, 2, 1, (0, 0)).batches(0))


class Words:
    """A tokenizer of one id per letter, in a model of 32 positions."""

    config = SimpleNamespace(max_position=32)

    class tokenizer:
        pad_id, eos_id = 0, 1
        encode = staticmethod(lambda text: [ord(letter) for letter in text])


def labelled(count, **more):
    return [
        {"turns": [{"role": "human", "text": "?"}], "a": chr(65 + n), "b": "no", "p": n / count, **more}
        for n in range(count)
    ]


def noted(**params):
    notes = {}
    params = {"length": 0, "overlong": "skip", "batch": 3, "seed": 0} | params
    return SimpleNamespace(params=params, seed=0, note=notes.__setitem__, notes=notes)


def test_pairs_are_permuted_every_epoch_and_none_is_lost():
    # "\n\nHuman: ?\n\nAssistant: A" has 24 letters, and the end.
    found = pairs.Pairs(noted(), Words(), labelled(5))
    assert found.tokens.shape == (5, 2, 32) and found.lengths.tolist() == [[25, 26]] * 5
    assert found.tokens[2, 0, 23:26].tolist() == [ord("C"), 1, 0]
    batches = list(itertools.islice(found.batches(0), 5))  # three epochs of 5 in batches of 3
    p = np.concatenate([batch["p"][0] for batch in batches])
    for epoch in range(3):
        np.testing.assert_allclose(sorted(p[5 * epoch : 5 * epoch + 5]), np.arange(5) / 5, rtol=1e-6)
    assert not np.array_equal(p[:5], p[5:10])
    later = next(found.batches(2))
    assert all(np.array_equal(later[name], batches[2][name]) for name in later)


def test_overlong_pairs():
    long = [*labelled(2), {**labelled(1)[0], "a": "x" * 20}]
    ctx = noted()
    assert len(pairs.Pairs(ctx, Words(), long).tokens) == 2
    assert ctx.notes["overlong"].startswith("1 of 3 pairs")
    with pytest.raises(UserError, match="does not fit"):
        pairs.Pairs(noted(overlong="error"), Words(), long)
    cut = pairs.Pairs(noted(overlong="truncate_left"), Words(), long)
    assert len(cut.tokens) == 3 and cut.lengths[2].tolist() == [32, 26]
    assert cut.tokens[2, 0, -2:].tolist() == [ord("x"), 1]  # the end stays, where the score is read


def test_pairs_without_any_weight_are_an_error():
    with pytest.raises(UserError, match="weight 0"):
        pairs.Pairs(noted(), Words(), labelled(3, weight=0.0))
