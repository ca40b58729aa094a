"""The best of a set of points with several losses."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nasx.pareto import hypervolume, rank

__all__ = ["best_subset", "hypervolume_subset"]


def best_subset(
    losses: npt.NDArray[np.float64], violations: npt.NDArray[np.float64], n: int
) -> npt.NDArray[np.int64]:
    """Choose the best rows: by fronts, and of the last one those that dominate most volume together.

    Parameters
    ----------
    losses : ndarray of float64, shape (k, m)
        Smaller is better.
    violations : ndarray of float64, shape (k,)
        Those over 0 come after all others, by the violation.
    n : int
        How many; all if there are fewer.

    Returns
    -------
    ndarray of int64, shape (at most n,)
        Indices of rows.

    Examples
    --------
    >>> best_subset(np.array([[0.0, 4], [1, 1], [4, 0], [5, 5]]), np.zeros(4), 1)
    array([1])
    """
    if not len(losses):
        return np.empty(0, np.int64)
    ranks = rank(losses, violations)
    order = np.argsort(ranks, kind="stable")
    if n >= len(order):
        return order
    last = ranks[order[n]]  # of the first that is left out
    whole = order[ranks[order] < last]
    cut = np.flatnonzero(ranks == last)
    if violations[cut[0]] > 0:
        return order[:n]
    chosen = hypervolume_subset(losses[cut], n - len(whole))
    return np.concatenate([whole, cut[chosen]])


def hypervolume_subset(losses: npt.NDArray[np.float64], n: int) -> npt.NDArray[np.int64]:
    """Choose points one after another, each the one that adds the largest hypervolume.

    The hypervolume of the chosen is at least 1 - 1/e of the largest possible [1]_. The reference point is a
    tenth of its own size worse than the worst of each objective.

    Parameters
    ----------
    losses : ndarray of float64, shape (k, m)
        Points of which none dominates another, smaller is better.
    n : int
        How many, at most k.

    Returns
    -------
    ndarray of int64, shape (n,)
        Indices in the order of choice; equal points are chosen once, unless nothing else is left. If
        anything is infinite, the first `n`.

    Notes
    -----
    O(n k) for two objectives. For more, volumes are measured by `nasx.pareto.hypervolume`, again only for
    points that could still add the most, since what a point adds never grows.

    References
    ----------
    .. [1] A. P. Guerreiro, C. M. Fonseca, L. Paquete, "Greedy hypervolume subset selection in low
       dimensions", Evolutionary Computation 24 (2016).

    Examples
    --------
    >>> hypervolume_subset(np.array([[0.0, 4], [1, 1], [4, 0]]), 2)
    array([1, 0])
    """
    if n >= len(losses) or not np.isfinite(losses).all():
        return np.arange(n)
    # In units of powers of two, which changes no choice: products of large losses would overflow.
    exponents = np.frexp(np.abs(losses).max(axis=0))[1]
    losses = np.ldexp(losses, -exponents)
    worst = losses.max(axis=0)
    reference = np.maximum(1.1 * worst, 0.9 * worst)
    reference = np.where(reference == 0, np.ldexp(1e-12, -exponents), reference)
    points, first = np.unique(losses, axis=0, return_index=True)
    if len(points) <= n:
        others = np.setdiff1d(np.arange(len(losses)), first)
        return np.concatenate([first, others[: n - len(points)]])
    choose = _choose_of_two if losses.shape[1] == 2 else _choose
    return first[choose(points, reference, n)]


def _choose_of_two(
    points: npt.NDArray[np.float64], reference: npt.NDArray[np.float64], n: int
) -> npt.NDArray[np.int64]:
    """Choose of points sorted by the first objective; each keeps the corner of what it alone would add."""
    corners = np.tile(reference, (len(points), 1))
    left = np.ones(len(points), bool)
    chosen = []
    for _ in range(n):
        added = np.where(left, (corners - points).prod(axis=1), -np.inf)
        best = int(added.argmax())
        chosen.append(best)
        left[best] = False
        corners[:best, 0] = np.minimum(corners[:best, 0], points[best, 0])
        corners[best:, 1] = np.minimum(corners[best:, 1], points[best, 1])
    return np.array(chosen, np.int64)


def _choose(
    points: npt.NDArray[np.float64], reference: npt.NDArray[np.float64], n: int
) -> npt.NDArray[np.int64]:
    most = (reference - points).prod(axis=1)  # what each can add at most
    chosen: list[int] = []
    volume = 0.0
    for _ in range(n):
        best, best_added = -1, -np.inf
        for i in np.argsort(-most, kind="stable"):
            if most[i] <= best_added:
                break
            most[i] = hypervolume(points[[*chosen, i]], reference) - volume
            if most[i] > best_added:
                best, best_added = int(i), float(most[i])
        chosen.append(best)
        volume += best_added
        most[best] = -np.inf
    return np.array(chosen, np.int64)
