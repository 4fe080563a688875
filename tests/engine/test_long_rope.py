"""Phi-3's long rope: each text's own length decides how all of it is read, whatever is read with it."""

import jax
import numpy as np
import pytest
import torch

from cai_jax.engine.generate import Request, generate
from cai_jax.engine.generation_config import GenerationConfig
from cai_jax.engine.option_scoring import score_options
from cai_jax.engine.prefix_cache import make_prefix
from cai_jax.learn import preference, rollout
from cai_jax.learn.ppo import PPO
from cai_jax.models import checkpoint as checkpoints
from cai_jax.models import decoder, heads
from tests.support import families, llama

BORDER = 32  # tokens that families.CASES["phi3-long"] calls short
OPTIONS = [[5, 7], [9], [11, 4]]


def quick(function, static=1):
    """Unoptimised, which compiles in a third of the time."""
    return jax.jit(function, static_argnums=static, compiler_options={"xla_backend_optimization_level": 0})


def texts(*lengths):
    return [np.random.default_rng(length).integers(3, llama.VOCAB, length).tolist() for length in lengths]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """(transformers' model, ours)."""
    path = tmp_path_factory.mktemp("phi3")
    theirs = families.write("phi3-long", path)
    theirs.generation_config.eos_token_id = None
    return theirs, checkpoints.load(path)


def test_the_border_shows(model):
    """Both sets differ so much that a text read by the wrong one would be seen below."""
    _, ours = model
    (row,) = texts(BORDER)
    short, long = (
        quick(decoder.hidden)(ours.params, ours.config.reaching(length), np.array([row])) for length in (BORDER, 33)
    )
    assert np.abs(short - long)[0, 1:].mean() > 0.05


def test_logits_of_texts_on_both_sides_of_the_border(model):
    theirs, ours = model
    rows = texts(20, BORDER, BORDER + 1, 50)
    for found, row in zip(ours.logits(rows), rows, strict=True):
        np.testing.assert_allclose(found[: len(row)], families.logits(theirs, [row])[0], atol=1e-4)


@pytest.mark.parametrize("shared", [0, 20])
def test_option_scores_in_mixed_company(model, shared):
    """Rows whose options end within the original context, at its border, and beyond; with and without a prefix."""
    theirs, ours = model
    (shots,) = texts(shared)
    rows = texts(11, 13, 30, 31, 33)
    prefix = make_prefix(ours.params, ours.config, shots) if shots else None
    found = score_options(ours.params, ours.config, rows, OPTIONS, prefix=prefix)
    for row, scores in zip(rows, found, strict=True):
        for option, score in zip(OPTIONS, scores, strict=True):
            # An option's last token is predicted and never read; the longest option says how long the text is.
            text = shots + row + option[:-1]
            padding = [0] * (len(row) + shared + 1 - len(text))
            logits = families.logits(theirs, [text + padding])[0, : len(text)]
            logprobs = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
            wanted = sum(logprobs[shared + len(row) - 1 + place, token] for place, token in enumerate(option))
            np.testing.assert_allclose(score, wanted, atol=1e-3)
    alone = score_options(ours.params, ours.config, rows[:1], OPTIONS, prefix=prefix)
    np.testing.assert_allclose(alone, found[:1], atol=1e-5)


def test_a_reply_that_crosses_the_border_goes_on_as_in_transformers(model):
    theirs, ours = model
    (shots,) = texts(10)
    rows = texts(4, 12, 19, 22, 24)
    prefix = make_prefix(ours.params, ours.config, shots)
    settings = GenerationConfig(max_new=14, temperature=0.0, slots=8, longest=24)
    requests = [Request(row, np.zeros(2, np.uint32)) for row in rows]
    replies = sorted(generate(ours.params, ours.config, requests, settings, prefix=prefix), key=lambda one: one.index)
    assert [reply.index for reply in replies] == list(range(5))
    for reply, row in zip(replies, rows, strict=True):
        ids = torch.tensor([shots + row])
        wanted = theirs.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=14, do_sample=False)
        assert reply.ids == wanted[0, ids.shape[1] :].tolist()
        assert not reply.ended and len(reply.logprobs) == 14
        # Every token's log-probability is that behind a text of just so many tokens.
        whole = shots + row + reply.ids
        for place in (0, 7, 13):
            logits = families.logits(theirs, [whole[: len(shots + row) + place]])[0, -1]
            logprob = logits - np.logaddexp.reduce(logits)
            np.testing.assert_allclose(reply.logprobs[place], logprob[reply.ids[place]], atol=1e-3)


