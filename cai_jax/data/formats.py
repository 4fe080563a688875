"""Formats: how conversations, critiques, revisions, comparisons and audits are put to a model (METHOD.md §1–§2).

A format is a value, made of the pieces that stand before each kind of turn. Base models read the paper's
(`PAPER`); a chat model's is taken from its tokenizer's chat template (data/chat.py). Every function of a format
returns a list of segments (`data.render.Segment`) that ends where the model goes on. Turns are dicts
`{"role": "human" | "assistant", "text": str}`, before which one of role "system" may stand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cai_jax.data.escaping import Escaping
from cai_jax.data.render import END, Segment
from cai_jax.data.rows import merged

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
OPTIONS = (" (A)", " (B)")

# The paper's format as a chat template, for tools that know no other. Line breaks stand in strings, since
# transformers drops one that follows a tag.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] | trim }}"
    "{% elif message['role'] == 'user' %}{{ '\\n\\nHuman: ' + message['content'] | trim }}"
    "{% else %}{{ '\\n\\nAssistant: ' + message['content'] | trim }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '\\n\\nAssistant:' }}{% endif %}"
)

Turns = Sequence[Mapping[str, str]]
_MARKERS = {"system": SYSTEM, "human": HUMAN, "assistant": ASSISTANT}


@dataclass(frozen=True)
class Opening:
    """What stands before the text of a turn: trusted segments, and the space with which the text begins.

    The space goes with the text because most tokenizers have a token for a word with its space.
    """

    segments: tuple[Segment, ...]
    lead: str = " "

    def saying(self, words: str) -> tuple[Segment, ...]:
        """The segments, and trusted words behind them."""
        return (*self.segments, Segment(self.lead + words))


@dataclass(frozen=True)
class Format:
    """One way to put things to a model.

    Attributes:
      name: "paper" or "chat".
      begin: before every prompt; the beginning-of-text token where the tokenizer adds one.
      system: before a system prompt; None where it has no place of its own and stands in front of the first human
        turn's text.
      first, prompted, human: before the human turn that begins a prompt, that follows a system prompt, any other.
      assistant, open: before a reply that is there, and before one to be written.
      ask_critique, open_critique, ask_revision, open_revision: before these requests, and before what answers them.
      question, answer: before the conversation that a comparison or an audit is about, and before the option.
      reasoned, thought, so: the same where the model thinks first; `so` stands between the thought and the option.
      end: what ends a reply in training.
      said, quoted: how data is escaped in turns, and in the conversation, options and reasoning of a question.
      reply_stops, critique_stops, revision_stops, thought_stops: texts at which these end, beside `end`.
      alternating: human and assistant turns must alternate, the first of them a human's.
      after_shots: the format of what stands behind few-shots; None if that is the same.
    """

    name: str
    begin: tuple[Segment, ...]
    system: Opening | None
    first: Opening
    prompted: Opening
    human: Opening
    assistant: Opening
    open: Opening
    ask_critique: Opening
    open_critique: Opening
    ask_revision: Opening
    open_revision: Opening
    question: tuple[Segment, ...]
    answer: tuple[Segment, ...]
    reasoned: tuple[Segment, ...]
    thought: Opening
    so: tuple[Segment, ...]
    end: Segment
    said: Escaping
    quoted: Escaping
    reply_stops: tuple[str, ...]
    critique_stops: tuple[str, ...]
    revision_stops: tuple[str, ...]
    thought_stops: tuple[str, ...]
    alternating: bool = False
    after_shots: Format | None = None

    @property
    def behind(self) -> Format:
        """The format of a prompt that goes on from few-shots: it begins nothing, and has no system prompt."""
        return self.after_shots or self

    def conversation(self, turns: Turns) -> list[Segment]:
        """The turns, the last of them whole."""
        segments, opening, before = list(self.begin), self.first, []
        for turn in _alternating(turns) if self.alternating else turns:
            text = turn["text"]
            if turn["role"] == "assistant":
                segments += [*self.assistant.segments, self._data(self.assistant, text, spare=True)]
            elif turn["role"] == "human":
                lead = opening if not before else Opening((), "")
                segments += [*opening.segments, *before, self._data(lead, text, spare=True)]
                opening, before = self.human, []
            elif self.system is None:
                before = [self._data(opening, text), Segment("\n\n")]
            else:
                segments += [*self.system.segments, self._data(self.system, text)]
                opening = self.prompted
        return segments

    def ask(self, turns: Turns) -> list[Segment]:
        """A conversation that waits for the assistant's next reply."""
        return [*self.conversation(turns), *self.open.segments]

    def reply(self, text: str, *, trained: bool = False) -> Segment:
        """What an assistant says behind `ask`."""
        return self._data(self.open, text, trained=trained)

    def critique(self, turns: Turns, reply: str, request: str) -> list[Segment]:
        """CAI §3.1: the reply, then the request to critique it under one principle."""
        return [*self.ask(turns), self.reply(reply), *self.ask_critique.saying(request), *self.open_critique.segments]

    def revision(self, critiqued: Sequence[Segment], critique: str, request: str) -> list[Segment]:
        """CAI §3.1: a critique prompt with its critique, then the request to revise the reply."""
        return [*critiqued, self._data(self.open_critique, critique), *self._revision(request)]

    def direct_revision(self, turns: Turns, reply: str, request: str) -> list[Segment]:
        """CAI §3.5: the request to revise without a critique before it."""
        return [*self.ask(turns), self.reply(reply), *self._revision(request)]

    def revised(self, text: str, *, trained: bool = False) -> Segment:
        """What an assistant says behind `revision` or `direct_revision`."""
        return self._data(self.open_revision, text, trained=trained)

    def comparison(self, turns: Turns, principle: str, replies: tuple[str, str]) -> list[Segment]:
        """CAI §4.1: which of two replies is better under one principle; the answer is one of `OPTIONS`."""
        return [*self.begin, *self.question, *self._options(turns, principle, replies), *self.answer]

    def reasoned_comparison(self, turns: Turns, principle: str, replies: tuple[str, str]) -> list[Segment]:
        """CAI §4.1, chain of thought: as `comparison`, as a dialogue that ends where the reasoning begins."""
        options = self._options(turns, principle, replies)
        return [*self.begin, *self.reasoned, *options, *self.thought.segments]

    def reasoning(self, text: str, *, trained: bool = False) -> Segment:
        """What an assistant says behind `reasoned_comparison`, where it could imitate an option."""
        text = self.thought.lead + self.quoted.escape(text.strip())
        return Segment(text, trusted=False, trained=trained)

    def concluded(self, reasoned: Sequence[Segment], reasoning: str) -> list[Segment]:
        """A `reasoned_comparison` with its reasoning, asked for the answer in a new turn."""
        return [*reasoned, self.reasoning(reasoning), *self.so]

    def audit(self, turns: Turns, reply: str, principle: str) -> list[Segment]:
        """Does the reply break this principle? ` (A)` is yes, ` (B)` no. `principle` is its critique request."""
        asked = f"\n\n\n{principle} Does the reply break this rule? Options:\n (A) Yes\n (B) No"
        about = [*self._transcript(turns), ASSISTANT, self._quote(reply)]
        return [*self.begin, *self.question, *about, Segment(asked), *self.answer]

    def _revision(self, request: str) -> list[Segment]:
        return [*self.ask_revision.saying(request), *self.open_revision.segments]

    def _options(self, turns: Turns, principle: str, replies: tuple[str, str]) -> list[Segment]:
        return [
            *self._transcript(turns),
            Segment(f"\n\n\n{principle} Options:\n (A) [[["),
            self._quote(replies[0]),
            Segment("]]]\n (B) [[["),
            self._quote(replies[1]),
            Segment("]]]"),
        ]

    def _transcript(self, turns: Turns) -> list[Segment]:
        """A conversation that is talked about, as the paper writes it."""
        quoted = [(_MARKERS[turn["role"]], self._quote(turn["text"], turn["role"] != "system")) for turn in turns]
        return [segment for pair in quoted for segment in pair]

    def _data(self, opening: Opening, text: str, *, trained: bool = False, spare: bool = False) -> Segment:
        """Untrusted text of a turn."""
        return Segment(opening.lead + self.said.escape(text.strip()), trusted=False, trained=trained, spare=spare)

    def _quote(self, text: str, spare: bool = False) -> Segment:
        """Untrusted text in a question."""
        return Segment(" " + self.quoted.escape(text.strip()), trusted=False, spare=spare)


