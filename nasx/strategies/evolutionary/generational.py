"""Evolution by generations, which never waits for one to be complete."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from typing import Literal

import numpy as np
import numpy.typing as npt

from nasx.population import offspring, select_survivors
from nasx.space import Genotypes
from nasx.strategies.evolutionary.base import PopulationStrategy

__all__ = ["GenerationalStrategy"]


@dataclasses.dataclass(kw_only=True, eq=False)
class GenerationalStrategy(PopulationStrategy):
    """A method that renews a population, generation by generation, through crossover and mutation.

    Parents are chosen by tournaments on (front, crowding distance), violations first, and stay the same until
    a generation's worth of offspring has been told. Then a method's `_renew` makes the next population.

    Parameters
    ----------
    population_size : int, default 20
        Number of architectures in a generation.
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
    """

    crossover: Literal["uniform", "k_point"] = "uniform"
    crossover_points: int = 2
    crossover_probability: float = 0.9
    mutation_rate: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_integers(crossover_points=1)
        self._check_words("crossover", "uniform", "k_point")
        self._check_shares("crossover_probability", "mutation_rate")

    @abstractmethod
    def _renew(self) -> None:
        """Make the next population of parents and offspring, by `_keep`, and its parents, by `_rank`."""

    @property
    def _litter(self) -> int:
        """How many offspring make a generation."""
        return self.population_size

    @property
    def _breeding(self) -> int:
        """How many of the best may be parents, if there are so many."""
        return self.population_size

    @property
    def _contestants(self) -> int:
        """How many of those take part in a tournament."""
        return 2

    @property
    def ahead(self) -> int:
        """The random ones; later those with the parents of today."""
        if not self._parents:
            return super().ahead
        out = self._asked - len(self._told)  # their results will be told first
        return max(1, self._parents + self._litter - len(self._x) - out)

    def _begin(self) -> None:
        d = len(self.space)
        self._rates = np.full(d, 1 / d if self.mutation_rate is None else self.mutation_rate)
        # ``self._x`` holds the parents, then the offspring told since they were chosen.
        self._losses: npt.NDArray[np.float64] = np.empty((0, self.objectives))
        self._violations: npt.NDArray[np.float64] = np.empty(0)
        self._generation = self._parents = self._ranked = 0

    def _rank(self) -> npt.NDArray[np.int32]:
        """Choose the parents of the coming proposals among all that is here, and return their rows."""
        rows, ranks, self._crowding = select_survivors(
            self._losses,
            self._breeding,
            violations=self._violations,
            seed=self.seed,
            generation=self._generation,
        )
        self._breeders, self._ranks, self._ranked = self._x[rows], ranks.astype(np.float64), len(self._x)
        return rows

    def _keep(self, rows: npt.NDArray[np.int32]) -> None:
        """Drop everything else; what is left are the parents of the next generation."""
        self._x, self._losses, self._violations = self._x[rows], self._losses[rows], self._violations[rows]
        self._parents = len(rows)

    def _breed(self, n: int, first: int) -> Genotypes:
        if not self._parents and self._ranked < len(self._x):  # the random ones are still coming in
            self._rank()
        return offspring(
            self._breeders,
            self._ranks,
            self.space.cardinalities,
            n,
            size=self._contestants,
            crowding=self._crowding,
            kind=self.crossover,
            points=self.crossover_points,
            probability=self.crossover_probability,
            rates=self._rates,
            conditions=self.space.conditions,
            seed=self.seed,
            generation=self._generation,
            first=first,
        )

    def _enter(
        self, x: Genotypes, losses: npt.NDArray[np.float64], violations: npt.NDArray[np.float64]
    ) -> None:
        while len(x):
            full = self._parents + self._litter if self._parents else self.population_size
            due = full - len(self._x)
            self._x = np.concatenate([self._x, x[:due]])
            self._losses = np.concatenate([self._losses, losses[:due]])
            self._violations = np.concatenate([self._violations, violations[:due]])
            x, losses, violations = x[due:], losses[due:], violations[due:]
            if len(self._x) == full:
                self._generation += 1
                self._renew()
