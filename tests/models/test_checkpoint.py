"""Models in and out of the Hugging Face layout."""

import dataclasses
import json
import shutil
from functools import partial

import chex
import jax
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from transformers import LlamaForCausalLM, LlamaForSequenceClassification

from cai_jax.models import checkpoint as checkpoints
from cai_jax.models import decoder, heads, safetensors_io
from cai_jax.models.config import Config, ModelError
from tests.support import families, llama

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
    np.testing.assert_allclose(checkpoints.load(tmp_path).logits([IDS])[0], wanted, atol=1e-4)


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


def cut(path, size=-100):
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:size])


def damage(path):
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:8] + b"not a header" + file.read_bytes()[20:])


def quantise(path):
    tensors = load_file(path / "model.safetensors")
    tensors["model.norm.weight"] = tensors["model.norm.weight"].astype(np.int8)
    save_file(tensors, path / "model.safetensors")


def pickled(path):
    (path / "model.safetensors").rename(path / "pytorch_model.bin")


def lose_a_shard(path):
    LlamaForCausalLM.from_pretrained(path).save_pretrained(path, max_shard_size="40KB")
    (path / "model.safetensors").unlink()
    next(path.glob("model-00002-of-*.safetensors")).unlink()


BREAKAGES = {
    "no config": (lambda path: (path / "config.json").unlink(), "config.json does not exist"),
    "config cut off": (
        lambda path: (path / "config.json").write_text('{"a": '),
        "config.json is not valid JSON",
    ),
    "config no object": (lambda path: (path / "config.json").write_text("[]"), "config.json holds no JSON object"),
    "no weights": (lambda path: (path / "model.safetensors").unlink(), "model.safetensors does not exist"),
    "pickled weights": (pickled, "model.safetensors does not exist; .* are converted with .* save_pretrained"),
    "weights cut off": (cut, "model.safetensors is cut off or damaged .*not fully covered.*; fetch it again"),
    "weights all but gone": (lambda path: cut(path, 5), "model.safetensors is cut off or damaged"),
    "weights damaged": (damage, "model.safetensors is cut off or damaged"),
    "a shard missing": (lose_a_shard, "model-00002-of-.* does not exist, but .*index.json lists it; fetch it"),
    "quantised weights": (quantise, "stores model.norm.weight as I8; take the model's unquantised weights"),
    "other shape": (
        lambda path: edit(path, intermediate_size=64),
        r"has shape \[48, 32\], but .* \[64, 32\]",
    ),
    "one layer more": (lambda path: edit(path, num_hidden_layers=3), r"lack model\.layers\.2\."),
    "one layer less": (lambda path: edit(path, num_hidden_layers=1), "hold model.layers.1.input_layernorm"),
    "biases": (lambda path: edit(path, attention_bias=True), "lack model.layers.0.self_attn.q_proj.bias"),
    "other family": (
        lambda path: edit(path, model_type="bloom"),
        "model_type 'bloom'; supported: llama, mistral, qwen2, .* phi3",
    ),
    "other architecture": (
        lambda path: edit(path, architectures=["LlamaForTokenClassification"]),
        "architecture 'LlamaForTokenClassification'; supported: LlamaForCausalLM",
    ),
    "other rope": (
        lambda path: edit(path, rope_parameters={"rope_type": "yarn"}),
        "rotary scaling 'yarn'; supported: linear, llama3",
    ),
    "rope without a factor": (
        lambda path: edit(path, rope_parameters={"rope_type": "linear"}),
        "'linear' without 'factor'",
    ),
    "other activation": (lambda path: edit(path, hidden_act="mish"), "hidden_act 'mish'; supported: silu"),
    "quantised": (
        lambda path: edit(path, quantization_config={"bits": 4}),
        "quantization_config; take the model's unquantised weights",
    ),
    "text for a number": (
        lambda path: edit(path, num_hidden_layers="two"),
        "num_hidden_layers 'two'; it is a whole number",
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


def test_settings_that_only_some_families_have_are_refused_by_name():
    gpt2 = {"model_type": "gpt2", "vocab_size": 9, "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 16}
    assert Config.from_hf(gpt2).intermediate_size == 32
    with pytest.raises(ModelError, match="sets scale_attn_by_inverse_layer_idx to True; only False is supported"):
        Config.from_hf(gpt2 | {"scale_attn_by_inverse_layer_idx": True})
    qwen = families.configuration("qwen2-windows").to_dict()
    with pytest.raises(ModelError, match="layer of type 'chunked_attention'; supported: sliding_attention"):
        Config.from_hf(qwen | {"layer_types": ["chunked_attention"] * 2})
    with pytest.raises(ModelError, match="3 windows are given for 2 layers"):
        Config.from_hf(qwen | {"layer_types": ["sliding_attention"] * 3})


def test_a_model_saved_without_its_head_loads(tmp_path):
    """As the published GPT-2 is: names without prefix, and masks beside the weights."""
    theirs = families.write("gpt2", tmp_path)
    theirs.transformer.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    assert "wte.weight" in tensors
    save_file(tensors | {"h.0.attn.bias": np.ones((1, 1, 8, 8), np.float32)}, tmp_path / "model.safetensors")
    edit(tmp_path, architectures=["GPT2LMHeadModel"])
    np.testing.assert_allclose(checkpoints.load(tmp_path).logits([IDS]), families.logits(theirs, [IDS]), atol=1e-4)


@pytest.mark.parametrize("name", ["embed_out", "lm_head"])
def test_the_unembedding_of_a_pythia_has_two_names(tmp_path, name):
    """The published files' and that of transformers 5."""
    theirs = families.write("gpt_neox", tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    (found,) = tensors.keys() & {"embed_out.weight", "lm_head.weight"}
    tensors[f"{name}.weight"] = tensors.pop(found)
    save_file(tensors, tmp_path / "model.safetensors")
    np.testing.assert_allclose(checkpoints.load(tmp_path).logits([IDS]), families.logits(theirs, [IDS]), atol=1e-4)


@pytest.mark.parametrize("case", ["gemma3", "gpt2"])
@pytest.mark.parametrize("held", ["apart", "alike", "the unembedding alone"])
def test_tied_embeddings_are_those_of_the_file(tmp_path, case, held):
    """Whatever config.json says: transformers 5 ties them only if the file holds one of both, or both alike."""
    embed = "transformer.wte.weight" if case == "gpt2" else "model.embed_tokens.weight"
    families.write(case, tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    assert "lm_head.weight" not in tensors and json.loads((tmp_path / "config.json").read_text())["tie_word_embeddings"]
    tensors["lm_head.weight"] = tensors[embed].copy()
    if held == "apart":
        tensors["lm_head.weight"][-1, -1] += 1
    if held == "the unembedding alone":
        del tensors[embed]
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    model = checkpoints.load(tmp_path)
    assert model.config.tie_embeddings == ("unembed" not in model.params) == (held != "apart")
    wanted = families.logits(families.read(tmp_path), [IDS])
    np.testing.assert_allclose(model.logits([IDS]), wanted, atol=1e-4)
    model.save(tmp_path / "again")
    np.testing.assert_array_equal(families.logits(families.read(tmp_path / "again"), [IDS]), wanted)


def test_large_models_are_written_in_shards(directory, tmp_path):
    model = checkpoints.load(directory)
    model.save(tmp_path)
    files = safetensors_io.tensors(tmp_path)
    written = [
        safetensors_io.Written(name, each.shape, np.dtype("float32"), partial(load_file(each.file).get, name))
        for name, each in files.items()
    ]
    (tmp_path / "shards").mkdir()
    safetensors_io.write(tmp_path / "shards", written, most=40_000)
    shutil.copytree(directory, tmp_path / "again", ignore=shutil.ignore_patterns("*.safetensors"))
    shutil.copytree(tmp_path / "shards", tmp_path / "again", dirs_exist_ok=True)
    assert len(list((tmp_path / "again").glob("model-*.safetensors"))) > 2
    assert all(file.stat().st_size < 50_000 for file in (tmp_path / "again").glob("model-*"))
    chex.assert_trees_all_equal(checkpoints.load(tmp_path / "again").params, model.params)
    families.read(tmp_path / "again")


UNUSABLE = {
    "none": ({}, r"model holds no tokenizer; fetch the model's tokenizer files"),
    "an empty one": ({"tokenizer.json": ""}, r"model: the tokenizer's files cannot be read \(.+\); fetch them again"),
    "an empty object": ({"tokenizer.json": "{}"}, r"the tokenizer's files cannot be read \(.+\); fetch them again"),
    "half of one": ({"vocab.json": '{"a": 0}'}, r"tokenizer\.json does not exist, and .+[^ :]\); fetch the model's"),
}


@pytest.mark.parametrize("files, message", UNUSABLE.values(), ids=UNUSABLE)
def test_without_a_tokenizer_that_can_be_used_there_are_still_logits(directory, tmp_path, files, message):
    path = tmp_path / "model"
    shutil.copytree(directory, path)
    (path / "tokenizer.json").unlink()
    for name, content in files.items():
        (path / name).write_text(content)
    model = checkpoints.load(path)
    np.testing.assert_array_equal(model.logits([IDS]), checkpoints.load(directory).logits([IDS]))
    with pytest.raises(ModelError, match=message):
        model.tokenizer.encode("a")
    model.save(tmp_path / "again")
    np.testing.assert_array_equal(checkpoints.load(tmp_path / "again").logits([IDS]), model.logits([IDS]))


def test_logits_take_rows_only(directory):
    model = checkpoints.load(directory)
    assert model.logits(np.array([IDS, IDS])).shape == (2, 6, llama.VOCAB)
    with pytest.raises(ValueError, match=r"rows of token ids, \[B, T\]"):
        model.logits(IDS)
    with pytest.raises(ValueError, match="a row has 513 tokens, but the model's context is 512"):
        model.logits([[5] * 513])
