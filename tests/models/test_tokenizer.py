"""Text to ids and back, hostile text included."""

import importlib.util
import json
import os

import pytest
import sentencepiece
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from cai_jax.errors import UserError
from cai_jax.models.config import Config, ModelError
from cai_jax.models.tokenizer import Tokenizer
from cai_jax.prompting.chat_format import format_of
from cai_jax.prompting.chat_template import render
from cai_jax.prompting.render import Segment, encode, read
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
    with pytest.raises(ModelError, match="has the token '.+', whose id is .+, but the model has embeddings of 100 ids"):
        Tokenizer.load(tmp_path, Config(100, 32, 2, 4, 2, 8, 48, eos_ids=(0,)))


SMALL = Config(261, 32, 2, 4, 2, 8, 48, eos_ids=(llama.EOS,))  # as many rows as the tokenizer has tokens


def with_token(path, content, *, special=True, **settings):
    """The tokenizer with one more token, the first id without an embedding."""
    llama.write_tokenizer(path)
    backend = tokenizers.Tokenizer.from_file(str(path / "tokenizer.json"))
    backend.add_tokens([tokenizers.AddedToken(content, special=special, normalized=False)])
    assert backend.token_to_id(content) == SMALL.vocab_size
    backend.save(str(path / "tokenizer.json"))
    file = path / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


@pytest.mark.parametrize("settings", [{}, {"pad_token": "<image>"}, {"chat_template": "<bos>{{ messages }}"}])
def test_an_id_without_an_embedding_that_nothing_can_yield_is_no_fault(tmp_path, settings):
    with_token(tmp_path, "<image>", **settings)
    tokenizer = Tokenizer.load(tmp_path, SMALL)
    text = "an <image> here <bos>"
    assert max(tokenizer.encode(text)) < SMALL.vocab_size and tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.pad_id != SMALL.vocab_size
    # A template may put a name together that it does not spell.
    with pytest.raises(ModelError, match="template writes the token 261, of which the model has no embedding"):
        encode(tokenizer, [Segment("<bos><image>", special=True)])


@pytest.mark.parametrize(
    "special, settings",
    [
        (False, {}),  # any text may have it
        (True, {"chat_template": "{{ bos_token }}<image>{{ messages }}"}),
        (True, {"eos_token": "<image>"}),
        (True, {"bos_token": "<image>", "add_bos_token": True}),
    ],
)
def test_an_id_without_an_embedding_that_may_occur_is_refused(tmp_path, special, settings):
    with_token(tmp_path, "<image>", special=special, **settings)
    with pytest.raises(ModelError, match="'<image>', whose id is 261, but the model has embeddings of 261 ids"):
        Tokenizer.load(tmp_path, SMALL)


def test_dropout_is_off(tmp_path):
    llama.write_tokenizer(tmp_path)
    values = json.loads((tmp_path / "tokenizer.json").read_text())
    values["model"]["dropout"] = 0.9
    (tmp_path / "tokenizer.json").write_text(json.dumps(values))
    raw = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert len({tuple(raw.encode("the " * 20).ids) for _ in range(5)}) > 1
    tokenizer = Tokenizer.load(tmp_path, CONFIG)
    assert [tokenizer.spans("the", place)[0].id for place in ("start", "fresh", "inner")] == [260] * 3
    assert encode(tokenizer, [Segment("<bos>the", special=True)])[0] == [1, 260]
    # Where the same file is read twice, for its spaces.
    values["normalizer"] = {"type": "Prepend", "prepend": "t"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(values))
    assert len({tuple(Tokenizer.load(tmp_path, CONFIG).encode("the " * 20)) for _ in range(5)}) == 1


PANICS = {
    "while it is read": {"normalizer": {"type": "Precompiled", "precompiled_charsmap": ""}},
    "at every text": {"pre_tokenizer": {"type": "FixedLength", "length": 0}},
    "at some": {"normalizer": {"type": "Replace", "pattern": {"Regex": ""}, "content": "aa"}},
}


