"""Text as it is shown to people: what data says cannot steer the terminal, and any encoding will do."""

from __future__ import annotations

import re
import shutil
import sys
from typing import TextIO

# What shows nothing, though its category does not say so: code points that Unicode keeps for characters to be ignored,
# marks for hieroglyphs, of later versions, and a note without head or stem.
UNSEEN = (
    "\u2065\ufff0-\ufff8\U00013440\U00013447-\U00013455\U0001d159"
    "\U000e0000\U000e0002-\U000e001f\U000e0080-\U000e00ff\U000e01f0-\U000e0fff"
)
# What moves the cursor, paints, reorders or hides text instead of showing: the control characters but for tab and line
# feed, Unicode's separators of lines, halves of surrogate pairs, all of its format characters (category Cf) but the two
# joiners, without which words of Persian and Hindi and many emoji read wrong, and what is unseen. Listed because `re`
# knows no category.
_CONTROL = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b\u200e\u200f"
    "\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f" + UNSEEN
)


BRACKETS = "⟦⟧"  # between which data stands in prompts, and which it must not close itself
LINE = "\t\n"  # to be escaped as well in what has to stay on one line
_STEERING = {more: re.compile(f"[{_CONTROL}{more}]") for more in ("", LINE, BRACKETS)}
# The same, and the backslashes that could be taken for the beginning of an escape.
_EXACT = {more: re.compile(rf"{each.pattern}|\\(?=[xuU\\]|{each.pattern})") for more, each in _STEERING.items()}
_ESCAPE = re.compile(r"\\(?:\\|x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))")


def visible(text: str, more: str = "") -> str:
    r"""The text with control and format characters as `\x1b`, `\u202e` or `\U000e0001`.

    Args:
      more: further characters to escape: `LINE`, or `BRACKETS`.
    """
    return _STEERING[more].sub(lambda found: _code(found.group()), text)


def escaped(text: str, more: str = "") -> str:
    """The same, to the letter: `unescaped` takes it back.

    A backslash is doubled where it could be taken for the beginning of an escape, and only there.
    """
    return _EXACT[more].sub(lambda found: _code(found.group()), text)


def hanging(head: str, text: str) -> str:
    """Data after a head, escaped, its further lines as far to the right: none of them can pass for a line of ours."""
    return under(head, escaped(text))


def under(head: str, text: str) -> str:
    """Text after a head, its further lines as far to the right: none of them can pass for another head."""
    return head + indented(text, max(2, len(head.lstrip("\n"))))


def indented(text: str, width: int) -> str:
    """Text that begins in a column, its further lines in the same."""
    return text.replace("\n", f"\n{' ' * width}")


def unescaped(text: str) -> str:
    """The text of which `escaped` made this."""
    return _ESCAPE.sub(lambda found: chr(int(found.group(found.lastindex), 16)) if found.lastindex else "\\", text)


def _code(character: str) -> str:
    if character == "\\":
        return "\\\\"
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def json_escaped(text: str) -> str:
    r"""JSON with the same characters as `\u001b`, which is the same JSON: they occur in its strings only."""

    def units(found: re.Match[str]) -> str:
        return re.sub("....", r"\\u\g<0>", found.group().encode("utf-16-be", "surrogatepass").hex())

    return re.sub(f"[{_CONTROL}]", units, text)


def width(stream: TextIO) -> int | None:
    """Columns of the terminal of a stream; None where there is none, and so no limit."""
    return shutil.get_terminal_size().columns if stream.isatty() else None


def say(text: str, stream: TextIO | None = None) -> None:
    """Print text that is escaped already, to stdout by default; characters that the encoding lacks are escaped."""
    stream = stream or sys.stdout
    encoding = stream.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)
