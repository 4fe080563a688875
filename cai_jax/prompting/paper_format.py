"""Formats: the way conversations, critiques, revisions, comparisons and audits are presented to a model.

Sources: arXiv 2212.08073 §3.1 (critique and revision) and §4.1 (comparisons). Every prompt is a list of messages, and
a format decides how messages are written. Base models read the paper's (`PAPER`); a chat model's is its tokenizer's
chat template (chat_format.py).
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from cai_jax.prompting.escaping import Escaping
from cai_jax.prompting.render import END, Segment, text_of
from cai_jax.prompting.thinking import Thinking
from cai_jax.prompting.turns import Turns

SYSTEM = Segment("\n\nSystem:")
HUMAN = Segment("\n\nHuman:")
ASSISTANT = Segment("\n\nAssistant:")
CRITIQUE = Segment("\n\nCritique:")
REVISION = Segment("\n\nRevision:")
CRITIQUE_REQUEST = "\n\nCritiqueRequest:"
REVISION_REQUEST = "\n\nRevisionRequest:"
CONSIDER = "Consider the following conversation between a human and an assistant:"
THINK = "Let's think step by step:"
CONCLUDE = "So the answer is:"
ANSWER = "The answer is:"
SO = Segment(f"\n\nHuman:\n{CONCLUDE}")
LETTERS = tuple(f" ({letter})" for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ")  # answers to a question with options
OPTIONS = LETTERS[:2]

# The paper's format as a chat template, for tools that know no other. Line breaks stand in strings, since
# transformers drops one that follows a tag.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] | trim }}"
    "{% elif message['role'] == 'user' %}{{ '\\n\\nHuman: ' + message['content'] | trim }}"
    "{% else %}{{ '\\n\\nAssistant: ' + message['content'] | trim }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '\\n\\nAssistant:' }}{% endif %}"
)

_MARKERS = {
    "system": SYSTEM,
    "human": HUMAN,
    "assistant": ASSISTANT,
    "critique request": Segment(CRITIQUE_REQUEST),
    "critique": CRITIQUE,
    "revision request": Segment(REVISION_REQUEST),
    "revision": REVISION,
    "question": Segment(f"\n\n{CONSIDER}"),
    "answer": Segment(f"\n\n{ANSWER}"),
    "conclusion": SO,
}


class Message(NamedTuple):
    """Something said in a prompt.

    Attributes:
      role: "system", "human" or "assistant"; "critique request", "critique", "revision request" or "revision";
        "question", an answer's beginning "answer", and "conclusion", the answer to one that was thought about.
      segments: its text.
    """

    role: str
    segments: tuple[Segment, ...] = ()


class Prompt(list[Segment]):
    """A rendered prompt: its segments, and what it was made of.

    Attributes:
      messages: what is said in it.
      open: the message that the model goes on with.
    """

    def __init__(self, segments: Sequence[Segment], messages: Sequence[Message], open: Message) -> None:
        super().__init__(segments)
        self.messages, self.open = tuple(messages), open


class Shots(NamedTuple):
    """Few-shot examples that precede prompts.

    Attributes:
      segments: the part that all prompts share, computed once; empty without examples.
      format: of the prompts after them, which begin with the rest of the examples.
      messages: of the examples.
    """

    segments: list[Segment]
    format: Format
    messages: Sequence[Message] = ()

    @property
    def text(self) -> str:
        """All of them, for people."""
        return text_of([*self.segments, *self.format.begin]) if self.segments else ""


@dataclass(frozen=True)
class Format(ABC):
    """One way to present requests to a model.

    Attributes:
      name: "paper" or "chat".
      begin: before every prompt: the token that the tokenizer puts before every text, or the rest of the examples.
      end: the end of a reply in training; others: further ends of a generated one.
      turn_escaping, question_escaping: how data is escaped in turns, and in the conversation, options and reasoning of
        a question.
      reply_stops, critique_stops, revision_stops, thought_stops: texts at which these end, beside `end` and `others`.
      thinking: the block in which the model thinks before it replies; None if it has none.
    """

    name: str
    begin: tuple[Segment, ...]
    end: Segment
    turn_escaping: Escaping
    question_escaping: Escaping
    reply_stops: tuple[str, ...]
    critique_stops: tuple[str, ...]
    revision_stops: tuple[str, ...]
    thought_stops: tuple[str, ...]
    thinking: Thinking | None = None
    others: tuple[Segment, ...] = ()

    @abstractmethod
    def render_prompt(self, messages: Sequence[Message], open: Message) -> list[Segment]:
        """The messages, and `open` up to where the model goes on with it."""

    @abstractmethod
    def render_messages(self, messages: Sequence[Message]) -> list[Segment]:
        """The messages up to the last letter of the last."""

    @abstractmethod
    def shots(self, messages: Sequence[Message]) -> Shots:
        """Examples, the last of which is an assistant's, to precede prompts."""

    def conversation(self, turns: Turns) -> list[Segment]:
        """The turns, the last of them whole."""
        return self._proved(self.render_messages(self._turns(turns)))

    def ask(self, turns: Turns) -> Prompt:
        """A conversation that waits for the assistant's next reply."""
        return self._prompt(self._turns(turns), Message("assistant"))

    def replied(self, turns: Turns, reply: str, *, trained: bool = False, ended: bool = True) -> list[Segment]:
        """A conversation with the assistant's next reply and, if it `ended` by itself, the end of a reply.

        A reply that is `trained` is not escaped; `ambiguous` says if that can be read in more than one way.
        """
        messages = [*self._turns(turns), Message("assistant", (self._data(reply, trained=trained),))]
        end = replace(self.end, trained=trained)
        return self._proved([*self.render_messages(messages), *([end] if ended else [])])

    def ambiguous(self, reply: str) -> bool:
        """True if a reply that is not escaped would read as turns of its own."""
        return self.turn_escaping.escape(reply.strip()) != reply.strip()

    def critique(self, turns: Turns, reply: str, request: str) -> Prompt:
        """arXiv 2212.08073 §3.1: the reply, then the request to critique it under one principle."""
        asked = Message("critique request", (Segment(request),))
        return self._prompt([*self._replied(turns, reply), asked], Message("critique"))

    def revision(self, critiqued: Prompt, critique: str, request: str) -> Prompt:
        """arXiv 2212.08073 §3.1: a critique prompt with its critique, then the request to revise the reply."""
        asked = Message("revision request", (Segment(request),))
        return self._prompt([*self.answered(critiqued, critique), asked], Message("revision"))

    def direct_revision(self, turns: Turns, reply: str, request: str) -> Prompt:
        """arXiv 2212.08073 §3.5: the request to revise without a critique before it."""
        asked = Message("revision request", (Segment(request),))
        return self._prompt([*self._replied(turns, reply), asked], Message("revision"))

    def comparison(self, turns: Turns, principle: str, replies: tuple[str, str]) -> Prompt:
        """Ask which of two replies is better under a principle; the answer is in `OPTIONS` (arXiv 2212.08073 §4.1)."""
        return self.question(turns, None, principle, replies)

    def reasoned_comparison(self, turns: Turns, principle: str, replies: tuple[str, str]) -> Prompt:
        """Chain of thought (arXiv 2212.08073 §4.1): `comparison` as a dialogue that ends where the reasoning begins."""
        asked = (*self._transcript(turns), *self._asked(principle, replies, True))
        question = Message("human", (Segment(CONSIDER), *asked))
        return self._prompt([question], Message("assistant", (Segment(THINK),)))

    def concluded(self, reasoned: Prompt, reasoning: str) -> Prompt:
        """A `reasoned_comparison` with its reasoning, asked for the answer in a new turn."""
        thought = Message("assistant", (*reasoned.open.segments, self.reasoning(reasoning)))
        return self._prompt([*reasoned.messages, thought], Message("conclusion"))

    def question(
        self, turns: Turns | None, reply: str | None, question: str, options: Sequence[str], *, quoted: bool = True
    ) -> Prompt:
        """Ask a question with several options; the answer is one of `LETTERS` (arXiv 2212.08073 §4.1).

        Args:
          turns: the conversation that it is about; None: it is about none, and is put as a human's turn.
          reply: the assistant's next reply in it, if there is one.
          question: its words, which are trusted.
          options: what (A), (B), … stand for, at most as many as there are `LETTERS`.
          quoted: they are data, and are escaped and enclosed in brackets; else they are words of the question.
        """
        asked = self._asked(question, options, quoted)
        if turns is None:
            first, *rest = asked
            opening = replace(first, text=first.text.lstrip("\n"))
            return self._prompt([Message("human", (opening, *rest))], Message("assistant", (Segment(ANSWER),)))
        said = (ASSISTANT, self._quote(reply)) if reply is not None else ()
        return self._prompt([Message("question", (*self._transcript(turns), *said, *asked))], Message("answer"))

    def audit(self, turns: Turns, reply: str, question: str, swapped: bool = False) -> Prompt:
        """Ask a yes/no question about a reply; the answer is one of `OPTIONS`.

        ` (A)` is yes and ` (B)` no; `swapped`, ` (A)` is no and ` (B)` yes.
        """
        return self.question(turns, reply, question, ("No", "Yes") if swapped else ("Yes", "No"), quoted=False)

    def answer(self, turns: Turns, text: str, begins: str = "") -> Prompt:
        """A conversation that the assistant goes on with an answer, whose tokens are marked as `trained`.

        Args:
          text: the answer, escaped as a turn's text is.
          begins: words before it, with which the reply begins.
        """
        said = replace(self._data(text), trained=True)
        words = (Segment(begins), _lead(said)) if begins else (said,)
        return self._prompt(self._turns(turns), Message("assistant", words))

    def choice(self, turns: Turns, options: Sequence[str]) -> Prompt:
        """A conversation in whose last turn options are listed; the answer is one of `LETTERS`.

        Args:
          options: data, escaped as in any question with options; none where the turn lists them itself.
        """
        *before, last = self._turns(turns)
        listed = [each for name, option in zip(LETTERS, options, strict=False)
                  for each in (Segment(f"\n{name}"), self._quote(option))]  # fmt: skip
        asked = last._replace(segments=(*last.segments, Segment("\n\nOptions:"), *listed)) if listed else last
        return self._prompt([*before, asked], Message("assistant", (Segment(ANSWER),)))

    def answered(self, prompt: Prompt, answer: str) -> list[Message]:
        """The messages of a prompt, and what answers it."""
        return [*prompt.messages, prompt.open._replace(segments=(*prompt.open.segments, self._data(answer)))]

    def chosen(self, prompt: Prompt, option: str) -> list[Message]:
        """The messages of a comparison, and the option that answers it."""
        return [*prompt.messages, prompt.open._replace(segments=(Segment(option),))]

    def reasoning(self, text: str, *, trained: bool = False) -> Segment:
        """The assistant's text after `reasoned_comparison`, escaped where it could imitate an option."""
        return Segment(" " + self.question_escaping.escape(text.strip()), trusted=False, trained=trained)

    def _prompt(self, messages: Sequence[Message], open: Message) -> Prompt:
        return Prompt(self._proved(self.render_prompt(messages, open)), messages, open)

    def _proved(self, segments: list[Segment]) -> list[Segment]:
        """The segments, those tokenised apart before which data and template would make a marker together."""
        for number in self.question_escaping.crossed([segment.text for segment in segments]):
            if not (segments[number - 1].trusted and segments[number].trusted):
                segments[number] = replace(segments[number], apart=True)
        return segments

    def _turns(self, turns: Turns) -> list[Message]:
        return [Message(t["role"], (self._data(t["text"], truncatable=t["role"] != "system"),)) for t in turns]

    def _replied(self, turns: Turns, reply: str) -> list[Message]:
        return [*self._turns(turns), Message("assistant", (self._data(reply),))]

    def _asked(self, question: str, options: Sequence[str], quoted: bool) -> list[Segment]:
        """A question and its options, each behind its letter."""
        found, before = [], f"\n\n\n{question} Options:"
        for letter, option in zip(LETTERS, options, strict=False):
            before += f"\n{letter} {'[[[' if quoted else option}"
            if quoted:
                found += [Segment(before), self._quote(option)]
                before = "]]]"
        return [*found, Segment(before)]

    def _transcript(self, turns: Turns) -> list[Segment]:
        """A conversation that is talked about, as the paper writes it."""
        quoted = [(_MARKERS[turn["role"]], self._quote(turn["text"], turn["role"] != "system")) for turn in turns]
        return [segment for pair in quoted for segment in pair]

    def _data(self, text: str, *, trained: bool = False, truncatable: bool = False) -> Segment:
        """Untrusted text of a turn; what is trained is never changed."""
        text = text.strip() if trained else self.turn_escaping.escape(text.strip())
        return Segment(text, trusted=False, trained=trained, truncatable=truncatable)

    def _quote(self, text: str, truncatable: bool = False) -> Segment:
        """Untrusted text in a question."""
        return Segment(" " + self.question_escaping.escape(text.strip()), trusted=False, truncatable=truncatable)


