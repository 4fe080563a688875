"""The format of a chat model: its tokenizer's chat template.

Every prompt is rendered whole, as transformers renders the same messages, with placeholders for what is said, and cut
at them. So data is never seen by a template, and special tokens come from the pieces between the placeholders alone.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from cai_jax.errors import UserError
from cai_jax.prompting.chat_template import DAY, Failed, render
from cai_jax.prompting.escaping import Escaping
from cai_jax.prompting.paper_format import (
    ANSWER,
    ASSISTANT,
    CHAT_TEMPLATE,
    CONCLUDE,
    CONSIDER,
    HUMAN,
    Format,
    Message,
    Shots,
    as_example,
    paper,
    parted,
)
from cai_jax.prompting.render import END, Segment
from cai_jax.prompting.thinking import thinking_of

# Replies without hidden reasoning, where a template offers the choice.
_ASKED = {"date_string": DAY.strftime("%d %b %Y"), "enable_thinking": False, "thinking": False}
_LONGEST = 40  # letters of a marker; what is longer is a sentence
# What is said, with an empty line in it: a template that changes what it is given would change that.
_SAID = "PLACEHOLDER\n\nx{}x"
_FOUND = re.compile(_SAID.format(r"(\d+)"))
_REPLIES = ("assistant", "critique", "revision", "answer", "conclusion")

_REQUEST, _REPLY = (Message(role, (Segment("x"),)) for role in ("user", "assistant"))

Shape = tuple[tuple[str, bool], ...]  # of a conversation: role of every message, and whether it says anything


class Reader(Protocol):
    """The source of a format: a tokenizer (models.tokenizer.Tokenizer)."""

    begin: str
    templates: Mapping[str, str]
    named: Mapping[str, str]

    def parts(self, text: str) -> list[str]:
        """`text` cut at its special tokens: plain, special, plain, …"""
        ...


class _Template(NamedTuple):
    """A chat template, and the special tokens that it may name."""

    source: str
    named: tuple[tuple[str, str], ...]


class _Cut(NamedTuple):
    """A rendered conversation cut at its messages: the text around them, and the message at each place."""

    pieces: tuple[str, ...]
    order: tuple[int, ...]


@functools.lru_cache(maxsize=16)
def format_of(reader: Reader, choice: str = "auto") -> Format:
    """The format of a model's prompts.

    Args:
      reader: its tokenizer.
      choice: "paper", "chat", or "auto", which is chat where the tokenizer has a chat template. A template that
        renders the paper's format is the paper's format.

    Raises:
      UserError: there is no chat template, or it cannot be used.
    """
    if choice == "chat" and not reader.templates:
        raise UserError("the tokenizer of this model has no chat template", 'read it as a base model: format="paper"')
    source = reader.templates.get("default", "")
    if choice == "paper" or not reader.templates or source == CHAT_TEMPLATE:
        return paper(reader.begin)
    if "default" not in reader.templates:
        names = ", ".join(sorted(reader.templates))
        raise Failed(f"is one of several ({names}), of which none is called default: name it so")
    if not source.strip():
        raise Failed("is empty")
    return _format(reader, _Template(source, tuple(reader.named.items())))


def _format(reader: Reader, template: _Template) -> Format:
    five = _cut(template, _shape("user assistant user assistant user"), True).pieces
    start, reply, turn = five[0].removeprefix(reader.begin), five[1], five[2]
    if (start, *five[1:]) == _papers():
        return paper(reader.begin)
    _, header, last = _cut(template, _shape("user assistant"), False).pieces
    waiting, without = (_cut(template, _shape("user"), generate).pieces[1] for generate in (True, False))
    # Of a template that ignores the request for a reply the header is that of a reply that is there.
    from_history = waiting == without != _but_a_space(header)
    opening = _but_a_space(header) if from_history else waiting
    if not header.strip():
        raise Failed("puts nothing between a question and its reply")
    thinking = thinking_of(opening, header, template.source)
    begun = opening.removeprefix(header.rstrip()).strip()
    if not thinking and begun not in ("", opening.strip()):
        raise Failed(f"has a model begin with {begun!r}, as none of its replies does, and not in a block that is known")
    system = _system(template)
    markers = _markers(reader, [reply, turn, opening], system)
    ends, stops = _endings(reader, last, turn)
    return Chat(
        name="chat",
        begin=() if _begins(reader, five[0]) else (Segment(reader.begin, begin=True),),
        end=ends[0],
        others=ends[1:],
        turn_escaping=Escaping("", markers),
        # What a comparison encloses in brackets would be whole with them: "[[[ INST]]]".
        question_escaping=Escaping("question", markers + tuple(m[1:-1] for m in markers if m[0] + m[-1] == "[]")),
        reply_stops=stops,
        critique_stops=stops,
        revision_stops=stops,
        thought_stops=stops,
        thinking=thinking,
        template=template,
        system=system is not None,
        from_history=from_history,
        lead=_lead(opening, header) if not (thinking and thinking.closing) else "",
        reader=reader,
    )


@dataclass(frozen=True)
class Chat(Format):
    """A chat template's format: critiques, revisions and comparisons are turns of a conversation.

    Attributes:
      template: renders conversations.
      system: True if it has a place of its own for a system prompt; else that precedes the first human turn's text.
      from_history: True if it ignores the request for a reply; the header is then that of a reply in the history.
      lead: the text between the generation prompt and a reply: a space, a line break, or the rest of a header.
      examples: the messages in front of every prompt, of which it shares all but `begin`.
    """

    template: _Template = _Template("", ())
    system: bool = True
    from_history: bool = False
    lead: str = ""
    examples: tuple[Message, ...] = ()
    reader: Reader | None = field(default=None, compare=False, repr=False)

    def render_prompt(self, messages: Sequence[Message], open: Message) -> list[Segment]:
        if open.role == "conclusion":
            messages = [*messages, Message("human", (Segment(CONCLUDE),))]
        words = (Segment(ANSWER),) if open.role in ("answer", "conclusion") else open.segments
        turns = self._messages(messages)
        if self.from_history:
            *parts, (*before, header) = self._parts([*turns, _REPLY], False)[:-2]
            opening = _but_a_space(header.text)
        else:
            *parts, (*before, header) = self._parts(turns, True)
            opening = header.text
        if words:  # the model goes on with what it is made to say at once
            opening += self.thinking.closing if self.thinking else ""
            opening += self.lead
        return [*_flat([*parts, before]), Segment(opening, special=True), *words]

    def render_messages(self, messages: Sequence[Message]) -> list[Segment]:
        *turns, last = self._messages(messages)
        try:
            stand_in = Message(last.role, _REPLY.segments)  # of an empty text no place would be seen
            return _flat([*self._parts([*turns, stand_in], False)[:-2], last.segments])
        except Failed:  # some drop a system prompt where an assistant has the last word
            return self.render_prompt(messages[:-1], messages[-1])

    def shots(self, messages: Sequence[Message]) -> Shots:
        if not messages:
            return Shots([], self)
        examples = self._messages(messages)
        *parts, last, (behind,) = self._parts([*examples, _REQUEST], True)[:-2]
        *segments, word = [as_example(segment) for segment in _flat([*parts, last])]
        assert self.reader is not None  # `format_of` makes every one from a tokenizer
        head, *special = self.reader.parts(behind.text)
        if special:  # in front of a special token all is read
            segments += [word, replace(behind, text=head)]
            begin: tuple[Segment, ...] = (replace(behind, text="".join(special), apart=True),)
        else:
            shared, rest = parted(word)
            segments.append(shared)
            begin = (rest, behind)
        return Shots(segments, replace(self, begin=begin, examples=tuple(examples)), messages)

    def _parts(self, turns: Sequence[Message], generate: bool) -> list[tuple[Segment, ...]]:
        """A rendered conversation: pieces of the template and messages in turn; after examples, only what follows."""
        turns = [*self.examples, *turns]
        cut = _cut(self.template, _shaped(turns), generate)
        parts: list[tuple[Segment, ...]] = [(Segment(cut.pieces[0], special=True),)]
        for number, piece in zip(cut.order, cut.pieces[1:], strict=True):
            parts += [turns[number].segments, (Segment(piece, special=True),)]
        if not self.examples:
            return [(*self.begin, *parts[0]), *parts[1:]]
        *shared, behind, _ = _cut(self.template, _shaped([*self.examples, _REQUEST]), True).pieces
        count = len(shared)
        if cut.pieces[:count] != tuple(shared) or not cut.pieces[count].startswith(behind):
            raise Failed("renders examples otherwise when other turns follow: take none (fewshots=0)")
        rest = Segment(cut.pieces[count].removeprefix(behind), special=True)
        return [(*self.begin, rest), *parts[2 * count + 1 :]]

    def _messages(self, messages: Sequence[Message]) -> list[Message]:
        """Messages as chat templates demand them: neighbours of one role are one, and the first is a user's.

        The answer to a comparison begins with words of its own.
        """
        found: list[Message] = []
        before: tuple[Segment, ...] = ()
        for message in messages:
            role, said = "assistant" if message.role in _REPLIES else "user", message.segments
            if message.role == "system" and self.system and not self.examples:
                found.append(message)
                continue
            if message.role == "system":
                before = (*said, Segment("\n\n"))
                continue
            if message.role == "question":
                said = (Segment(CONSIDER), *said)
            if message.role == "conclusion":
                found.append(Message("user", (Segment(CONCLUDE),)))
            if message.role in ("answer", "conclusion"):
                said = (Segment(ANSWER), *said)
            if role == "assistant" and (not found or found[-1].role == "system"):
                found.append(Message("user", before))
                before = ()
            if found and found[-1].role == role:
                found[-1] = Message(role, (*found[-1].segments, Segment("\n\n"), *said))
            else:
                found.append(Message(role, (*before, *said)))
                before = ()
        return found


@functools.lru_cache(maxsize=4096)
def _cut(template: _Template, shape: Shape, generate: bool) -> _Cut:
    """A conversation rendered, and cut at its placeholders.

    Raises:
      Failed: the template fails, or does not say everything once and as it is, a system prompt's place aside in order.
    """
    said = [_SAID.format(number) if says else "" for number, (_, says) in enumerate(shape)]
    messages = [{"role": role, "content": text} for (role, _), text in zip(shape, said, strict=True)]
    given = {**dict(template.named), **_ASKED, "tools": None, "documents": None, "add_generation_prompt": generate}
    text = render(template.source, messages, given)
    pieces = _FOUND.split(text)
    order = [int(number) for number in pieces[1::2]]
    turns = [number for number in order if shape[number][0] != "system"]
    if turns != sorted(turns) or sorted(order) != [number for number, text in enumerate(said) if text]:
        raise Failed("drops, changes, repeats or reorders what is said")
    return _Cut(tuple(pieces[::2]), tuple(order))


def _shape(roles: str) -> Shape:
    return tuple((role, True) for role in roles.split())


def _shaped(turns: Sequence[Message]) -> Shape:
    return tuple((turn.role, any(segment.text for segment in turn.segments)) for turn in turns)


def _flat(parts: Sequence[Sequence[Segment]]) -> list[Segment]:
    return [segment for part in parts for segment in part if segment.text]


def _lead(opening: str, header: str) -> str:
    """The text between the generation prompt and a reply in the history; of two different headers the space."""
    if header.startswith(opening):
        return header.removeprefix(opening)
    return " " if header.endswith(" ") and not opening.endswith(" ") else ""


def _but_a_space(text: str) -> str:
    """A header without the single space with which the text after it begins."""
    return text[:-1] if text.endswith(" ") and not text.endswith("  ") else text


def _begins(reader: Reader, start: str) -> bool:
    """True if the text begins as the tokenizer requires, by the template's own doing if by any."""
    return not reader.begin or reader.begin in start