@pytest.mark.parametrize("kind", PANICS)
def test_a_panic_of_the_library_is_a_fault_of_the_model(tmp_path, kind):
    llama.write_tokenizer(tmp_path)
    values = json.loads((tmp_path / "tokenizer.json").read_text())
    (tmp_path / "tokenizer.json").write_text(json.dumps(values | PANICS[kind]))
    with pytest.raises(ModelError, match="tokenizer's files make its library fail .*; fetch them again"):
        tokenizer = Tokenizer.load(tmp_path, CONFIG)
        tokenizer.encode("hello \u00e9 \u200b world")


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "generation_config.json", "vocab.json"])
def test_a_pipe_for_a_file_is_refused_at_once(tmp_path, name):
    llama.write_tokenizer(tmp_path)
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(ModelError, match=f"{name} is no regular file; fetch it again"):
        Tokenizer.load(tmp_path, CONFIG)


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    """A folder with a vocabulary of sentencepiece alone, as Vicuna's is."""
    path = tmp_path_factory.mktemp("pieces")
    (path / "corpus.txt").write_text("How do I bake bread? Mix flour, water and salt, and wait.\n" * 20)
    sentencepiece.SentencePieceTrainer.train(
        input=str(path / "corpus.txt"), model_prefix=str(path / "tokenizer"), vocab_size=290, model_type="bpe",
        byte_fallback=True, unk_id=0, bos_id=1, eos_id=2, minloglevel=2, hard_vocab_limit=False,
    )  # fmt: skip
    settings = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (path / "tokenizer_config.json").write_text(json.dumps(settings | {"add_bos_token": True}))
    return path


def test_a_vocabulary_of_sentencepiece_alone(pieces):
    tokenizer = Tokenizer.load(pieces, CONFIG)
    theirs = AutoTokenizer.from_pretrained(pieces, trust_remote_code=False)
    for text in ("<s>bake bread", "<s>Mix \u00e9 and water</s> Mix"):
        assert encode(tokenizer, [Segment(text, special=True)])[0] == theirs.encode(text, add_special_tokens=False)
    assert (tokenizer.begin, tokenizer.eos_id) == ("<s>", 2)


@pytest.mark.parametrize("missing", ["sentencepiece", "google.protobuf"])
def test_the_package_that_reads_it_is_named(pieces, monkeypatch, missing):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else found(name))
    with pytest.raises(ModelError, match=r"a tokenizer.model, which .*; pip install 'cai-jax\[sentencepiece\]'"):
        Tokenizer.load(pieces, CONFIG)


@pytest.mark.parametrize("content", ["version https://git-lfs.github.com/spec/v1\noid sha256:ab\n", "\n\x07junk", ""])
def test_a_vocabulary_that_is_none_is_to_be_fetched_again(tmp_path, content, capfd):
    (tmp_path / "tokenizer.model").write_text(content)
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer", "eos_token": "</s>"}')
    with pytest.raises(ModelError, match="tokenizer.model is cut off or damaged, or a mere pointer .*; fetch it again"):
        Tokenizer.load(tmp_path, CONFIG)
    assert "".join(capfd.readouterr()) == ""


def test_a_vocabulary_cut_off_is_to_be_fetched_again(pieces, tmp_path):
    (tmp_path / "tokenizer.model").write_bytes((pieces / "tokenizer.model").read_bytes()[:-100])
    (tmp_path / "tokenizer_config.json").write_bytes((pieces / "tokenizer_config.json").read_bytes())
    with pytest.raises(ModelError, match="tokenizer.model is cut off or damaged"):
        Tokenizer.load(tmp_path, CONFIG)


def test_what_transformers_cannot_convert_it_does_not_tell_itself(tmp_path, capfd):
    (tmp_path / "tokenizer.model").write_text("AA== 0\nAQ== 1\n")  # of tiktoken
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer", "eos_token": "</s>"}')
    with pytest.raises(ModelError, match="transformers cannot make it"):
        Tokenizer.load(tmp_path, CONFIG)
    assert "".join(capfd.readouterr()) == ""


