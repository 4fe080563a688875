"""Every family against transformers: logits, decoding, generation, and the way back."""

import dataclasses
import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from cai_jax.engine.generate import Request, generate
from cai_jax.engine.generation_config import GenerationConfig
from cai_jax.models import checkpoint as checkpoints
from cai_jax.models import decoder, heads, hf_layout
from cai_jax.models.attention import KV
from cai_jax.models.config import Config, parameters
from cai_jax.models.families import FAMILIES
from tests.support import families, llama

# Unoptimised kernels: compiling is nearly all of the time.
quick = partial(jax.jit, static_argnums=1, compiler_options={"xla_backend_optimization_level": 0})
read, extend, unembed = quick(decoder.prefill), quick(decoder.extend), quick(decoder.unembed)
forward = quick(decoder.hidden, static_argnames="dtype")

# Longer than the window of 8, and beyond the original context of Phi-3's long rope.
ROWS = [np.random.default_rng(length).integers(3, llama.VOCAB, length).tolist() for length in (40, 27, 9)]


# What differs in the forward only is generated with, scored with and narrowed once per family.
ONE_EACH = {families.configuration(case).model_type: case for case in families.CASES}
one_each = pytest.mark.parametrize("family", ONE_EACH.values(), indirect=True)


@pytest.fixture(scope="session", params=families.CASES)
def family(request, tmp_path_factory):
    """(folder, transformers' model, ours) of a case."""
    path = tmp_path_factory.mktemp(request.param)
    theirs = families.write(request.param, path)
    return path, theirs, checkpoints.load(path)


def test_every_family_has_a_case():
    assert set(ONE_EACH) == set(FAMILIES)


def test_logits_of_padded_rows(family):
    _, theirs, ours = family
    logits = ours.logits(ROWS)
    assert logits.dtype == np.float32 and logits.shape == (3, 40, llama.VOCAB)
    for found, row in zip(logits, ROWS, strict=True):
        np.testing.assert_allclose(found[: len(row)], families.logits(theirs, [row])[0], atol=1e-4)


def test_prefill_and_decode(family):
    """Rows of different lengths, token by token; a row's length decides on Phi-3's long rope, so it stays below."""
    _, theirs, ours = family
    rows = [row[:30] for row in ROWS[:2]]
    starts = np.array([17, 4], np.int32)
    table = np.array([row + [0] * (30 - len(row)) for row in rows], np.int32)
    _, layers = read(ours.params, ours.config, table[:, :17])
    cache = tuple(KV(*(jnp.pad(leaf, ((0, 0), (0, 0), (0, 13), (0, 0))) for leaf in kv)) for kv in layers)
    wanted = [families.logits(theirs, [row])[0] for row in rows]
    for step in range(13):
        newest = np.take_along_axis(table, (starts + step)[:, None], axis=1)
        hidden, cache = extend(ours.params, ours.config, newest, cache, starts + step)
        found = unembed(ours.params, ours.config, hidden[:, 0])
        for number in range(2):
            np.testing.assert_allclose(found[number], wanted[number][starts[number] + step], atol=1e-4)


@pytest.mark.parametrize("family", ["mistral", "gemma3"], indirect=True)
def test_branches_see_their_window_by_position(family):
    _, _, ours = family
    trunk, left, right = ROWS[0][:20], ROWS[1][:4], ROWS[1][4:9]
    tokens = np.array([trunk + left + right])
    positions = np.array([[*range(24), *range(20, 25)]])
    branches = np.array([[0] * 20 + [1] * 4 + [2] * 5])
    together, _ = read(ours.params, ours.config, tokens, positions=positions, branches=branches)
    for branch, where in ((left, slice(20, 24)), (right, slice(24, 29))):
        alone = forward(ours.params, ours.config, np.array([trunk + branch]))
        np.testing.assert_allclose(together[0, where], alone[0, 20:], atol=1e-5)


@one_each
def test_greedy_generation(family):
    _, theirs, ours = family
    requests = [Request(row[:12], np.zeros(2, np.uint32)) for row in ROWS[:2]]
    settings = GenerationConfig(max_new=16, temperature=0.0, slots=2, stop_ids=ours.config.eos_ids)
    replies = sorted(generate(ours.params, ours.config, requests, settings), key=lambda reply: reply.index)
    for reply, row in zip(replies, ROWS, strict=False):
        ids = torch.tensor([row[:12]])
        wanted = theirs.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=16, do_sample=False)
        assert reply.ids == wanted[0, 12:].tolist()


def test_parameters_are_counted_as_by_transformers(family):
    _, theirs, ours = family
    assert parameters(ours.config) == theirs.num_parameters() == sum(x.size for x in jax.tree.leaves(ours.params))


def test_a_config_survives_its_file(family):
    path, _, ours = family
    assert Config.from_hf(ours.config.to_hf()) == ours.config
    unknown = json.loads((path / "config.json").read_text()) | {"a_key_of_the_future": {"a": [1]}}
    assert Config.from_hf(unknown) == ours.config


def test_saved_again_it_reloads_in_transformers(family, tmp_path):
    _, theirs, ours = family
    ours.save(tmp_path)
    np.testing.assert_array_equal(families.logits(families.read(tmp_path), ROWS[:1]), families.logits(theirs, ROWS[:1]))


@one_each
def test_as_a_reward_model(family, tmp_path):
    _, _, ours = family
    kernel = jax.random.normal(jax.random.key(0), (ours.config.hidden_size,))
    head = {"kernel": kernel, "bias": np.float32(0.7)}
    dataclasses.replace(ours, head=head).save(tmp_path)
    again = checkpoints.load(tmp_path)
    assert "unembed" not in again.params
    np.testing.assert_array_equal(again.head["kernel"], kernel)
    last = forward(again.params, again.config, np.array(ROWS[:1]))[:, -1]
    theirs = families.read(tmp_path, "AutoModelForSequenceClassification")
    wanted = families.logits(theirs, ROWS[:1])[:, 0] + 0.7
    np.testing.assert_allclose(heads.score(again.head, last), wanted, atol=1e-4)


@one_each
def test_bfloat16_stays_near_float32(family):
    path, _, ours = family
    narrow = checkpoints.load(path, dtype="bfloat16")
    assert {leaf.dtype for leaf in jax.tree.leaves(narrow.params)} == {jnp.dtype("bfloat16")}
    hidden = forward(narrow.params, narrow.config, np.array(ROWS[:1]), dtype=jnp.bfloat16)
    logits = unembed(narrow.params, narrow.config, hidden)
    assert hidden.dtype == jnp.bfloat16 and logits.dtype == jnp.float32
    wide = ours.logits(ROWS)[:1]
    assert np.abs(logits - wide).mean() < 0.05 * wide.std()


def test_every_leaf_has_its_place_in_the_files(family):
    _, _, ours = family
    leaves = checkpoints._flat(ours.params)
    places = list(hf_layout.stored(ours.config, {name: leaf.shape for name, leaf in leaves.items()}))
    assert sorted(leaf for each in places for leaf in each.leaves) == sorted(leaves)
