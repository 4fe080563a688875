"""Incomplete characters at the end of token ids: UTF-8 whose last bytes are still to come."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence

import tokenizers

_FALLBACK = re.compile("<0x([0-9A-F]{2})>")  # a byte of a tokenizer that spells unknown characters in bytes
_LONGEST = 3  # bytes of a character that lacks one; every token that is text has a byte or more


def _byte_level() -> dict[str, int]:
    """The byte that each letter of a byte-level vocabulary (GPT-2) represents: itself where it can be printed."""
    printed = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = (byte for byte in range(256) if byte not in printed)
    return {chr(byte): byte for byte in printed} | {chr(256 + n): byte for n, byte in enumerate(others)}


_BYTES = _byte_level()


def finished(backend: tokenizers.Tokenizer, ids: Sequence[int], skip_special: bool = True) -> str:
    """Return the text of `ids` without the bytes at its end that begin a character and do not finish it.

    They would otherwise be U+FFFD, as if the text contained it; a U+FFFD that the text really contains stays. Tokens
    with bytes of their own are those of byte-level tokenizers, and those with which others spell characters that they
    lack.
    """
    decoder = repr(backend.decoder)
    last = [backend.id_to_token(number) or "" for number in ids[-_LONGEST:]]
    if "ByteLevel" in decoder:
        begun = _begun(b"".join(map(_spelled, last)))
        text = backend.decode(ids, skip_special)
        return text[:-1] if begun else text  # together they are one U+FFFD
    if "ByteFallback" in decoder:
        found = [_FALLBACK.fullmatch(token) for token in last]
        # A byte that is not UTF-8 spoils its neighbours in these decoders, hence exactly the incomplete ones are cut.
        begun = _begun(b"".join(bytes.fromhex(each[1]) if each else b"." for each in found))
        return backend.decode(ids[: len(ids) - begun], skip_special)
    return backend.decode(ids, skip_special)


def _spelled(token: str) -> bytes:
    """The bytes of a byte-level token; added tokens are written as they are."""
    found = [byte for letter in token if (byte := _BYTES.get(letter)) is not None]
    return bytes(found) if len(found) == len(token) else token.encode()


def _begun(tail: bytes) -> int:
    """Count the last bytes that begin a character and do not finish it."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    decoder.decode(tail)
    left = decoder.getstate()[0]
    # Half of a surrogate waits for a third byte as well, but no byte makes a character of it.
    return len(left) if len(left.decode("utf-8", "replace")) == 1 else 0
