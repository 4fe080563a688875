"""The format of a chat model, taken from its tokenizer's chat template.

The template is rendered once, by transformers' sandboxed renderer, with placeholders for what is said, and cut at
them. So data is never seen by a template, and special tokens come from the pieces between the placeholders alone.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

from cai_jax.data.escaping import Escaping
from cai_jax.data.formats import ANSWER, CHAT_TEMPLATE, CONCLUDE, CONSIDER, PAPER, THINK, Format, Opening, paper
from cai_jax.data.render import END, Segment
from cai_jax.errors import UserError

# Templates that write the date would change a prompt overnight: for all of them it is one day.
_DATE = "26 Jul 2024"
_CALENDAR = "{%- macro strftime_now(format) -%}" + _DATE + "{%- endmacro +%}"
# Replies without hidden reasoning, where a template offers the choice.
_ASKED = {"date_string": _DATE, "enable_thinking": False}
_SYSTEM, _SAID = "PLACEHOLDERxSYSTEMx", tuple(f"PLACEHOLDERx{number}x" for number in range(5))


class Reader(Protocol):
    """What a format is made from: a tokenizer (models.tokenizer.Tokenizer)."""

    begin: str
    template: str
    named: Mapping[str, str]

    def parts(self, text: str) -> list[str]:
        """`text` cut at its special tokens: plain, special, plain, …"""
        ...


class _Pieces(NamedTuple):
    """What a template puts before the first human turn, between turns, and behind the last one."""

    start: str
    reply: str
    turn: str
    open: str


@functools.lru_cache(maxsize=16)
def format_of(reader: Reader, choice: str = "auto") -> Format:
    """The format in which a model reads.

    Args:
      reader: its tokenizer.
      choice: "paper", "chat", or "auto", which is chat where the tokenizer has a chat template. A template that
        renders the paper's format is the paper's format.

    Raises:
      UserError: there is no chat template, or it cannot be used.
    """
    if choice == "chat" and not reader.template:
        raise UserError("the tokenizer of this model has no chat template", 'read it as a base model: format="paper"')
    if choice == "paper" or reader.template in ("", CHAT_TEMPLATE):
        return paper(reader.begin)
    pieces = _pieces(reader)
    system = _system_pieces(reader, pieces)
    if _is_papers(reader, pieces):
        return paper(reader.begin)
    return _chat(reader, pieces, system)


def _pieces(reader: Reader) -> _Pieces:
    """The template's pieces, from a conversation of five turns.

    Raises:
      UserError: it drops, repeats or reorders turns, renders later ones otherwise than earlier ones, or fails.
    """
    start, reply, turn, *later, last = _cut(reader, _messages(_SAID), _SAID)
    if later != [reply, turn]:
        raise _useless("renders later turns otherwise than earlier ones")
    return _Pieces(start, reply, turn, last)


def _system_pieces(reader: Reader, pieces: _Pieces) -> tuple[str, str] | None:
    """What stands before and behind a system prompt; None where the template has no place of its own for it."""
    messages = [{"role": "system", "content": _SYSTEM}, *_messages(_SAID)]
    try:
        before, behind, *rest = _cut(reader, messages, (_SYSTEM, *_SAID))
    except UserError:
        return None
    same = rest == [pieces.reply, pieces.turn, pieces.reply, pieces.turn, pieces.open]
    # A template that knows only a user takes every other role for the assistant.
    taken = bool(before.strip()) and pieces.reply.endswith(before)
    return (before, behind) if same and not taken else None


def _messages(said: Sequence[str]) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(said)]


def _cut(reader: Reader, messages: list[dict[str, str]], said: Sequence[str]) -> list[str]:
    """The rendered conversation cut at its placeholders."""
    text = _render(reader.template, messages, {**reader.named, **_ASKED})
    found = re.findall("|".join(said), text)
    if found != list(said):
        raise _useless("drops, repeats or reorders what is said")
    return re.split("|".join(said), text)


def _render(template: str, messages: list[dict[str, str]], given: Mapping[str, Any]) -> str:
    try:
        from transformers.utils.chat_template_utils import render_jinja_template  # slow to import

        (text,), _ = render_jinja_template(
            conversations=[messages], chat_template=_CALENDAR + template, add_generation_prompt=True, **given
        )
        return text
    except Exception as error:  # a template is a program: it may raise anything
        raise _useless(f"fails: {error}") from None


def _useless(why: str) -> UserError:
    return UserError(f"this model's chat template {why}", 'read it as a base model: model(…, format="paper")')


def _is_papers(reader: Reader, pieces: _Pieces) -> bool:
    start = pieces.start.removeprefix(reader.begin)
    return (start, pieces.reply, pieces.turn, pieces.open) == (
        *(f"{PAPER.human.segments[0].text} ", f"{PAPER.assistant.segments[0].text} "),
        *(f"{PAPER.human.segments[0].text} ", PAPER.open.segments[0].text),
    )


def _chat(reader: Reader, pieces: _Pieces, system: tuple[str, str] | None) -> Format:
    begin = _begin(reader, pieces.start)
    human, assistant = _opening(pieces.turn), _opening(pieces.reply)
    # A reply that is written begins as one that is there; only the piece before it may be another.
    inner = _dialogue(replace(_opening(pieces.open), lead=assistant.lead), human, _ending(reader, pieces))
    markers = _markers(reader, pieces, system)
    inner = replace(
        inner,
        assistant=assistant,
        said=Escaping(paper=False, markers=markers),
        # What a comparison encloses in brackets would be whole with them: "[[[ INST]]]".
        quoted=Escaping(paper=True, markers=markers + tuple(m[1:-1] for m in markers if m[0] + m[-1] == "[]")),
    )
    first = _opening(pieces.start.removeprefix(begin))
    outer = replace(
        inner,
        begin=(Segment(begin, special=True),) if begin else (),
        first=first,
        question=first.saying(CONSIDER),
        reasoned=first.saying(CONSIDER),
        after_shots=inner,
    )
    if system is None:
        return outer
    return replace(outer, system=_opening(system[0].removeprefix(begin)), prompted=_opening(system[1]))


def _dialogue(open_: Opening, human: Opening, ending: tuple[Segment, tuple[str, ...]]) -> Format:
    """Requests as human turns, whatever answers them as the assistant's; of prompts that go on from others."""
    end, stops = ending
    return Format(
        name="chat",
        begin=(),
        system=None,
        first=human,
        prompted=human,
        human=human,
        assistant=open_,
        open=open_,
        ask_critique=human,
        open_critique=open_,
        ask_revision=human,
        open_revision=open_,
        question=human.saying(CONSIDER),
        answer=open_.saying(ANSWER),
        reasoned=human.saying(CONSIDER),
        thought=Opening(open_.saying(THINK)),
        so=(*human.saying(CONCLUDE), *open_.saying(ANSWER)),
        end=end,
        said=Escaping(),
        quoted=Escaping(),
        reply_stops=stops,
        critique_stops=stops,
        revision_stops=stops,
        thought_stops=stops,
        alternating=True,
    )


