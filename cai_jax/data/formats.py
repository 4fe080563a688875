"""The paper's formats: conversations, critiques, revisions, comparisons, audits (METHOD.md §1–§2).

Every function returns a list of segments (`data.render.Segment`) that ends where the model goes on. Turns are
dicts `{"role": "human" | "assistant", "text": str}`, before which one of role "system" may stand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cai_jax.data.render import Segment, data

SYSTEM = Segment("\n\nSystem:")
HUMAN = Segment("\n\nHuman:")
ASSISTANT = Segment("\n\nAssistant:")
CRITIQUE = Segment("\n\nCritique:")
REVISION = Segment("\n\nRevision:")
CRITIQUE_REQUEST = "\n\nCritiqueRequest:"
REVISION_REQUEST = "\n\nRevisionRequest:"
CONSIDER = "Consider the following conversation between a human and an assistant:"
THINK = "\n\nAssistant: Let's think step by step:"
SO = Segment("\n\nHuman:\nSo the answer is:")
ANSWER = Segment("\n\nThe answer is:")
OPTIONS = (" (A)", " (B)")

# Where each kind of text stops, beside the end-of-text token.
REPLY_STOPS = ("\n\nHuman", "\n\nAssistant", CRITIQUE_REQUEST.rstrip(":"))
CRITIQUE_STOPS = (REVISION_REQUEST.rstrip(":"), "\n\nHuman")
REVISION_STOPS = ("\n\nHuman", CRITIQUE_REQUEST.rstrip(":"))
REASONING_STOPS = ("\n\nHuman", "\n\nAssistant")

Turns = Sequence[Mapping[str, str]]
_MARKERS = {"system": SYSTEM, "human": HUMAN, "assistant": ASSISTANT}


def conversation(turns: Turns) -> list[Segment]:
    """The turns in the paper's Human/Assistant format; a system prompt stands before them, with a marker of its own."""
    segments: list[Segment] = []
    for turn in turns:
        segments += [_MARKERS[turn["role"]], data(turn["text"], spare=turn["role"] != "system")]
    return segments


def ask(turns: Turns) -> list[Segment]:
    """A conversation that waits for the assistant's next reply."""
    return [*conversation(turns), ASSISTANT]


def critique(turns: Turns, reply: str, request: str) -> list[Segment]:
    """CAI §3.1: the reply, then the request to critique it under one principle."""
    return [*ask(turns), data(reply), Segment(CRITIQUE_REQUEST), Segment(" " + request), CRITIQUE]


def revision(critiqued: Sequence[Segment], critique_text: str, request: str) -> list[Segment]:
    """CAI §3.1: a critique prompt with its critique, then the request to revise the reply."""
    return [*critiqued, data(critique_text), *revision_request(request)]


def direct_revision(turns: Turns, reply: str, request: str) -> list[Segment]:
    """CAI §3.5: the request to revise without a critique before it."""
    return [*ask(turns), data(reply), *revision_request(request)]


def revision_request(request: str) -> list[Segment]:
    """What stands between a critique (or a reply) and its revision."""
    return [Segment(REVISION_REQUEST), Segment(" " + request), REVISION]


def comparison(turns: Turns, principle: str, replies: tuple[str, str]) -> list[Segment]:
    """CAI §4.1: which of two replies is better under one principle; the answer is one of `OPTIONS`."""
    return [Segment("\n\n" + CONSIDER), *_question(turns, principle, replies), ANSWER]


def reasoned_comparison(turns: Turns, principle: str, replies: tuple[str, str]) -> list[Segment]:
    """CAI §4.1, chain of thought: as `comparison`, as a dialogue that ends where the reasoning begins."""
    return [HUMAN, Segment(" " + CONSIDER), *_question(turns, principle, replies), Segment(THINK)]


def concluded(reasoned: Sequence[Segment], reasoning: str) -> list[Segment]:
    """A `reasoned_comparison` with its reasoning, asked for the answer in a new turn."""
    return [*reasoned, data(reasoning), SO]


def audit(turns: Turns, reply: str, principle: str) -> list[Segment]:
    """Does the reply break this principle? ` (A)` is yes, ` (B)` no. `principle` is its critique request."""
    question = f"\n\n\n{principle} Does the reply break this rule? Options:\n (A) Yes\n (B) No"
    return [Segment("\n\n" + CONSIDER), *ask(turns), data(reply), Segment(question), ANSWER]


def _question(turns: Turns, principle: str, replies: tuple[str, str]) -> list[Segment]:
    return [
        *conversation(turns),
        Segment(f"\n\n\n{principle} Options:\n (A) [[["),
        data(replies[0]),
        Segment("]]]\n (B) [[["),
        data(replies[1]),
        Segment("]]]"),
    ]
