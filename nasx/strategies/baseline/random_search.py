"""Random search: the baseline that every method has to beat."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from nasx.population import sample
from nasx.space import Genotypes
from nasx.strategies.base import SampledStrategy

__all__ = ["RandomSearch"]


@dataclasses.dataclass(kw_only=True, eq=False)
class RandomSearch(SampledStrategy):
    """Propose random architectures, each at most once.

    Every active decision is uniform over its choices; nothing that is told changes what comes next.

    Parameters
    ----------
    allow_repeats : bool, default False
        Propose architectures that were already proposed or told.

    References
    ----------
    L. Li and A. Talwalkar, "Random search and reproducibility for neural architecture search", UAI 2019.

    Examples
    --------
    >>> from nasx import Categorical, RandomSearch, Space
    >>> strategy = RandomSearch().setup(Space({"op": Categorical("abc")}), seed=0)
    >>> sorted(strategy.ask(5).tolist())
    [[0], [1], [2]]
    """

    _jumps = True
    _droppable = True

    @property
    def ahead(self) -> int:
        """All of them."""
        return 2**31 - 1

    def _start(self) -> None:
        pass

    def _propose(self, n: int, first: int) -> Genotypes:
        space = self.space
        return sample(space.cardinalities, n, seed=self.seed, first=first, conditions=space.conditions)

    def _observe(
        self, x: Genotypes, losses: npt.NDArray[np.float64], violations: npt.NDArray[np.float64]
    ) -> None:
        pass
