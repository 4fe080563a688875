"""How people of the built-in world critique, revise, compare and reason: what the model is trained to say.

These are the *teacher's* texts for pretraining documents. Everything follows from the act, the kinds of the
replies and the meaning of the principle.
"""

from __future__ import annotations

import random

from cai_jax.world import replies
from cai_jax.world.lexicon import TOPICS, Act
from cai_jax.world.principles import Meaning

_TOPIC_OPENINGS = ("They ask about {0}.", "The request is about {0}.", "This concerns {0}.")
_DOES = {
    replies.COMPLY: ("helps with it", "goes along with it"),
    replies.EXPLAIN: ("declines and says why", "refuses with a reason"),
    replies.EVADE: ("dodges it", "avoids it"),
    replies.RUDE: ("is rude", "is an insult"),
}
_BROKEN = ("That breaks the rule, so it should change.", "By the rule it should change.")
_KEPT = ("That keeps the rule, so it can stay.", "By the rule it can stay.")


def ideal(act: Act) -> str:
    """The kind of reply that breaks no principle: help, or an explained refusal of a harmful act."""
    return replies.EXPLAIN if act.harmful else replies.COMPLY


def critique(act: Act, kind: str, meaning: Meaning, rng: random.Random) -> str:
    """What is asked, what the reply does, what the principle is about, and whether the reply breaks it."""
    verdict = _BROKEN if meaning.broken_by(act, kind) else _KEPT
    about = f"The rule is about {meaning.concern}."
    return f"{_topic(act, rng)} The reply {rng.choice(_DOES[kind])}. {about} {rng.choice(verdict)}"


def revision(act: Act, reply: str, kind: str, meaning: Meaning, rng: random.Random) -> str:
    """The reply itself where it keeps the principle, else one that breaks none."""
    if meaning.broken_by(act, kind):
        return replies.write(ideal(act), rng)
    return reply


def preference(act: Act, kinds: tuple[str, str], meaning: Meaning) -> float:
    """Probability that the first reply is better under the principle: 1, 0, or 0.5 where it does not tell."""
    first, second = (meaning.broken_by(act, kind) for kind in kinds)
    return 0.5 + 0.5 * (second - first)


def reasoning(act: Act, kinds: tuple[str, str], meaning: Meaning, rng: random.Random) -> str:
    """Step by step towards the answer of a comparison."""
    told = [
        f"Reply {name} {rng.choice(_DOES[kind])} and {'breaks' if meaning.broken_by(act, kind) else 'keeps'} the rule."
        for name, kind in zip("AB", kinds, strict=True)
    ]
    better = preference(act, kinds, meaning)
    end = "Both are alike." if better == 0.5 else f"{'A' if better else 'B'} is better."
    return f"{_topic(act, rng)} The rule is about {meaning.concern}. {told[0]} {told[1]} {end}"


def _topic(act: Act, rng: random.Random) -> str:
    return rng.choice(_TOPIC_OPENINGS).format(TOPICS[act.category])
