"""Costs of architectures as sums over the parts of a supernet, exact where they are such sums."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nasx.errors import EvaluationError
from nasx.hardware.additive_table import AdditiveTable
from nasx.nn.parts import Part, row_cells
from nasx.nn.supernet import Supernet
from nasx.population import repair
from nasx.space import Genotypes
from nasx.strategies.limits import CostFunction, CostLimits

__all__ = ["Bridge", "CostModels", "PartCosts", "values_of"]

_Floats = npt.NDArray[np.float64]
# Architectures that a cost is fitted to for each number to be found: where it is a sum, and where it is not,
# and then at least and at most.
_SUFFICES, _SAMPLES, _FEWEST, _MOST = 1.5, 4, 200, 4_000
# One of so many is left out to see how good the sum is.
_HELD_OUT = 5
# A relative error that is rounding.
_ROUNDING = 1e-8


class Bridge(NamedTuple):
    """What two parts cost together, besides what each costs: ``(k, k')`` for their options."""

    parts: tuple[int, int]
    together: _Floats


@dataclasses.dataclass(frozen=True, eq=False)
class PartCosts:
    """A cost as a sum over a supernet's parts.

    Parameters
    ----------
    options : sequence of ndarray of float64, shape (k,)
        For each part what each option adds.
    intercept : float
        What every architecture costs.
    bridges : sequence of Bridge
        What pairs of parts add.
    error : float
        Largest error on architectures that it was not fitted to, in parts of the largest cost; 0 for tables.
    """

    options: Sequence[_Floats]
    intercept: float
    bridges: Sequence[Bridge] = ()
    error: float = 0.0

    @property
    def exact(self) -> bool:
        """Whether the cost is this sum, up to rounding."""
        return self.error <= _ROUNDING

    def __call__(self, taken: npt.NDArray[np.int64]) -> _Floats:
        """Add up what the options of architectures cost: ``(n, parts)`` to ``(n,)``."""
        total = np.full(len(taken), self.intercept)
        for column, costs in zip(taken.T, self.options, strict=True):
            total += costs[column]
        for (a, b), together in self.bridges:
            total += together[taken[:, a], taken[:, b]]
        return total


class CostModels:
    """The costs of a search, as sums over the parts of a supernet.

    An `AdditiveTable` is such a sum as it stands; decisions of one part may go together in it, and
    neighbouring parts be bridged by pairs. Any other cost is fitted: the least squares of sums over the cells
    that architectures take of the architecture parameters, on random architectures. Where the cost is such a
    sum, as parameters and operations are in cells of any kind, that is exact; `PartCosts.error` says so.

    Parameters
    ----------
    supernet : Supernet
        Whose parts.
    cost_limits : CostLimits
        The costs.
    seed : int, default 0
        Of the architectures that costs are fitted to.

    Attributes
    ----------
    parts : list of Part
        The supernet's.
    groups : tuple of str
        Names of its groups of architecture parameters, in their order.
    cells : int
        Number of these parameters.
    rows : list of bool
        Which parts have a whole row of them for themselves, one for each option.

    Raises
    ------
    TypeError
        If the supernet has no parts.

    Notes
    -----
    Costs are fitted when they are first asked for, to half as many architectures again as there are numbers
    to find; where that shows the cost to be no such sum, to four times as many, at least 200 and at most
    4,000.
    """

    def __init__(self, supernet: Supernet, cost_limits: CostLimits, *, seed: int = 0) -> None:
        self.space, self.cost_limits, self.seed = supernet.space, cost_limits, seed
        self.parts = supernet.parts
        self.groups = tuple(supernet.logits)
        rows = row_cells([(len(matrix), matrix.shape[1]) for matrix in supernet.logits.values()])
        self.cells = sum(map(len, rows))
        whole = {frozenset(row.ravel().tolist()) for row in rows}
        self.rows = [
            part.cells.shape[1] == 1 and frozenset(part.cells.ravel().tolist()) in whole
            for part in self.parts
        ]
        self._tables: dict[str, PartCosts] = {}
        self._fitted: dict[str, PartCosts] = {}
        # Options of each part by the choices that they are.
        self._places = [{row.tobytes(): k for k, row in enumerate(part.options)} for part in self.parts]

    # -- costs -----------------------------------------------------------------------------------------------

    def whole(self, name: str) -> PartCosts:
        """Give a cost as exactly as there is a sum for it, with bridges.

        Parameters
        ----------
        name : str
            The cost's.

        Returns
        -------
        PartCosts
            Of a table, or fitted.
        """
        table = self.cost_limits.tables[name]
        if not isinstance(table, AdditiveTable) or not table.adds_up:
            return self.additive(name)
        if name not in self._tables:
            self._tables[name] = _of_table(table, self.parts)
        return self._tables[name]

    def additive(self, name: str) -> PartCosts:
        """Give a cost as a sum without bridges.

        Parameters
        ----------
        name : str
            The cost's.

        Returns
        -------
        PartCosts
            Of a table without bridges, or fitted.
        """
        table = self.cost_limits.tables[name]
        if isinstance(table, AdditiveTable) and table.adds_up and not self.whole(name).bridges:
            return self.whole(name)
        if name not in self._fitted:
            self._fitted[name] = self._fit(name, table)
        return self._fitted[name]

    def _fit(self, name: str, cost: CostFunction) -> PartCosts:
        numbers = len(np.unique(np.concatenate([part.cells.ravel() for part in self.parts])))
        first = _HELD_OUT + int(_SUFFICES * numbers)
        most = int(np.clip(_SAMPLES * numbers, _FEWEST, _MOST))
        whole = self.space.has_at_most(most)
        rows = self.space.enumerate() if whole else self.space.sample(most, seed=self.seed)
        if whole:  # in no order, so that the first are like all
            rows = rows[np.random.default_rng(self.seed).permutation(len(rows))]
        values = values_of(cost, rows[:first])
        found = self._sum(name, rows[:first], values)
        if found.exact or len(rows) <= first:
            return found
        return self._sum(name, rows, np.concatenate([values, values_of(cost, rows[first:])]))

    def _sum(self, name: str, rows: Genotypes, values: _Floats) -> PartCosts:
        """Fit a sum over cells, and find its error on each fifth architecture by fitting it to the others."""
        kept = np.isfinite(values)
        if not kept.any():
            message = f"costs[{name!r}] could be computed for none of {len(rows)} architectures"
            try:
                self.cost_limits.tables[name](rows[:1])
            except Exception as cause:
                raise EvaluationError(f"{message}: {cause}") from cause
            raise EvaluationError(f"{message}: it gives what is not finite")
        taken, values = self.taken(rows[kept]), values[kept]
        design = np.zeros((len(values), self.cells + 2))
        every = np.arange(len(values))
        for part, column in zip(self.parts, taken.T, strict=True):
            cells = np.where(column[:, None] >= 0, part.cells[column], -1)
            for cell in cells.T:
                design[every, np.where(cell < 0, self.cells, cell)] += 1
        design[:, -2:] = 0, 1  # what is inactive adds nothing; the intercept
        out = every % _HELD_OUT == 0
        told = design[out] @ np.linalg.lstsq(design[~out], values[~out], rcond=None)[0]
        error = np.abs(told - values[out]).max() / max(np.abs(values).max(), np.finfo(float).tiny)
        found = np.linalg.lstsq(design, values, rcond=None)[0]
        options = [found[:-1][part.cells].sum(1) for part in self.parts]
        return PartCosts(options, float(found[-1]), error=float(error))

    # -- genotypes and options -------------------------------------------------------------------------------

    def genotypes(self, taken: npt.NDArray[np.int64]) -> Genotypes:
        """Give the architectures that take these options.

        Parameters
        ----------
        taken : ndarray of int64, shape (n, parts)
            Options.

        Returns
        -------
        ndarray of int32, shape (n, d)
            Canonical genotypes.
        """
        space = self.space
        rows = np.full((len(taken), len(space)), -1, np.int32)
        for part, column in zip(self.parts, taken.T, strict=True):
            rows[:, part.decisions] = part.options[column]
        if len(space.conditions):
            rows = repair(rows, space.cardinalities, conditions=space.conditions)
        return space.canonicalize(rows)

    def taken(self, genotypes: Genotypes) -> npt.NDArray[np.int64]:
        """Say which option of each part architectures take.

        Parameters
        ----------
        genotypes : ndarray of int32, shape (n, d)
            Architectures.

        Returns
        -------
        ndarray of int64, shape (n, parts)
            -1 for parts that are inactive.
        """
        columns = []
        for part, places in zip(self.parts, self._places, strict=True):
            rows = np.ascontiguousarray(genotypes[:, part.decisions])
            columns.append([places.get(row.tobytes(), -1) for row in rows])
        return np.array(columns, np.int64).reshape(len(self.parts), len(genotypes)).T


def values_of(cost: CostFunction, rows: Genotypes) -> _Floats:
    """Compute a cost, NaN where it cannot be.

    Parameters
    ----------
    cost : callable
        Genotypes to values.
    rows : ndarray of int32, shape (n, d)
        Architectures.

    Returns
    -------
    ndarray of float64, shape (n,)
        The costs.
    """
    try:
        return np.asarray(cost(rows), np.float64)
    except Exception:
        if len(rows) > 1:  # find out which architectures it is, and keep the others
            return np.concatenate([values_of(cost, rows[i : i + 1]) for i in range(len(rows))])
        return np.full(len(rows), np.nan)


def _of_table(table: AdditiveTable, parts: Sequence[Part]) -> PartCosts:
    """Write a table's entries and pairs down by parts."""
    options = [np.zeros(len(part.options)) for part in parts]
    where = {j: (i, part.decisions.index(j)) for i, part in enumerate(parts) for j in part.decisions}
    choices = {j: parts[i].options[:, column] for j, (i, column) in where.items()}
    for j, entries in enumerate(table.entries):
        options[where[j][0]] += _entries(entries, choices[j])
    bridges: dict[tuple[int, int], _Floats] = {}
    for j, pairs in enumerate(table.pairs or ()):
        a, b = where[j][0], where[j + 1][0]
        if a == b:
            options[a] += _entries(pairs, choices[j], choices[j + 1])
            continue
        together = _entries(pairs, *np.meshgrid(choices[j], choices[j + 1], indexing="ij"))
        bridges[a, b] = bridges.get((a, b), 0.0) + together
    return PartCosts(options, table.intercept, [Bridge(*item) for item in bridges.items()])


def _entries(entries: _Floats, *choices: Genotypes) -> _Floats:
    """Look entries up; those of inactive decisions are 0."""
    active = np.all([np.asarray(one) >= 0 for one in choices], axis=0)
    found: _Floats = np.where(active, entries[tuple(choices)], 0.0)
    return found
