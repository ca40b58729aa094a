"""Evolution by generations, which never waits for one to be complete."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from typing import Literal

import numpy as np
import numpy.typing as npt

from nasx._core import evolution as _evolution
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
    def _breeders(self) -> int:
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
        out = self._asked - self._seen.marked  # their results will be told first
        return max(1, self._parents + self._litter - self._end - out)

    def _begin(self) -> None:
        d, room = len(self.space), self.population_size + self._litter
        self._rates = np.full(d, 1 / d if self.mutation_rate is None else self.mutation_rate)
        # The parents, then the offspring told since they were chosen; ``self._end`` of all.
        self._genotypes = np.empty((room, d), np.int32)
        self._x: Genotypes = self._genotypes[:0]
        self._losses = np.empty((room, self.objectives))
        self._violations = np.empty(room)
        self._end = self._generation = self._parents = self._ranked = 0

    def _rank(self) -> npt.NDArray[np.int32]:
        """Choose the parents of the coming proposals among all that is here, and return their rows."""
        rows, ranks, crowding = _evolution.nsga2_select(
            self._losses[: self._end],
            self._violations[: self._end],
            self._breeders,
            self.seed,
            self._generation,
        )
        space = self.space
        self._maker = _evolution.Offspring(
            self._x.take(rows, axis=0),
            ranks.astype(np.float64),
            crowding,
            space.cardinalities,
            space.conditions,
            self._contestants,
            self.crossover,
            self.crossover_points,
            self.crossover_probability,
            self._rates,
            self.seed,
            self._generation,
        )
        self._ranked = self._end
        return rows

    def _keep(self, rows: npt.NDArray[np.int32]) -> None:
        """Drop everything else; what is left are the parents of the next generation."""
        self._parents = self._end = len(rows)
        for memory in (self._genotypes, self._losses, self._violations):
            memory[: len(rows)] = memory.take(rows, axis=0)
        self._x = self._genotypes[: self._end]

    def _breed(self) -> _evolution.Offspring:
        if not self._parents and self._ranked < self._end:  # the random ones are still coming in
            self._rank()
        return self._maker

    def _enter(
        self, x: Genotypes, losses: npt.NDArray[np.float64], violations: npt.NDArray[np.float64]
    ) -> None:
        while len(x):
            full = self._parents + self._litter if self._parents else self.population_size
            start, end = self._end, min(self._end + len(x), full)
            taken = end - start
            self._genotypes[start:end] = x[:taken]
            self._losses[start:end] = losses[:taken]
            self._violations[start:end] = violations[:taken]
            x, losses, violations = x[taken:], losses[taken:], violations[taken:]
            self._x, self._end = self._genotypes[:end], end
            if end == full:
                self._generation += 1
                self._renew()
