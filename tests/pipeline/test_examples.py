"""Examples to train on: every row of every epoch, in filled batches, with weights worked out by hand."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from cai_jax.data.packing import pack
from cai_jax.errors import UserError
from cai_jax.lang.signature import Kind, Type
from cai_jax.pipeline.examples import SHARD, Example, Rows, corpus, dialog, relative
from cai_jax.prompting.paper_format import PAPER
from tests.stages._letters import DRAW, Words, letters
from tests.support.artefacts import Given
from tests.support.contexts import Context


class Numbers:
    """A corpus of examples that each fill a row: example n is a row of the number n."""

    length, shards, dealt = 4, 3, False

    def shard(self, number, epoch):
        sizes = (5, 3, 1)
        first = sum(sizes[:number])
        return pack([[value] * 4 for value in range(first, first + sizes[number])], 4)


def numbers(batch):
    return [int(row[0]) for row in batch["tokens"]]


def test_batches_lose_no_row_and_go_on_anywhere():
    rows = Rows(Numbers(), batch=2, epochs=2, draw=DRAW)
    assert (rows.seen, rows.steps) == (18, 9)  # 2 epochs of 9 rows in batches of 2
    whole = [numbers(batch) for batch in itertools.islice(rows.batches(0), 9)]
    assert {len(batch) for batch in whole} == {2}
    seen = sum(whole, [])
    assert sorted(seen[:9]) == sorted(seen[9:]) == list(range(9))
    assert seen[:9] != seen[9:]
    for start in range(9):
        assert [numbers(batch) for batch in itertools.islice(rows.batches(start), 9 - start)] == whole[start:]
    again = [numbers(batch) for batch in itertools.islice(Rows(Numbers(), 2, 2, DRAW._replace(seed=1)).batches(0), 9)]
    assert again != whole


@pytest.mark.parametrize("epochs, seen", [(1, 9), (0.5, 4), (0.1, 1), (1e-9, 1), (3, 27), (1.6, 14)])
@pytest.mark.parametrize("dealt", [False, True])
def test_every_row_of_every_epoch_is_seen_once_and_the_last_batch_is_filled(epochs, seen, dealt):
    data = Numbers()
    data.dealt = dealt
    rows = Rows(data, batch=4, epochs=epochs, draw=DRAW)
    batches = list(rows.batches(0))
    assert (rows.seen, rows.steps, len(batches)) == (seen, -(-seen // 4), -(-seen // 4))
    real = [batch["weights"].any(axis=1) for batch in batches]
    assert all(len(each) == 4 for each in real) and sum(map(sum, real)) == seen
    found = [n for batch, there in zip(batches, real, strict=True) for n in np.array(numbers(batch))[there].tolist()]
    for begin in range(0, seen - 8, 9):
        assert sorted(found[begin : begin + 9]) == list(range(9))
    for start in range(len(batches)):
        again = list(rows.batches(start))
        assert all((a["tokens"] == b["tokens"]).all() for a, b in zip(again, batches[start:], strict=True))


def test_epochs_that_deal_out_other_rows_are_counted_each():
    # 9, 7 and 8 rows, of which the third epoch gives a half.
    sizes = {0: 9, 1: 7, 2: 8}
    data = SimpleNamespace(length=4, shards=1, dealt=True, shard=lambda _, epoch: pack([[1] * 4] * sizes[epoch], 4))
    assert Rows(data, 4, 2.5, DRAW).seen == 20
    assert Rows(data, 4, 2, DRAW).seen == 16
    assert (Rows(data, 4, 2, DRAW, steps=3).seen, Rows(data, 4, 2, DRAW, steps=3).steps) == (12, 3)


def test_a_corpus_in_which_nothing_fits_is_an_error_and_no_endless_loop():
    empty = SimpleNamespace(length=4, shards=2, dealt=False, shard=lambda number, epoch: pack([], 4))
    with pytest.raises(UserError, match="short enough"):
        next(Rows(empty, 2, 1, DRAW).batches(0))


def test_every_shard_of_joined_documents_holds_its_share_of_each(tmp_path):
    sizes = {"a": 3 * SHARD + 5, "b": SHARD // 2, "c": 7}
    sources = {}
    for letter, size in sizes.items():
        path = tmp_path / f"{letter}.jsonl"
        path.write_text("".join(f'{{"text": "{letter}{n}"}}\n' for n in range(size)))
        params = {"column": "text", "config": "", "malformed": "error", "skip": 0}
        result = {"rows": size, "path": str(path)}
        sources[letter] = Given(Type(Kind.DOCUMENTS), params=params, result=result)
    joined = Given(Type(Kind.DOCUMENTS), result={"sources": [*sizes]}, parts=sources)
    found = corpus(Context("finetune", {"data": joined}, length=8, overlong="error"), Words())
    assert found.shards == 4

    def documents(number):
        packed = found.shard(number, 0)
        ids, segments = packed.tokens, packed.segments
        return [
            "".join(map(chr, row[(at == segment) & (row > 1)]))
            for row, at in zip(ids, segments, strict=True)
            for segment in range(1, at.max() + 1)
        ]

    shards = [documents(number) for number in range(4)]
    assert sorted(sum(shards, [])) == sorted(f"{letter}{n}" for letter, size in sizes.items() for n in range(size))
    for shard in shards:
        for letter, size in sizes.items():
            assert abs(sum(text.startswith(letter) for text in shard) - size / 4) < 1
    assert [documents(number) for number in (2, 0, 1)] == [shards[2], shards[0], shards[1]]  # from anywhere


def test_the_weights_of_examples_are_relative_to_the_mean_over_their_tokens():
    one, three = Example([1, 2, 3], [0.0, 0.0, 1.0]), Example([1, 2, 3, 4], [0.0, 9.0, 9.0, 9.0])
    mean = (1 + 27) / 4
    light, heavy = relative([one, three])
    assert light.weights == [0, 0, 1 / mean] and heavy.weights == [0, 9 / mean, 9 / mean, 9 / mean]
    assert relative([Example([1], [0.1])] * 3)[0].weights == pytest.approx([1])
    assert relative([one])[0] == one
    huge = relative([Example([1], [1e308])] * 5 + [Example([1], [0.5e308])])  # their sum is more than a float holds
    assert [each.weights[0] for each in huge] == pytest.approx([12 / 11] * 5 + [6 / 11])


def test_a_loss_is_taken_on_the_reply_and_on_an_end_of_its_own():
    row = {"turns": [{"role": "human", "text": "a?"}], "reply": "yes"}
    before = len("\n\nHuman: a?\n\nAssistant:")
    ended, cut = (dialog(letters(99), PAPER, {**row, "ended": ended}) for ended in (True, False))
    assert ended.weights == [0.0] * before + [1.0] * 5 and ended.ids[-1] == Words.tokenizer.eos_id
    assert cut.weights == [0.0] * before + [1.0] * 4 and cut.ids[-1] == ord("s")
    assert dialog(letters(99), PAPER, row) == ended  # a reply from elsewhere is whole
    assert dialog(letters(99), PAPER, {**row, "weight": 3.0}).weights[-5:] == [3.0] * 5
