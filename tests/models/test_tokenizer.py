"""Text to ids and back, hostile text included."""

import json

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from cai_jax.models.config import Config, ModelError
from cai_jax.models.tokenizer import Tokenizer
from tests.support import chat, llama

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


def test_every_file_is_kept_byte_for_byte(tmp_path):
    folder, again = _written(tmp_path / "model"), tmp_path / "again"
    (folder / "generation_config.json").write_bytes(b'{ "eos_token_id": [0, 7] }\r\n')
    (folder / "tokenizer.model").write_bytes(bytes(range(256)))
    (folder / "special_tokens_map.json").write_text('{"eos_token": "<eos>"}')
    again.mkdir()
    Tokenizer.load(folder, CONFIG).save(again)
    kept = {file.name: file.read_bytes() for file in again.iterdir()}
    assert kept == {file.name: file.read_bytes() for file in folder.iterdir()} and len(kept) == 5


def test_a_reply_ends_with_whatever_any_of_the_files_names(tmp_path):
    folder = _written(tmp_path / "model")
    (folder / "generation_config.json").write_text('{"eos_token_id": [0, 7]}')
    tokenizer = Tokenizer.load(folder, Config(llama.VOCAB, 32, 2, 4, 2, 8, 48, eos_ids=(9,)))
    assert tokenizer.stop_ids == {llama.EOS, 7, 9} <= tokenizer.special_ids
    (folder / "generation_config.json").write_text('{"eos_token_id": 7}')
    assert Tokenizer.load(folder).stop_ids == {llama.EOS, 7}


def test_special_tokens_that_only_the_older_map_names(tmp_path):
    folder = _written(tmp_path / "model")
    (folder / "tokenizer_config.json").write_text("{}")
    (folder / "special_tokens_map.json").write_text('{"eos_token": {"content": "<eos>"}, "bos_token": "<bos>"}')
    tokenizer = Tokenizer.load(folder)
    assert (tokenizer.eos_id, tokenizer.bos_id) == (llama.EOS, llama.BOS)
    assert tokenizer.named == {"eos_token": "<eos>", "bos_token": "<bos>"}


@pytest.mark.parametrize("adds, begin", [(True, "<bos>"), (False, ""), (None, "")])
def test_the_beginning_of_text_is_put_where_the_settings_say(tmp_path, adds, begin):
    folder = _written(tmp_path / "model")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"add_bos_token": adds}))
    assert Tokenizer.load(folder).begin == begin


def test_the_beginning_of_text_is_put_where_the_tokenizer_itself_puts_one():
    assert chat.tokenizer("llama-3").begin == "<|begin_of_text|>" and chat.tokenizer("qwen").begin == ""


def test_the_chat_template_of_a_file_of_its_own_and_of_several_the_default(tmp_path):
    folder = _written(tmp_path / "model")
    several = [{"name": "tools", "template": "x"}, {"name": "default", "template": "y"}]
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<eos>", "chat_template": several}))
    assert Tokenizer.load(folder).template == "y"
    (folder / "chat_template.jinja").write_text("z")
    assert Tokenizer.load(folder).template == "z"


def test_special_tokens_are_read_in_templates_alone():
    tokenizer = chat.tokenizer("llama-3")
    text = "<|eot_id|>x<|start_header_id|>"
    assert [n in tokenizer.special_ids for n in tokenizer.encode(text, special=True)] == [True, False, True]
    assert tokenizer.special_ids.isdisjoint(tokenizer.encode(text))
    assert tokenizer.parts(text) == ["", "<|eot_id|>", "x", "<|start_header_id|>", ""]


def test_a_token_that_the_template_names_is_special_even_if_its_file_does_not_say_so():
    tokenizer = chat.tokenizer("qwen")  # "<think>" is not marked there
    assert tokenizer.special_ids.isdisjoint(tokenizer.encode("<think> </think>"))
    assert len(tokenizer.encode("<think>", special=True)) == 1


def test_a_space_in_front_of_a_text_is_for_what_stands_behind_a_special_token():
    tokenizer = chat.tokenizer("mistral")
    inner, fresh = tokenizer.encode("bread"), tokenizer.encode("bread", fresh=True)
    assert fresh == tokenizer.encode(" bread") != inner
    assert tokenizer.decode(inner) == tokenizer.decode(fresh) == "bread"


@pytest.mark.parametrize("scheme, same", [("always", False), ("first", True), ("never", True)])
def test_a_space_that_only_a_whole_text_has_is_left_out(tmp_path, scheme, same):
    chat.write(tmp_path, "mistral")
    values = json.loads((tmp_path / "tokenizer.json").read_text()) | {"normalizer": None}
    values["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": False}
    (tmp_path / "tokenizer.json").write_text(json.dumps(values))
    tokenizer = Tokenizer.load(tmp_path)
    assert (tokenizer.encode("bread", fresh=True) == tokenizer.encode("bread")) == same


def test_a_vocabulary_that_holds_special_tokens_as_words_yields_none(tmp_path):
    letters = [(chr(code), -9.0) for code in range(32, 127)]
    backend = tokenizers.Tokenizer(tokenizers.models.Unigram([("<unk>", 0.0), ("</s>", -1.0), *letters], unk_id=0))
    backend.decoder = tokenizers.decoders.Fuse()
    backend.add_special_tokens(["<unk>", "</s>"])
    backend.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "</s>", "unk_token": "<unk>"}')
    tokenizer = Tokenizer.load(tmp_path)
    ids = tokenizer.encode("say </s> twice: </s>")
    assert tokenizer.special_ids == {1} and 1 not in ids and tokenizer.decode(ids) == "say </s> twice: </s>"
    assert tokenizer.encode("say </s>", special=True)[-1] == 1