def _opening(piece: str) -> Opening:
    """A piece, a single space at its end left to the text behind it."""
    lead = " " if piece.endswith(" ") and not piece.endswith("  ") else ""
    text = piece.removesuffix(lead)
    return Opening((Segment(text, special=True),) if text else (), lead)


def _begin(reader: Reader, start: str) -> str:
    """The beginning-of-text token: the template's own, or what the tokenizer puts before every text."""
    named = reader.named.get("bos_token", "")
    return named if named and start.startswith(named) else reader.begin


def _ending(reader: Reader, pieces: _Pieces) -> tuple[Segment, tuple[str, ...]]:
    """What ends a reply in training, and the texts at which one ends: a template's first special token behind a
    reply or, where there is none before the next turn's plain marker, the end of text and that marker."""
    before, *rest = reader.parts(pieces.turn)
    if rest and not before.strip():
        return Segment(before + rest[0], trained=True, special=True), ()
    return END, (before.rstrip(),) if before.strip() else ()


def _markers(reader: Reader, pieces: _Pieces, system: tuple[str, str] | None) -> tuple[str, ...]:
    """Markers of turns that are plain text in this tokenizer, so that data could imitate them.

    A single word ("user" behind `<|im_start|>`) is none: it means nothing without the special token before it.
    """
    texts = [pieces.reply, pieces.turn, pieces.open, *(system or ())]
    plain = [part for text in texts for part in reader.parts(text)[::2]]
    lines = (line.strip() for part in plain for line in part.splitlines())
    # "[INST] <<SYS>>" are two.
    found = (marker for line in lines for marker in re.split(r"(?<=[\]>])\s+(?=[\[<])", line))
    return tuple(dict.fromkeys(marker for marker in found if re.search(r"\w", marker) and re.search(r"\W", marker)))
