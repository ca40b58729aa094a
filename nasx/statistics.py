"""Means with their errors, and tests between groups of scores."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt

from nasx.errors import require

__all__ = [
    "Pair",
    "compare_pairs",
    "holm",
    "kendall_tau",
    "mean_and_error",
    "rounded",
    "spearman_rho",
    "with_error",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
    """How one group of scores compares with another.

    Attributes
    ----------
    first, second : str
        The groups.
    difference : float
        By how much the first one's mean is better, in the scores' unit; negative if it is worse.
    standard_error : float
        Of the difference: the root of the sum of the squared standard errors of both means.
    z : float
        The difference in standard errors.
    p : float
        How often scores of equal distribution would differ so much or more: two-sided Mann-Whitney U,
        adjusted for the number of pairs by Holm's method.
    """

    first: str
    second: str
    difference: float
    standard_error: float
    z: float
    p: float

    @property
    def flipped(self) -> Pair:
        """The same, from the side of the second."""
        return dataclasses.replace(
            self, first=self.second, second=self.first, difference=-self.difference, z=-self.z
        )


def mean_and_error(values: npt.ArrayLike) -> tuple[float, float]:
    """Average values, and say how far the average may be off.

    Parameters
    ----------
    values : array_like of float, shape (n,)
        Independent measurements.

    Returns
    -------
    tuple of float
        The mean, and its standard error (n - 1 degrees of freedom); NaN for fewer than two values.

    Examples
    --------
    >>> mean_and_error([1.0, 2.0, 3.0, 2.0])[0]
    2.0
    """
    array = np.asarray(values, np.float64)
    mean = float(array.mean()) if len(array) else math.nan
    if len(array) < 2:
        return mean, math.nan
    return mean, float(array.std(ddof=1) / math.sqrt(len(array)))


def holm(p: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Adjust p-values for their number, so that the chance of any false alarm stays below the level [1]_.

    Parameters
    ----------
    p : array_like of float, shape (n,)
        Of n tests. NaN stays NaN and does not count.

    Returns
    -------
    ndarray of float64, shape (n,)
        Adjusted; at least as large.

    References
    ----------
    .. [1] S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
       Statistics 6 (1979).

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    adjusted = np.array(p, np.float64)
    order = np.argsort(adjusted)[: int((~np.isnan(adjusted)).sum())]
    steps = adjusted[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def compare_pairs(
    scores: Mapping[str, npt.NDArray[np.float64]], direction: Literal["minimize", "maximize"]
) -> list[Pair]:
    """Compare every group of scores with every other.

    Parameters
    ----------
    scores : mapping of str to ndarray of float, shape (n,)
        Independent scores, finite or all of a group NaN.
    direction : {"minimize", "maximize"}
        Which scores are better.

    Returns
    -------
    list of Pair
        The one with the better mean first in each; in the order of the groups. With fewer than two scores
        a group has no error and the pair no p-value: NaN.

    Raises
    ------
    MissingDependencyError
        If SciPy is not installed.

    Notes
    -----
    The best score of a search is bounded by the optimum, skewed, and often tied; ranks stand that, where a
    t-test supposes a bell curve. Hence Mann-Whitney U [1]_ for `p`, beside `z` for those who compare means.

    References
    ----------
    .. [1] H. B. Mann, D. R. Whitney, "On a test of whether one of two random variables is stochastically
       larger than the other", Annals of Mathematical Statistics 18 (1947).

    Examples
    --------
    >>> import numpy as np
    >>> (pair,) = compare_pairs({"a": np.array([1.0, 2.0]), "b": np.array([3.0, 4.0])}, "minimize")
    >>> pair.first, pair.difference
    ('a', 2.0)
    """
    sign = -1.0 if direction == "minimize" else 1.0
    pairs = []
    for first, second in itertools.combinations(scores, 2):
        (mean, error), (other, other_error) = mean_and_error(scores[first]), mean_and_error(scores[second])
        difference, combined = sign * (mean - other), math.hypot(error, other_error)
        pair = Pair(
            first=first,
            second=second,
            difference=difference,
            standard_error=combined,
            z=_ratio(difference, combined),
            p=_mann_whitney(scores[first], scores[second]),
        )
        pairs.append(pair.flipped if difference < 0 else pair)
    adjusted = holm([pair.p for pair in pairs]).tolist()
    return [dataclasses.replace(pair, p=p) for pair, p in zip(pairs, adjusted, strict=True)]


def _ratio(difference: float, error: float) -> float:
    if error == 0:  # every score of a group is the same
        return 0.0 if difference == 0 else math.copysign(math.inf, difference)
    return difference / error


def _mann_whitney(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    if min(len(one), len(other)) < 2 or np.isnan(one).any() or np.isnan(other).any():
        return math.nan
    if (one == one[0]).all() and (other == one[0]).all():  # no variance for the test to divide by
        return 1.0
    stats = require("scipy.stats", "nasx.compare", "compare")
    return float(stats.mannwhitneyu(one, other, alternative="two-sided").pvalue)


def kendall_tau(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Say how well two rankings agree: Kendall's tau-b [1]_, which allows for ties.

    Parameters
    ----------
    x, y : array_like of float, shape (n,)
        Two numbers for each of n things.

    Returns
    -------
    float
        Pairs in the same order less those in opposite ones, as a share, in -1..1; NaN where one of the two is
        constant. Takes O(n^2) time and O(n) memory.

    Raises
    ------
    ValueError
        If shapes differ, or a number is not finite.

    References
    ----------
    .. [1] M. G. Kendall, "The treatment of ties in ranking problems", Biometrika 33, 1945.

    Examples
    --------
    >>> kendall_tau([1, 2, 3, 4], [1, 2, 4, 3])
    0.6666666666666666
    """
    one, other = _paired(x, y)
    agree = untied_one = untied_other = 0
    for i in range(1, len(one)):
        signs, others = np.sign(one[:i] - one[i]), np.sign(other[:i] - other[i])
        agree += int(signs @ others)
        untied_one += int(np.count_nonzero(signs))
        untied_other += int(np.count_nonzero(others))
    return agree / math.sqrt(untied_one * untied_other) if untied_one and untied_other else math.nan


