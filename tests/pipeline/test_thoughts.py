"""Thoughts told from replies."""

import pytest

from cai_jax.engine.stop_texts import before
from cai_jax.pipeline.thoughts import Said, decode_of, said
from cai_jax.prompting import chat_format
from cai_jax.prompting.render import Segment, encode
from tests.support.chat import tokenizer


@pytest.mark.parametrize("family", ["opened", "empty last"])
@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("Hm.\n</think>\n\n Yes.", Said("Hm.", "Yes.", True)),
        ("Hm. And so on", Said("Hm. And so on", "", False)),
        ("</think>Yes. STOP no", Said("", "Yes.", True)),
        ("<think>Hm.</think>", Said("Hm.", "", True)),
    ],
)
def test_a_thought_is_never_part_of_a_reply(family, written, found):
    tok = tokenizer(family)
    form = chat_format.format_of(tok)
    ids = encode(tok, [Segment(written, special=True)])[0]
    assert tok.special_ids & set(ids) or "think" not in written
    assert said(form, before(decode_of(tok, form)([*ids, tok.eos_id]), ("STOP",))) == found


def test_a_block_that_the_model_opens_itself_where_only_its_end_is_special():
    tok = tokenizer("closed")
    added = {token.content: number for number, token in tok.added().items()}
    assert added["<think>"] not in tok.special_ids and added["</think>"] in tok.special_ids
    form = chat_format.format_of(tok)
    ids = [added["<think>"], *tok.encode("\nHm.\n"), added["</think>"], *tok.encode("\n\nYes.")]
    assert said(form, decode_of(tok, form)([*ids, tok.eos_id])) == Said("Hm.", "Yes.", True)


def test_without_a_block_all_is_the_reply():
    tok = tokenizer("llama-3")
    form = chat_format.format_of(tok)
    assert said(form, decode_of(tok, form)(tok.encode(" </think> x "))) == Said(None, "</think> x", True)
