"""`cai_jax.load` of an adapter that a run has made: on the base that its record says, or on none."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import jax
import numpy as np
import pytest

import cai_jax
from cai_jax.lang.signature import Kind, Node, Type
from cai_jax.models import checkpoint, decoder, lora
from cai_jax.models.config import Config, ModelError
from cai_jax.models.tokenizer import Tokenizer
from cai_jax.runs.cache import Cache, meaning
from cai_jax.runs.fingerprints import Fingerprints
from tests.support import llama

IDS = [[5, 17, 200, 33]]
SMALL = Config(
    vocab_size=llama.VOCAB,
    hidden_size=32,
    layers=1,
    heads=2,
    kv_heads=2,
    head_dim=16,
    intermediate_size=48,
    max_position=128,
)


@pytest.fixture
def made(tmp_path):
    """Two models of one shape, `one` and `two`, and a cache in which an adapter of `one` was trained."""
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    llama.write_tokenizer(one)
    tokenizer = Tokenizer.load(one)
    config = replace(SMALL, bos_id=llama.BOS, eos_ids=(llama.EOS,), pad_id=llama.PAD)
    for seed, folder in enumerate((one, two)):
        checkpoint.save(checkpoint.Model(config, decoder.init(config, jax.random.key(seed)), tokenizer), folder)
    base = checkpoint.load(one)
    fresh = lora.init(base.params, 2, jax.random.key(2))
    adapter = jax.tree.map(lambda leaf: leaf + 0.1, fresh)
    tuned = replace(base, params=lora.joined(base.params, adapter, 1.0))
    cache = Cache(tmp_path / "cache")
    params = {"path": str(one), "dtype": "float32", "format": "auto"}
    model = Node("model-1", "model", params, {}, Type(Kind.MODEL), data={"path": Fingerprints().of(str(one))})
    node = Node("finetune-2", "finetune", {}, {"model": model.key}, Type(Kind.MODEL))
    for each in (model, node):
        entry = cache.entry(each.key)
        entry.open(each, 1)
        if each is node:
            checkpoint.save_adapter(tuned, entry.dir / "hf")
        entry.finish({**meaning(each, 1), "result": {}, "rows": 0})
    return SimpleNamespace(root=tmp_path, hf=cache.entry(node.key).dir / "hf", logits=tuned.logits(IDS))


def renamed(made):
    """The other model where the base was."""
    (made.root / "one").rename(made.root / "old")
    (made.root / "two").rename(made.root / "one")


def test_the_record_says_the_base_and_the_adapters_file_does_not(made):
    np.testing.assert_array_equal(cai_jax.load(made.hf).logits(IDS), made.logits)
    file = made.hf / "adapter_config.json"
    text = file.read_text()
    file.write_text(text.replace(str(made.root / "one"), str(made.root / "two")))
    assert file.read_text() != text
    np.testing.assert_array_equal(cai_jax.load(made.hf).logits(IDS), made.logits)


def test_another_model_in_the_bases_place_is_an_error(made):
    renamed(made)
    with pytest.raises(ModelError, match=r"whose base cannot be had: .*one has changed since .* base=…"):
        cai_jax.load(made.hf)
    np.testing.assert_array_equal(cai_jax.load(made.hf, base=made.root / "old").logits(IDS), made.logits)
    with pytest.raises(ModelError, match="one is not the model on which the adapter finetune-2 was trained"):
        cai_jax.load(made.hf, base=made.root / "one")


def test_a_base_that_has_gone_is_an_error_until_it_is_named(made):
    (made.root / "one").rename(made.root / "old")
    with pytest.raises(ModelError, match="one is not on this machine"):
        cai_jax.load(made.hf)
    np.testing.assert_array_equal(cai_jax.load(made.hf, base=made.root / "old").logits(IDS), made.logits)


def test_a_node_that_lost_a_file_is_an_error(made):
    (made.hf / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match="finetune-2 is damaged"):
        cai_jax.load(made.hf)


def test_an_adapter_from_elsewhere_takes_the_base_that_is_named(made):
    shutil.copytree(made.hf, made.root / "mine")
    np.testing.assert_array_equal(cai_jax.load(made.root / "mine").logits(IDS), made.logits)
    (made.root / "mine" / "config.json").unlink()
    settings = json.loads((made.root / "mine" / "adapter_config.json").read_text())
    settings["base_model_name_or_path"] = "nobody/nothing"
    (made.root / "mine" / "adapter_config.json").write_text(json.dumps(settings))
    found = cai_jax.load(made.root / "mine", base=made.root / "one")
    np.testing.assert_array_equal(found.logits(IDS), made.logits)
    with pytest.raises(ModelError, match="holds no adapter"):
        cai_jax.load(made.root / "one", base=made.root / "two")
