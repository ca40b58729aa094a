"""NSGA-II: non-dominated sorting with crowding."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
import numpy.typing as npt

from nasx.population import GenotypeSet, offspring, sample, select_survivors
from nasx.space import Genotypes
from nasx.strategies.base import SampledStrategy

__all__ = ["NSGA2"]


@dataclasses.dataclass(kw_only=True, eq=False)
class NSGA2(SampledStrategy):
    """Evolve a population towards the whole Pareto front.

    Parents are chosen by binary tournaments on (front, crowding distance), crossed and mutated; each time
    that a population's worth of offspring has been told, the best of parents and offspring survive, whole
    fronts first and the last front by crowding distance. Violations come before everything else. `ask` never
    waits: with results still out, it breeds from those that are known.

    Parameters
    ----------
    population_size : int, default 50
        Number of survivors, and of offspring between two selections.
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

    References
    ----------
    K. Deb, A. Pratap, S. Agarwal and T. Meyarivan, "A fast and elitist multiobjective genetic algorithm:
    NSGA-II", IEEE Transactions on Evolutionary Computation 6(2), 2002.

    Examples
    --------
    >>> from nasx import NSGA2, Integer, Space
    >>> strategy = NSGA2(population_size=10).setup(
    ...     Space({"a": Integer(0, 9), "b": Integer(0, 9)}), objectives=2, seed=0
    ... )
    >>> for _ in range(5):
    ...     x = strategy.ask(10)
    ...     strategy.tell(x, [[a, (9 - a) + b] for a, b in x])
    >>> x.shape
    (10, 2)
    """

    population_size: int = 50
    crossover: Literal["uniform", "k_point"] = "uniform"
    crossover_points: int = 2
    crossover_probability: float = 0.9
    mutation_rate: float | None = None

    def __post_init__(self) -> None:
        for name, least in (("population_size", 2), ("crossover_points", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise ValueError(f"{name} must be an integer; got {value!r}")
            if value < least:
                raise ValueError(f"{name} must be at least {least}; got {value}")
        if self.crossover not in ("uniform", "k_point"):
            raise ValueError(f"crossover must be 'uniform' or 'k_point'; got {self.crossover!r}")
        for name in ("crossover_probability", "mutation_rate"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{name} must be in 0..1; got {value}")

    @property
    def warmup(self) -> int:
        """The first population."""
        return self.population_size

    def _start(self) -> None:
        d = len(self.space)
        self._rates = np.full(d, 1 / d if self.mutation_rate is None else self.mutation_rate)
        # Parents, then the offspring told since they were selected.
        self._x: Genotypes = np.empty((0, d), np.int32)
        self._losses: npt.NDArray[np.float64] = np.empty((0, self.objectives))
        self._violations: npt.NDArray[np.float64] = np.empty(0)
        self._told = GenotypeSet(d)
        self._generation = 0
        self._parents = 0
        self._select(self.population_size)

    def _select(self, n: int) -> None:
        """Rank everything told, and choose the parents of the coming proposals."""
        chosen, self._ranks, self._crowding = select_survivors(
            self._losses, n, violations=self._violations, seed=self.seed, generation=self._generation
        )
        self._breeders = self._x[chosen]
        self._chosen = chosen

    def _propose(self, n: int, first: int) -> Genotypes:
        space = self.space
        to_sample = self.population_size - self._asked
        if to_sample > 0 or not len(self._x):
            n = min(n, to_sample) if to_sample > 0 else n
            return sample(space.cardinalities, n, seed=self.seed, first=first, conditions=space.conditions)
        if not self._parents and len(self._chosen) < len(self._x):
            self._select(len(self._x))
        return offspring(
            self._breeders,
            self._ranks,
            self._crowding,
            space.cardinalities,
            n,
            kind=self.crossover,
            points=self.crossover_points,
            probability=self.crossover_probability,
            rates=self._rates,
            conditions=space.conditions,
            seed=self.seed,
            generation=self._generation,
            first=first,
        )

    def _observe(
        self, x: Genotypes, losses: npt.NDArray[np.float64], violations: npt.NDArray[np.float64]
    ) -> None:
        if not self.allow_repeats:  # told again, a genotype would fill the population with its copies
            new = self._told.insert(x)
            x, losses, violations = x[new], losses[new], violations[new]
        while len(x):
            due = self._parents + self.population_size - len(self._x)
            self._x = np.concatenate([self._x, x[:due]])
            self._losses = np.concatenate([self._losses, losses[:due]])
            self._violations = np.concatenate([self._violations, violations[:due]])
            x, losses, violations = x[due:], losses[due:], violations[due:]
            if len(self._x) == self._parents + self.population_size:
                self._generation += 1
                self._select(self.population_size)
                self._x, self._losses = self._breeders, self._losses[self._chosen]
                self._violations = self._violations[self._chosen]
                self._parents = len(self._x)
