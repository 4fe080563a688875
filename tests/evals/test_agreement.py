"""Agreement of judges: published examples, numbers worked out by hand, and intervals that hold."""

import itertools

import numpy as np
import pytest

from cai_jax.evals.agreement import agreement, cohen_kappa, disagreements, krippendorff_alpha, tallies


def alpha(lines, categories):
    counts = np.array([[sum(line[u] == c for line in lines) for c in categories] for u in range(len(lines[0]))], float)
    counts = counts[counts.sum(1) >= 2]
    return float(krippendorff_alpha(disagreements(counts).sum(), counts.sum(0)))


def by_coincidences(sides):
    """Alpha of two categories from the matrix of coincidences, pair of answers by pair of answers."""
    matrix = np.zeros((2, 2))
    for row in sides:
        given = [int(side) for side in row if side == side]
        for one, other in itertools.permutations(given, 2):
            matrix[one, other] += 1 / (len(given) - 1)
    n = matrix.sum()
    expected = 2 * matrix.sum(1).prod() / (n * (n - 1))
    return 1 - (matrix[0, 1] + matrix[1, 0]) / n / expected


def test_kappa_of_published_tables():
    # Cohen (1968, "Weighted kappa", table 1), of 200 patients: p_o = 0.70, p_e = 0.41, kappa = 0.492.
    cohen = np.array([[0.44, 0.05, 0.01], [0.07, 0.20, 0.03], [0.09, 0.05, 0.06]]) * 200
    assert round(float(cohen_kappa(cohen)), 3) == 0.492
    # Two tables at once; the second is of chance alone, with 0.8 · 0.5 + 0.2 · 0.5 in the diagonal.
    np.testing.assert_allclose(cohen_kappa(np.array([[[20, 5], [10, 15]], [[40, 40], [10, 10]]])), [0.4, 0.0])
    assert np.isnan(cohen_kappa(np.array([[7.0, 0.0], [0.0, 0.0]])))


def test_alpha_of_published_data():
    # Four coders, twelve units, five categories: nominal alpha is 0.743 (Krippendorff, 2011, "Computing Krippendorff's
    # Alpha-Reliability", section C).
    lines = ("1 2 3 3 2 1 4 1 2 . . .", "1 2 3 3 2 2 4 1 2 5 . 3", ". 3 3 3 2 3 4 2 2 5 1 .", "1 2 3 3 2 4 4 1 2 5 1 .")
    assert round(alpha([line.split() for line in lines], "12345"), 3) == 0.743


def test_two_judges_by_hand():
    # Ten pairs: 4 both first, 1 only the first judge, 2 only the second, 3 both second; and two without a side of one.
    sides = [(1, 1)] * 4 + [(1, 0)] + [(0, 1)] * 2 + [(0, 0)] * 3 + [(1, np.nan), (np.nan, np.nan)]
    found = agreement(np.array(sides, float), [str(n) for n in range(12)])
    assert (found.measure, found.n, found.undecided, found.clusters) == ("Cohen's kappa", 10, 2, 10)
    # p_o = 0.7; p_e = 0.5 · 0.6 + 0.5 · 0.4 = 0.5.
    assert (found.value, found.same) == (pytest.approx(0.4), pytest.approx(0.7))
    assert -1 <= found.low < 0 < 0.4 < found.high <= 1


def test_more_judges_against_the_matrix_of_coincidences():
    rng = np.random.default_rng(5)
    truth = rng.random(40) < 0.6
    sides = np.where(rng.random((40, 4)) < 0.8, truth[:, None], ~truth[:, None]).astype(float)
    sides[rng.random(sides.shape) < 0.3] = np.nan
    known = [row for row in sides if (row == row).sum() >= 2]
    found = agreement(sides, [str(n // 2) for n in range(40)])
    assert found.measure == "Krippendorff's alpha" and found.n == len(known) < 40
    assert found.value == pytest.approx(by_coincidences(known))
    assert found.n + found.undecided == 40 and found.low < found.value < found.high


def test_what_chance_cannot_move_has_no_measure():
    for count in (2, 3):
        found = agreement(np.ones((6, count)), list("abcdef"))
        assert (found.value, found.low, found.high, found.same, found.n) == (None, None, None, 1.0, 6)
        nothing = agreement(np.full((4, count), np.nan), list("abcd"))
        assert (nothing.value, nothing.same, nothing.n, nothing.undecided) == (None, None, 0, 4)


def test_agreement_that_has_not_failed_yet_may_still():
    sides = np.array([[1, 1], [0, 0]] * 10, float)
    found = agreement(sides, [str(n) for n in range(20)])
    # None of 20 differ: 1 - 0.025^(1/20) = 0.168 may, of 0.5 by chance.
    assert (found.value, found.high, found.low) == (1.0, 1.0, pytest.approx(1 - (1 - 0.025 ** (1 / 20)) / 0.5))
    paired = agreement(sides, [str(n // 4) for n in range(20)])
    assert paired.clusters == 5 and paired.low < found.low


@pytest.mark.parametrize("judges", [2, 3])
@pytest.mark.parametrize(("count", "cluster", "good"), [(10, 1, 0.85), (30, 1, 0.6), (100, 5, 0.95)])
def test_intervals_hold(judges, count, cluster, good):
    """Judges are right with a chance that a cluster shares, on sides of which seven in ten are the first."""
    rng, chances = np.random.default_rng(count), np.clip([good - 0.1, good + 0.1], 0, 1) if cluster > 1 else [good]
    joint = np.zeros((2, 2))
    for chance in chances:
        for share, right in ((0.7, [chance, 1 - chance]), (0.3, [1 - chance, chance])):
            joint += share * np.outer(right, right) / len(chances)
    true = 1 - 2 * joint[0, 1] / (2 * joint[0].sum() * joint[1].sum())  # of equal judges both measures are this
    names, held, runs = [str(n // cluster) for n in range(count)], 0, 120
    for _ in range(runs):
        chance = np.repeat(rng.choice(chances, count // cluster), cluster)
        first = rng.random(count) < 0.7
        right = rng.random((count, judges)) < chance[:, None]
        found = agreement(np.where(right, first[:, None], ~first[:, None]).astype(float), names)
        held += found.value is None or found.low - 1e-9 <= true <= found.high + 1e-9
    assert held >= 0.93 * runs


def test_tallies():
    np.testing.assert_array_equal(tallies(np.array([[1, 0, np.nan], [1, 1, 1]])), [[1, 1], [3, 0]])
