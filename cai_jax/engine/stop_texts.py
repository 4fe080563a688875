"""Ends of texts: before the first stop text. Text is cut by characters, token ids by tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Decode = Callable[[Sequence[int]], str]


def before_stop(text: str, stops: Sequence[str]) -> str:
    """Return `text` up to the first of the stop texts in it; all of it where there is none."""
    return text[: min((at for stop in stops if (at := text.find(stop)) >= 0), default=len(text))]


def first_stop(ids: Sequence[int], stops: Sequence[str], decode: Decode) -> tuple[int, str] | None:
    """Find the first stop text in the text of `ids`.

    A token that holds the end of the text and the beginning of the stop text belongs to the text.

    Returns:
      the number of ids that make up the text before the stop text, and that text; None where there is no stop text.
    """
    whole = decode(ids)
    text = before_stop(whole, stops)
    if text == whole:
        return None
    kept = len(ids)
    while kept and decode(ids[: kept - 1]).startswith(text):
        kept -= 1
    return kept, text


def unread_text(ids: Sequence[int], seen: int, longest: int, decode: Decode) -> str:
    """Return the text of the tokens after the first `seen`, and enough before it to find a stop text that began there.

    Args:
      longest: characters of the longest stop text.
    """
    start = seen
    while start > 0:
        start = max(0, start - longest)
        text = decode(ids[start:seen])
        # Tokens may say nothing, or begin inside a character, which in some tokenizers spoils what follows it.
        if len(text) >= longest and not text.startswith("\N{REPLACEMENT CHARACTER}"):
            break
    return decode(ids[start:])
