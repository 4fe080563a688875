"""Comparisons put to a model, and its probabilities turned into labels (METHOD.md §2)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cai_jax.data import formats
from cai_jax.lang.types import Principle
from cai_jax.stages.parts.auditing import NO_MASS, option_tokens, score, undecided
from cai_jax.stages.parts.draws import draw_of
from cai_jax.stages.parts.models import model_of
from cai_jax.stages.parts.principles import comparison_shots, principles
from cai_jax.stages.parts.writing import Writer, fit, fitting

TIE = 0.01  # this close to one half
FLIP = 0.1  # both orders decided by this much, and against each other


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
        self.shots = comparison_shots(
            ctx.inputs["constitution"], self.params["fewshots"], self.draw, reasoned=self.params["reason"]
        )
        if load:
            self._load()

    def _load(self) -> None:
        self.model = model_of(self.ctx.inputs["by"])
        self.thinker = Writer.of(self.ctx, self.model, formats.REASONING_STOPS, self.shots)
        # Room behind a comparison for its option, and before that for the reasoning and the question, if asked for.
        self.option = option_tokens(self.model)
        question = len(self.model.tokenizer.encode(formats.SO.text))
        self.room = self.option + (self.params["max_new"] + question if self.params["reason"] else 0)

    def pairs(self) -> list[dict]:
        """Pairs of replies to one prompt, in order of the prompts."""
        by_prompt: dict[str, list[dict]] = {}
        for row in self.ctx.inputs["replies"].rows():
            by_prompt.setdefault(row["id"], []).append(row)
        limit = self.params["pairs"] or None
        return [
            {"first": first, "second": second}
            for rows in by_prompt.values()
            for first, second in itertools.islice(itertools.combinations(rows, 2), limit)
        ]

    def fitting(self, pairs: list[dict]) -> list[dict]:
        """The pairs that fit the context under the longest principle."""
        longest = max(self.able, key=lambda p: len(self.model.tokenizer.encode(p.compare)))

        def ids(pair: dict) -> list[int] | None:
            return self._fit(self.prompt(pair, Question(0, longest, False, 0)), self.room)

        return fitting(self.ctx, pairs, ids)

    def _fit(self, segments, room: int) -> list[int] | None:
        return fit(self.model, self.thinker.prefix, segments, room, self.params["overlong"])

    def prompt(self, pair: dict, question: Question) -> list:
        """The comparison, the options in the question's order."""
        replies = (pair["first"]["reply"], pair["second"]["reply"])
        form = formats.reasoned_comparison if self.params["reason"] else formats.comparison
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
        about = (pair["first"]["id"], pair["first"]["sample"], pair["second"]["sample"])
        for number in range(count):
            chosen.append(self.draw.principle(left, "principle", *about, number))
            left.remove(chosen[-1])
        return chosen

    def label(self, numbered: Sequence[tuple[int, dict]]) -> list[dict]:
        """Preference rows of a batch of pairs."""
        pairs = [pair for _, pair in numbered]
        questions = self.questions(pairs)
        asked = [self.prompt(pairs[q.pair], q) for q in questions]
        reasoned, thoughts = self._reason(pairs, questions, asked)
        scored = score(self.model, [self._fit(segments, self.option) for segments in reasoned], self.thinker.prefix)
        by_pair: list[list[int]] = [[] for _ in pairs]
        for number, question in enumerate(questions):
            by_pair[question.pair].append(number)
        return [
            self._row(pair, [(questions[n], scored.first[n], scored.mass[n], thoughts[n]) for n in numbers])
            for pair, numbers in zip(pairs, by_pair, strict=True)
        ]

    def _reason(self, pairs, questions: Sequence[Question], asked: list) -> tuple[list, list[str]]:
        """The prompts with their chains of thought, and these; unchanged, and "", where none is asked for."""
        if not self.params["reason"]:
            return asked, [""] * len(asked)
        ids = [self._fit(segments, self.room) for segments in asked]
        keys = [
            self.draw.key(
                f"reasoning {pair['first']['sample']} {pair['second']['sample']} {q.principle.name} {q.swapped}",
                pair["first"],
                q.chain,
            )
            for q in questions
            for pair in (pairs[q.pair],)
        ]
        thoughts = [text.text for text in self.thinker.write(ids, keys)]
        return [formats.concluded(s, t) for s, t in zip(asked, thoughts, strict=True)], thoughts

    def _row(self, pair: dict, answers: list[tuple[Question, float, float, str]]) -> dict:
        first = pair["first"]
        # P(the first reply is better): option A is the second reply where the order was swapped.
        soft = [1.0 - p if q.swapped else p for q, p, _, _ in answers]
        by_order = [np.mean([s for s, a in zip(soft, answers, strict=True) if a[0].swapped == o] or [np.nan])
                    for o in (False, True)]  # fmt: skip
        p, mass = float(np.mean(soft)), float(np.mean([mass for _, _, mass, _ in answers]))
        return {
            **{name: first[name] for name in first if name in ("id", "turns", "split", "category")},
            "a": first["reply"],
            "b": pair["second"]["reply"],
            "p": self._shaped(p),
            "weight": 0.0 if mass < NO_MASS and self.params["undecided"] == "drop" else 1.0,
            "source": "ai",
            "soft": p,
            "mass": mass,
            "position": float(np.mean([p for _, p, _, _ in answers])),
            "orders": [None if np.isnan(each) else float(each) for each in by_order],
            "principles": sorted({q.principle.name for q, _, _, _ in answers}),
            "asked": sorted({q.principle.compare for q, _, _, _ in answers}),
            **({"reasoning": [t for _, _, _, t in answers]} if self.params["reason"] else {}),
        }

    def _shaped(self, p: float) -> float:
        if self.params["labels"] == "hard":
            return float(p > 0.5) if p != 0.5 else 0.5
        if self.params["labels"] == "clamped" or self.params["reason"]:
            low, high = self.params["clamp"]
            return min(max(p, low), high)
        return p


def statistics(rows: Sequence[dict]) -> dict[str, float]:
    """Shares and means over labelled pairs (METHOD.md §2.4, §2.7)."""
    if not rows:
        return {}
    soft = np.array([row["soft"] for row in rows])
    both = np.array([row["orders"] for row in rows if None not in row["orders"]]).reshape(-1, 2) - 0.5
    return {
        "position_bias": float(np.mean([row["position"] for row in rows]) - 0.5),
        "flips": float(np.mean((both.prod(1) < 0) & (np.abs(both).min(1) >= FLIP))) if len(both) else 0.0,
        "no_mass": float(np.mean([row["mass"] < NO_MASS for row in rows])),
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
    notes += undecided(found.get("no_mass", 0), "comparisons")
    if abs(found.get("position_bias", 0)) > 0.1:
        place = "first" if found["position_bias"] > 0 else "second"
        notes.append(("position", f"the judge leans to the {place} option by {abs(found['position_bias']):.0%}"))
    if found.get("flips", 0) > 0.25:
        notes.append(("flips", f"{found['flips']:.0%} of the decisions change with the order of the options"))
    return notes
