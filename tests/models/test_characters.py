"""Characters that are not finished, cut at every token, in both kinds of tokenizers that spell in bytes."""

import codecs
import re

import pytest
import tokenizers
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers
from transformers.convert_slow_tokenizer import bytes_to_unicode

from cai_jax.models.characters import finished
from tests.support import chat

LETTER = bytes_to_unicode()  # of each byte
BYTE = {letter: byte for byte, letter in LETTER.items()}
TEXT = "Ja! ñ € 😀👩‍🚀 \N{REPLACEMENT CHARACTER} ok 日本\N{REPLACEMENT CHARACTER}"


def byte_level(*merges):
    """A tokenizer whose token n is the byte n, and of which 256 and the following are merges of these."""
    vocab = {letter: byte for byte, letter in LETTER.items()}
    for merge in merges:
        vocab["".join(merge)] = len(vocab)
    backend = tokenizers.Tokenizer(models.BPE(vocab, list(merges)))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return backend


@pytest.mark.parametrize("family", ["llama-3", "qwen"])
def test_byte_level_text_cut_at_every_token(family):
    tokenizer = chat.tokenizer(family)
    ids = tokenizer.encode(TEXT)
    assert tokenizer.decode(ids) == TEXT and len(ids) > len(TEXT)
    for count in range(len(ids) + 1):
        spelled = bytes(BYTE[c] for n in ids[:count] for c in tokenizer._coders.fresh.id_to_token(n))
        assert TEXT.encode().startswith(spelled)
        assert tokenizer.decode(ids[:count]) == spelled.decode(errors="ignore")


@pytest.mark.parametrize("family", ["llama-2", "mistral"])
def test_text_in_fallback_bytes_cut_at_every_token(family):
    tokenizer = chat.tokenizer(family)
    ids = tokenizer.encode(TEXT)
    assert tokenizer.decode(ids) == TEXT
    found = {tokenizer.decode(ids[:count]) for count in range(len(ids) + 1)}
    assert all(TEXT.startswith(each) for each in found)
    # No whole character is lost with the one that is begun, although the decoder spoils all bytes of such a run.
    assert {TEXT[:n] for n in range(TEXT.index("😀"), TEXT.index("😀") + 3)} <= found


def test_a_token_that_says_a_letter_and_the_beginning_of_another():
    first, second, third, last = (LETTER[byte] for byte in "😀".encode())
    backend = byte_level(("a", first), ("a" + first, second))
    third, last = BYTE[third], BYTE[last]
    assert finished(backend, [256]) == finished(backend, [257]) == finished(backend, [257, third]) == "a"
    assert finished(backend, [257, third, last]) == "a😀"
    assert finished(backend, [257, 257]) == "a\N{REPLACEMENT CHARACTER}a"  # what can no longer be finished stays


@given(st.binary(max_size=12))
@example(b"a\xed\xa0")
@example(b"\xed\xbf")
@example(b"\xed\x9f")
def test_any_bytes_are_read_as_python_reads_a_stream(data):
    expected = codecs.getincrementaldecoder("utf-8")("replace").decode(data)
    if re.search(rb"\xed[\xa0-\xbf]\Z", data):  # Python waits for the third byte of a surrogate, and refuses it then
        expected += 2 * "\N{REPLACEMENT CHARACTER}"
    assert finished(byte_level(), list(data)) == expected


def test_a_tokenizer_without_bytes_keeps_what_it_says():
    backend = tokenizers.Tokenizer(models.WordLevel({"a\N{REPLACEMENT CHARACTER}": 0, "<0xF0>": 1}, unk_token="<0xF0>"))
    assert finished(backend, [0, 1]) == "a\N{REPLACEMENT CHARACTER} <0xF0>" and finished(backend, []) == ""


def test_special_tokens_between_the_bytes_and_behind_them():
    tokenizer = chat.tokenizer("llama-3")
    (*begun, last), end = tokenizer.encode("a😀"), tokenizer.eos_id
    assert tokenizer.decode([*begun, end]) == tokenizer.decode([*begun[:-1], end, begun[-1], end]) == "a"
    assert tokenizer.decode([*begun, end, last, end]) == "a😀"
