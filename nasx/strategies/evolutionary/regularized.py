"""Regularised evolution: tournaments, one mutation, and death by age."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from nasx._core import evolution as _evolution
from nasx.space import Genotypes
from nasx.strategies.evolutionary.base import PopulationStrategy

__all__ = ["RegularizedEvolution"]


@dataclasses.dataclass(kw_only=True, eq=False)
class RegularizedEvolution(PopulationStrategy):
    """Mutate the winners of tournaments, and let the oldest die.

    The first `population_size` architectures are random. Each later one is a copy of the best of
    `sample_size` members of the population, drawn with replacement, with one decision changed to a different
    choice. Whatever is told enters the population, and the oldest member leaves it, however good it is: to
    last, an architecture must be found again by its children's merits, which keeps lucky measurements from
    ruling. `ask` never waits: with results still out, it breeds from those that are known.

    Violations decide first, and failures lose to everything that finished. Several objectives are compared by
    the population's non-dominated fronts, and within a front by crowding distance.

    Parameters
    ----------
    population_size : int, default 20
        Number of members, at least 2. The paper's 100 suit tens of thousands of evaluations; with a hundred
        they would be a random search.
    sample_size : int, default 5
        Contestants of each tournament; 1 makes a random walk.
    allow_repeats : bool, default False
        Propose architectures that were already proposed or told; for noisy objectives.

    Raises
    ------
    ValueError
        If a setting is out of range.

    References
    ----------
    E. Real, A. Aggarwal, Y. Huang and Q. V. Le, "Regularized evolution for image classifier architecture
    search", AAAI 2019.

    Examples
    --------
    >>> from nasx import Integer, RegularizedEvolution, Space
    >>> strategy = RegularizedEvolution(population_size=10)
    >>> strategy = strategy.setup(Space({f"x{i}": Integer(0, 9) for i in range(4)}), seed=0)
    >>> best = 36
    >>> for _ in range(200):
    ...     x = strategy.ask(1)
    ...     strategy.tell(x, x.sum(axis=1))
    ...     best = min(best, int(x.sum()))
    >>> best < 4
    True
    """

    sample_size: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_integers(sample_size=1)

    def _begin(self) -> None:
        space = self.space
        self._population = _evolution.AgingPopulation(
            space.cardinalities,
            space.conditions,
            self.population_size,
            self.sample_size,
            self.objectives,
            self.seed,
        )

    # Where a table answers in no time, these steps are what a search costs: each is one call of the core.

    def _breed(self) -> _evolution.AgingPopulation:
        return self._population

    def _learn(
        self,
        x: npt.ArrayLike,
        losses: npt.ArrayLike,
        violations: npt.ArrayLike | None,
        failed: npt.ArrayLike | None,
    ) -> bool:
        if self.space.canonical:
            return False
        if self.allow_repeats:
            done = self._population.tell(x, losses, violations, failed, None)
        else:
            before = len(self._seen)
            done = self._population.tell(x, losses, violations, failed, self._seen.native)
            self._asked += len(self._seen) - before
        if not self._populated:
            self._populated = self._population.size > 0
        return done

    def _enter(
        self, x: Genotypes, losses: npt.NDArray[np.float64], violations: npt.NDArray[np.float64]
    ) -> None:
        self._population.enter(x, losses, violations)
