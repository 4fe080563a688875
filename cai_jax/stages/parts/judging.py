"""Comparisons put to a model, and its probabilities turned into labels (METHOD.md §2)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cai_jax.data.render import encode
from cai_jax.lang.types import Principle
from cai_jax.stages.parts.auditing import NO_MASS, Scored, option_tokens, score, undecided
from cai_jax.stages.parts.draws import draw_of, told_apart
from cai_jax.stages.parts.fitting import Fitting, fitting, room_of
from cai_jax.stages.parts.models import format_of, model_of
from cai_jax.stages.parts.principles import comparison_shots, principles
from cai_jax.stages.parts.writing import Writer

TIE = 0.01  # this close to one half
FLIP = 0.1  # both orders decided by this much, and against each other
UNDECIDED = 0.5  # a pair, from this share of its questions without an answer on


@dataclass(frozen=True)
class Question:
    """One comparison as it is put to the judge: a pair, a principle, an order, and which chain of thought."""

    pair: int
    principle: Principle
    swapped: bool
    chain: int


class Judge:
    """Puts comparisons to a model and turns its probabilities into labels."""

    def __init__(self, ctx, load: bool = True) -> None:
        self.ctx, self.params, self.draw = ctx, ctx.params, draw_of(ctx)
        self.able = principles(ctx.inputs["constitution"], "judge")
        self.format, shots = format_of(ctx.inputs["by"]), self.params["fewshots"]
        self.shots = comparison_shots(ctx.inputs["constitution"], shots, self.format, self.draw, self.params["reason"])
        if self.shots:
            self.format = self.format.behind
        if load:
            self._load()

    def _load(self) -> None:
        self.model = model_of(self.ctx, self.ctx.inputs["by"])
        self.thinker = Writer.of(self.ctx, self.model, self.format, self.format.thought_stops, self.shots)
        # Room behind a comparison for its option, and before that for the reasoning and the question, if asked for.
        question = len(encode(self.model.tokenizer, self.format.so)[0])
        self.behind = option_tokens(self.model) + (self.params["max_new"] + question if self.params["reason"] else 0)

    def pairs(self) -> list[dict]:
        """Pairs of replies to one prompt, in order of the prompts; `which` tells the two from all others."""
        by_prompt: dict[str, list] = {}
        for row, which in told_apart(self.ctx.inputs["replies"].rows()):
            by_prompt.setdefault(row["id"], []).append((row, which))
        limit = self.params["pairs"] or None
        return [
            {"first": first, "second": second, "which": (one, other)}
            for replies in by_prompt.values()
            for (first, one), (second, other) in itertools.islice(itertools.combinations(replies, 2), limit)
        ]

    def fitting(self, pairs: list[dict]) -> list[dict]:
        """The pairs that fit the context under the longest principle."""
        longest = max(self.able, key=lambda p: len(self.model.tokenizer.encode(p.compare)))
        return fitting(self.ctx, pairs, self._fitter(), lambda pair: self.prompt(pair, Question(0, longest, False, 0)))

    def _fitter(self) -> Fitting:
        room = room_of(self.model, self.thinker.prefix, self.behind)
        return Fitting(self.model.tokenizer, room, self.params["overlong"], "pairs")

    def prompt(self, pair: dict, question: Question) -> list:
        """The comparison, the options in the question's order."""
        replies = (pair["first"]["reply"], pair["second"]["reply"])
        form = self.format.reasoned_comparison if self.params["reason"] else self.format.comparison
        return form(pair["first"]["turns"], question.principle.compare, replies[::-1] if question.swapped else replies)

    def questions(self, pairs: Sequence[dict]) -> list[Question]:
        """Everything to ask about these pairs."""
        orders = (False, True) if self.params["orders"] == "both" else (False,)
        chains = range(self.params["chains"] if self.params["reason"] else 1)
        return [
            Question(index, principle, swapped, chain)
            for index, pair in enumerate(pairs)
            for principle in self._drawn(pair)
            for swapped in orders
            for chain in chains
        ]

    def _drawn(self, pair: dict) -> list[Principle]:
        count = self.params["principles"]
        if not count or count >= len(self.able):
            return self.able
        left, chosen = list(self.able), []
        for number in range(count):
            chosen.append(self.draw.principle(left, "principle", pair["first"]["id"], *pair["which"], number))
            left.remove(chosen[-1])
        return chosen

    def label(self, pairs: Sequence[dict]) -> list[dict]:
        """Preference rows of a batch of pairs."""
        questions = self.questions(pairs)
        fitter = self._fitter()
        asked = [fitter.fit(self.prompt(pairs[q.pair], q))[0].ids for q in questions]
        thoughts = self._thoughts(pairs, questions, asked)
        ids = [prompt + self._thought(text) for prompt, text in zip(asked, thoughts, strict=True)]
        scored = score(self.model, ids, self.thinker.prefix)
        judgements: list[list[dict]] = [[] for _ in pairs]
        for question, logprobs, thought in zip(questions, scored.logprobs.tolist(), thoughts, strict=True):
            judgements[question.pair].append(
                {
                    "principle": question.principle.name,
                    "request": question.principle.compare,
                    "swapped": question.swapped,
                    "logprobs": logprobs,
                    **({"reasoning": thought} if self.params["reason"] else {}),
                }
            )
        return [self._row(pair, found) for pair, found in zip(pairs, judgements, strict=True)]

    def _thoughts(self, pairs, questions: Sequence[Question], asked: Sequence[list[int]]) -> list[str]:
        """The chain of thought behind each prompt; "" where none is asked for."""
        if not self.params["reason"]:
            return [""] * len(asked)
        keys = []
        for question in questions:
            pair = pairs[question.pair]
            one, other = pair["which"]
            purpose = f"reasoning {one} {other} {question.principle.name} {question.swapped}"
            keys.append(self.draw.key(purpose, pair["first"], question.chain))
        return [text.text for text in self.thinker.write(asked, keys)]

    def _thought(self, text: str) -> list[int]:
        """Token ids of a chain of thought and the question behind it (`Format.concluded`).

        Written out and read again a text may have more tokens than it was written with: it is cut to its room.
        """
        if not self.params["reason"]:
            return []
        tokenizer = self.model.tokenizer
        thought = encode(tokenizer, [self.format.reasoning(text)])[0][: self.params["max_new"]]
        return thought + encode(tokenizer, self.format.so)[0]

    def _row(self, pair: dict, judgements: list[dict]) -> dict:
        first, second = pair["first"], pair["second"]
        p, lost = float(np.mean(preferences(judgements))), lost_share(judgements)
        return {
            **{name: first[name] for name in first if name in ("id", "turns", "split", "category")},
            "a": first["reply"],
            "b": second["reply"],
            "p": self._shaped(p),
            "weight": 0.0 if lost >= UNDECIDED and self.params["undecided"] == "drop" else 1.0,
            "source": "ai",
            "soft": p,
            "compared": [{"sample": row["sample"], "round": row.get("round", 0)} for row in (first, second)],
            "model": self.ctx.inputs["by"].key,
            "seed": self.params["seed"],
            "judgements": judgements,
        }

    def _shaped(self, p: float) -> float:
        if self.params["labels"] == "hard":
            return float(p > 0.5) if p != 0.5 else 0.5
        if self.params["labels"] == "clamped" or self.params["reason"]:
            low, high = self.params["clamp"]
            return min(max(p, low), high)
        return p


