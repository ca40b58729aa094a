"""What methods that model their results have in common."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod

import numpy as np

from nasx.space import Genotypes
from nasx.strategies.base import SampledStrategy

__all__ = ["ModelStrategy"]


@dataclasses.dataclass(kw_only=True, eq=False)
class ModelStrategy(SampledStrategy):
    """A method that proposes at random until enough is known, then one by one by a model.

    Subclasses count results in `_known`, and keep in `_adopt` what is out.

    Parameters
    ----------
    n_startup : int, default 10
        How many results to wait for, with random proposals, at least 1.
    allow_repeats : bool, default False
        Propose architectures that were already proposed or told; for noisy objectives.
    """

    n_startup: int = 10

    @property
    @abstractmethod
    def _known(self) -> int:
        """How many results were told."""

    @property
    def warmup(self) -> int:
        """The random architectures at the beginning."""
        return self.n_startup

    def ask(self, n: int = 1) -> Genotypes:
        """Propose architectures, each with the earlier ones among those whose results are out.

        Parameters
        ----------
        n : int, default 1
            How many.

        Returns
        -------
        ndarray of int32, shape (at most n, d)
            Genotypes to evaluate. Fewer than `n` rows mean that nothing else is left.

        Raises
        ------
        ValueError
            If `n` is less than 1.
        RuntimeError
            If `setup` was not called.
        """
        self._require_setup()
        if n < 1 or self._known < self.n_startup:  # random, whatever is out
            found = super().ask(n)
            self._adopt(found)
            return found
        found = self._none()
        while len(found) < n:
            rows = super().ask(1)
            if not len(rows):
                break
            self._adopt(rows)
            found = np.concatenate([found, rows])
        return found