def _alternating(turns: Turns) -> list[dict[str, str]]:
    """The turns as chat templates demand them: neighbours of one role are one turn, and a human's is the first."""
    first = next((turn["role"] for turn in turns if turn["role"] != "system"), "human")
    silent = [{"role": "human", "text": ""}] if first == "assistant" else []
    system = [dict(turn) for turn in turns[:1] if turn["role"] == "system"]
    return [*system, *silent, *merged(dict(turn) for turn in turns[len(system) :])]


_HUMAN, _ASSISTANT = Opening((HUMAN,)), Opening((ASSISTANT,))

PAPER = Format(
    name="paper",
    begin=(),
    system=Opening((SYSTEM,)),
    first=_HUMAN,
    prompted=_HUMAN,
    human=_HUMAN,
    assistant=_ASSISTANT,
    open=_ASSISTANT,
    ask_critique=Opening((Segment(CRITIQUE_REQUEST),)),
    open_critique=Opening((CRITIQUE,)),
    ask_revision=Opening((Segment(REVISION_REQUEST),)),
    open_revision=Opening((REVISION,)),
    question=(Segment(f"\n\n{CONSIDER}"),),
    answer=(Segment(f"\n\n{ANSWER}"),),
    reasoned=_HUMAN.saying(CONSIDER),
    thought=Opening((Segment(f"{ASSISTANT.text} {THINK}"),)),
    so=(SO,),
    end=END,
    said=Escaping(),
    quoted=Escaping(),
    reply_stops=("\n\nHuman", "\n\nAssistant", CRITIQUE_REQUEST.rstrip(":")),
    critique_stops=(REVISION_REQUEST.rstrip(":"), "\n\nHuman"),
    revision_stops=("\n\nHuman", CRITIQUE_REQUEST.rstrip(":")),
    thought_stops=("\n\nHuman", "\n\nAssistant"),
)


def paper(begin: str = "") -> Format:
    """The paper's format, behind the beginning-of-text token of tokenizers that add one."""
    return replace(PAPER, begin=(Segment(begin, special=True),), after_shots=PAPER) if begin else PAPER
