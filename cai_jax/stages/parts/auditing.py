"""Asking a model whether a reply breaks a principle, and which of two replies is better."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from cai_jax.data import formats
from cai_jax.data.render import Segment
from cai_jax.stages.parts.writing import fit

if TYPE_CHECKING:
    from cai_jax.engine.prefix import Prefix
    from cai_jax.models.checkpoint import Model

NO_MASS = 0.1  # below this the model hardly considered either option


class Scored:
    """Log-probabilities of the options ` (A)` and ` (B)` after prompts.

    Attributes:
      first: P(A) / (P(A) + P(B)), float64 [N].
      mass: P(A) + P(B), float64 [N]; little mass means that the model did not answer the question.
    """

    def __init__(self, logprobs: np.ndarray) -> None:
        wide = logprobs.astype(np.float64)
        self.mass = np.exp(wide).sum(axis=1)
        self.first = 1.0 / (1.0 + np.exp(np.clip(wide[:, 1] - wide[:, 0], -700, 700)))


def score(model: Model, prompts: Sequence[list[int]], prefix: Prefix | None = None, batch: int = 64) -> Scored:
    """Scores both options after each prompt, in one prefill each (CAI §4.1)."""
    from cai_jax.engine.score import score_options

    options = [model.tokenizer.encode(option) for option in formats.OPTIONS]
    return Scored(score_options(model.params, model.config, prompts, options, prefix=prefix, batch=batch))


def option_tokens(model: Model) -> int:
    """Tokens of the longest option: the room that a comparison needs behind its prompt."""
    return max(len(model.tokenizer.encode(option)) for option in formats.OPTIONS)


def audits(model: Model, asked: Sequence[Sequence[Segment]], overlong: str = "truncate_left") -> Scored:
    """Answers to `formats.audit` prompts; `first` is P(the reply breaks the principle)."""
    return score(model, [fit(model, None, segments, option_tokens(model), overlong) for segments in asked])


def undecided(share: float, what: str) -> list[tuple[str, str]]:
    """What a user should be told where this share of questions found no answer (METHOD.md §2.7)."""
    if share <= 0.05:
        return []
    message = f"{share:.0%} of the {what} could not be made: neither option had a probability of {NO_MASS:.0%}"
    return [("undecided", message)]
