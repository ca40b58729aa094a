"""What local methods remember: evaluated architectures, and the best trade-offs among them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nasx.space import Genotypes

__all__ = ["Archive", "Point"]


@dataclasses.dataclass(eq=False, slots=True)
class Point:
    """An evaluated architecture: its genotype ``(d,)``, how far it is over the limits, and its losses."""

    genotype: Genotypes
    violation: float
    losses: list[float]

    def beats(self, other: Point) -> bool:
        """Whether this one dominates the other: by violation first, then in the losses.

        Parameters
        ----------
        other : Point
            With as many losses.

        Returns
        -------
        bool
            False if they are equal.
        """
        if self.violation != other.violation:
            return self.violation < other.violation
        no_worse = all(a <= b for a, b in zip(self.losses, other.losses, strict=True))
        return no_worse and self.losses != other.losses


class Archive:
    """The points that no other one dominates, by violation first.

    Points with a larger violation than another are never kept, and of several with the same losses the first
    is. With boxes [1]_, losses are compared by the box they fall into: no kept box dominates another, and of
    two points in a box the second is kept only if it dominates the first.

    Parameters
    ----------
    objectives : int
        Number of losses.
    epsilon : sequence of float, optional
        Sizes of the boxes, one for each objective; without, every vector of losses is a box of its own.

    Notes
    -----
    Adding takes O(m k) for k points and m objectives.

    References
    ----------
    .. [1] M. Laumanns, L. Thiele, K. Deb, E. Zitzler, "Combining convergence and diversity in evolutionary
       multiobjective optimization", Evolutionary Computation 10 (2002).

    Examples
    --------
    >>> archive = Archive(2)
    >>> [archive.add(Point(np.array([i]), 0.0, losses)) for i, losses in enumerate([[2, 2], [3, 3], [1, 3]])]
    [True, False, True]
    >>> archive.losses.tolist()
    [[2.0, 2.0], [1.0, 3.0]]
    """

    def __init__(self, objectives: int, epsilon: Sequence[float] | None = None) -> None:
        self.points: list[Point] = []
        self.losses: npt.NDArray[np.float64] = np.empty((0, objectives))
        self._boxes = self.losses
        self._epsilon = None if epsilon is None else np.array(epsilon, np.float64)

    def __len__(self) -> int:
        return len(self.points)

    def add(self, point: Point) -> bool:
        """Add a point, and drop those that it dominates.

        Parameters
        ----------
        point : Point
            Its losses must not be NaN.

        Returns
        -------
        bool
            Whether it was kept.
        """
        if self.points and point.violation != self.points[0].violation:
            if point.violation > self.points[0].violation:
                return False
            self._keep(np.zeros(len(self), bool))
        losses = np.array(point.losses, np.float64)
        box = self._box(losses)
        if (self._boxes <= box).all(axis=1).any():
            same = np.flatnonzero((self._boxes == box).all(axis=1))
            if not len(same) or not point.beats(self.points[same[0]]):
                return False
            self._keep(np.arange(len(self)) != same[0])
        else:
            self._keep(np.logical_not((box <= self._boxes).all(axis=1)))
        self.points.append(point)
        self.losses = np.vstack([self.losses, losses])
        self._boxes = np.vstack([self._boxes, box])
        return True

    def _box(self, losses: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        if self._epsilon is None:
            return losses
        with np.errstate(over="ignore"):  # as far out as it gets
            return np.floor(losses / self._epsilon)

    def _keep(self, kept: npt.NDArray[np.bool_]) -> None:
        if not kept.all():
            self.points = [point for point, stays in zip(self.points, kept, strict=True) if stays]
            self.losses, self._boxes = self.losses[kept], self._boxes[kept]