def test_company_changes_nothing_of_a_sampled_reply(model):
    _, ours = model
    rows = texts(6, 25, 26, 31, BORDER, 40)
    requests = [Request(row, np.array([3, number], np.uint32)) for number, row in enumerate(rows)]
    settings = GenerationConfig(max_new=12, slots=8, longest=40, chunk=5)

    def replies(some):
        found = generate(ours.params, ours.config, some, settings)
        return {some[reply.index].key[1]: (reply.ids, reply.logprobs) for reply in found}

    together = replies(requests)
    assert together == replies(requests[::-1])
    for request in requests[1:4]:
        assert replies([request]) == {request.key[1]: together[request.key[1]]}


def test_a_stop_behind_the_border_is_no_stop_before_it(model):
    """A reply that is cut at the border ends where one that is not cut would."""
    _, ours = model
    row = Request(texts(28)[0], np.array([1, 2], np.uint32))
    free = GenerationConfig(max_new=12, slots=8, longest=28, chunk=8)
    (reply,) = generate(ours.params, ours.config, [row], free)
    for place in (3, 4, 5, 11):  # the first four are drawn behind a short text, and a fifth at the border
        stops = GenerationConfig(max_new=12, slots=8, longest=28, chunk=8, stop_ids=(reply.ids[place],))
        (found,) = generate(ours.params, ours.config, [row], stops)
        first = reply.ids.index(reply.ids[place])
        assert (found.ids, found.ended) == (reply.ids[: first + 1], True)


def test_packed_and_padded_rows_train_as_they_are_alone(model):
    theirs, ours = model
    rows = texts(20, 40, 15)
    width = 80
    tokens, segments, positions = (np.zeros((1, width), np.int32) for _ in range(3))
    start, places = 0, []
    for number, row in enumerate(rows, start=1):
        place = slice(start, start + len(row))
        tokens[0, place], segments[0, place], positions[0, place] = row, number, np.arange(len(row))
        places.append(place)
        start = place.stop
    table, mask = np.zeros((3, 64), np.int32), np.zeros((3, 64), bool)
    for number, row in enumerate(rows):
        table[number, : len(row)] = row
        mask[number, len(row) - 3 : len(row)] = True
    lengths = np.array([len(row) for row in rows])
    params = {"decoder": ours.params, "head": heads.init_head(ours.config, jax.random.key(0))}
    packed = quick(decoder.hidden)(ours.params, ours.config, tokens, positions=positions, segments=segments)
    scores = quick(preference.scores)(params, ours.config, table, lengths)
    logprobs, _ = quick(rollout.policy_logprobs, (1, 2))(ours.params, ours.config, PPO(), table, mask)
    for number, (row, place) in enumerate(zip(rows, places, strict=True)):
        with torch.no_grad():
            alone = theirs.model(torch.tensor([row])).last_hidden_state[0].numpy()
        np.testing.assert_allclose(packed[0, place], alone, atol=1e-4)
        np.testing.assert_allclose(scores[number], heads.score(params["head"], alone[-1]), atol=1e-4)
        logits = families.logits(theirs, [row])[0]
        known = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
        wanted = [known[at - 1, row[at]] for at in range(len(row) - 3, len(row))]
        np.testing.assert_allclose(logprobs[number, len(row) - 3 : len(row)], wanted, atol=1e-4)
