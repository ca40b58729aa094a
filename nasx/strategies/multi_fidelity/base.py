"""What Hyperband and ASHA share: many architectures are tried with little, the best ones with more."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from nasx._arguments import integers
from nasx.population import GenotypeSet, select_survivors
from nasx.space import Genotypes, Space
from nasx.strategies.base import (
    CostViolation,
    Losses,
    SampledStrategy,
    Strategy,
    check_decisions,
    check_setup,
    settle,
)
from nasx.strategies.inner import make_inner

__all__ = ["Budgets", "MultiFidelityStrategy", "Proposals", "Rung"]

Budgets: TypeAlias = npt.NDArray[np.int32]


class Proposals(NamedTuple):
    """Architectures to evaluate, and what to spend on each."""

    genotypes: Genotypes
    """Shape (n, d)."""
    budgets: Budgets
    """In the task's unit, shape (n,)."""


@dataclasses.dataclass(kw_only=True, eq=False)
class MultiFidelityStrategy(Strategy, ABC):
    """Proposes pairs of an architecture and a budget.

    New architectures come from `inner`, one copy of it for each budget, told the results with that budget
    alone, since losses after different budgets do not compare. The copy for the largest budget that has had
    more results than there are decisions [1]_, and enough for the method to begin with, proposes; before
    that, the one for the smallest. With several objectives, results of a budget are ordered as in NSGA-II:
    violation, non-dominated front, crowding distance.

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
    .. [1] S. Falkner, A. Klein and F. Hutter, "BOHB: Robust and efficient hyperparameter optimization at
       scale", ICML 2018.
    """

    inner: str | SampledStrategy | Mapping[str, Any] = "random_search"
    min_budget: int = 1
    max_budget: int | None = None
    reduction_factor: int = 3

    def __post_init__(self) -> None:
        self._check_integers(min_budget=1, reduction_factor=2)
        if self.max_budget is not None:
            self._check_integers(max_budget=1)
        if self.max_budget is not None and self.max_budget < self.min_budget:
            raise ValueError(
                f"max_budget must be at least min_budget, {self.min_budget}; got {self.max_budget}"
            )
        self._make_inner()

    def _make_inner(self) -> SampledStrategy:
        return make_inner(self.inner, why="an architecture has one place on every rung")

    @property
    def settings(self) -> dict[str, Any]:
        """The settings as JSON types, enough to make an equal strategy."""
        from nasx.registry import strategy_name

        inner = self._make_inner()
        return super().settings | {"inner": {"name": strategy_name(inner), **inner.settings}}

    def setup(
        self,
        space: Space,
        *,
        objectives: int = 1,
        seed: int = 0,
        cost_violation: CostViolation | None = None,
        max_budget: int | None = None,
    ) -> Self:
        """Begin a run; the state of an earlier one is dropped.

        Parameters
        ----------
        space : Space
            Where to search.
        objectives : int, default 1
            Number of losses told for each architecture.
        seed : int, default 0
            Same seed and same tells, same proposals.
        cost_violation : callable, optional
            As for `SampledStrategy.setup`.
        max_budget : int, optional
            The task's whole budget, for a strategy whose own `max_budget` is None.

        Returns
        -------
        MultiFidelityStrategy
            The strategy itself; `budgets` are those that it uses, ascending.

        Raises
        ------
        ValueError
            If an argument is out of range, or nothing says what the whole budget is.
        """
        check_setup(objectives, seed)
        check_decisions(self, space)
        whole = self.max_budget if self.max_budget is not None else max_budget
        if whole is None:
            raise ValueError(
                "max_budget is missing and the task does not say what its whole budget is; give the strategy "
                "max_budget=..., in the task's unit, such as epochs"
            )
        if whole < self.min_budget:
            raise ValueError(
                f"min_budget must be at most the task's whole budget, {whole}; got {self.min_budget}"
            )
        self.space, self.objectives, self.seed = space, objectives, seed
        self.budgets = budget_levels(self.min_budget, whole, self.reduction_factor)
        # Copies that draw the same architectures would waste each other's proposals.
        self._inners = [
            self._make_inner().setup(
                space,
                objectives=objectives,
                seed=(seed + level * 0x9E3779B97F4A7C15) % 2**63,
                cost_violation=cost_violation,
            )
            for level in range(len(self.budgets))
        ]
        self._told = [0] * len(self.budgets)
        self._seen = GenotypeSet(len(space))
        self._start()
        return self

    def ask(self, n: int = 1) -> Proposals:
        """Propose architectures with budgets; never waits for results that are still out.

        Parameters
        ----------
        n : int, default 1
            How many.

        Returns
        -------
        Proposals
            Named tuple of ``genotypes``, int32 ``(at most n, d)``, and ``budgets``, int32. Fewer than `n`
            rows mean that nothing else is left until more results are told.

        Raises
        ------
        ValueError
            If `n` is less than 1.
        RuntimeError
            If `setup` was not called.
        """
        self._require_setup()
        if n < 1:
            raise ValueError(f"n must be at least 1; got {n}")
        rows: list[Genotypes] = []
        levels: list[int] = []
        while len(rows) < n and (proposal := self._next()) is not None:
            rows.append(proposal[0])
            levels.append(proposal[1])
        budgets = np.array([self.budgets[level] for level in levels], np.int32)
        return Proposals(np.array(rows, np.int32).reshape(-1, len(self.space)), budgets)

    def tell(
        self,
        x: npt.ArrayLike,
        losses: npt.ArrayLike,
        *,
        budgets: npt.ArrayLike,
        violations: npt.ArrayLike | None = None,
        failed: npt.ArrayLike | None = None,
    ) -> None:
        """Learn from evaluated architectures, asked for or not.

        Parameters
        ----------
        x : array_like of int, shape (n, d)
            Genotypes.
        losses : array_like of float, shape (n, objectives), or (n,) for one objective
            Smaller is better. A row with NaN counts as failed.
        budgets : array_like of int, shape (n,)
            What was spent on each, one of ``self.budgets``.
        violations : array_like of float, shape (n,), optional
            How far each is over the limits, 0 where it is within them.
        failed : array_like of bool, shape (n,), optional
            Evaluations that gave no result; such an architecture gets no larger budget.

        Raises
        ------
        ValueError
            If a shape does not fit, a genotype is not of this space, a budget is none of this strategy's,
            or a violation is NaN.
        RuntimeError
            If `setup` was not called.
        """
        self._require_setup()
        rows = self.space.canonicalize(self.space.check(x))
        settled, over = settle(losses, (len(rows), self.objectives), violations, failed)
        spent = integers(budgets, "budgets", 1)
        if spent.shape != (len(rows),):
            raise ValueError(f"budgets must have shape ({len(rows)},); got {spent.shape}")
        levels = np.searchsorted(self.budgets, spent)
        known = np.isin(spent, self.budgets)
        if not known.all():
            raise ValueError(f"budgets must be among {self.budgets}; got {spent[~known][0]}")
        self._seen.insert(rows)
        for level in np.unique(levels):
            chosen = levels == level
            lost = np.isinf(over[chosen])
            self._told[level] += int(chosen.sum())
            self._inners[level].tell(rows[chosen], settled[chosen], violations=over[chosen], failed=lost)
        for row, level, loss, violation in zip(rows, levels.tolist(), settled, over, strict=True):
            self._observe(row, level, loss, violation)

    @abstractmethod
    def _start(self) -> None:
        """Reset the method's own state."""

    @abstractmethod
    def _next(self) -> tuple[Genotypes, int] | None:
        """Give the next architecture ``(d,)`` and the number of its budget; None if nothing is left."""

    @abstractmethod
    def _observe(self, row: Genotypes, level: int, losses: Losses, violation: float) -> None:
        """Learn one result; that of a failed evaluation is infinite."""

    def _new(self, lowest: int = 0) -> Genotypes | None:
        """Take an architecture that has had no budget yet from the inner strategy; None if none is left."""
        enough = max(len(self.space) + 1, self._inners[0].warmup)
        informed = [level for level, told in enumerate(self._told) if told >= enough]
        inner = self._inners[max([lowest, *informed])]
        while len(rows := inner.ask(1)):
            if self._seen.insert(rows)[0]:
                row: Genotypes = rows[0]
                return row
        return None

    def _require_setup(self) -> None:
        if not hasattr(self, "_seen"):
            raise RuntimeError(f"{type(self).__name__}: call setup(space, objectives=..., seed=...) first")


