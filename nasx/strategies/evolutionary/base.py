"""What all methods with a population share: how it begins, who enters it, and settings in range."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod

import numpy as np
import numpy.typing as npt

from nasx._core import evolution
from nasx.population import sample
from nasx.space import Genotypes
from nasx.strategies.base import PATIENCE, SampledStrategy

__all__ = ["PopulationStrategy"]


@dataclasses.dataclass(kw_only=True, eq=False)
class PopulationStrategy(SampledStrategy):
    """A method that breeds from a population of told architectures.

    The first `population_size` proposals are random; so is everything until the first result is told. Later
    proposals are bred from what is known at that time. A method implements `_begin`, `_breed` and `_enter`.

    Parameters
    ----------
    population_size : int, default 20
        Number of random architectures that it begins with, at least 2.
    allow_repeats : bool, default False
        Propose architectures that were already proposed or told; for noisy objectives.
    """

    population_size: int = 20

    _jumps = True
    _droppable = True

    def __post_init__(self) -> None:
        self._check_integers(population_size=2)

    @property
    def warmup(self) -> int:
        """The first population."""
        return self.population_size

    @property
    def ahead(self) -> int:
        """The random ones."""
        return max(1, self.population_size - self._asked)

    @abstractmethod
    def _begin(self) -> None:
        """Reset the method's own state: the population is empty."""

    @abstractmethod
    def _breed(self) -> evolution.Offspring | evolution.AgingPopulation:
        """Give what makes children of the population as it is; it is not empty."""

    @abstractmethod
    def _enter(
        self, x: Genotypes, losses: npt.NDArray[np.float64], violations: npt.NDArray[np.float64]
    ) -> None:
        """Take rows into the population."""

    def _start(self) -> None:
        self._populated = False
        # All that can be wrong with a child is that it was seen: the core looks for new ones by itself.
        self._plain = not (self._limited or self.space.canonical)
        self._begin()

    def _propose(self, n: int, first: int) -> Genotypes:
        if self._breeding:
            return self._breed().make(n, first)
        space, to_sample = self.space, self.population_size - self._asked
        n = min(n, to_sample) if to_sample > 0 else n
        return sample(space.cardinalities, n, seed=self.seed, first=first, conditions=space.conditions)

    def _take(self, n: int, most: int) -> Genotypes:
        if not self._plain or not self._breeding:
            return super()._take(n, most)
        first = self._proposed
        if self.allow_repeats:
            self._proposed = first + most
            return self._breed().make(most, first)
        rows, made, self._rejected = self._breed().make_new(
            most, first, self._seen.native, self._rejected, PATIENCE
        )
        self._proposed = first + made
        return rows

    @property
    def _breeding(self) -> bool:
        return self._asked >= self.population_size and self._populated

    def _observe(
        self, x: Genotypes, losses: npt.NDArray[np.float64], violations: npt.NDArray[np.float64]
    ) -> None:
        # Told again, an architecture would fill the population with its copies.
        x, losses, violations = self._told_first(x, losses, violations)
        if len(x):
            self._enter(x, losses, violations)
            self._populated = True
