"""From losses, violations and failures to what a Gaussian process can learn, and how it learns it."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from nasx._core import gaussian_process as _native
from nasx.pareto import front
from nasx.space import Genotypes, Space
from nasx.strategies.scalarization import AUGMENTATION, LARGEST, extent_of

__all__ = ["chebyshev", "combine", "fit_scores", "normal_scores", "of_ranks", "ranks"]

Floats = npt.NDArray[np.float64]


def ranks(losses: Floats, violations: Floats) -> Floats:
    """Rank values: feasible ones by their loss, then the others by their violation, failed ones last.

    Parameters
    ----------
    losses : ndarray of float64, shape (n,)
        Smaller is better.
    violations : ndarray of float64, shape (n,)
        At most 0 where feasible, infinite where failed.

    Returns
    -------
    ndarray of float64, shape (n,)
        From 0; of equals the mean of their places.

    Examples
    --------
    >>> ranks(np.array([3.0, 1, 1, 0, 9]), np.array([0.0, 0, 0, 2, np.inf]))
    array([2. , 0.5, 0.5, 3. , 4. ])
    """
    over, values = np.maximum(violations, 0), np.where(np.isinf(violations), 0, losses)
    order = np.lexsort((values, over))
    over, values = over[order], values[order]
    first = np.ones(len(order), bool)  # of its equals
    first[1:] = (over[1:] != over[:-1]) | (values[1:] != values[:-1])
    starts = np.flatnonzero(first)
    counts = np.diff(starts, append=len(order))
    means = np.empty(len(order))
    means[order] = np.repeat(starts + (counts - 1) / 2, counts)
    return means


def normal_scores(losses: Floats, violations: Floats) -> Floats:
    """Replace values by what normal ones of the same ranks would be.

    Neither the scale of the losses matters then, nor how bad the bad ones are; infeasible and failed ones are
    worse than all others without being far away.

    Parameters
    ----------
    losses : ndarray of float64, shape (n, m)
        Smaller is better.
    violations : ndarray of float64, shape (n,)
        As for `ranks`.

    Returns
    -------
    ndarray of float64, shape (n, m)
        Each column with mean 0; 0 where all are equal.

    References
    ----------
    D. Salinas, H. Shen, V. Perrone, "A quantile-based approach for hyperparameter transfer learning", ICML
    2020.

    Examples
    --------
    >>> normal_scores(np.array([[1.0], [100], [3]]), np.zeros(3)).ravel().round(2)
    array([-0.97,  0.97,  0.  ])
    """
    return np.column_stack([of_ranks(ranks(column, violations)) for column in losses.T])


def of_ranks(ranks: Floats) -> Floats:
    """Give the normal scores of what `ranks` found.

    Parameters
    ----------
    ranks : ndarray of float64, shape (n,)
        From 0.

    Returns
    -------
    ndarray of float64, shape (n,)
        Quantiles of the normal distribution.

    Examples
    --------
    >>> of_ranks(np.array([0.0, 2, 1])).round(2)
    array([-0.97,  0.97,  0.  ])
    """
    quantile, n = NormalDist().inv_cdf, len(ranks)
    return np.array([quantile(share) for share in ((ranks + 0.5) / n).tolist()])


def chebyshev(losses: Floats, violations: Floats, weights: Floats) -> Floats:
    """Combine several losses into one whose minima are on the front: the augmented Chebyshev distance.

    Parameters
    ----------
    losses : ndarray of float64, shape (n, m)
        Smaller is better. Each is scaled by the extent of the front of what is feasible, so that a heavy tail
        of bad results squeezes nothing. Infinite ones count as very large.
    violations : ndarray of float64, shape (n,)
        As for `ranks`.
    weights : ndarray of float64, shape (m,)
        Not negative.

    Returns
    -------
    ndarray of float64, shape (n,)
        The largest weighted loss, and a twentieth of all of them, which tells weakly dominated ones apart; 0
        for failed ones.

    References
    ----------
    J. Knowles, "ParEGO: a hybrid algorithm with on-line landscape approximation for expensive multiobjective
    optimization problems", IEEE Transactions on Evolutionary Computation 10 (2006).

    Examples
    --------
    >>> chebyshev(np.array([[0.0, 1], [1, 0], [0.5, 0.5], [99, 2]]), np.zeros(4), np.array([0.5, 0.5]))
    array([ 0.525,  0.525,  0.275, 52.025])
    """
    scaled = np.zeros_like(losses)
    finished = ~np.isinf(violations)
    if finished.any():
        known = np.clip(losses[finished], -LARGEST, LARGEST)
        # Without a feasible one, those that are the least over the limits stand for them.
        least = violations[finished] <= max(violations.min(), 0.0)
        best_known = known[least]
        best, extent = extent_of(best_known[front(best_known)], best_known.max(axis=0))
        scaled[finished] = (known - best) / extent
    weighted = scaled * weights
    combined: Floats = weighted.max(axis=1) + AUGMENTATION * weighted.sum(axis=1)
    return combined


def combine(losses: Floats, violations: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Make one score of several losses by `chebyshev`.

    The losses themselves are combined, and ranked afterwards: combined ranks would ask for a compromise
    between how common results are, not between what they are worth.

    Parameters
    ----------
    losses : ndarray of float64, shape (n, m)
        Smaller is better.
    violations : ndarray of float64, shape (n,)
        As for `ranks`.
    weights : ndarray of float64, shape (m,)
        Not negative.

    Returns
    -------
    ranks : ndarray of float64, shape (n,)
        The smaller the better.
    scores : ndarray of float64, shape (n, 1)
        Normal scores of the same.

    Examples
    --------
    >>> order, scores = combine(np.array([[0.0, 2], [3, 1]]), np.zeros(2), np.array([0.1, 0.9]))
    >>> order, scores.round(2).tolist()
    (array([1., 0.]), [[0.67], [-0.67]])
    """
    order = ranks(chebyshev(losses, violations, weights), violations)
    return order, of_ranks(order)[:, None]


def fit_scores(process: _native.Process, space: Space, rows: Genotypes, scores: Floats) -> None:
    """Fit hyperparameters to scores, as searches do: under priors, and as exactly as proposals can tell.

    Parameters
    ----------
    process : Process
        Of this space.
    space : Space
        Where its decisions are.
    rows : ndarray of int32, shape (n, d)
        Genotypes.
    scores : ndarray of float64, shape (n, m)
        Theirs.
    """
    process.fit(
        rows,
        scores,
        priors=True,
        starts=1 + bool(space.ordered.any()),  # without any, there is one summit under the priors
        start_rows=96,
        iterations=50,
        tolerance=1e-2,
    )
