"""Tables for people, as wide as the terminal or as wide as they need."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cai_jax.lang.diagnostics import columns
from cai_jax.terminal import LINE, visible

_GAP = 2
_NARROWEST = 6  # columns into which no cell is squeezed further: names of stages and numbers stay readable
# Where a cell may be broken: behind spaces, and behind what joins the words of expressions, paths and keys.
_PIECE = re.compile(r"\s+|[^\s(,/=]+[(,/=]*|[(,/=]+")


def table(rows: Sequence[Sequence[str]], rule_after: int = 0, width: int | None = None) -> str:
    """Columns set two spaces apart; a rule after the first `rule_after` rows.

    Args:
      rows: cells of plain text, as many in each row; line breaks and control characters in them are shown escaped.
      width: of the terminal, in columns. Where the table is wider, the widest columns are narrowed and their cells
        continue below, within the column. None narrows nothing.
    """
    if not rows:
        return ""
    cells = [[visible(cell, LINE) for cell in row] for row in rows]
    natural = [max(columns(row[column]) for row in cells) for column in range(len(cells[0]))]
    widths = natural if width is None else _narrowed(natural, width)
    lines = [line for row in cells[:rule_after] for line in _lines(row, widths)]
    if rule_after:
        lines.append("-" * (sum(widths) + _GAP * (len(widths) - 1)))
    lines += [line for row in cells[rule_after:] for line in _lines(row, widths)]
    return "\n".join(lines)


def _narrowed(natural: Sequence[int], width: int) -> list[int]:
    """The widths with which a table fits, if it can: all columns up to some width keep theirs, the others get that."""
    room = width - _GAP * (len(natural) - 1)
    widest = next((most for most in range(max(natural), _NARROWEST, -1) if _total(natural, most) <= room), _NARROWEST)
    widths = [min(each, widest) for each in natural]
    for column in range(len(widths)):  # what rounding has left over
        more = min(max(0, room - sum(widths)), natural[column] - widths[column])
        widths[column] += more
    return widths


def _total(natural: Sequence[int], most: int) -> int:
    return sum(min(each, most) for each in natural)


def _lines(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    """A row as the lines that it takes."""
    parts = [wrapped(cell, width) for cell, width in zip(row, widths, strict=True)]
    height = max(map(len, parts))
    return [
        (" " * _GAP).join(_padded(part[i] if i < len(part) else "", w) for part, w in zip(parts, widths, strict=True))
        .rstrip()
        for i in range(height)
    ]  # fmt: skip


def _padded(text: str, width: int) -> str:
    return text + " " * (width - columns(text))


def folded(text: str, width: int | None) -> str:
    """Text next to a table, its lines broken where they are longer than `width` columns; None breaks none."""
    if width is None:
        return text
    return "\n".join(line for each in text.split("\n") for line in wrapped(each, width))


def wrapped(text: str, width: int) -> list[str]:
    """One line of text as lines of at most `width` columns, broken within a word only where it is longer than that."""
    if columns(text) <= width:
        return [text]
    lines, line = [], ""
    for piece in _PIECE.findall(text):
        if columns((line + piece).rstrip()) <= width:
            line += piece
            continue
        lines.append(line.rstrip())
        line = piece.lstrip()
        while columns(line) > width:
            fits = next(n for n in range(len(line), 0, -1) if columns(line[:n]) <= max(width, 2))
            lines.append(line[:fits])
            line = line[fits:]
    return [each for each in [*lines, line.rstrip()] if each] or [""]
