r"""Escaping: a backslash in whatever data says that could pass for a template; reversible, letter by letter.

Data can imitate the paper's markers at the start of a line ("\n\nHuman:"), the brackets around compared replies
("]]]"), and those markers of a chat template that are plain text in its tokenizer ("[INST]", "<|user|>"). Special
tokens need no escape: text never yields their ids (models/tokenizer.py).
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

# What has no width, and the sign that SentencePiece writes for a space.
_UNSEEN = r"\u200b-\u200f\u2060\ufeff\u2581"
_BREAK = r"\n\r\v\f\x1c-\x1e\x85\u2028\u2029"
# A whole run of space, so that it is looked at once, from the start of the text or with a line break in it.
_LINE_START = rf"(?:\A|(?<![\s{_UNSEEN}])(?=(?:[^\S{_BREAK}]|[{_UNSEEN}])*+[{_BREAK}]))[\s{_UNSEEN}]*+"
# Role and request markers, option lines and a comparison's header at the start of a line, in any case and with any
# space or line break in them. Backslashes that are there already are part of the match (the second group), so that
# escaping adds exactly one and unescaping removes exactly one.
_PAPER = re.compile(
    rf"({_LINE_START})(\\*)"
    r"((?:Human|Assistant|System|(?:Critique|Revision)(?:\s*Request)?|Options|(?:So\s+)?the\s+answer\s+is)\s*:|"
    r"\(\s*[A-Z]\s*\)|Consider\s+the\s+following\s+conversation)",
    re.IGNORECASE,
)
# The brackets that enclose replies in a comparison. A backslash goes between every two, since one in front would
# leave the token `]]]` whole.
_BRACKETS = re.compile(r"\[(?:\\*\[){2,}|\](?:\\*\]){2,}")


@dataclass(frozen=True)
class Escaping:
    """What is escaped in data of one kind.

    Attributes:
      paper: the paper's markers and brackets.
      markers: other texts, wherever they stand, in any case and with any space between their words and signs.
    """

    paper: bool = True
    markers: tuple[str, ...] = ()

    def escape(self, text: str) -> str:
        r"""`text` escaped: "\n\nHuman:" -> "\n\n\Human:", "]]]" -> "]\]\]", "[INST]" -> "[\INST]"."""
        if self.paper:
            text = _PAPER.sub(r"\1\\\2\3", text)
            text = _BRACKETS.sub(lambda run: re.sub(r"(?<=[\[\]])(?=.)", r"\\", run[0]), text)
        return _pattern(self.markers).sub(lambda m: m[0][0] + "\\" + m[0][1:], text) if self.markers else text

    def unescape(self, text: str) -> str:
        """The inverse of `escape`."""
        if self.markers:
            text = _pattern(self.markers).sub(lambda m: m[0][0] + m[0][1:].removeprefix("\\"), text)
        if self.paper:
            text = _BRACKETS.sub(lambda run: re.sub(r"(?<=[\[\]])\\", "", run[0]), text)
            text = _PAPER.sub(lambda m: m[1] + m[2][1:] + m[3], text)
        return text


@functools.cache
def _pattern(markers: tuple[str, ...]) -> re.Pattern[str]:
    """Matches any marker: its first sign, backslashes, and the rest, so that an escaped marker is a broken one."""
    return re.compile("|".join(map(_marker, sorted(markers, key=len, reverse=True))), re.IGNORECASE)


def _marker(text: str) -> str:
    first, *rest = ("".join(map(_sign, piece)) for piece in (text[0], *re.findall(r"\w+|[^\w\s]", text[1:])))
    begin, end = r"(?<!\w)" * text[0].isalnum(), r"(?!\w)" * text[-1].isalnum()  # a word is no part of another
    return rf"{begin}{first}\\*" + "".join(rf"[\s{_UNSEEN}]*+{piece}" for piece in rest) + end


def _sign(sign: str) -> str:
    """A sign or its full-width look-alike, which some tokenizers turn into it."""
    return f"[{re.escape(sign)}{chr(ord(sign) + 0xFEE0)}]" if "!" <= sign <= "~" else re.escape(sign)