def _papers() -> tuple[str, ...]:
    """The text that the paper's format puts around five turns."""
    human, assistant = (f"{marker.text} " for marker in (HUMAN, ASSISTANT))
    return human, assistant, human, assistant, human, ASSISTANT.text


def _system(template: _Template) -> tuple[str, str] | None:
    """The text before and after a system prompt; None where the template has no place of its own for it."""
    try:
        for roles in ("system user assistant user", "system user"):
            cut = _cut(template, _shape(roles), True)
    except Failed:
        return None
    try:
        # A template that knows only a user takes every other role for the assistant.
        taken = cut == _cut(template, _shape("assistant user"), True)
    except Failed:
        taken = False
    place = cut.order.index(0)
    return None if taken else (cut.pieces[place], cut.pieces[place + 1])


def _endings(reader: Reader, last: str, turn: str) -> tuple[tuple[Segment, ...], tuple[str, ...]]:
    """The ends of a reply, first the one that is trained, and the stop texts.

    The end is the template's first special token after a reply: the last of all, else one before another turn, else the
    end of text. The next turn's marker ends a reply too where it is plain text.

    Args:
      reader: the tokenizer.
      last, turn: the text after the last reply, and between a reply and the next turn.
    """
    ends: dict[str, Segment] = {}
    for behind in (last, turn):
        before, *rest = reader.parts(behind)
        if rest and not before.strip():
            ends.setdefault(rest[0], Segment(before + rest[0], trained=True, special=True))
    return tuple(ends.values()) or (END,), (before.rstrip(),) if before.strip() else ()