def spearman_rho(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Say how well two rankings agree: the correlation of ranks, where equal numbers share their mean rank.

    Parameters
    ----------
    x, y : array_like of float, shape (n,)
        Two numbers for each of n things.

    Returns
    -------
    float
        In -1..1; NaN where one of the two is constant.

    Raises
    ------
    ValueError
        If shapes differ, or a number is not finite.

    Examples
    --------
    >>> round(spearman_rho([1, 2, 3, 4], [1, 2, 4, 3]), 12)
    0.8
    """
    one, other = (_ranks(values) for values in _paired(x, y))
    middle = (len(one) + 1) / 2
    one, other = one - middle, other - middle
    scale = math.sqrt((one @ one) * (other @ other))
    return float(one @ other) / scale if scale > 0 else math.nan


def _paired(x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    one, other = (np.asarray(values, np.float64) for values in (x, y))
    if one.ndim != 1 or one.shape != other.shape:
        raise ValueError(f"x and y must have one shape, (n,); got {one.shape} and {other.shape}")
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        raise ValueError("x and y must hold finite numbers")
    return one, other


def _ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[place]


def rounded(value: float, error: float) -> str:
    """Write a number with as many digits as a standard error makes sense of.

    Parameters
    ----------
    value, error : float
        In the same unit; an error of 0 or NaN says nothing.

    Returns
    -------
    str
        Down to the second digit of the error, or six digits; a dash for NaN.

    Examples
    --------
    >>> rounded(91.23456, 0.0312), rounded(12345.6, 210.0), rounded(0.5, float("nan"))
    ('91.235', '12346', '0.5')
    """
    if math.isnan(value):
        return "-"
    decimals = 1 - math.floor(math.log10(error)) if 0 < error < math.inf else 99
    return f"{value:.{max(decimals, 0)}f}" if decimals < 10 else f"{value:.6g}"


def with_error(mean: float, error: float) -> str:
    """Write a mean and its standard error.

    Parameters
    ----------
    mean, error : float
        As from `mean_and_error`.

    Returns
    -------
    str
        With two digits of the error.

    Examples
    --------
    >>> with_error(91.23456, 0.0312), with_error(0.5, 0.0), with_error(0.5, float("nan"))
    ('91.235 ± 0.031', '0.5 ± 0', '0.5')
    """
    shown = rounded(mean, error)
    return shown if math.isnan(mean) or math.isnan(error) else f"{shown} ± {rounded(error, error)}"
