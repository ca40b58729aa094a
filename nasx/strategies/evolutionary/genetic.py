"""The genetic algorithm: selection, crossover, mutation, and an elite that lives on."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from nasx.population import select_survivors
from nasx.strategies.evolutionary.generational import GenerationalStrategy

__all__ = ["GeneticAlgorithm"]


@dataclasses.dataclass(kw_only=True, eq=False)
class GeneticAlgorithm(GenerationalStrategy):
    """Breed generation after generation; the best members outlive their own.

    Parents are chosen by tournaments or among the best share, crossed and mutated. Each time that
    ``population_size - elites`` offspring have been told, they and the `elites` best of the population before
    are the next one. `ask` never waits: with results still out, it breeds from those that are known.

    Violations decide first, failures lose to everything that finished, and several objectives are compared
    by their non-dominated front, then by crowding distance.

    Parameters
    ----------
    population_size : int, default 20
        Number of architectures in a generation, at least 2.
    selection : {"tournament", "truncation"}, default "tournament"
        How a parent is chosen: the best of `tournament_size` members drawn with replacement, or any of the
        best `truncation` of the population.
    tournament_size : int, default 5
        Contestants of each tournament.
    truncation : float, default 0.3
        Share of the population that may breed, above 0 and at most 1; one member breeds in any case.
    elites : int, default 2
        How many of the best live on, less than `population_size`.
    crossover : {"uniform", "k_point"}, default "uniform"
        Take each decision from either parent, or swap parents at `crossover_points` places.
    crossover_points : int, default 2
        Places of a k-point crossover.
    crossover_probability : float, default 0.9
        Share of the offspring that have two parents; the others are mutated copies of one.
    mutation_rate : float, optional
        Probability that a decision changes to a different choice; by default 1 / (number of decisions).
    allow_repeats : bool, default False
        Propose architectures that were already proposed or told; for noisy objectives.

    Raises
    ------
    ValueError
        If a setting is out of range.

    Notes
    -----
    The defaults suit a few hundred evaluations: generations small enough that there are several, and as much
    pressure as in `RegularizedEvolution`. On measured tables of three spaces, populations of 40 and
    tournaments of two were behind with 100 evaluations and with 300, populations of 10 ahead with 100 and
    behind with 300, and the lack of an elite never helped beyond chance.

    References
    ----------
    D. E. Goldberg and K. Deb, "A comparative analysis of selection schemes used in genetic algorithms",
    Foundations of Genetic Algorithms 1, 1991. L. Xie and A. Yuille, "Genetic CNN", ICCV 2017.

    Examples
    --------
    >>> from nasx import GeneticAlgorithm, Integer, Space
    >>> strategy = GeneticAlgorithm(population_size=10)
    >>> strategy = strategy.setup(Space({f"x{i}": Integer(0, 9) for i in range(4)}), seed=0)
    >>> best = 36
    >>> for _ in range(20):
    ...     x = strategy.ask(10)
    ...     strategy.tell(x, x.sum(axis=1))
    ...     best = min(best, int(x.sum(axis=1).min()))
    >>> best < 4
    True
    """

    population_size: int = 20
    selection: Literal["tournament", "truncation"] = "tournament"
    tournament_size: int = 5
    truncation: float = 0.3
    elites: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_words("selection", "tournament", "truncation")
        self._check_integers(tournament_size=1, elites=0)
        if not self.elites < self.population_size:
            raise ValueError(
                f"elites must be less than population_size={self.population_size}; got {self.elites}"
            )
        if not 0 < self.truncation <= 1:
            raise ValueError(f"truncation must be above 0 and at most 1; got {self.truncation}")

    @property
    def _litter(self) -> int:
        return self.population_size - self.elites

    @property
    def _breeders(self) -> int:
        if self.selection == "tournament":
            return self.population_size
        return max(1, round(self.truncation * self._end))

    @property
    def _contestants(self) -> int:
        return self.tournament_size if self.selection == "tournament" else 1

    def _renew(self) -> None:
        best = select_survivors(
            self._losses[: self._parents],
            self.elites,
            violations=self._violations[: self._parents],
            seed=self.seed,
            generation=self._generation,
        ).rows
        offspring = np.arange(self._parents, self._end, dtype=np.int32)
        self._keep(np.concatenate([best, offspring]))
        self._rank()
