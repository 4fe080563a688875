"""Blocks in which a model thinks before it replies: found in its chat template, and separated from the reply.

A generation prompt may open such a block, which the model then must close (`<think>`). A model that must answer at once
reads it closed. Generated text is the thought up to the closing tag, and the reply after it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

# Opening tags, and how the tag is written that closes them.
_TAGS = (
    (re.compile(r"<(?![/|｜])([^<>\s]+)>"), "</{}>"),
    (re.compile(r"\[(?!/)([A-Z_]+)\]"), "[/{}]"),
    (re.compile(r"◁(?!/)([^◁▷\s]+)▷"), "◁/{}▷"),
    (re.compile(r"<(\|?)(START|BEGIN|start|begin)_([^<>\s]+?)\|?>"), "<{0}{other}_{2}{0}>"),
)
# Closing tags, and how the tag is written that opens them: DeepSeek-R1's first template names no other.
_CLOSING = (
    (re.compile(r"</([^<>\s]+)>"), "<{}>"),
    (re.compile(r"\[/([A-Z_]+)\]"), "[{}]"),
    (re.compile(r"◁/([^◁▷\s]+)▷"), "◁{}▷"),
    (re.compile(r"<(\|?)(END|end)_([^<>\s]+?)\|?>"), "<{0}{other}_{2}{0}>"),
)
_OTHERS = {"START": "END", "BEGIN": "END", "start": "end", "begin": "end", "END": "START", "end": "begin"}
_LONGEST = 40  # letters of a tag
_ABOUT = re.compile(r"think|thought|reason|reflect", re.IGNORECASE)


@dataclass(frozen=True)
class Thinking:
    """A block in which a model thinks.

    Attributes:
      open, close: its tags.
      closing: what closes it where the generation prompt has opened it; "" where that opens none.
    """

    open: str
    close: str
    closing: str = ""

    @property
    def tags(self) -> tuple[str, str]:
        """Both tags."""
        return self.open, self.close

    def split(self, text: str) -> tuple[str | None, str, bool]:
        """Split the text generated after a generation prompt.

        Returns:
          `(thought, reply, closed)`; the thought is None where no block was opened, and of one that is never closed
          the reply is empty.
        """
        own = text.lstrip().startswith(self.open)
        if not (self.closing or own):
            return None, text, True
        if own:
            text = text.lstrip().removeprefix(self.open)
        thought, tag, reply = text.partition(self.close)
        return thought.strip(), reply, bool(tag)


def split_thought(text: str) -> tuple[str | None, str, bool]:
    """A reply as datasets hold them, taken apart as `Thinking.split` does, by whichever known tag it begins with."""
    for tag, close, begins, _ in _tags(text.lstrip()[:_LONGEST]):
        if not begins and _ABOUT.search(tag):
            return Thinking(tag, close).split(text)
    return None, text, True


def thinking_of(opening: str, header: str, template: str) -> Thinking | None:
    """The block of a chat template.

    Args:
      opening: the generation prompt.
      header: the text before a reply in history.
      template: its source.
    """
    shared = next((n for n, (a, b) in enumerate(zip(opening, header, strict=False)) if a != b), None)
    shared = min(len(opening), len(header)) if shared is None else shared
    for tag, close, begins, ends in _tags(opening):
        if opening[ends:].strip():
            continue
        if begins >= shared or close in header[shared:]:  # else the tag belongs to every reply's header
            rest = header[len(opening) :] if header.startswith(opening) else ""
            made = f"\n{close}\n\n" if opening.endswith("\n") else close
            return Thinking(tag, close, rest if close in rest else made)
    for tag, close, _, _ in _tags(template):
        if _ABOUT.search(tag) and close in template:
            return Thinking(tag, close)
    for close, tag, _, _ in _tags(template, _CLOSING):
        if _ABOUT.search(tag):
            return Thinking(tag, close)
    return None


def _tags(text: str, tags: Sequence[tuple[re.Pattern[str], str]] = _TAGS) -> list[tuple[str, str, int, int]]:
    """Opening tags in a text (or closing ones): the tag, its counterpart, and where it begins and ends."""
    found = []
    for pattern, written in tags:
        for match in pattern.finditer(text):
            other = _OTHERS[match[2]] if len(match.groups()) > 1 else ""
            found.append((match[0], written.format(*match.groups(), other=other), match.start(), match.end()))
    return found
