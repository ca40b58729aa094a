"""Hyperband: successive halving from several starting budgets."""

from __future__ import annotations

import dataclasses
import math
from collections import deque

from nasx.space import Genotypes
from nasx.strategies.base import Losses
from nasx.strategies.multi_fidelity.base import MultiFidelityStrategy, Rung

__all__ = ["Hyperband"]


@dataclasses.dataclass(kw_only=True, eq=False)
class Hyperband(MultiFidelityStrategy):
    """Run brackets of successive halving, from many architectures with little budget to few with all of it.

    A bracket tries a number of new architectures with its first budget, goes on with the best
    ``1 / reduction_factor`` of them and a larger budget, and so on up to the whole one. Brackets that begin
    with the smallest budget are followed by ones that begin with larger ones, in case small budgets mislead,
    and then by the first again [1]_. While a bracket waits for results, the next ones go on, so that no
    worker waits. With an inner strategy that learns, this is the scheme of BOHB [2]_.

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
    .. [1] L. Li, K. Jamieson, G. DeSalvo, A. Rostamizadeh and A. Talwalkar, "Hyperband: A novel bandit-based
       approach to hyperparameter optimization", JMLR 18, 2018.
    .. [2] S. Falkner, A. Klein and F. Hutter, "BOHB: Robust and efficient hyperparameter optimization at
       scale", ICML 2018.

    Examples
    --------
    >>> from nasx import Hyperband, Integer, Space
    >>> strategy = Hyperband(max_budget=9).setup(Space({"a": Integer(0, 99)}), seed=0)
    >>> tried = []
    >>> for _ in range(22):
    ...     x, budgets = strategy.ask()
    ...     strategy.tell(x, x[:, 0] + 1 / budgets, budgets=budgets)
    ...     tried += budgets.tolist()
    >>> {budget: tried.count(budget) for budget in strategy.budgets}
    {1: 9, 3: 8, 9: 5}
    """

    def _start(self) -> None:
        self._open: list[_Bracket] = []
        self._begun = 0

    def _next(self) -> tuple[Genotypes, int] | None:
        for bracket in self._open:
            if (proposal := self._go_on(bracket)) is not None:
                return proposal
        # The next bracket; one is enough to find out that nothing new is left.
        first = self._begun % len(self.budgets)
        bracket = _Bracket(first, len(self.budgets), self.reduction_factor)
        if (proposal := self._go_on(bracket)) is not None:
            self._begun += 1
            self._open.append(bracket)
        return proposal

    def _go_on(self, bracket: _Bracket) -> tuple[Genotypes, int] | None:
        """Give what a bracket can have evaluated now."""
        if bracket.missing:
            row = self._new(bracket.level)
            if row is not None:
                bracket.missing -= 1
                bracket.out.add(row.tobytes())
                return row, bracket.level
            bracket.missing = 0
            bracket.climb(self.seed)
        if bracket.queue:
            row = bracket.queue.popleft()
            bracket.out.add(row.tobytes())
            return row, bracket.level
        return None

    def _observe(self, row: Genotypes, level: int, losses: Losses, violation: float) -> None:
        key = row.tobytes()
        for bracket in self._open:
            if bracket.level == level and key in bracket.out:
                bracket.out.remove(key)
                bracket.rung.add(row, losses, violation)
                bracket.climb(self.seed)
                break
        self._open = [bracket for bracket in self._open if not bracket.finished]


class _Bracket:
    """One run of successive halving.

    Parameters
    ----------
    level, levels : int
        Number of its first budget, and of all.
    factor : int
        One of so many goes on.
    """

    def __init__(self, level: int, levels: int, factor: int) -> None:
        rungs = levels - level
        self.level, self._levels, self._factor = level, levels, factor
        self.missing = math.ceil(levels / rungs * factor ** (rungs - 1))  # new architectures yet to be taken
        self.queue: deque[Genotypes] = deque()  # those that go on, not yet proposed
        self.out: set[bytes] = set()  # proposed, not yet told
        self.rung = Rung()

    @property
    def finished(self) -> bool:
        return not (self.missing or self.queue or self.out)

    def climb(self, seed: int) -> None:
        """Go on to the next budget if everybody on this one is through."""
        while self.finished and self.level + 1 < self._levels and len(self.rung):
            # Of fewer than `factor`, which is all that is left of a small space, the best goes on too.
            self.queue.extend(self.rung.best(max(1, len(self.rung) // self._factor), seed=seed))
            self.level += 1
            self.rung = Rung()
