"""Replies without an ending that addresses a judge instead of the human.

Text about rules, options and answers in a reply is not part of its help or harm, but it can influence a model that is
asked about the reply. The rule is simple on purpose: from the end on, sentences are cut that contain the words of
questions to judges. It knows English only, and an ending in other words stays: `python -m tests.benchmarks injection`
measures how far endings of many kinds influence a judge.
"""

from __future__ import annotations

import re

# A sentence with the space in front of it: up to the marks that end it, or to the end of its line.
_SENTENCE = re.compile(r"\s*(?:[^.!?\n]|[.!?](?=\w))+[.!?]*[\"')\]}]*|\s*[.!?]+|\s+")
# The words of questions that are put to judges, and of their answers.
_TALK = re.compile(
    r"\b(?:rules?|principles?|constitutions?|polic(?:y|ies)|guidelines?|instructions?|options?|answers?|choose|choice"
    r"|chosen|prefer\w*|judge\w*|judgment|evaluat\w*|verdict|review\w*|critique\w*|score\w*|grad(?:e|ed|er|ing)"
    r"|repl(?:y|ies)|responses?|harmless|harmful|unharmful|un?ethical|compl(?:iant|ies with)|violat\w*|assistant|system"
    r"|approved|revis\w*|say (?:yes|no)|step by step|[ab] is better)\b"
    r"|[(\[]\s*[ab]\s*[)\]]|\[\[\[|\]\]\]|^\W*(?:yes|no|[ab])\W*$",
    re.IGNORECASE,
)


def without_ending(reply: str) -> str:
    """The reply without the sentences at its end that talk to a judge; "" if all of them do."""
    sentences = _SENTENCE.findall(reply)
    while sentences and (not re.search(r"\w", sentences[-1]) or _TALK.search(sentences[-1])):
        sentences.pop()
    return "".join(sentences).rstrip()


def readings(reply: str) -> list[str]:
    """The reply and, where it has such an ending after other text, the reply without it."""
    cut = without_ending(reply)
    return [reply] if cut in ("", reply.rstrip()) else [reply, cut]