class Paper(Format):
    """The paper's format: every message after a marker of its own."""

    def render_prompt(self, messages: Sequence[Message], open: Message) -> list[Segment]:
        return [*self.render_messages(messages), _MARKERS[open.role], *_spaced(open)]

    def render_messages(self, messages: Sequence[Message]) -> list[Segment]:
        said = [segment for message in messages for segment in (_MARKERS[message.role], *_spaced(message))]
        return [*self.begin, *said]

    def shots(self, messages: Sequence[Message]) -> Shots:
        if not messages:
            return Shots([], self)
        *segments, last = (as_example(segment) for segment in self.render_messages(messages))
        shared, rest = parted(last)
        return Shots([*segments, shared], replace(self, begin=(rest,)), messages)

    def reply(self, text: str, *, trained: bool = False) -> Segment:
        """The assistant's text after `ask`."""
        return _lead(self._data(text, trained=trained))

    revised = reply  # behind `revision` or `direct_revision`


def _spaced(message: Message) -> tuple[Segment, ...]:
    """Its text, with the space with which what is said begins."""
    said = message.segments
    return (_lead(said[0]), *said[1:]) if said and message.role not in ("question", "answer", "conclusion") else said


def _lead(segment: Segment) -> Segment:
    return replace(segment, text=f" {segment.text}")


