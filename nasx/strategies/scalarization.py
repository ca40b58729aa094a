"""From several objectives to one at a time: directions towards the front, on the scale of the front."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from nasx.strategies.archive import Archive, Point

__all__ = ["AUGMENTATION", "LARGEST", "Aim", "FrontScale", "extent_of"]

Floats = npt.NDArray[np.float64]

AUGMENTATION = 0.05
"""How much the sum counts beside the largest, so that of two with the same largest the better one wins."""
LARGEST = 1e150
"""So far as differences of losses are finite."""


def extent_of(front: Floats, worst: Floats) -> tuple[Floats, Floats]:
    """Say where the scale of a front begins, and how long it is.

    Parameters
    ----------
    front : ndarray of float64, shape (k, m)
        Losses that nothing dominates.
    worst : ndarray of float64, shape (m,)
        The largest losses that count: while all of the front is one point, they stand for its other end.

    Returns
    -------
    best, extent : ndarray of float64, shape (m,)
        The smallest losses of the front, and by how much its largest are larger; 1 where nothing is.
    """
    best = front.min(axis=0)
    extent = front.max(axis=0) - best
    extent = np.where(extent > 0, extent, worst - best)
    return best, np.where(extent > 0, extent, 1.0)


class FrontScale:
    """The scale on which losses are compared: 0 is the best of the front so far, and 1 the worst of it.

    What is not on the front does not matter, so that a heavy tail of bad results squeezes nothing. Only
    results within the limits count while there are any.

    Parameters
    ----------
    objectives : int
        Number of losses.

    Notes
    -----
    Adding takes O(m k) for k points on the front and m objectives.

    Examples
    --------
    >>> scale = FrontScale(2)
    >>> for i, losses in enumerate([[1.0, 30.0], [3.0, 10.0], [1000.0, 20.0]]):
    ...     scale.add(Point(np.array([i]), 0.0, losses))
    >>> scale.best.tolist(), scale.extent.tolist(), len(scale.front)
    ([1.0, 10.0], [2.0, 20.0], 2)
    """

    def __init__(self, objectives: int) -> None:
        self._archive = Archive(objectives)
        self.best = np.zeros(objectives)
        self.extent = np.ones(objectives)
        self._worst = np.full(objectives, -math.inf)  # of all that violate limits as little as the front
        self._violation = math.inf

    @property
    def front(self) -> list[Point]:
        """What nothing dominates, by violation first."""
        return self._archive.points

    def add(self, point: Point) -> None:
        """Take a result into account.

        Parameters
        ----------
        point : Point
            With as many losses as there are objectives. One with an infinite loss is left out.
        """
        if not all(map(math.isfinite, point.losses)) or point.violation > self._violation:
            return
        if point.violation < self._violation:
            self._violation, self._worst = point.violation, np.full(len(point.losses), -math.inf)
        worst = np.maximum(self._worst, point.losses)
        if self._archive.add(point) or (worst > self._worst).any():
            self._worst = worst
            front = np.clip(self._archive.losses, -LARGEST, LARGEST)
            self.best, self.extent = extent_of(front, np.clip(worst, -LARGEST, LARGEST))


class Aim:
    """A direction towards the front: the augmented Chebyshev distance, whose minima are on the front.

    It is the largest weighted loss, and a twentieth of all of them, which tells weakly dominated ones apart.

    Parameters
    ----------
    weights : ndarray of float64, shape (m,)
        Of the losses, not negative.
    scale : FrontScale
        As it is now: what it becomes does not change the aim.

    References
    ----------
    J. Knowles, "ParEGO: a hybrid algorithm with on-line landscape approximation for expensive multiobjective
    optimization problems", IEEE Transactions on Evolutionary Computation 10 (2006).

    Examples
    --------
    >>> scale = FrontScale(2)
    >>> points = [Point(np.array([i]), 0.0, losses) for i, losses in enumerate([[0, 4], [1, 1], [2, 0]])]
    >>> for point in points:
    ...     scale.add(point)
    >>> [min(points, key=Aim(np.array([w, 1 - w]), scale).key).losses for w in (0.9, 0.5, 0.1)]
    [[0, 4], [1, 1], [2, 0]]
    """

    def __init__(self, weights: Floats, scale: FrontScale) -> None:
        self._weights = (weights / scale.extent).tolist()
        self._best = scale.best.tolist()

    def key(self, point: Point) -> tuple[float, float]:
        """Give what is smaller for what is better: the violation, then the distance.

        Parameters
        ----------
        point : Point
            An evaluated architecture.

        Returns
        -------
        tuple of float
            To be compared.
        """
        # Lists: with so few numbers, arrays would take ten times as long.
        losses = (min(max(loss, -LARGEST), LARGEST) for loss in point.losses)
        parts = [w * (loss - b) for w, loss, b in zip(self._weights, losses, self._best, strict=True)]
        return point.violation, max(parts) + AUGMENTATION * sum(parts)
