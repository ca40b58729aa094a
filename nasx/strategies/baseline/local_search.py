"""Local search: climb from neighbour to neighbour, and start anew at a local optimum."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import numpy as np
import numpy.typing as npt

from nasx.population import sample
from nasx.space import Genotypes
from nasx.strategies.archive import Point
from nasx.strategies.base import SampledStrategy
from nasx.strategies.scalarization import Aim, FrontScale

__all__ = ["LocalSearch"]


@dataclasses.dataclass(eq=False, slots=True)
class _Climb:
    best: Point | None = None
    center: Point | None = None  # whose neighbours are in the queue
    queue: list[Genotypes] = dataclasses.field(default_factory=list)  # the next one last

    @property
    def key(self) -> tuple[float, list[float]]:
        """Smaller for the climb that is further up."""
        return (math.inf, []) if self.best is None else (self.best.violation, self.best.losses)


@dataclasses.dataclass(kw_only=True, eq=False)
class LocalSearch(SampledStrategy):
    """Climb from the best of a few random architectures through their neighbours.

    Neighbours differ in one decision and are proposed in random order. When none of them is better, the climb
    has reached a local optimum, and another one starts from new random architectures. Neighbours that are
    known from an earlier climb are not proposed again.

    Better means a smaller violation first, then a smaller loss. `ask` never waits: while the last neighbours
    of a climb are still out, the best other climb that has neighbours left goes on, or a new one starts;
    results that come late and are better reopen their climb.

    With several objectives, climbs would each go to one place of the front. So every proposal has a direction
    of its own, weights at random, and is a neighbour, at random among the new ones, of the architecture that
    is the best in this direction, by the augmented Chebyshev distance on the scale of the front, among all
    known ones with unknown neighbours [2]_. New random architectures come only when there are none of those.

    Parameters
    ----------
    n_init : int, default 10
        How many random architectures each climb starts from; with several objectives, the search.
    improvement : {"first", "best"}, default "first"
        Move to the first neighbour that is better, or to the best after proposing all of them. With several
        objectives it makes no difference.
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
    .. [1] C. White, S. Nolen and Y. Savani, "Exploring the loss landscape in neural architecture search", UAI
       2021.
    .. [2] H. Ishibuchi and T. Murata, "A multi-objective genetic local search algorithm and its application
       to flowshop scheduling", IEEE Transactions on Systems, Man, and Cybernetics C 28 (1998), with one
       neighbour looked at in each direction. A. Jaszkiewicz, "Genetic local search for multi-objective
       combinatorial optimization", European Journal of Operational Research 137 (2002).

    Examples
    --------
    >>> from nasx import Integer, LocalSearch, Space
    >>> space = Space({f"x{i}": Integer(0, 9) for i in range(4)})
    >>> strategy = LocalSearch().setup(space, seed=0)
    >>> best = 36
    >>> for _ in range(150):
    ...     x = strategy.ask()
    ...     strategy.tell(x, x.sum(axis=1))
    ...     best = min(best, int(x.sum()))
    >>> best
    0
    """

    n_init: int = 10
    improvement: Literal["first", "best"] = "first"
    adjacent: bool = False

    def __post_init__(self) -> None:
        self._check_integers(n_init=1)
        self._check_words("improvement", "first", "best")
        self._check_flags("adjacent")

    def _start(self) -> None:
        self._climb = _Climb()  # the latest
        self._starts_until = self.n_init  # it draws random starts until so many were asked for in all
        self._open: list[_Climb] = []  # those that may have neighbours left
        self._climb_of: dict[bytes, _Climb] = {}
        self._neighborhoods = 0
        # With several objectives.
        self._scale = FrontScale(self.objectives)
        self._unexplored: dict[Point, None] = {}  # what is known, but for those without new neighbours

    def _propose(self, n: int, first: int) -> Genotypes:
        space = self.space
        to_sample = self._starts_until - self._asked
        if to_sample <= 0 and self.objectives > 1:
            step = self._step(first)
            if len(step):
                return step
        while to_sample <= 0 and self._open:
            climb = min(self._open, key=lambda climb: climb.key)
            around = self._neighbors_of(climb, n)
            if around:
                return self._from(climb, np.array(around))
            self._open.remove(climb)
        if to_sample <= 0:
            self._climb, to_sample = _Climb(), self.n_init
            self._starts_until = self._asked + self.n_init
        n = min(n, to_sample)
        rows = sample(space.cardinalities, n, seed=self.seed, first=first, conditions=space.conditions)
        return self._from(self._climb, rows)

    def _step(self, first: int) -> Genotypes:
        """Take a new neighbour of the best in a random direction; no row if all are known."""
        weights = np.random.default_rng([self.seed, first]).dirichlet(np.ones(self.objectives))
        aim = Aim(weights, self._scale)
        while self._unexplored:
            # What is the best in a direction is on the front; elsewhere one looks when that is explored.
            known = [point for point in self._scale.front if point in self._unexplored]
            point = min(known or self._unexplored, key=aim.key)
            new = self._new_neighbors(point.genotype)
            if len(new):
                return new[:1]
            del self._unexplored[point]
        return self._none()

    def _from(self, climb: _Climb, rows: Genotypes) -> Genotypes:
        """Remember which climb proposed these."""
        rows = self.space.canonicalize(rows)  # as they will be told
        self._climb_of.update((row.tobytes(), climb) for row in rows)
        return rows

    def _neighbors_of(self, climb: _Climb, n: int) -> list[Genotypes]:
        """Take up to `n` neighbours that come next in a climb; none if it is at a local optimum."""
        moved = climb.best is not climb.center and (self.improvement == "first" or not climb.queue)
        if moved and climb.best is not None:
            climb.center = climb.best
            climb.queue = list(self._new_neighbors(climb.best.genotype)[::-1])
        taken = climb.queue[-n:]
        del climb.queue[-n:]
        return taken[::-1]

    def _new_neighbors(self, genotype: Genotypes) -> Genotypes:
        """Give the new ones in random order."""
        rows = self.space.neighbors(
            genotype,
            adjacent=self.adjacent,
            shuffled=True,
            seed=self.seed,
            generation=self._neighborhoods,
        )
        self._neighborhoods += 1
        new: Genotypes = rows if self.allow_repeats else rows[~self._seen.contains(rows)]
        return new

    def _observe(
        self, x: Genotypes, losses: npt.NDArray[np.float64], violations: npt.NDArray[np.float64]
    ) -> None:
        if self.objectives > 1:
            # Told again, an architecture has nothing new around it.
            x, losses, violations = self._told_first(x, losses, violations)
        for row, violation, values in zip(x.copy(), violations.tolist(), losses.tolist(), strict=True):
            if math.isinf(violation):  # failed: nothing to climb from
                continue
            point = Point(row, violation, values)
            if self.objectives > 1:
                self._scale.add(point)
                self._unexplored[point] = None
                continue
            climb = self._climb_of.get(row.tobytes(), self._climb)  # the caller's own belong to the latest
            if climb.best is None or point.beats(climb.best):
                climb.best = point
                if climb not in self._open:
                    self._open.append(climb)
