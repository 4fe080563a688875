"""Claims that are made together: Holm's adjustment of the levels of an `expect all`.

Holm, 1979, "A simple sequentially rejective multiple test procedure": of m claims at an error rate a, the one with the
smallest p has to hold at a / m, the next one at a / (m - 1), and so on; the first that does not fails, and so do all
after it. Then the probability that any claim holds which is false is at most a, however they depend on each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from cai_jax.lang.plan import Expect
from cai_jax.report.expectations import Together, Verdict

Judge = Callable[[Expect, float | None], Verdict]


def verdicts(claims: Sequence[Expect], judged: Judge, every: Sequence[Expect] = ()) -> list[Verdict]:
    """The verdicts on claims, in their order.

    Args:
      judged: a claim and a level instead of its own, or None -> its verdict.
      every: the claims of the whole program, where these are some of them: levels are adjusted for all.
    """
    sizes = Counter(claim.together for claim in every or claims)
    found = [judged(claim, None) for claim in claims]
    for line in {claim.together for claim in claims if claim.together}:
        places = [index for index, claim in enumerate(claims) if claim.together == line]
        own = [claims[index] for index in places]
        adjusted = _adjusted(own, [found[index] for index in places], sizes[line], judged)
        for index, verdict in zip(places, adjusted, strict=True):
            found[index] = verdict
    return found


def _adjusted(claims: Sequence[Expect], alone: Sequence[Verdict], many: int, judged: Judge) -> list[Verdict]:
    """The verdicts on claims of an `expect all` of so many; `alone` are those at its level as it stands."""
    level = claims[0].level
    assert level is not None  # which `check` sees to
    together = Together(claims[0].together, many, level)
    found, failed = list(alone), 0.0
    # What has no p, since it cannot be decided or has an interval at one level only, comes last: it helps no other.
    order = sorted(range(len(claims)), key=lambda index: _rank(alone[index]))
    for step, index in enumerate(order):
        at = failed or 1.0 - (1.0 - level) / (many - step)
        verdict = judged(claims[index], at)
        holds = verdict.holds and not failed
        if not holds:
            failed = at
        found[index] = replace(verdict, holds=holds, together=together)
    return found


def _rank(verdict: Verdict) -> float:
    return 2.0 if verdict.p is None else verdict.p
