"""Questions with two options for a model: if a reply breaks a principle, which of two is better."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from cai_jax.pipeline.context_length import Fitted, Fitting, room_of
from cai_jax.prompting.paper_format import OPTIONS
from cai_jax.prompting.render import Segment

if TYPE_CHECKING:
    from cai_jax.engine.prefix_cache import Prefix
    from cai_jax.models.checkpoint import Model

# P(A) + P(B) below which a model has not answered. One that answers puts nearly all its mass on the options, one
# that goes on with its own text nearly none; then their ratio is that of two tails, and says little.
NO_MASS = 0.1


class Scored:
    """Log-probabilities of the options ` (A)` and ` (B)` after prompts; NaN where a prompt could not be put.

    Attributes:
      logprobs: of the two options, float64 [N, 2].
      first: P(A) / (P(A) + P(B)), float64 [N].
      mass: P(A) + P(B), float64 [N].
      answered: bool [N]; with little mass, or with logits that are no numbers, the model did not answer the question.
    """

    def __init__(self, logprobs: np.ndarray) -> None:
        self.logprobs = wide = np.asarray(logprobs, np.float64)
        self.mass = np.exp(wide).sum(axis=1)
        self.answered = self.mass >= NO_MASS  # also false where the mass is no number
        self.first = 1.0 / (1.0 + np.exp(np.clip(wide[:, 1] - wide[:, 0], -700, 700)))


def score(model: Model, prompts: Sequence[list[int]], prefix: Prefix | None = None) -> Scored:
    """Score both options after each prompt, in one prefill each (arXiv 2212.08073 §4.1)."""
    from cai_jax.engine.option_scoring import score_options

    options = [model.tokenizer.encode(option) for option in OPTIONS]
    return Scored(score_options(model.params, model.config, prompts, options, prefix=prefix))


def option_tokens(model: Model) -> int:
    """Tokens of the longest option: the room that a comparison needs after its prompt."""
    return max(len(model.tokenizer.encode(option)) for option in OPTIONS)


def audit_fitter(model: Model, overlong: str, prefix: Prefix | None = None) -> Fitting:
    """A `Fitting` of `Format.audit` prompts, with room for the answer."""
    return Fitting(model.tokenizer, room_of(model, prefix, option_tokens(model)), overlong)


def audits(
    model: Model,
    asked: Sequence[Sequence[Sequence[Segment]]],
    overlong: str = "truncate_left",
    prefix: Prefix | None = None,
) -> Scored:
    """Answers to `Format.audit` prompts, in order.

    Args:
      model: answers the prompts.
      asked: prompts whose answers are compared, together: all lose the same beginning where one is too long. Answers
        are NaN where one of them does not fit, as `overlong` says.
      overlong: "skip", "error" or "truncate_left".
      prefix: examples that precede every prompt.
    """
    fitter = audit_fitter(model, overlong, prefix)
    found: list[Sequence[Fitted | None]] = [fitter.fit(*prompts) or [None] * len(prompts) for prompts in asked]
    fits = [fit for each in found for fit in each]
    there = {index: fit.ids for index, fit in enumerate(fits) if fit is not None}
    logprobs = np.full((len(fits), 2), np.nan)
    if there:
        logprobs[list(there)] = score(model, list(there.values()), prefix).logprobs
    return Scored(logprobs)


def undecided(share: float, what: str) -> list[tuple[str, str]]:
    """Notes for the user where this share of questions found no answer."""
    if share <= 0.05:
        return []
    message = (
        f"{share:.0%} of the {what} could not be made: both options together had a probability below {NO_MASS:.0%}, "
        "or there was no room"
    )
    return [("undecided", message)]
