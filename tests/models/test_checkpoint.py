"""Models in and out of the Hugging Face layout."""

import dataclasses
import json
import shutil

import chex
import jax
import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM, LlamaForSequenceClassification

from cai_jax.models import checkpoint as checkpoints
from cai_jax.models import decoder, heads
from cai_jax.models.config import ModelError, parameters
from tests.support import llama

forward = jax.jit(decoder.hidden, static_argnums=1)

IDS = [5, 17, 200, 33, 4, 81]


def test_a_saved_model_reloads_in_transformers_with_the_same_logits(checkpoint, tmp_path):
    path, theirs = checkpoint
    checkpoints.save(checkpoints.load(path), tmp_path / "again")
    again, report = LlamaForCausalLM.from_pretrained(tmp_path / "again", output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    with torch.no_grad():
        wanted, got = (model(torch.tensor([IDS])).logits for model in (theirs, again))
    assert torch.equal(wanted, got)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (path / name).read_bytes()


def test_parameters_counts_what_transformers_counts(checkpoint):
    path, theirs = checkpoint
    assert parameters(checkpoints.load(path).config) == theirs.num_parameters()


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16])
def test_narrow_weights_are_widened_exactly(tmp_path, stored):
    theirs = llama.write(tmp_path, dtype=stored)
    model = checkpoints.load(tmp_path)
    chex.assert_trees_all_equal_dtypes(model.params, jax.tree.map(lambda _: np.zeros(0, np.float32), model.params))
    wanted = theirs.model.layers[1].mlp.up_proj.weight.float().detach().numpy()
    np.testing.assert_array_equal(model.params["layers_1"]["mlp"]["up_proj"], wanted.T)


def test_bfloat16_weights_survive_a_round_trip(tmp_path):
    llama.write(tmp_path / "in")
    model = checkpoints.load(tmp_path / "in", dtype="bfloat16")
    checkpoints.save(model, tmp_path / "out")
    chex.assert_trees_all_equal(checkpoints.load(tmp_path / "out", dtype="bfloat16").params, model.params)
    assert LlamaForCausalLM.from_pretrained(tmp_path / "out", dtype="auto").dtype == torch.bfloat16


def test_shards_are_read_through_their_index(tmp_path):
    theirs = llama.write(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    theirs.save_pretrained(tmp_path, max_shard_size="40KB")
    assert (tmp_path / "model.safetensors.index.json").exists()
    with torch.no_grad():
        wanted = theirs(torch.tensor([IDS])).logits[0].numpy()
    np.testing.assert_allclose(checkpoints.load(tmp_path).logits(IDS), wanted, atol=1e-4)


def test_reward_model_scores_as_in_transformers_up_to_its_offset(directory, tmp_path):
    base = checkpoints.load(directory)
    head = {"kernel": jax.random.normal(jax.random.key(0), (32,)), "bias": np.float32(0.7)}
    checkpoints.save(dataclasses.replace(base, head=head), tmp_path)
    again = checkpoints.load(tmp_path)
    chex.assert_trees_all_close(again.head, head)
    last = forward(again.params, again.config, np.array([IDS]))[:, -1]
    theirs = LlamaForSequenceClassification.from_pretrained(tmp_path)
    with torch.no_grad():
        wanted = theirs(torch.tensor([IDS])).logits.numpy()
    assert wanted.shape == (1, 1)
    np.testing.assert_allclose(heads.score(again.head, last), wanted[:, 0] + 0.7, atol=1e-5)


def test_a_reward_model_saved_by_transformers_loads(tmp_path):
    llama.write(tmp_path, tie=False)
    theirs = LlamaForSequenceClassification.from_pretrained(tmp_path, num_labels=1)
    theirs.save_pretrained(tmp_path)
    model = checkpoints.load(tmp_path)
    assert "unembed" not in model.params and float(model.head["bias"]) == 0
    last = forward(model.params, model.config, np.array([IDS]))[:, -1]
    with torch.no_grad():
        wanted = theirs(torch.tensor([IDS])).logits.numpy()[:, 0]
    np.testing.assert_allclose(heads.score(model.head, last), wanted, atol=1e-5)


def edit(path, **changes):
    values = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(values | changes))


def cut(path):
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


BREAKAGES = {
    "no config": (lambda path: (path / "config.json").unlink(), "config.json does not exist"),
    "config cut off": (
        lambda path: (path / "config.json").write_text('{"a": '),
        "config.json is not valid JSON",
    ),
    "no weights": (lambda path: (path / "model.safetensors").unlink(), "model.safetensors does not exist"),
    "weights cut off": (cut, "model.safetensors is cut off or damaged"),
    "other shape": (
        lambda path: edit(path, intermediate_size=64),
        r"has shape \[48, 32\], but .* \[64, 32\]",
    ),
    "one layer more": (lambda path: edit(path, num_hidden_layers=3), "lack model.layers.2.input_layernorm"),
    "one layer less": (lambda path: edit(path, num_hidden_layers=1), "hold model.layers.1.input_layernorm"),
    "other family": (lambda path: edit(path, model_type="gpt2"), "model_type 'gpt2'; supported: llama"),
    "biases": (lambda path: edit(path, attention_bias=True), "attention_bias"),
    "other rope": (lambda path: edit(path, rope_parameters={"rope_type": "yarn"}), "'yarn'"),
    "no tokenizer": (lambda path: (path / "tokenizer.json").unlink(), "tokenizer.json does not exist"),
    "broken tokenizer": (
        lambda path: (path / "tokenizer.json").write_text("{}"),
        "tokenizer's files cannot be read",
    ),
    "odd heads": (lambda path: edit(path, num_key_value_heads=3), "4 heads cannot share 3"),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_a_broken_directory_is_refused_by_name(directory, tmp_path, breakage):
    path = tmp_path / "model"
    shutil.copytree(directory, path)
    harm, message = BREAKAGES[breakage]
    harm(path)
    with pytest.raises(ModelError, match=message):
        checkpoints.load(path)


def test_what_is_no_directory_is_refused(tmp_path):
    with pytest.raises(ModelError, match="is not a directory"):
        checkpoints.load(tmp_path / "nowhere")