@pytest.mark.parametrize("kind", [tokenizers.models.WordLevel, tokenizers.models.WordPiece])
def test_a_vocabulary_that_lacks_its_token_for_unknown_words_is_refused(tmp_path, kind):
    tokenizers.Tokenizer(kind({"yes": 0, "</s>": 1}, unk_token="[UNK]")).save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>"}))
    with pytest.raises(ModelError, match=r"cannot be read \(.*\[UNK\]"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize("name", ["tekken.json", "qwen.tiktoken"])
def test_a_tokenizer_in_a_format_that_is_not_read_is_named(tmp_path, name):
    (tmp_path / name).write_text("{}")
    with pytest.raises(ModelError, match=f"{name} is a tokenizer in a format that is not read; fetch a tokenizer.json"):
        Tokenizer.load(tmp_path, CONFIG)


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


def configured(path, **settings):
    """Settings added to a folder's tokenizer_config.json; None takes one out."""
    file = path / "tokenizer_config.json"
    found = json.loads(file.read_text()) | settings
    file.write_text(json.dumps({name: value for name, value in found.items() if value is not None}))


@pytest.mark.parametrize("role", ["bos_token", "eos_token"])
def test_a_token_that_also_stands_for_unknown_letters_stays_special(tmp_path, role):
    folder = _written(tmp_path / "model")
    values = json.loads((folder / "tokenizer.json").read_text())
    for token in values["added_tokens"]:
        token["special"] = False  # a careless file
    (folder / "tokenizer.json").write_text(json.dumps(values))
    configured(folder, unk_token=json.loads((folder / "tokenizer_config.json").read_text())[role])
    tokenizer = Tokenizer.load(folder)
    assert {llama.BOS, llama.EOS}.isdisjoint(tokenizer.encode("x <bos> y <eos>"))
    assert tokenizer.parts("a<bos>b<eos>") == ["a", "<bos>", "b", "<eos>", ""]


def test_one_token_for_beginning_end_and_unknown_letters_in_a_template(tmp_path):
    from transformers import PreTrainedTokenizerFast

    chat.write(tmp_path, "lines")
    configured(tmp_path, unk_token="<|end|>")
    messages = [{"role": "user", "content": "Hi!"}, {"role": "assistant", "content": "So."}]
    theirs = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    said = format_of(tokenizer := Tokenizer.load(tmp_path)).replied([{"role": "human", "text": "Hi!"}], "So.")
    assert encode(tokenizer, said)[0] == theirs.apply_chat_template(messages, return_dict=False)


@pytest.mark.parametrize(
    "settings",
    [
        {"image_token": "<image>"},
        {"extra_special_tokens": {"image_token": "<image>"}},
        {"extra_special_tokens": {"image_token": {"content": "<image>", "__type": "AddedToken"}}},
        {"model_specific_special_tokens": {"image_token": "<image>"}},
    ],
)
@pytest.mark.parametrize("special", [True, False])
def test_tokens_with_names_of_their_own_stand_where_a_template_names_them(tmp_path, settings, special):
    from transformers import PreTrainedTokenizerFast

    source = "{{ bos_token }}{% for m in messages %}{{ image_token + m.content }}{% endfor %}"
    with_token(tmp_path, "<image>", special=special, chat_template=source, bos_token="<bos>", **settings)
    theirs = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    expected = theirs.apply_chat_template([{"role": "user", "content": "the"}], return_dict=False)
    tokenizer = Tokenizer.load(tmp_path)
    text = render(source, [{"role": "user", "content": "the"}], tokenizer.named)
    assert encode(tokenizer, [Segment(text, special=True)])[0] == expected == [llama.BOS, 261, 260]
    assert 261 not in tokenizer.encode("an <image> here")


def test_special_tokens_that_the_normalizer_changes_are_known_by_what_templates_write(tmp_path):
    known = chat.tokenizer("zephyr")
    chat.write(tmp_path, "zephyr")  # behind a normalizer that puts a space before every text
    values = json.loads((tmp_path / "tokenizer.json").read_text())
    for token in values["added_tokens"]:
        token["normalized"] = True
    (tmp_path / "tokenizer.json").write_text(json.dumps(values))
    tokenizer = Tokenizer.load(tmp_path, Config(known.vocab_size, 32, 2, 4, 2, 8, 48))
    assert tokenizer.begin == "<s>" and tokenizer.parts("<s>a</s>") == ["", "<s>", "a", "</s>", ""]
    turns = [{"role": "human", "text": "Hi!"}]
    ids = [encode(tok, format_of(tok).replied(turns, "So."))[0] for tok in (tokenizer, known)]
    assert ids[0] == ids[1] and ids[0].count(tokenizer.bos_id) == 1


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


NAMED = [{"name": "tools", "template": "x"}, {"name": "default", "template": "y"}]


@pytest.mark.parametrize(
    "setting, files, found",
    [
        (NAMED, {}, {"tools": "x", "default": "y"}),
        (NAMED[:1], {}, {"tools": "x"}),
        ({"default": "y", "rag": "z"}, {}, {"default": "y", "rag": "z"}),
        ("y", {}, {"default": "y"}),
        (None, {}, {}),
        ("y", {"chat_template.jinja": "\ufeff  z"}, {"default": "\ufeff  z"}),
        ("y", {"additional_chat_templates/rag.jinja": "r"}, {"rag": "r"}),
        (NAMED, {"chat_template.jinja": "z", "additional_chat_templates/rag.jinja": "r"}, {"default": "z", "rag": "r"}),
    ],
)
def test_chat_templates_of_all_shapes_are_found_as_transformers_finds_them(tmp_path, setting, files, found):
    from transformers import PreTrainedTokenizerFast

    folder = _written(tmp_path / "model")
    settings = {"eos_token": "<eos>"} | ({"chat_template": setting} if setting else {})
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "additional_chat_templates").mkdir()
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    tokenizer = Tokenizer.load(folder)
    assert tokenizer.templates == found
    theirs = PreTrainedTokenizerFast.from_pretrained(folder).chat_template
    assert theirs == (found if set(found) - {"default"} else found.get("default"))
    again = tmp_path / "again"
    again.mkdir()
    tokenizer.save(again)
    assert Tokenizer.load(again).templates == found
    if found and "default" not in found:
        for choice in ("auto", "chat"):
            with pytest.raises(UserError, match=f"several \\({', '.join(found)}\\), of which none is called default"):
                format_of(tokenizer, choice)
        assert format_of(tokenizer, "paper").name == "paper"


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_chat_template_is_called_so(tmp_path, text):
    folder = _written(tmp_path / "model")
    (folder / "chat_template.jinja").write_text(text)
    with pytest.raises(UserError, match="chat template is empty .*format=.paper"):
        format_of(Tokenizer.load(folder))