def _scored(judgements: Sequence[Mapping[str, Any]]) -> Scored:
    return Scored(np.array([each["logprobs"] for each in judgements]))


def preferences(judgements: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """P(the first reply is better) of each judgement, float64 [N]: option A is the second where they are swapped."""
    first = _scored(judgements).first
    return np.where([each["swapped"] for each in judgements], 1.0 - first, first)


def lost_share(judgements: Sequence[Mapping[str, Any]]) -> float:
    """The share of questions that the judge did not answer."""
    return float(np.mean(_scored(judgements).mass < NO_MASS))


def orders(judgements: Sequence[Mapping[str, Any]]) -> tuple[float, float] | None:
    """Mean preference with the options as given, and swapped; None where only one order was asked."""
    soft, swapped = preferences(judgements), np.array([each["swapped"] for each in judgements])
    return (float(soft[~swapped].mean()), float(soft[swapped].mean())) if swapped.any() else None


def statistics(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Shares and means over labelled pairs (METHOD.md §2.4, §2.7).

    Returns:
      `position_bias`, mean P(A) less one half; `flips`, the share of pairs on which the two orders decide against
      each other; `no_mass`, the share of questions without an answer, and `undecided`, of pairs at least half of
      whose questions are; `ties`; and `spread`, the labels' standard deviation. {} without rows.
    """
    if not rows:
        return {}
    every = [each for row in rows for each in row["judgements"]]
    soft = np.array([row["soft"] for row in rows])
    asked_twice = [found for row in rows if (found := orders(row["judgements"])) is not None]
    both = np.array(asked_twice).reshape(-1, 2) - 0.5
    return {
        "position_bias": float(_scored(every).first.mean() - 0.5),
        "flips": float(np.mean((both.prod(1) < 0) & (np.abs(both).min(1) >= FLIP))) if len(both) else 0.0,
        "no_mass": lost_share(every),
        "undecided": float(np.mean([lost_share(row["judgements"]) >= UNDECIDED for row in rows])),
        "ties": float(np.mean(np.abs(soft - 0.5) < TIE)),
        "spread": float(np.std(soft)),
    }


def diagnoses(found: Mapping[str, float]) -> list[tuple[str, str]]:
    """What a user should be told about labels with these statistics."""
    notes = []
    if found.get("ties", 0) > 0.9:
        notes.append((
            "uninformative",
            f"labels carry no information: {found['ties']:.0%} lie in 0.49–0.51; the replies hardly differ under "
            "these principles, or the judge cannot tell",
        ))  # fmt: skip
    notes += undecided(found.get("undecided", 0), "comparisons")
    if abs(found.get("position_bias", 0)) > 0.1:
        place = "first" if found["position_bias"] > 0 else "second"
        notes.append(("position", f"the judge leans to the {place} option by {abs(found['position_bias']):.0%}"))
    if found.get("flips", 0) > 0.25:
        notes.append(("flips", f"{found['flips']:.0%} of the decisions change with the order of the options"))
    return notes
