"""Text to ids and back, hostile text included."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cai_jax.models.config import Config, ModelError
from cai_jax.models.tokenizer import Tokenizer
from tests.support import llama

CONFIG = Config(llama.VOCAB, 32, 2, 4, 2, 8, 48, eos_ids=(llama.EOS,))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer")
    llama.write_tokenizer(path)
    return Tokenizer.load(path, CONFIG)


def test_named_ids(tokenizer):
    assert (tokenizer.eos_id, tokenizer.bos_id, tokenizer.pad_id) == (0, 1, 2)
    assert tokenizer.special_ids == {0, 1, 2}
    assert tokenizer.vocab_size == 3 + 256 + 2


def test_merges_apply(tokenizer):
    assert len(tokenizer.encode("the th")) == 3


def test_special_strings_in_text_stay_text(tokenizer):
    text = "say <eos> and <bos><pad>"
    ids = tokenizer.encode(text)
    assert not tokenizer.special_ids & set(ids)
    assert tokenizer.decode(ids) == text


def test_special_ids_are_not_spelled_out(tokenizer):
    assert tokenizer.decode([1, *tokenizer.encode("the end"), 0, 2]) == "the end"


@given(st.text(max_size=60))
def test_any_text_survives_and_yields_no_special_id(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert not tokenizer.special_ids & set(ids)


def test_end_of_text_comes_from_the_model_if_the_tokenizer_is_silent(tmp_path):
    llama.write_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    assert Tokenizer.load(tmp_path, CONFIG).eos_id == llama.EOS
    with pytest.raises(ModelError, match="end-of-text token"):
        Tokenizer.load(tmp_path, Config(llama.VOCAB, 32, 2, 4, 2, 8, 48))


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    llama.write_tokenizer(tmp_path)
    with pytest.raises(ModelError, match="has 261 tokens, but the model only 100"):
        Tokenizer.load(tmp_path, Config(100, 32, 2, 4, 2, 8, 48, eos_ids=(0,)))


def test_a_tokenizer_in_an_older_format_is_converted(tmp_path):
    from transformers import GPT2Tokenizer

    backend = json.loads((_written(tmp_path / "new") / "tokenizer.json").read_text())
    old = tmp_path / "old"
    old.mkdir()
    (old / "vocab.json").write_text(json.dumps(backend["model"]["vocab"]))
    (old / "merges.txt").write_text("#version: 0.2\nt h\nth e\n")
    settings = {"tokenizer_class": GPT2Tokenizer.__name__, "eos_token": "<eos>"}
    settings |= {"bos_token": "<bos>", "unk_token": "<eos>", "model_type": "gpt2"}
    (old / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = Tokenizer.load(old, CONFIG)
    assert tokenizer.encode("the") == [backend["model"]["vocab"]["the"]]


def _written(path):
    path.mkdir()
    llama.write_tokenizer(path)
    return path