@pytest.mark.parametrize("setting", [7, ["x"], [{"name": "default"}], {"default": 7}, {"default": None}])
def test_a_chat_template_of_no_known_shape_is_an_error(tmp_path, setting):
    folder = _written(tmp_path / "model")
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<eos>", "chat_template": setting}))
    with pytest.raises(ModelError, match="the tokenizer's files cannot be read"):
        Tokenizer.load(folder)


def test_special_tokens_are_read_in_templates_alone():
    tokenizer = chat.tokenizer("llama-3")
    text = "<|eot_id|>x<|start_header_id|>"
    assert [n in tokenizer.special_ids for n in encode(tokenizer, [Segment(text, special=True)])[0]] == [
        True,
        False,
        True,
    ]
    assert tokenizer.special_ids.isdisjoint(tokenizer.encode(text))
    assert tokenizer.parts(text) == ["", "<|eot_id|>", "x", "<|start_header_id|>", ""]


def test_a_token_that_the_template_names_is_special_even_if_its_file_does_not_say_so():
    tokenizer = chat.tokenizer("qwen")  # "<think>" is not marked there
    assert tokenizer.special_ids.isdisjoint(tokenizer.encode("<think> </think>"))
    assert len(encode(tokenizer, [Segment("<think>", special=True)])[0]) == 1


def test_a_space_in_front_of_a_text_is_for_what_stands_behind_a_special_token():
    tokenizer = chat.tokenizer("mistral")
    inner, fresh = tokenizer.encode("bread"), [span.id for span in tokenizer.spans("bread", "fresh")]
    assert fresh == tokenizer.encode(" bread") != inner
    assert tokenizer.decode(inner) == tokenizer.decode(fresh) == "bread"


@pytest.mark.parametrize("scheme, same", [("always", False), ("first", True), ("never", True)])
def test_a_space_that_only_a_whole_text_has_is_left_out(tmp_path, scheme, same):
    chat.write(tmp_path, "mistral")
    values = json.loads((tmp_path / "tokenizer.json").read_text()) | {"normalizer": None}
    values["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": False}
    (tmp_path / "tokenizer.json").write_text(json.dumps(values))
    tokenizer = Tokenizer.load(tmp_path)
    assert (tokenizer.spans("bread", "fresh") == tokenizer.spans("bread", "inner")) == same
    assert (tokenizer.spans("bread", "start") == tokenizer.spans("bread", "inner")) == (scheme == "never")


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
    assert encode(tokenizer, [Segment("say </s>", special=True)])[0][-1] == 1
    # Side by side with other text it is read apart.
    found = read(tokenizer, [Segment("say </"), Segment("s>", trusted=False)])
    assert found.apart and 1 not in found.of[0] + found.of[1]


def test_text_that_only_a_special_token_stands_for_is_refused(tmp_path):
    letters = [(chr(code), -9.0) for code in range(32, 127)]
    backend = tokenizers.Tokenizer(tokenizers.models.Unigram([("</s>", 0.0), *letters], unk_id=0))
    backend.add_special_tokens(["</s>"])
    backend.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "</s>", "unk_token": "</s>"}')
    with pytest.raises(UserError, match="a special token alone for 'é'"):
        encode(Tokenizer.load(tmp_path), [Segment("Café")])