def _markers(reader: Reader, headers: Sequence[str], system: tuple[str, str] | None) -> tuple[str, ...]:
    """Markers of turns that are plain text in this tokenizer, so that data could imitate them.

    A line is a marker if it begins or ends with a sign as no sentence does. A single word ("user" after `<|im_start|>`)
    is not: it means nothing without the special token before it.
    """
    plain = [part for header in headers for part in reader.parts(header)[::2]]
    if system:  # whose default text may stand around it: of that the lines next to it count alone
        *special, before = reader.parts(system[0])
        behind = reader.parts(system[1])[0]
        # The beginning of all text is the beginning of a line.
        lines = before.splitlines()[-2:] if special or "\n" in before else ["", before]
        plain += ["\n".join(lines), "\n".join(behind.splitlines()[:2])]
    found: dict[str, None] = {}
    for part in plain:
        for number, line in enumerate(part.split("\n")):
            # "[INST] <<SYS>>" are two.
            for marker in re.split(r"(?<=[\]>])\s+(?=[\[<])", line.strip()):
                signs = re.search(r"^[^\w\s]|[^\w\s.!?,;]$", marker)
                if signs and re.search(r"\w", marker) and len(marker) <= _LONGEST:
                    found["\n" * (number > 0 and marker[0].isalnum()) + marker] = None
    # One that also stands within a line is one there too.
    return tuple(marker for marker in found if marker[0] != "\n" or marker[1:] not in found)
