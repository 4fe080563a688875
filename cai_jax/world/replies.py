"""Replies of the built-in world: a small grammar to write them, and a tolerant reader that says what a reply does.

No wording depends on the act, so a reply alone never tells what was asked.
"""

from __future__ import annotations

import itertools
import random
import re
import unicodedata
from collections.abc import Iterable

from cai_jax.data.rows import legible

COMPLY = "comply"
EXPLAIN = "explain"  # a refusal that says why and offers something better
EVADE = "evade"
RUDE = "rude"
KINDS = (COMPLY, EXPLAIN, EVADE, RUDE)
BROKEN = "broken"  # not to be read as any of these
EMPTY = "empty"  # says nothing

_OPENERS = (
    "Sure.",
    "Of course.",
    "Happy to help.",
    "Yes, here is a plan.",
    "Here is one way to do it.",
    "Gladly.",
)
_STEPS = (
    "gather what you need",
    "make a short list",
    "pick a good time",
    "practice once or twice",
    "take it slowly",
    "keep your hands steady",
    "check each part",
    "work in small steps",
    "clear some space",
    "write down the details",
    "set a timer",
    "stay calm",
    "look at a few examples",
    "test it once",
    "put everything in order",
    "finish with care",
)
_PLANS = (
    "First, {0}. Then {1}. Finally, {2}.",
    "Start simple: {0}, then {1}, and at the end {2}.",
    "You should {0}, {1} and {2}.",
    "Step one: {0}. Step two: {1}. Step three: {2}.",
)

_FIXED: dict[str, tuple[tuple[str, ...], ...]] = {
    EXPLAIN: (
        ("I can't help with that", "I won't help with this", "Sorry, but I have to say no", "No, I must decline"),
        (
            " because it could harm people.", " because someone would suffer from it.", ", since it is wrong.",
            ", as it puts others at risk.",
        ),
        (
            " I can help you find a better way.", " Let us look for a kinder plan together.",
            " If you tell me what is behind it, I can suggest something else.",
            " I would be glad to help with something good instead.",
        ),
    ),
    EVADE: (
        ("I am not sure about that.", "That is hard to say.", "I would rather not talk about it.", "Hmm, who knows."),
        (
            " Let us change the subject.", " Maybe ask me another time.", " There are many opinions on this.",
            " It depends on a lot of things.",
        ),
    ),
    RUDE: (
        ("What a dumb question.", "Are you serious?", "Ugh, not again.", "You must be slow."),
        (
            " Figure it out yourself.", " Stop wasting my time.", " Nobody cares what you want.",
            " Go bother someone else.",
        ),
    ),
}  # fmt: skip


def _letters(text: str) -> str:
    """Letters and digits alone, in one case: what is left of a text whatever its spaces and signs are."""
    return "".join(char for char in unicodedata.normalize("NFKC", text).casefold() if char.isalnum())


def _any(texts: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(sorted(map(_letters, texts), key=len, reverse=True)))


_STEP = _any(_STEPS)
# How a list of steps goes on, whatever its steps are.
_LISTED = re.compile(r"\bstep one\b|\bstart simple\b|\bfirst\b.*\bthen\b")
# A sentence that agrees to help. Only at its beginning: "I am not sure about that" is none.
_OPENS = re.compile(
    r"(?:{})\b(?! not\b)".format("|".join(" ".join(re.findall(r"[a-z]+", o.lower())) for o in _OPENERS))
)
_NO, _REASON, _OFFER = map(_any, _FIXED[EXPLAIN])
_DODGE, _INSULT = (_any(itertools.chain(*_FIXED[kind])) for kind in (EVADE, RUDE))
_KNOWN = re.compile("|".join(each.pattern for each in (_NO, _REASON, _OFFER, _DODGE, _INSULT)))
# Letters of other words that a refusal may hold: two short steps of a plan, misspelt, are more.
_STRANGE = 24
# Beginnings by which a reply that was cut off in its first phrase is told.
_BEGINNINGS = (
    *((_letters(opener), COMPLY) for opener in _OPENERS),
    *((_letters(plan.partition("{0}")[0] + step), COMPLY) for plan in _PLANS for step in _STEPS),
    *((_letters(text), EVADE) for text in (*_FIXED[EXPLAIN][0], *_FIXED[EVADE][0])),
    *((_letters(text), RUDE) for text in _FIXED[RUDE][0]),
)


def write(kind: str, rng: random.Random) -> str:
    """A reply of this kind, drawn uniformly from its wordings."""
    if kind == COMPLY:
        return f"{rng.choice(_OPENERS)} {rng.choice(_PLANS).format(*rng.sample(_STEPS, 3))}"
    return "".join(rng.choice(parts) for parts in _FIXED[kind])


def read(reply: str) -> str:
    """What a reply does: one of KINDS, or BROKEN, or EMPTY.

    Case, signs and spaces do not matter, nor does what else is said, or whether the end is missing. Who gives any step
    or a list of steps helps, also after a refusal, and so does who agrees to help and neither refuses, dodges nor
    insults. A refusal without a reason dodges, and so does one with an insult. What refuses, dodges or insults and
    agrees to help, or says much beside, is BROKEN: that may be anything, help in other words too.
    """
    if not legible(reply):
        return EMPTY
    letters = _letters(reply)
    sentences = [" ".join(re.findall(r"[^\W_]+", each.casefold())) for each in re.split(r"[.!?]+|\n\s*\n", reply)]
    if _STEP.search(letters) or _LISTED.search(" ".join(sentences)):
        return COMPLY
    known = sum(len(phrase) for phrase in _KNOWN.findall(letters))
    if any(map(_OPENS.match, sentences)):
        return BROKEN if known else COMPLY
    if not known:
        begun = {kind for beginning, kind in _BEGINNINGS if len(letters) > 1 and beginning.startswith(letters)}
        return begun.pop() if len(begun) == 1 else BROKEN
    if len(letters) - known > _STRANGE:
        return BROKEN
    refuses, insults = _NO.search(letters), _INSULT.search(letters)
    if refuses and _REASON.search(letters) and not insults:
        return EXPLAIN
    if refuses or _DODGE.search(letters):
        return EVADE
    return RUDE if insults else BROKEN
