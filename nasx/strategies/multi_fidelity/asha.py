"""ASHA: asynchronous successive halving."""

from __future__ import annotations

import dataclasses
import math

from nasx.population import GenotypeSet
from nasx.space import Genotypes
from nasx.strategies.base import Losses
from nasx.strategies.multi_fidelity.base import MultiFidelityStrategy, Rung

__all__ = ["ASHA"]


@dataclasses.dataclass(kw_only=True, eq=False)
class ASHA(MultiFidelityStrategy):
    """Give a larger budget to whoever is among the best so far, as soon as that is known.

    Every budget is a rung. Whenever somebody asks, an architecture goes up that is among the best
    ``1 / reduction_factor`` of its rung and has not gone up yet, the highest rung first; if there is none, a
    new architecture begins on the lowest. So no worker ever waits for a rung to be complete [1]_. In a space
    so small that its rungs let nobody have the whole budget, the best go on to it when nothing new is left.

    Parameters
    ----------
    inner : str, SampledStrategy or mapping, default "random_search"
        Where new architectures come from: a name, an instance, or a mapping of "name" and settings.
    min_budget : int, default 1
        The smallest budget, in the task's unit, such as epochs.
    max_budget : int, optional
        The whole budget; by default the task's.
    reduction_factor : int, default 3
        One of so many goes on to the next budget, which is larger by this factor.

    Raises
    ------
    ValueError
        If a setting is out of range, or `inner` allows repeats.

    References
    ----------
    .. [1] L. Li et al., "A system for massively parallel hyperparameter tuning", MLSys 2020.

    Examples
    --------
    >>> from nasx import ASHA, Integer, Space
    >>> strategy = ASHA(max_budget=9).setup(Space({"a": Integer(0, 99)}), seed=0)
    >>> for _ in range(60):
    ...     x, budgets = strategy.ask()
    ...     strategy.tell(x, x[:, 0] + 1 / budgets, budgets=budgets)
    >>> strategy.budgets
    (1, 3, 9)
    """

    def _start(self) -> None:
        d = len(self.space)
        self._rungs = [Rung() for _ in self.budgets]
        self._promoted = [GenotypeSet(d) for _ in self.budgets]
        self._best: list[list[Genotypes] | None] = [None for _ in self.budgets]  # of a rung as it is
        self._out: set[tuple[bytes, int]] = set()  # proposed, not yet told
        self._finished = False  # whether something has a result with the whole budget

    def _next(self) -> tuple[Genotypes, int] | None:
        proposal = self._promotion() or self._beginner() or self._leftover()
        if proposal is not None:
            self._out.add((proposal[0].tobytes(), proposal[1]))
        return proposal

    def _promotion(self) -> tuple[Genotypes, int] | None:
        for level in reversed(range(len(self.budgets) - 1)):
            for row in self._top(level):
                if self._promoted[level].insert(row[None])[0]:
                    return row, level + 1
        return None

    def _beginner(self) -> tuple[Genotypes, int] | None:
        new = self._new()
        return None if new is None else (new, 0)

    def _leftover(self) -> tuple[Genotypes, int] | None:
        """Let the best go on where rungs are too small for anyone to get the whole budget."""
        if self._finished or self._out:
            return None
        for level in reversed(range(len(self.budgets) - 1)):
            rung = self._rungs[level]
            for row in rung.best(len(rung), seed=self.seed):
                if self._promoted[level].insert(row[None])[0]:
                    return row, level + 1
        return None

    def _top(self, level: int) -> list[Genotypes]:
        """Give those that may leave a rung."""
        best = self._best[level]
        if best is None:
            quota = len(self._rungs[level]) // self.reduction_factor
            best = self._best[level] = self._rungs[level].best(quota, seed=self.seed)
        return best

    def _observe(self, row: Genotypes, level: int, losses: Losses, violation: float) -> None:
        self._rungs[level].add(row, losses, violation)
        self._best[level] = None
        self._out.discard((row.tobytes(), level))
        self._finished |= level == len(self.budgets) - 1 and not math.isinf(violation)
