"""What a model thought, told from what it said (prompting.thinking)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from cai_jax.models.tokenizer import Tokenizer
    from cai_jax.prompting.paper_format import Format


class ParsedReply(NamedTuple):
    """A text that a model wrote, taken apart.

    Attributes:
      thought: what stands in the block in which it thinks; None without one.
      reply: what stands behind it, empty where the block never closes, without surrounding space and unescaped.
      closed: whether the block was closed, if there is one.
    """

    thought: str | None
    reply: str
    closed: bool


def decode_of(tokenizer: Tokenizer, format: Format) -> Callable[[Sequence[int]], str]:
    """What makes text of drawn ids, the tags of thoughts in it even where they are special tokens."""
    return partial(tokenizer.decode, shown=format.thinking.tags if format.thinking else ())


def parse_reply(format: Format, text: str) -> ParsedReply:
    """What a model has said, of the text that it wrote (`decode_of`)."""
    thought, reply, closed = format.thinking.split(text) if format.thinking else (None, text, True)
    return ParsedReply(thought, format.turn_escaping.unescape(reply.strip()), closed)
