"""nasx.statistics against hand-made numbers and SciPy."""

import math

import numpy as np
import pytest
from scipy import stats

from nasx.statistics import compare_pairs, holm, mean_and_error, rounded, with_error


def test_means_and_their_errors_by_hand():
    assert mean_and_error([2.0, 4.0, 4.0, 6.0]) == (4.0, pytest.approx(math.sqrt(8 / 3) / 2))
    mean, error = mean_and_error([3.0])
    assert mean == 3.0
    assert math.isnan(error)
    assert all(math.isnan(value) for value in mean_and_error([]))


def test_holm_by_hand():
    # Sorted: 0.01 * 4, 0.02 * 3, 0.03 * 2, 0.9 * 1; never below the one before, never above 1.
    np.testing.assert_allclose(holm([0.9, 0.01, 0.03, 0.02]), [0.9, 0.04, 0.06, 0.06])
    np.testing.assert_allclose(holm([0.5, 0.6, np.nan]), [1.0, 1.0, np.nan])
    assert holm([]).shape == (0,)
    given = np.array([0.2, 0.1])
    holm(given)
    np.testing.assert_array_equal(given, [0.2, 0.1])


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_pairs_by_hand(direction):
    rng = np.random.default_rng(0)
    scores = {"a": rng.random(30), "b": rng.random(30) + 0.2, "c": rng.random(25) + 0.25}
    pairs = {(pair.first, pair.second): pair for pair in compare_pairs(scores, direction)}
    names = [("a", "b"), ("a", "c"), ("b", "c")]
    names = names if direction == "minimize" else [(second, first) for first, second in names]
    assert list(pairs) == names
    raw = [stats.mannwhitneyu(scores[first], scores[second]).pvalue for first, second in names]
    np.testing.assert_allclose([pairs[name].p for name in names], holm(raw))
    for (first, second), pair in pairs.items():
        one, other = scores[first], scores[second]
        assert pair.difference == pytest.approx(abs(one.mean() - other.mean()))
        welch = stats.ttest_ind(one, other, equal_var=False)
        assert pair.z == pytest.approx(abs(welch.statistic))  # Welch's t is the difference in standard errors
        assert pair.standard_error == pytest.approx(pair.difference / pair.z)
        assert pair.flipped.z == -pair.z
        assert (pair.flipped.first, pair.flipped.p) == (second, pair.p)


def test_scores_without_variance():
    same = np.full(5, 2.0)
    (pair,) = compare_pairs({"a": same, "b": same.copy()}, "maximize")
    assert (pair.difference, pair.z, pair.p) == (0.0, 0.0, 1.0)
    (pair,) = compare_pairs({"a": same, "b": same + 1}, "maximize")
    assert (pair.first, pair.difference, pair.z) == ("b", 1.0, math.inf)
    assert pair.p < 0.01


def test_too_few_scores_give_no_test():
    (pair,) = compare_pairs({"a": np.array([1.0]), "b": np.array([2.0])}, "minimize")
    assert (pair.first, pair.difference) == ("a", 1.0)
    assert math.isnan(pair.z)
    assert math.isnan(pair.p)
    nothing = np.full(4, np.nan)
    (pair,) = compare_pairs({"a": nothing, "b": nothing}, "minimize")
    assert math.isnan(pair.p)


def test_groups_that_do_not_differ_are_rarely_told_apart():
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(200):
        scores = {name: np.round(rng.random(15), 1) for name in "abc"}
        alarms += min(pair.p for pair in compare_pairs(scores, "minimize")) < 0.05
    assert alarms <= 18  # 10 expected at the level of 5 % if the three tests were independent and exact


@pytest.mark.parametrize(
    ("mean", "error", "text"),
    [
        (91.23456, 0.0312, "91.235 ± 0.031"),
        (12345.6, 210.0, "12346 ± 210"),
        (-0.5, 1.0, "-0.5 ± 1.0"),
        (1.5, 1e-14, "1.5 ± 1e-14"),
        (0.5, 0.0, "0.5 ± 0"),
        (0.123456789, math.nan, "0.123457"),
        (math.nan, math.nan, "-"),
    ],
)
def test_numbers_are_written_as_exactly_as_they_are_known(mean, error, text):
    assert with_error(mean, error) == text


def test_other_numbers_follow_the_error():
    assert rounded(0.98765, 0.0123) == "0.988"
    assert rounded(math.inf, 1.0) == "inf"