class Rung:
    """The results with one budget, and who goes on to the next."""

    def __init__(self) -> None:
        self._rows: list[Genotypes] = []
        self._losses: list[Losses] = []
        self._violations: list[float] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, row: Genotypes, losses: Losses, violation: float) -> None:
        """Add one result."""
        self._rows.append(row)
        self._losses.append(losses)
        self._violations.append(violation)

    def best(self, n: int, *, seed: int) -> list[Genotypes]:
        """Give the `n` best, the best first; those that failed are never among them."""
        if n < 1:
            return []
        violations = np.array(self._violations)
        chosen = select_survivors(np.array(self._losses), n, violations=violations, seed=seed).rows
        return [self._rows[i] for i in chosen if not np.isinf(violations[i])]


def budget_levels(least: int, whole: int, factor: int) -> tuple[int, ...]:
    """Budgets from the whole one down by a factor, ascending.

    Parameters
    ----------
    least, whole : int
        The smallest allowed and the largest.
    factor : int
        Ratio of neighbours, up to rounding.

    Returns
    -------
    tuple of int
        At least the whole budget.

    Examples
    --------
    >>> budget_levels(1, 81, 3), budget_levels(2, 50, 3)
    ((1, 3, 9, 27, 81), (2, 6, 17, 50))
    """
    levels, divisor = [whole], factor
    while (budget := round(whole / divisor)) >= least and budget < levels[-1]:
        levels.append(budget)
        divisor *= factor
    return tuple(reversed(levels))
