"""Benchmarks at toy sizes: the sides compute the same, and each benchmark fills its rows of the table."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from cai_jax.models.config import Config
from cai_jax.models.shapes import SHAPES
from tests.benchmarks import bounds, critique, gpu, judging, logprobs, machine, sampling, sft, works
from tests.benchmarks.arena import Arena
from tests.benchmarks.figures import table
from tests.benchmarks.sides.worker import Process, Worker
from tests.support import llama

TOY = dict(vocabulary=llama.VOCAB)
FIXED = works.Sampling(**TOY, rows=3, prompt=9, new=5)
MIXED = works.Mixed(**TOY, rows=6, shortest=3, longest=9, least=2, most=8, stops=60)
CRITIQUE = works.Critique(**TOY, rows=3, shots=20, prompt=3, ask=2, new=2)
JUDGING = works.Judging(
    **TOY, pairs=2, principles=3, shots=20, lead=2, conversation=4, principle=4, opening=2, reply=5, closing=3
)
LOGPROBS = works.Logprobs(**TOY, rows=3, prompt=4, new=5)
SFT = works.Sft(**TOY, rows=2, length=9)


@pytest.fixture(scope="module", autouse=True)
def quick_ceilings():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "SECONDS", 0.0)
        patch.setattr(machine, "STREAM", 1 << 10)
        patch.setattr(machine, "LARGE", (8, 8))
        patch.setattr(machine, "ROWS", (8, 32))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    llama.write(folder, tie=False)
    return folder


@pytest.fixture(scope="module")
def sides(folder) -> Arena:
    """Both sides in this process."""
    config = Config.from_hf(json.loads((folder / "config.json").read_text()))
    return Arena(config, Worker("ours", str(folder)), Worker("theirs", str(folder)), times=1)


def both(sides: Arena, name: str, work: works.Work, **options) -> tuple:
    return sides.ours.measure(name, work)[1], sides.theirs.measure(name, work, **options)[1]


@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_greedy_samples_are_the_same_tokens(sides, cache):
    work = replace(FIXED, temperature=0.0)
    ours, theirs = both(sides, "sampling", work, batch=2, cache=cache)
    assert ours == theirs
    assert [len(ids) for ids in ours] == [5, 5, 5]


def test_greedy_revisions_are_the_same_tokens(sides):
    work = replace(CRITIQUE, temperature=0.0)
    ours, theirs = both(sides, "critique", work, batch=2, cache="dynamic", take=3)
    assert ours == theirs


@pytest.mark.parametrize("reuse", [False, True])
def test_labels_are_the_same(sides, reuse):
    ours, theirs = both(sides, "judging", JUDGING, batch=5, take=12, reuse=reuse)
    assert len(ours) == 12 and np.std(ours) > 1e-3
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_logprobs_are_the_same(sides):
    ours = sides.ours.measure("logprobs", LOGPROBS, batch=1)[1]
    theirs = sides.theirs.measure("logprobs", LOGPROBS, batch=2)[1]
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_training_steps_are_the_same(sides):
    """The second call's loss shows the first one's update."""
    ours, theirs = both(sides, "sft", SFT)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)


def test_mixed_replies_end_at_the_same_lengths(sides):
    rows = list(sampling.mixed(sides, MIXED, batch=4))
    work = works.Mixed(**TOY, rows=3, shortest=3, longest=9, most=8, draws=(0, 0, 0), lengths=(8, 2, 5))
    assert sorted(sides.theirs.measure("mixed", work, batch=2, cache="dynamic")[1]) == [2, 5, 8]
    assert "beside transformers" in table(rows)


@pytest.mark.parametrize(
    "compare, work, rows",
    [
        (sampling.fixed, FIXED, 6),
        (critique.compare, CRITIQUE, 5),
        (judging.compare, JUDGING, 8),
        (logprobs.compare, LOGPROBS, 5),
        (sft.compare, SFT, 5),
    ],
)
def test_each_benchmark_fills_its_rows(sides, compare, work, rows):
    found = list(compare(sides, work))
    assert len(found) == rows
    assert all(value > 0 for each in found if "difference" not in each.what for value in each.values)


def test_large_models_run_at_toy_size(monkeypatch):
    monkeypatch.setitem(SHAPES, "toy", replace(SHAPES["stories-260k"], layers=1))
    sides = Arena(SHAPES["toy"], Worker("ours", "toy"), Worker("theirs", "toy"), times=1, number_bytes=2)
    sizes = gpu.Sizes(
        decode=works.Sampling(**TOY, rows=2, prompt=4, new=8),
        prefill=works.Sampling(**TOY, rows=2, prompt=12, new=1),
        sft=works.Sft(**TOY, rows=2, length=8),
    )
    rows = list(gpu.compare(sides, "toy", sizes, "toy", memory=1e12))
    assert [row.what for row in rows if row.target] == ["share of the bandwidth"] + ["model FLOP utilisation"] * 2
    too_large = list(gpu.compare(sides, "toy", sizes, "toy", memory=1e6))[-1]
    assert not too_large.values and "does not fit" in too_large.what


def test_a_side_in_its_own_process_answers_the_same(folder, sides):
    with closing(Process("ours", str(folder))) as process:
        assert process.measure("sampling", FIXED)[1] == sides.ours.measure("sampling", FIXED)[1]


def test_a_side_that_cannot_start_says_so(tmp_path):
    with closing(Process("ours", str(tmp_path))) as process, pytest.raises(SystemExit, match="'ours' ended with 1"):
        process.measure("sampling", FIXED)


def test_shared_beginnings_are_counted_once():
    texts = bounds.Texts.of([[1, 2, 3], [1, 2, 4], [1, 2, 3, 5], [7]])
    assert texts == bounds.Texts(tokens=6, pairs=1 + 2 + 3 + 3 + 4 + 1)


def test_bounds_are_the_arithmetic_that_their_file_describes():
    costs = bounds.Costs(100, 10, attention=2, key_bytes=8, number_bytes=4, all_weights=120)
    assert costs.flops(tokens=3, pairs=5, logits=2) == 600 + 10 + 40
    compute, memory = bounds.Ceilings({1: 1.0}, 1e9), bounds.Ceilings({1: 1e9}, 1.0)
    assert bounds.read(costs, compute, bounds.Texts(3, 5), logits=2) == 650
    # The first of 2 new tokens comes of reading; the second reads the weights and two rows' keys, the shared one once.
    assert bounds.decode(costs, memory, [1, 2], [2, 2], shared=1) == pytest.approx(440 + 8 * (2 + 3 - 1))
    assert bounds.train(costs, compute, rows=1, length=3) == pytest.approx(3 * (400 + 2 * 3 + 40))


def test_ceilings_between_measured_rows_are_interpolated():
    ceilings = bounds.Ceilings({4: 10.0, 16: 30.0}, 1.0)
    assert [ceilings.flops(rows) for rows in (1, 4, 8, 16, 99)] == pytest.approx([10, 10, 20, 30, 30])
