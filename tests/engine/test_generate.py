"""The decode loop: against the training forward, against transformers, and against itself."""

import chex
import jax
import numpy as np
import pytest
import torch
from scipy import stats

from cai_jax.engine import batch_shapes, decode_steps
from cai_jax.engine import generate as module
from cai_jax.engine.generate import Request, generate
from cai_jax.engine.generation_config import GenerationConfig
from cai_jax.engine.prefix_cache import make_prefix
from cai_jax.engine.rng import row_key
from cai_jax.models import checkpoint
from tests.support import llama
from tests.support.forward import forward_logprobs


def requests(count, longest=16, vocab=37, seed=0):
    draw = np.random.default_rng(seed)
    return [
        Request(draw.integers(1, vocab, draw.integers(1, longest)).tolist(), row_key(0, 0, "s", "r", "h", i, 0))
        for i in range(count)
    ]


def replies(params, config, rows, settings, **options):
    found = {reply.index: reply for reply in generate(params, config, rows, settings, **options)}
    assert sorted(found) == list(range(len(rows)))
    return [found[index] for index in range(len(rows))]


@pytest.mark.parametrize("tie", [True, False])
def test_greedy_replies_equal_transformers(tmp_path, tie):
    theirs = llama.write(tmp_path, tie=tie)
    model = checkpoint.load(tmp_path)
    rows = requests(5, longest=40, vocab=llama.VOCAB)
    settings = GenerationConfig(max_new=12, temperature=0.0, stop_ids=model.config.eos_ids, slots=4, chunk=5)
    for row, reply in zip(rows, replies(model.params, model.config, rows, settings), strict=True):
        ids = torch.tensor([row.ids])
        wanted = theirs.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)
        assert reply.ids == wanted[0, len(row.ids) :].tolist()
        assert reply.ended == (reply.ids[-1] == llama.EOS)


@pytest.mark.parametrize("temperature", [0.6, 1.0])
def test_logprobs_are_those_of_the_training_forward(params, config, temperature):
    rows = requests(9)
    settings = GenerationConfig(max_new=10, temperature=temperature, stop_ids=(0,), slots=4, chunk=4)
    for row, reply in zip(rows, replies(params, config, rows, settings), strict=True):
        table = forward_logprobs(params, config, [*row.ids, *reply.ids], temperature)
        where = len(row.ids) - 1 + np.arange(len(reply.ids))
        np.testing.assert_allclose(reply.logprobs, table[where, reply.ids], atol=1e-4)


def test_a_reply_does_not_depend_on_its_company(params, config):
    """Other neighbours, another slot, another order, another call: the same bits."""
    rows = requests(23)
    settings = GenerationConfig(max_new=9, stop_ids=(0, 1), slots=4, chunk=4)
    together = replies(params, config, rows, settings)
    order = np.random.default_rng(1).permutation(len(rows))
    shuffled = replies(params, config, [rows[i] for i in order], settings)
    resumed = replies(params, config, rows[17:], settings)
    alone = replies(params, config, rows[5:6], settings)[0]
    for position, index in enumerate(order):
        assert shuffled[position].ids == together[index].ids
        assert shuffled[position].logprobs == together[index].logprobs
    for one, other in [*zip(resumed, together[17:], strict=True), (alone, together[5])]:
        assert (one.ids, one.logprobs) == (other.ids, other.logprobs)


def test_slots_and_chunk_do_not_change_the_text(params, config):
    rows = requests(11)
    few = replies(params, config, rows, GenerationConfig(max_new=9, stop_ids=(0,), slots=4, chunk=4))
    many = replies(params, config, rows, GenerationConfig(max_new=9, stop_ids=(0,), slots=16, chunk=9))
    assert [reply.ids for reply in few] == [reply.ids for reply in many]


def test_order_of_replies_is_determined(params, config):
    rows, settings = requests(13), GenerationConfig(max_new=6, stop_ids=(0, 1, 2), slots=4, chunk=4)
    orders = [[reply.index for reply in generate(params, config, rows, settings)] for _ in range(2)]
    assert orders[0] == orders[1]


