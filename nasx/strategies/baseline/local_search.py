"""Local search: climb from neighbour to neighbour, and start anew at a local optimum."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import numpy as np
import numpy.typing as npt

from nasx.population import neighbors, sample
from nasx.space import Genotypes
from nasx.strategies.archive import Point
from nasx.strategies.base import SampledStrategy

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

    Better means a smaller violation first, then a smaller loss; with several objectives, a neighbour has to
    dominate (`ParetoSearch` is made for them). `ask` never waits: while the last neighbours of a climb are
    still out, the best other climb that has neighbours left goes on, or a new one starts; results that come
    late and are better reopen their climb.

    Parameters
    ----------
    n_init : int, default 10
        How many random architectures each climb starts from.
    improvement : {"first", "best"}, default "first"
        Move to the first neighbour that is better, or to the best after proposing all of them.
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
    C. White, S. Nolen and Y. Savani, "Exploring the loss landscape in neural architecture search", UAI 2021.

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

    def _propose(self, n: int, first: int) -> Genotypes:
        space = self.space
        to_sample = self._starts_until - self._asked
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

    def _from(self, climb: _Climb, rows: Genotypes) -> Genotypes:
        """Remember which climb proposed these."""
        self._climb_of.update((row.tobytes(), climb) for row in rows)
        return rows

    def _neighbors_of(self, climb: _Climb, n: int) -> list[Genotypes]:
        """Take up to `n` neighbours that come next in a climb; none if it is at a local optimum."""
        moved = climb.best is not climb.center and (self.improvement == "first" or not climb.queue)
        if moved and climb.best is not None:
            climb.center = climb.best
            rows = neighbors(
                climb.best.genotype,
                self.space.cardinalities,
                adjacent=self.space.ordered if self.adjacent else None,
                shuffled=True,
                seed=self.seed,
                generation=self._neighborhoods,
                conditions=self.space.conditions,
            )
            new = rows if self.allow_repeats else rows[~self._seen.contains(rows)]
            climb.queue = list(new[::-1])
            self._neighborhoods += 1
        taken = climb.queue[-n:]
        del climb.queue[-n:]
        return taken[::-1]

    def _observe(
        self, x: Genotypes, losses: npt.NDArray[np.float64], violations: npt.NDArray[np.float64]
    ) -> None:
        for row, violation, values in zip(x.copy(), violations.tolist(), losses.tolist(), strict=True):
            if math.isinf(violation):  # failed: nothing to climb from
                continue
            climb = self._climb_of.get(row.tobytes(), self._climb)  # the caller's own belong to the latest
            point = Point(row, violation, values)
            if climb.best is None or point.beats(climb.best):
                climb.best = point
                if climb not in self._open:
                    self._open.append(climb)
