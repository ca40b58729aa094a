"""Pareto search: explore the neighbourhoods of the non-dominated architectures."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nasx.pareto import crowding_distance, rank
from nasx.population import sample, tournament
from nasx.space import Genotypes
from nasx.strategies.archive import Archive, Point
from nasx.strategies.base import SampledStrategy

__all__ = ["ParetoSearch"]

# Neighbours to look at before all of them are made: one of so few is new as a rule.
_FEW = 8


@dataclasses.dataclass(kw_only=True, eq=False)
class ParetoSearch(SampledStrategy):
    """Keep an archive of the non-dominated architectures and explore what is around its members.

    After `n_init` random architectures, each proposal is a neighbour, chosen at random among those that are
    new, of a member of the archive: the loneliest by crowding distance of a few drawn at random. Neighbours
    differ in one decision. A member whose neighbours are all known rests. When all of them do, the first
    front of those with unknown neighbours takes their place until the archive changes.

    An architecture over a limit is in the archive only while none has a smaller violation. Of several with
    the same losses the first is kept. With one objective, the archive is the best architecture.

    Parameters
    ----------
    n_init : int, default 10
        How many random architectures to start from.
    tournament_size : int, default 3
        How many members are drawn for each proposal; 1 ignores the crowding distance.
    epsilon : float or sequence of float, optional
        Keep one member in each box of this size, in units of the losses: one for all objectives or one for
        each. Only boxes that no other box dominates are kept, which bounds the archive.
    adjacent : bool, default False
        Move `Ordinal` and `Integer` decisions to the next smaller and next larger choice only; for decisions
        with very many choices.
    allow_repeats : bool, default False
        Propose architectures that were already proposed or told; for noisy objectives.

    Raises
    ------
    ValueError
        If a setting is out of range.

    References
    ----------
    L. Paquete, M. Chiarandini and T. Stützle, "Pareto local optimum sets in the biobjective traveling
    salesman problem", in Metaheuristics for Multiobjective Optimisation, Springer, 2004.
    M. Laumanns, L. Thiele, K. Deb and E. Zitzler, "Combining convergence and diversity in evolutionary
    multiobjective optimization", Evolutionary Computation 10(3), 2002.

    Examples
    --------
    >>> from nasx import Integer, ParetoSearch, Space
    >>> space = Space({f"x{i}": Integer(0, 5) for i in range(4)})
    >>> strategy = ParetoSearch().setup(space, objectives=2, seed=0)
    >>> for _ in range(300):
    ...     x = strategy.ask()
    ...     strategy.tell(x, [[a + b + c + d, 5 - a + b + c + d] for a, b, c, d in x])
    >>> genotypes, losses = strategy.archive
    >>> sorted(losses.tolist())
    [[0.0, 5.0], [1.0, 4.0], [2.0, 3.0], [3.0, 2.0], [4.0, 1.0], [5.0, 0.0]]
    """

    n_init: int = 10
    tournament_size: int = 3
    epsilon: float | Sequence[float] | None = None
    adjacent: bool = False

    def __post_init__(self) -> None:
        self._check_integers(n_init=1, tournament_size=1)
        self._check_flags("adjacent")
        self.epsilon = _check_epsilon(self.epsilon)

    def _start(self) -> None:
        sizes = [self.epsilon] * self.objectives if isinstance(self.epsilon, float) else self.epsilon
        if sizes is not None and len(sizes) != self.objectives:
            raise ValueError(
                f"epsilon must have one value for each of the {self.objectives} objectives; got {sizes}"
            )
        self._archive = Archive(self.objectives, sizes)
        # Evaluated architectures whose neighbours may not all be known, in the order in which they came.
        self._unexplored: dict[Point, None] = {}
        self._pool: _Pool | None = None  # those to explore now; None: to be chosen from the archive

    @property
    def archive(self) -> tuple[Genotypes, npt.NDArray[np.float64]]:
        """Genotypes ``(k, d)`` and losses ``(k, objectives)`` of the archive's members."""
        rows = [point.genotype for point in self._archive.points]
        return np.array(rows, np.int32).reshape(-1, len(self.space)), self._archive.losses.copy()

    def _propose(self, n: int, first: int) -> Genotypes:
        space = self.space
        to_sample = self.n_init - self._asked
        if to_sample <= 0:
            rows = self._explore(first)
            if len(rows):
                return rows
            to_sample = n  # everything told is explored: look elsewhere
        n = min(n, to_sample)
        return sample(space.cardinalities, n, seed=self.seed, first=first, conditions=space.conditions)

    def _explore(self, first: int) -> Genotypes:
        """Choose a member of the pool and a new neighbour of it; no row if all neighbours are known."""
        if self._pool is None:
            places = [i for i, p in enumerate(self._archive.points) if p in self._unexplored]
            self._pool = _Pool([self._archive.points[i] for i in places], self._archive.losses[places])
        tries = 0
        while self._pool.points or self._unexplored:
            if not self._pool.points:
                self._pool = self._next_front()
            chosen = self._pool.draw(self.tournament_size, seed=self.seed, generation=tries, first=first)
            rows = self._new_neighbor(self._pool.points[chosen].genotype, tries, first)
            if len(rows):
                return rows
            del self._unexplored[self._pool.remove(chosen)]
            tries += 1
        return self._none()

    def _next_front(self) -> _Pool:
        """Take the best of everything unexplored."""
        points = list(self._unexplored)
        losses = np.array([point.losses for point in points])
        ranks = rank(losses, np.array([point.violation for point in points]))
        places = np.flatnonzero(ranks == 0)
        return _Pool([points[i] for i in places], losses[places])

    def _new_neighbor(self, genotype: Genotypes, tries: int, first: int) -> Genotypes:
        for n in (_FEW, None):
            rows = self.space.neighbors(
                genotype,
                n=n,
                adjacent=self.adjacent,
                shuffled=True,
                seed=self.seed,
                generation=tries,
                first=first,
            )
            new = rows if self.allow_repeats else rows[~self._seen.contains(rows)]
            if len(new):
                break
        return new[:1]

    def _observe(
        self, x: Genotypes, losses: npt.NDArray[np.float64], violations: npt.NDArray[np.float64]
    ) -> None:
        # Told again, an architecture has nothing new around it.
        x, losses, violations = self._told_first(x, losses, violations)
        for row, values, violation in zip(x.copy(), losses.tolist(), violations.tolist(), strict=True):
            if math.isinf(violation):  # failed: nothing to explore around
                continue
            point = Point(row, violation, values)
            self._unexplored[point] = None
            if self._archive.add(point):
                self._pool = None


class _Pool:
    """Architectures to explore, and how alone each is among them."""

    def __init__(self, points: list[Point], losses: npt.NDArray[np.float64]) -> None:
        self.points = points
        self._crowdedness = -crowding_distance(losses, np.zeros(len(points), np.int32))

    def draw(self, size: int, *, seed: int, generation: int, first: int) -> int:
        """Give the place of the loneliest of a few."""
        winners = tournament(self._crowdedness, 1, size=size, seed=seed, generation=generation, first=first)
        return int(winners[0])

    def remove(self, place: int) -> Point:
        """Take a point out; the others stay as alone as they were."""
        self._crowdedness = np.delete(self._crowdedness, place)
        return self.points.pop(place)


def _check_epsilon(epsilon: Any) -> float | list[float] | None:
    if epsilon is None:
        return None
    try:
        sizes = np.array(epsilon, np.float64)
    except (TypeError, ValueError):
        sizes = np.array(np.nan)
    if sizes.ndim > 1 or not sizes.size or not (np.isfinite(sizes) & (sizes > 0)).all():
        raise ValueError(f"epsilon must be positive, one number or one for each objective; got {epsilon!r}")
    as_json: float | list[float] = sizes.tolist()
    return as_json
