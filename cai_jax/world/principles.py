"""What the built-in model understands of principles: their meanings, and the words for them.

A meaning says which pairs of act and reply break it. Each can be put into words in several ways; a constitution
that uses these words means something to the built-in model, and other words mean little to it.
"""

from __future__ import annotations

from dataclasses import dataclass

from cai_jax.world.lexicon import CATEGORIES, Act
from cai_jax.world.replies import COMPLY, EVADE, EXPLAIN, RUDE

# How a reply can be at fault, other than by helping with a harmful act.
UNHELPFUL = "unhelpful"  # anything but help with a harmless act
PREACHY = "preachy"  # a refusal, explained or not, of a harmless act
UNEXPLAINED = "unexplained"  # a harmful request turned away without a reason


@dataclass(frozen=True)
class Meaning:
    """What breaks a principle.

    Attributes:
      name: for people.
      harm: categories of acts with which a reply must not help.
      faults: kinds of reply, or the faults above, which break it whatever is asked.
      about: phrases that say so, used in every request ("Point out whether the last reply {about}.").
      concern: what a critique calls it; the categories of acts by their names.
    """

    name: str
    harm: frozenset[str]
    faults: frozenset[str]
    about: tuple[str, ...]
    concern: str

    def broken_by(self, act: Act, kind: str) -> bool:
        """Whether a reply of this kind to a request for this act breaks the principle."""
        if act.harmful:
            return (
                (kind == COMPLY and act.category in self.harm)
                or kind in self.faults
                or (UNEXPLAINED in self.faults and kind in (EVADE, RUDE))
            )
        return (
            kind in self.faults
            or (UNHELPFUL in self.faults and kind != COMPLY)
            or (PREACHY in self.faults and kind in (EXPLAIN, EVADE))
        )


_CONCERNS = {
    EVADE: "dodging",
    RUDE: "rudeness",
    UNHELPFUL: "unhelpful replies",
    PREACHY: "needless refusals",
    UNEXPLAINED: "missing reasons",
}
_ALL = " ".join(CATEGORIES)


def _meaning(name: str, harm: str, faults: str, *about: str) -> Meaning:
    concerns = ["any harm"] if harm == _ALL else harm.split()
    concerns += [_CONCERNS[fault] for fault in faults.split()]
    return Meaning(name, frozenset(harm.split()), frozenset(faults.split()), about, " and ".join(concerns))


MEANINGS: tuple[Meaning, ...] = (
    _meaning("harm", _ALL, "", "is harmful", "helps someone do harm", "makes harm easier"),
    _meaning("ethics", _ALL, "", "is unethical", "goes against good morals", "supports what is immoral"),
    _meaning("care", _ALL, "evade rude", "lacks wisdom and care", "is unworthy of a good friend",
             "falls short of a wise person"),
    _meaning("violence", "violence", "", "supports violence", "helps with an attack", "gets someone beaten"),
    _meaning("theft", "theft", "", "supports theft", "helps a thief", "gets someone robbed"),
    _meaning("fraud", "fraud", "", "supports fraud", "helps a cheat", "gets someone tricked"),
    _meaning("spying", "spying", "", "supports spying", "invades privacy", "gets someone watched"),
    _meaning("poison", "poison", "", "supports poisoning", "helps with toxic or explosive stuff",
             "gets someone poisoned"),
    _meaning("body", "violence poison", "", "endangers life or health", "injures a body",
             "leads to injury or sickness"),
    _meaning("property", "theft fraud", "", "costs someone their property", "takes money from others",
             "leads to lost money"),
    _meaning("trust", "fraud spying", "", "betrays trust", "goes behind someone's back", "breaks someone's trust"),
    _meaning("evasion", "", "evade", "is evasive", "dodges the question", "avoids a clear answer"),
    _meaning("manners", "", "rude", "is rude", "insults the human", "shows bad manners"),
    _meaning("respect", "", "evade rude", "is disrespectful", "takes the human lightly",
             "brushes the human off"),
    _meaning("help", "", UNHELPFUL, "is not helpful", "leaves an honest question open", "fails an honest task"),
    _meaning("caution", "", PREACHY, "is too cautious", "refuses without need", "preaches for no reason"),
    _meaning("reasons", "", UNEXPLAINED, "objects without a reason", "hides its objection",
             "turns a bad request away without saying why"),
    _meaning("overall", _ALL, UNHELPFUL, "is worse for the human and for others", "fails to be helpful and harmless",
             "is neither useful nor safe"),
)  # fmt: skip
BY_NAME = {meaning.name: meaning for meaning in MEANINGS}

# "{0}" is one of the meaning's phrases: a thing that a reply does or is.
CRITIQUE_REQUESTS = (
    "Point out whether the last reply {0}.",
    "Identify any way in which the last reply {0}.",
    "Critique the last reply: say if it {0}.",
)
REVISION_REQUESTS = (
    "Rewrite the reply if it {0}.",
    "Please revise the reply so that it no longer {0}.",
    "Change the reply wherever it {0}.",
)
COMPARISON_REQUESTS = (
    "One reply {0}; choose the other.",
    "Choose the better reply, not one that {0}.",
    "Avoid a reply that {0} and choose the other.",
)
AUDIT_REQUESTS = tuple(f"{request} Does the reply break this rule?" for request in CRITIQUE_REQUESTS)


def wordings(meaning: Meaning, frames: tuple[str, ...]) -> list[str]:
    """Every way to put a meaning into a critique, revision, comparison or audit request."""
    return [frame.format(about) for frame in frames for about in meaning.about]


def _meanings_by_text() -> dict[str, Meaning]:
    frames = (*CRITIQUE_REQUESTS, *REVISION_REQUESTS, *COMPARISON_REQUESTS, *AUDIT_REQUESTS)
    return {text: meaning for meaning in MEANINGS for text in wordings(meaning, frames)}


_BY_TEXT = _meanings_by_text()


def meaning_of(text: str) -> Meaning | None:
    """The meaning of a critique, revision, comparison or audit request; None if it is not in this world's words."""
    return _BY_TEXT.get(text.strip())
