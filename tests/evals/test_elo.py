"""Elo ratings: against numbers worked out by hand, SciPy's optimiser, numerical derivatives, and simulated players."""

import itertools
import math

import numpy as np
import pytest
from scipy import optimize, stats

from cai_jax.evals.elo import POINTS, Comparisons, ratings, resolved
from cai_jax.evals.intervals import interval
from cai_jax.evals.logistic import RIDGE, fit, logit

NAN = float("nan")


def two(wins, clusters=None):
    """Comparisons of player 1 with player 0, one for each prompt."""
    ids = [str(i) for i in range(len(wins))]
    return Comparisons(np.ones(len(wins), int), np.zeros(len(wins), int), np.array(wins, float), ids, clusters or ids)


def league(*results):
    """Comparisons (first, second, result, prompt)."""
    first, second, wins, ids = zip(*results, strict=True)
    names = [str(i) for i in ids]
    return Comparisons(np.array(first), np.array(second), np.array(wins, float), names, names)


def drawn(strengths, prompts, seed, together=1):
    """Every two players on every prompt; each reply has a worth, whose differences are logistic.

    So players win as Bradley and Terry have it, and the comparisons on one prompt depend on one another, and so do
    those of `together` prompts, which are all alike.
    """
    noise = np.random.default_rng(seed).gumbel(size=(prompts // together, len(strengths)))
    worth = np.repeat(strengths + noise, together, axis=0)
    first, second = np.triu_indices(len(strengths), 1)
    ids = [str(i) for i in range(len(worth)) for _ in first]
    clusters = [str(i // together) for i in range(len(worth)) for _ in first]
    wins = (worth[:, first] > worth[:, second]).astype(float).ravel()
    return Comparisons(np.tile(first, len(worth)), np.tile(second, len(worth)), wins, ids, clusters)


@pytest.mark.parametrize(("wins", "rate"), [([1] * 60 + [0] * 20, 0.75), ([1, 0.5, 0.5, 1], 0.75), ([0.2, 0.4], 0.3)])
def test_two_players_are_as_far_apart_as_the_odds_of_their_wins(wins, rate):
    first, second = ratings(two(wins), 2)
    assert (first.value, first.low, first.high) == (0, 0, 0)
    assert second.value == pytest.approx(400 * math.log10(rate / (1 - rate)), abs=0.01)


@pytest.mark.parametrize(("events", "count"), [(3, 4), (60, 80), (1, 100), (10, 10), (0, 30)])
def test_of_two_players_the_interval_is_that_of_the_odds_of_single_wins(events, count):
    """Of Clopper and Pearson."""
    found = ratings(two([1] * events + [0] * (count - events)), 2)[1]
    exact = stats.binomtest(events, count).proportion_ci(0.95, method="exact")
    assert (found.low, found.high) == pytest.approx((POINTS * logit(exact.low), POINTS * logit(exact.high)), abs=0.05)


def test_three_players_maximise_the_likelihood():
    given = drawn([0.0, 0.5, 1.5], 40, seed=1)

    def loss(theta):
        logits = theta[given.first] - theta[given.second]
        return np.sum(np.logaddexp(0, logits) - given.wins * logits) + RIDGE / 2 * np.sum(theta**2)

    theirs = optimize.minimize(loss, np.zeros(3), method="BFGS", options={"gtol": 1e-9}).x
    found = [each.value for each in ratings(given, 3)]
    assert found == pytest.approx(POINTS * (theirs - theirs[0]), abs=1e-2)


def test_the_covariance_is_the_sandwich_of_numerical_derivatives():
    rng = np.random.default_rng(2)
    design, outcomes = rng.normal(size=(60, 2)), rng.random(60)
    names = [str(i // 3) for i in range(60)]
    found = fit(design, outcomes, ([str(i) for i in range(60)], names))

    def score(theta, rows=slice(None)):
        p = 1 / (1 + np.exp(-design[rows] @ theta))
        return (outcomes[rows] - p) @ design[rows]

    assert score(found.theta) == pytest.approx(RIDGE * found.theta, abs=1e-6)
    step = 1e-5 * np.eye(2)
    slope = np.array([(score(found.theta - each) - score(found.theta + each)) / 2e-5 for each in step])
    bread = np.linalg.inv(slope + RIDGE * np.eye(2))
    assert found.inverse == pytest.approx(bread, rel=1e-6)
    p, meat = 1 / (1 + np.exp(-design @ found.theta)), np.zeros((2, 2))
    for rows in np.arange(60).reshape(20, 3):
        x, missed = design[rows], outcomes[rows] - p[rows]
        leverage = np.diag(p[rows] * (1 - p[rows])) @ x @ bread @ x.T
        meat += np.outer(x.T @ missed, x.T @ np.linalg.solve(np.eye(3) - leverage, missed))
    np.testing.assert_allclose(found.covariances[2], bread @ (meat + meat.T) @ bread / 2, rtol=1e-5)


def test_a_prompt_asked_again_tells_nothing_more():
    once = drawn([0.0, 0.4, 1.0], 50, seed=3)
    thrice = drawn([0.0, 0.4, 1.0], 150, seed=3, together=3)
    for one, other in zip(ratings(once, 3)[1:], ratings(thrice, 3)[1:], strict=True):
        assert other.value == pytest.approx(one.value, abs=1e-3)
        assert (other.low, other.high) == pytest.approx((one.low, one.high), abs=6)
    apart = Comparisons(thrice.first, thrice.second, thrice.wins, thrice.ids, thrice.ids)
    widths = [ratings(each, 3)[2].high - ratings(each, 3)[2].low for each in (thrice, apart)]
    assert widths[0] / widths[1] == pytest.approx(math.sqrt(3), rel=0.1)


def test_comparisons_on_one_prompt_are_not_independent():
    """Player 2 is always judged as player 1 is: no more is known of it than from player 1's prompts alone."""
    wins = [1, 1, 0, 1, 0, 1, 1, 0, 1, 1, 0, 1, 1, 0, 1, 1, 1, 0, 1, 0]
    rows = [row for i, win in enumerate(wins) for row in ((1, 0, win, i), (2, 0, win, i), (2, 1, 0.5, i))]
    alone, together = ratings(two(wins), 2)[1], ratings(league(*rows), 3)[2]
    assert together.value == pytest.approx(alone.value, abs=0.01)
    assert (together.low, together.high) == pytest.approx((alone.low, alone.high), abs=20)
    # Were they, the interval would be narrower by a third.
    apart = Comparisons(*[getattr(league(*rows), name) for name in ("first", "second", "wins")], *[list(range(60))] * 2)
    assert ratings(apart, 3)[2].high - ratings(apart, 3)[2].low < 0.8 * (alone.high - alone.low)


def test_who_never_lost_has_no_upper_bound():
    base, _, best = ratings(
        league(*((a, b, float(a > b), i) for i in range(8) for a, b in ((1, 0), (2, 0), (2, 1)))), 3
    )
    assert best.separated == "never lost" and best.high == math.inf and base == ratings(two([1]), 2)[0]
    # Of 8 direct comparisons, all won.
    least = stats.binomtest(8, 8).proportion_ci(0.95, method="exact").low
    assert best.low == pytest.approx(POINTS * logit(least))
    (_, two_of_two) = ratings(two([1, 1]), 2)
    assert two_of_two.value == pytest.approx(400 * math.log10(2.5 / 0.5), abs=0.01)  # with a tie more


def test_who_never_won_has_no_lower_bound():
    up, down = ratings(two([1] * 8), 2)[1], ratings(two([0] * 8), 2)[1]
    assert down.separated == "never won"
    assert (down.value, down.low, down.high) == pytest.approx((-up.value, -math.inf, -up.low))


def test_a_chain_of_wins_connects():
    """0 beats 1, 1 beats 2, 2 beats 0: all are alike, and nobody is separated."""
    found = ratings(league((0, 1, 1, 0), (1, 2, 1, 1), (2, 0, 1, 2)), 3)
    assert [each.separated for each in found] == ["", "", ""]
    assert [each.value for each in found] == pytest.approx([0, 0, 0], abs=1e-6)


def test_who_never_met_has_no_rating():
    found = ratings(league((0, 1, 1, 0), (0, 1, 0, 1), (2, 3, 1, 0), (2, 3, 0, 1)), 4)
    assert [each.separated for each in found] == ["", "", "never met", "never met"]
    assert math.isnan(found[3].value) and (found[3].low, found[3].high) == (-math.inf, math.inf)


def test_what_nobody_could_judge_counts_for_nothing_and_can_be_counted_either_way():
    given = two([1, 1, 0, NAN])
    assert ratings(given, 2)[1] == ratings(two([1, 1, 0]), 2)[1]
    for favoured, odds in ((True, 3 / 1), (False, 2 / 2)):
        found = ratings(resolved(given, 2, favoured), 2)[1]
        assert found.value == pytest.approx(400 * math.log10(odds), abs=0.01)


def test_unknown_results_are_resolved_so_that_no_other_way_is_worse_for_the_last():
    rng = np.random.default_rng(5)
    given = drawn([0.0, 0.3, 0.6], 12, seed=6)
    lost = rng.choice(len(given.wins), 4, replace=False)
    wins = given.wins.copy()
    wins[lost] = NAN
    partly = Comparisons(given.first, given.second, wins, given.ids, given.clusters)
    every = []
    for filled in itertools.product((0.0, 1.0), repeat=4):
        wins = partly.wins.copy()
        wins[lost] = filled
        every.append(ratings(Comparisons(given.first, given.second, wins, given.ids, given.clusters), 3)[2].value)
    found = [ratings(resolved(partly, 3, favoured), 3)[2].value for favoured in (False, True)]
    assert found == pytest.approx([min(every), max(every)], abs=1e-6) and max(every) - min(every) > 50


@pytest.mark.parametrize(("strengths", "prompts", "together"), [((0, 0.5, 2), 30, 1), ((0, 0, 0, 0), 100, 5)])
def test_intervals_hold_what_they_promise(strengths, prompts, together):
    truth, times = POINTS * (strengths[-1] - strengths[0]), 150
    found = [ratings(drawn(np.array(strengths), prompts, 100 + i, together), len(strengths))[-1] for i in range(times)]
    held = sum(each.low <= truth <= each.high for each in found)
    assert held >= stats.binom.ppf(0.005, times, 0.95)
    widths = [each.high - each.low for each in found if not each.separated]
    spread = np.std([each.value for each in found if not each.separated])
    assert np.median(widths) < 2 * 1.96 * spread * 1.35  # and not by being wide


def test_a_soft_win_is_worth_as_much_as_its_mean_says():
    soft = list(np.random.default_rng(8).uniform(0.5, 0.9, 60))
    found = ratings(two(soft), 2)[1]
    mean, low, high = interval([{"id": str(i), "value": value} for i, value in enumerate(soft)])
    assert found.value == pytest.approx(POINTS * logit(mean), abs=0.01)
    # What was never seen, a lost comparison, is allowed for in both.
    assert (found.low, found.high) == pytest.approx((POINTS * logit(low), POINTS * logit(high)), rel=0.25)
