"""A model's thought, separated from its reply (prompting.thinking)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from cai_jax.models.tokenizer import Tokenizer
    from cai_jax.prompting.paper_format import Format


class ParsedReply(NamedTuple):
    """A text that a model wrote, split into thought and reply.

    Attributes:
      thought: the text in the block in which it thinks; None without one.
      reply: the text after it, empty where the block never closes, without surrounding space and unescaped.
      closed: True if the block was closed, if there is one.
    """

    thought: str | None
    reply: str
    closed: bool


def decode_of(tokenizer: Tokenizer, format: Format) -> Callable[[Sequence[int]], str]:
    """The function that decodes drawn ids, keeping the tags of thoughts even where they are special tokens."""
    return partial(tokenizer.decode, shown=format.thinking.tags if format.thinking else ())


def parse_reply(format: Format, text: str) -> ParsedReply:
    """Split a text that a model wrote (`decode_of`) into thought and reply."""
    thought, reply, closed = format.thinking.split(text) if format.thinking else (None, text, True)
    return ParsedReply(thought, format.turn_escaping.unescape(reply.strip()), closed)