def test_a_shared_prefix_equals_the_prefix_in_every_row(params, config):
    shared = list(range(1, 30))
    prefix = make_prefix(params, config, shared)
    rows = requests(7)
    whole = [Request([*shared, *row.ids], row.key) for row in rows]
    settings = GenerationConfig(max_new=10, stop_ids=(0,), slots=4, chunk=4)
    for one, other in zip(
        replies(params, config, rows, settings, prefix=prefix),
        replies(params, config, whole, settings),
        strict=True,
    ):
        assert one.ids == other.ids
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-5)


def test_samples_of_one_prompt_share_its_reading(params, config, monkeypatch):
    """Read once, and the replies of prompts that are read one by one."""
    prompts = [request.ids for request in requests(4)]
    keys = [row_key(0, 0, "s", "r", "h", i, 0) for i in range(12)]
    rows = [Request(prompts[i // 3], key) for i, key in enumerate(keys)]
    settings = GenerationConfig(max_new=8, stop_ids=(0,), slots=32, longest=16)
    monkeypatch.setattr(batch_shapes, "compile_cost", lambda: 0.0)
    filled, fill = [], decode_steps.fill
    monkeypatch.setattr(decode_steps, "fill", lambda *args: filled.append(args[3].rows) or fill(*args))
    together = replies(params, config, rows, settings)
    assert sum(len(rows) for rows in filled) == 2 + 4  # the first 8 rows continue 3 prompts, read as 4
    for row, reply in zip(rows, together, strict=True):
        (alone,) = replies(params, config, [row], settings)
        assert reply.ids == alone.ids
        np.testing.assert_allclose(reply.logprobs, alone.logprobs, atol=1e-5)


@pytest.mark.parametrize("temperature, top_p", [(1.0, 1.0), (0.7, 1.0), (1.0, 0.8)])
def test_frequencies_follow_the_exact_distribution(params, config, temperature, top_p):
    row, count = [3, 14, 15], 3000
    rows = [Request(row, row_key(0, 0, "s", "r", "h", 0, sample)) for sample in range(count)]
    settings = GenerationConfig(max_new=1, temperature=temperature, top_p=top_p, slots=256)
    found = replies(params, config, rows, settings)
    exact = np.exp(forward_logprobs(params, config, row, temperature)[-1].astype(np.float64))
    if top_p < 1:
        order = np.argsort(-exact)
        kept = order[: np.searchsorted(np.cumsum(exact[order]), top_p) + 1]
        exact = np.where(np.isin(np.arange(37), kept), exact, 0)
    exact /= exact.sum()
    seen = np.bincount([reply.ids[0] for reply in found], minlength=37)
    assert not seen[exact == 0].any()
    for reply in found[:50]:
        np.testing.assert_allclose(reply.logprobs[0], np.log(exact[reply.ids[0]]), atol=1e-4)
    common = exact * count >= 5
    observed, expected = ([*x[common], x[~common].sum()] for x in (seen, exact * count))
    if expected[-1] < 1e-6:
        observed, expected = observed[:-1], expected[:-1]
    assert stats.chisquare(observed, np.array(expected) * count / sum(expected)).pvalue > 1e-3


def test_other_seeds_give_other_replies(params, config):
    rows = [Request([5], row_key(seed, 0, "s", "r", "h", 0, 0)) for seed in range(20)]
    found = replies(params, config, rows, GenerationConfig(max_new=8, slots=4, chunk=4))
    assert len({tuple(reply.ids) for reply in found}) == 20


def test_replies_end_at_the_stop_id_or_the_limit(params, config):
    rows = requests(12)
    free = replies(params, config, rows, GenerationConfig(max_new=16, slots=4, chunk=4))
    assert all(len(reply.ids) == 16 and not reply.ended for reply in free)
    stopped = replies(params, config, rows, GenerationConfig(max_new=16, stop_ids=(7, 9), slots=4, chunk=4))
    for long, short in zip(free, stopped, strict=True):
        first = next((i for i, token in enumerate(long.ids) if token in (7, 9)), None)
        assert short.ids == (long.ids if first is None else long.ids[: first + 1])
        assert short.ended == (first is not None)


def spell(ids):
    return "".join(f"{token}," for token in ids)


@pytest.mark.parametrize("inside", [0, 1], ids=["between tokens", "inside a token"])
def test_replies_end_before_a_stop_text(params, config, inside):
    rows = requests(12)
    free = replies(params, config, rows, GenerationConfig(max_new=16, slots=4, chunk=4))
    stop = "," * inside + spell(free[2].ids[5:7])
    settings = GenerationConfig(max_new=16, slots=4, chunk=4, stop_texts=(stop, "never"))
    stopped = replies(params, config, rows, settings, decode=spell)
    assert stopped[2].ended and len(stopped[2].ids) <= 7
    for long, short in zip(free, stopped, strict=True):
        said, at = spell(long.ids), spell(long.ids).find(stop)
        assert short.ended == (at >= 0)
        assert short.text == (said if at < 0 else said[:at])
        # The ids are those drawn, no more of them than say the text.
        assert spell(short.ids).startswith(short.text) and short.ids == long.ids[: len(short.ids)]
        assert not short.ids or len(spell(short.ids[:-1])) < len(short.text)
        assert short.logprobs == long.logprobs[: len(short.ids)]


def test_nothing_recompiles_within_the_buckets(params, config, monkeypatch):
    for name, static, donated in (("fill", (1,), 2), ("decode", (1, 2), 3)):
        traced = chex.assert_max_traces(getattr(decode_steps, name).__wrapped__, n=1)
        monkeypatch.setattr(module.steps, name, jax.jit(traced, static_argnums=static, donate_argnums=donated))
    for settings in (
        GenerationConfig(max_new=9, slots=4, longest=16),
        GenerationConfig(max_new=9, slots=4, longest=12, temperature=0.0),
        GenerationConfig(max_new=12, slots=4, longest=16, temperature=0.3, top_p=0.5, stop_ids=(1, 2, 3)),
    ):
        replies(params, config, requests(6, longest=12), settings)
    chex.clear_trace_counter()


def test_no_rows_no_replies(params, config):
    assert list(generate(params, config, [], GenerationConfig(max_new=4))) == []


def test_impossible_requests_are_refused(params, config):
    key = np.zeros(2, np.uint32)
    settings = GenerationConfig(max_new=8)
    with pytest.raises(ValueError, match="row 1 is empty"):
        generate(params, config, [Request([1], key), Request([], key)], settings)
    with pytest.raises(ValueError, match="row 0 has 121 tokens, but the model's context of 128 leaves 120"):
        generate(params, config, [Request([1] * 121, key)], settings)
    with pytest.raises(ValueError, match="leaves 90 beside 30 of the prefix and 8 new"):
        prefix = make_prefix(params, config, [1] * 30)
        generate(params, config, [Request([1] * 91, key)], settings, prefix=prefix)
    with pytest.raises(ValueError, match="more than longest=4"):
        generate(params, config, [Request([1] * 5, key)], GenerationConfig(max_new=8, longest=4))
    with pytest.raises(ValueError, match="need decode"):
        generate(params, config, [Request([1], key)], GenerationConfig(max_new=8, stop_texts=("x",)))
    for wrong in ({"max_new": 0}, {"temperature": -1.0}, {"top_p": 0.0}, {"slots": 0}):
        with pytest.raises(ValueError, match="must"):
            GenerationConfig(**{"max_new": 4} | wrong)


def test_a_full_context_is_used_to_its_last_position(params, config):
    (row,) = [Request([1 + i % 30 for i in range(120)], np.zeros(2, np.uint32))]
    (reply,) = replies(params, config, [row], GenerationConfig(max_new=8, slots=2))
    table = forward_logprobs(params, config, [*row.ids, *reply.ids])
    np.testing.assert_allclose(reply.logprobs, table[119 + np.arange(8), reply.ids], atol=1e-4)
