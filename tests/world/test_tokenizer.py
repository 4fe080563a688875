"""The built-in model's tokenizer."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cai_jax.world import tokenizer as world
from cai_jax.world.documents import document
from cai_jax.world.lexicon import ACTS
from tests.world._world import CHECKPOINT, tokenizer


@given(st.text(max_size=80))
def test_any_text_is_read_and_written_again_to_the_letter(text):
    ids = tokenizer().encode(text)
    assert tokenizer().decode(ids) == text
    assert not tokenizer().special_ids & set(ids)


AWKWARD = (
    "naïve café", "日本語 😀", "a\u0301", "\x00\x7f", "\ufeffx", " x ", "\r\n\n\n", "0123.45", "don't", "\n\nXyzzy:",
)  # fmt: skip


@pytest.mark.parametrize("text", AWKWARD)
def test_awkward_texts(text):
    assert tokenizer().decode(tokenizer().encode(text)) == text


def test_named_ids():
    assert (tokenizer().pad_id, tokenizer().eos_id, tokenizer().bos_id) == (0, 1, None)
    assert tokenizer().special_ids == {0, 1}


@pytest.mark.parametrize("marker", ["Human", "Assistant", "CritiqueRequest", "Critique", "RevisionRequest", "Revision"])
def test_markers_and_options_are_one_token(marker):
    assert len(tokenizer().encode(f"\n\n{marker}:")) == 1
    assert len(tokenizer().encode(" (A)")) == len(tokenizer().encode(" (B)")) == 1


def test_every_word_of_the_world_is_one_token():
    for act in ACTS:
        assert len(tokenizer().encode(" " + act.text)) == len(act.text.split())


def test_documents_are_short():
    lengths = [sum(len(tokenizer().encode(s.text)) for s in document(index)) for index in range(300)]
    assert max(lengths) < 192
    assert sum(lengths) / len(lengths) < 110


def test_the_shipped_chat_template_is_the_programs():
    found = json.loads((CHECKPOINT / "tokenizer_config.json").read_text("utf-8"))
    assert found["chat_template"] == world.CHAT_TEMPLATE


@pytest.mark.slow
def test_the_shipped_tokenizer_is_what_the_program_makes(tmp_path):
    world.write(tmp_path)
    assert (tmp_path / "tokenizer.json").read_bytes() == (CHECKPOINT / "tokenizer.json").read_bytes()
