"""Questions with several options, answered by a model's log-probabilities without writing a word.

Everything that a model is asked about is asked here: which of two replies is better, if a reply breaks a principle,
where something lies on a scale, which of several options is right. The options are scored behind the prompt
(`engine.option_scoring`), and their log-probabilities are read in one of four ways: `choose`, `yes_no`, `scale` and
`pair`.

Dimensions: N questions, M options of the question that has the most.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cai_jax.errors import UserError
from cai_jax.pipeline.context_length import Fitted, Fitting, room_of
from cai_jax.prompting.paper_format import OPTIONS
from cai_jax.prompting.render import Segment

if TYPE_CHECKING:
    from cai_jax.engine.prefix_cache import Prefix
    from cai_jax.models.checkpoint import Model

# Probability of all options together below which a model has not answered. One that answers puts nearly all its mass
# on them, one that goes on with its own text nearly none; then their ratio is that of two tails, and says little.
NO_MASS = 0.1


class Scored:
    """Log-probabilities of options after prompts; NaN where a prompt could not be put.

    Attributes:
      logprobs: of the options, nats, float64 [N, M]; -inf where a question has fewer than M.
      p: their softmax, float64 [N, M] (arXiv 2212.08073 §4.1); 0 where there is no option.
      mass: their total probability, float64 [N].
      answered: bool [N]; with little mass, or with logits that are no numbers, the model did not answer the question.
    """

    def __init__(self, logprobs: np.ndarray) -> None:
        self.logprobs = wide = np.asarray(logprobs, np.float64)
        self.mass = np.exp(wide).sum(axis=1)
        self.answered = self.mass >= NO_MASS  # also false where the mass is no number
        with np.errstate(invalid="ignore"):  # of two options that are not there
            apart = np.clip(wide[:, None, :] - wide[:, :, None], -700, 700)
        odds = np.where(np.isneginf(wide)[:, None, :], 0.0, np.exp(apart)).sum(axis=2)
        self.p = np.where(np.isneginf(wide) & (odds > 0), 0.0, 1.0 / np.where(odds == 0, np.nan, odds))


def score(
    model: Model, prompts: Sequence[list[int]], prefix: Prefix | None = None, options: Sequence[str] = OPTIONS
) -> Scored:
    """Score the options after each prompt, in one prefill each.

    Args:
      prompts: token ids of each.
      prefix: examples that precede every prompt.
      options: texts, the same after every prompt; of several tokens each, if it takes so many.

    Raises:
      UserError: the model cannot tell two options apart (`option_ids`).
    """
    from cai_jax.engine.option_scoring import score_options

    return Scored(score_options(model.params, model.config, prompts, option_ids(model, options), prefix=prefix))


def score_each(
    model: Model,
    prompts: Sequence[list[int]],
    options: Sequence[Sequence[list[int]]],
    prefix: Prefix | None = None,
) -> Scored:
    """As `score`, with options of its own for each prompt, given as token ids, of which none begins another."""
    from cai_jax.engine.option_scoring import score_options, score_own_options

    if options and all(each == options[0] for each in options):
        return Scored(score_options(model.params, model.config, prompts, options[0], prefix=prefix))
    return Scored(score_own_options(model.params, model.config, prompts, options, prefix=prefix))


def option_ids(model: Model, options: Sequence[str]) -> list[list[int]]:
    """Token ids of options, each as text that goes on after a prompt.

    Raises:
      UserError: one is the beginning of another, or both are equal: a model that says the longer one says both.
    """
    ids = [model.tokenizer.encode(option) for option in options]
    for number, one in enumerate(ids):
        for other, longer in enumerate(ids):
            if other != number and longer[: len(one)] == one:
                raise UserError(
                    f"option {number + 1}, {options[number]!r}, is the beginning of option {other + 1}, "
                    f"{options[other]!r}, in this model's tokens: no probability tells them apart",
                    "word them so that they begin differently",
                )
    return ids


def option_tokens(model: Model, options: Sequence[str] = OPTIONS) -> int:
    """Tokens of the longest option: the room that a question needs after its prompt."""
    return max(len(model.tokenizer.encode(option)) for option in options)


class Choice(NamedTuple):
    """The options that a model chose.

    Attributes:
      p: probability of each option among all, float64 [N, M]; NaN where a question was not answered.
      best: number of the most probable one, the first of equals, int64 [N]; -1 where it was not answered.
    """

    p: np.ndarray
    best: np.ndarray


def choose(scored: Scored) -> Choice:
    """Read multiple choice: which option it is."""
    p = np.where(scored.answered[:, None], scored.p, np.nan)
    return Choice(p, np.where(scored.answered, np.where(scored.answered[:, None], p, 0.0).argmax(axis=1), -1))


class Shares(NamedTuple):
    """Probabilities that questions are answered with yes.

    Attributes:
      p: float64 [N / O]; NaN where it is not known.
      answered: bool [N / O]: in all its orders the question was answered.
    """

    p: np.ndarray
    answered: np.ndarray


def yes_no(scored: Scored, swaps: Sequence[bool] = (False,)) -> Shares:
    """Read P(yes) of questions with two options.

    Args:
      scored: of a question one row for each of O orders, next to each other.
      swaps: for each order, True if the first option is no; P(yes) is the mean over the orders, so that a judge who
        only prefers a letter has no effect.
    """
    yes = pair(scored, np.tile(swaps, len(scored.mass) // len(swaps))).reshape(-1, len(swaps))
    answered = scored.answered.reshape(-1, len(swaps)).all(axis=1)
    return Shares(np.where(answered, yes.mean(axis=1), np.nan), answered)


def pair(scored: Scored, swapped: Sequence[bool] | np.ndarray) -> np.ndarray:
    """Read a comparison: P(the first of two is better), float64 [N], whatever its mass; NaN where it is no number.

    Args:
      scored: of every comparison; one that is asked in both orders has two rows, of which the mean is its label
        (arXiv 2309.00267 §2.1.1).
      swapped: bool [N], where the second stands first.
    """
    first = scored.p[:, 0]
    return np.where(swapped, 1.0 - first, first)


class Scale(NamedTuple):
    """Places on a scale 1..k.

    Attributes:
      value: the expected place Σ i·p_i, float64 [N]; NaN where a question was not answered.
      entropy: of the places, nats, float64 [N]; 0 where the model is sure, log k where it knows nothing.
    """

    value: np.ndarray
    entropy: np.ndarray


def scale(scored: Scored) -> Scale:
    """Read a scale whose options are its places 1..k in order, by its expected value (arXiv 2309.00267 §2.2.2)."""
    return on_scale(choose(scored).p)


def on_scale(p: np.ndarray) -> Scale:
    """As `scale`, of the probabilities of the places, float64 [N, k]; NaN where a question was not answered."""
    places = np.arange(1, p.shape[1] + 1)
    return Scale((p * places).sum(axis=1), -(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=1))


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
    logprobs = np.full((len(fits), len(OPTIONS)), np.nan)
    if there:
        logprobs[list(there)] = score(model, list(there.values()), prefix).logprobs
    return Scored(logprobs)


def undecided(share: float, what: str) -> list[tuple[str, str]]:
    """Notes for the user where this share of questions found no answer."""
    if share <= 0.05:
        return []
    message = (
        f"{share:.0%} of the {what} could not be made: all options together had a probability below {NO_MASS:.0%}, "
        "or there was no room"
    )
    return [("undecided", message)]