def as_example(segment: Segment) -> Segment:
    """Few-shots come from the constitution, not from data; escaped all the same, they cannot break the format."""
    return replace(segment, trusted=True, truncatable=False)


def parted(segment: Segment) -> tuple[Segment, Segment]:
    """The end of some examples: the part that all prompts share, and the last word, which may merge with later text.

    Before a single space every tokenizer begins a token.
    """
    at = max((found.start() for found in re.finditer(r"(?<=\S) (?=\S)", segment.text)), default=0)
    return replace(segment, text=segment.text[:at]), replace(segment, text=segment.text[at:], apart=True)


PAPER = Paper(
    name="paper",
    begin=(),
    end=END,
    turn_escaping=Escaping("turns"),
    question_escaping=Escaping("question"),
    reply_stops=("\n\nHuman", "\n\nAssistant", CRITIQUE_REQUEST.rstrip(":")),
    critique_stops=(REVISION_REQUEST.rstrip(":"), "\n\nHuman"),
    revision_stops=("\n\nHuman", CRITIQUE_REQUEST.rstrip(":")),
    thought_stops=("\n\nHuman", "\n\nAssistant"),
)


def paper(begin: str = "") -> Format:
    """The paper's format, after the token that the tokenizer puts before every text, if it puts one."""
    return replace(PAPER, begin=(Segment(begin, begin=True),)) if begin else PAPER
