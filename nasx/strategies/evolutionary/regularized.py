"""Regularised evolution: tournaments, one mutation, and death by age."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from nasx._core import evolution as _evolution
from nasx.pareto import rank
from nasx.space import Genotypes
from nasx.strategies.evolutionary.base import PopulationStrategy

__all__ = ["RegularizedEvolution"]

# So many members may come before the living are moved to the front of their memory.
_ROOM = 1024


@dataclasses.dataclass(kw_only=True, eq=False)
class RegularizedEvolution(PopulationStrategy):
    """Mutate the winners of tournaments, and let the oldest die.

    The first `population_size` architectures are random. Each later one is a copy of the best of
    `sample_size` members of the population, drawn with replacement, with one decision changed to a different
    choice. Whatever is told enters the population, and the oldest member leaves it, however good it is: to
    last, an architecture must be found again by its children's merits, which keeps lucky measurements from
    ruling. `ask` never waits: with results still out, it breeds from those that are known.

    Violations decide first, failures lose to everything that finished, and of several objectives the
    non-dominated front of the population counts.

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
        rows = self.population_size + max(self.population_size, _ROOM)
        self._genotypes = np.zeros((rows, len(self.space)), np.int32)
        self._losses = np.zeros((rows, self.objectives))
        self._violations = np.zeros(rows)
        self._end = 0  # behind the youngest; the population are the last rows before it, the oldest first

    # Where a table answers in no time, these two steps are what a search costs. So they call the core without
    # the checks of `nasx.population`, and move a window over memory instead of moving the members.

    def _breed(self) -> _evolution.Mutants:
        space = self.space
        return _evolution.Mutants(
            self._x, self._keys, space.cardinalities, space.conditions, self.sample_size, self.seed, 0
        )

    def _enter(
        self, x: Genotypes, losses: npt.NDArray[np.float64], violations: npt.NDArray[np.float64]
    ) -> None:
        size, start = self.population_size, self._end
        end = start + min(len(x), size)
        if end > len(self._genotypes):
            for memory in (self._genotypes, self._losses, self._violations):
                memory[:size] = memory[start - size : start]
            start, end = size, size + end - start
        self._genotypes[start:end] = x[-size:]
        self._losses[start:end] = losses[-size:]
        self._violations[start:end] = violations[-size:]
        self._end, oldest = end, max(end - size, 0)
        self._x = self._genotypes[oldest:end]
        over = self._violations[oldest:end]
        if self.objectives == 1 and not np.count_nonzero(over):
            self._keys = self._losses[oldest:end, 0]
        else:
            self._keys = rank(self._losses[oldest:end], over).astype(np.float64)
