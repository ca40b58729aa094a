"""Search under limits of additive costs: the best architecture, the Pareto front, uniform samples; exact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from nasx._arguments import count, floats, unsigned
from nasx._core import budget as _native
from nasx.hardware.additive_table import AdditiveTable
from nasx.space import Genotypes

__all__ = ["Additive", "BudgetResult", "SumsFront", "best_under", "pareto_of_sums", "sample_under"]

Additive: TypeAlias = AdditiveTable | Mapping[str, npt.ArrayLike] | Sequence[npt.ArrayLike]
_Floats: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class BudgetResult:
    """What `best_under` found.

    Parameters
    ----------
    genotype : ndarray of int32, shape (d,)
        The choice of each decision.
    score : float
        Its score.
    costs : ndarray of float64, shape (m,)
        Its costs, each at most its limit.
    bound : float
        No architecture within the limits scores more.
    nodes : int
        Branches that the search looked at.
    """

    genotype: Genotypes
    score: float
    costs: _Floats
    bound: float
    nodes: int

    @property
    def gap(self) -> float:
        """How much better than this an architecture could be: 0 if this is proven to be the best."""
        return self.bound - self.score


@dataclass(frozen=True, eq=False)
class SumsFront:
    """What `pareto_of_sums` found.

    Parameters
    ----------
    genotypes : ndarray of int32, shape (f, d)
        One architecture for each point.
    costs : ndarray of float64, shape (f, m)
        Their costs, ascending in the first.
    epsilon : ndarray of float64, shape (m,)
        Each architecture of the space has a point here that is at most so much worse in each cost; all 0 when
        the front is exact.
    """

    genotypes: Genotypes
    costs: _Floats
    epsilon: _Floats

    def __len__(self) -> int:
        return len(self.costs)


def best_under(
    scores: Additive,
    tables: Additive | Sequence[Additive],
    limits: float | Sequence[float],
    *,
    resolution: int = 10_000,
    nodes: int = 2_000_000,
) -> BudgetResult:
    """Find the architecture with the largest sum of scores whose costs are within all limits.

    Scores and costs are sums over decisions: `LatencyTable` objects, mappings from the names of decisions to
    a number for each choice, or sequences of such rows in the order of the decisions. This is the
    multiple-choice knapsack problem. To minimise a sum, give the negative numbers.

    Parameters
    ----------
    scores : LatencyTable, mapping or sequence
        What to maximise.
    tables : LatencyTable, mapping or sequence; or sequence of these
        The cost, if `limits` is a number; else one for each limit.
    limits : float or sequence of float
        1 to 8 upper bounds, each in its table's unit and with its intercept.
    resolution : int, default 10,000
        Number of cells into which what a limit leaves above the cheapest architecture is cut.
    nodes : int, default 2,000,000
        Branches after which the search gives what it has, with a proven bound.

    Returns
    -------
    BudgetResult
        Genotype, score, costs and the bound.

    Raises
    ------
    TypeError
        If a table is of another kind, or does not hold numbers.
    ValueError
        If shapes do not fit, a number is not finite, a table has entries for pairs or blocks, its space has
        conditions or constraints, or no architecture is within the limits: the message says what the least
        reachable cost is.

    Notes
    -----
    A Lagrangian bound drops choices that cannot be in the best architecture [1]_; dynamic programming over
    what is left, with costs rounded up to cells, O(choices x resolution), solves one limit [2]_, and bounds
    several by mixtures of them; branch and bound on costs that are not rounded closes what rounding and
    mixing leave. So limits are met by costs as they are, and where ``gap`` is 0 the architecture is the best
    of all, whatever the resolution: a coarser one takes less memory and more nodes. With one limit the result
    is never worse than the best of what is d cells or more below the limit, whatever the number of nodes.

    References
    ----------
    .. [1] M. L. Fisher, "The Lagrangian relaxation method for solving integer programming problems",
       Management Science 27 (1981).
    .. [2] D. Pisinger, "A minimal algorithm for the multiple-choice knapsack problem", European Journal of
       Operational Research 83 (1995).

    Examples
    --------
    >>> scores = {"first": [0.5, 0.75], "second": [0.25, 1.0]}
    >>> latency = {"first": [1.0, 2.0], "second": [1.0, 3.0]}
    >>> found = best_under(scores, latency, 4.0)
    >>> found.genotype, found.score, found.costs, found.gap
    (array([0, 1], dtype=int32), 1.5, array([4.]), 0.0)
    >>> size = {"first": [10, 10], "second": [10, 90]}
    >>> best_under(scores, [latency, size], [4.0, 50]).genotype
    array([1, 0], dtype=int32)
    """
    if np.ndim(limits) == 0:
        if _is_several(tables):
            raise ValueError("limits must be a sequence, one for each of the tables; got one number")
        several, bounds = [cast(Additive, tables)], _number(limits, "limits")
    else:
        several, bounds = _several(tables, "tables"), floats(limits, "limits", 1)
    if len(several) != len(bounds):
        raise ValueError(f"limits must have one value for each of {len(several)} tables; got {len(bounds)}")
    made = _sums([scores, *several], ["scores", *(f"tables[{i}]" for i in range(len(several)))])
    genotype, score, costs, bound, looked = _native.best_under(
        made.cardinalities,
        made.entries[:1],
        float(made.intercepts[0]),
        made.entries[1:],
        made.intercepts[1:],
        bounds,
        count(resolution, "resolution"),
        unsigned(nodes, "nodes"),
    )
    return BudgetResult(genotype, score, costs, bound, looked)


def pareto_of_sums(tables: Sequence[Additive], *, cap: int = 10_000) -> SumsFront:
    """Find the Pareto front of two or three costs over all architectures, without looking at them all.

    Parameters
    ----------
    tables : sequence of LatencyTable, mapping or sequence
        Two or three costs, as in `best_under`; smaller is better.
    cap : int, default 10,000
        Points that the front of the first decisions may have before it is thinned.

    Returns
    -------
    SumsFront
        One genotype for each point, and how far from exact the front is.

    Raises
    ------
    TypeError
        If a table is of another kind, or does not hold numbers.
    ValueError
        As in `best_under`; or if there are not two or three tables.

    Notes
    -----
    Fronts of the first decisions are extended by one decision at a time [1]_. Two costs take O(choices x
    front), three a logarithm more. Nothing is rounded: the front is exact while it stays under `cap`. Then
    one point is left in each box of a grid; what that loses is measured and added up in ``epsilon``.

    References
    ----------
    .. [1] G. L. Nemhauser, Z. Ullmann, "Discrete dynamic programming and capital allocation", Management
       Science 15 (1969).

    Examples
    --------
    >>> loss = {"first": [0.5, 0.25], "second": [0.75, 0.0]}
    >>> latency = {"first": [1.0, 2.0], "second": [1.0, 3.0]}
    >>> front = pareto_of_sums([loss, latency])
    >>> front.costs
    array([[0.25, 5.  ],
           [0.5 , 4.  ],
           [1.  , 3.  ],
           [1.25, 2.  ]])
    >>> front.genotypes[1], front.epsilon
    (array([0, 1], dtype=int32), array([0., 0.]))
    """
    several = _several(tables, "tables")
    if len(several) not in (2, 3):
        raise ValueError(f"tables must be two or three; got {len(several)}")
    made = _sums(several, [f"tables[{i}]" for i in range(len(several))])
    return SumsFront(
        *_native.pareto_of_sums(made.cardinalities, made.entries, made.intercepts, count(cap, "cap"))
    )


def sample_under(
    table: Additive, limit: float, n: int, *, seed: int = 0, resolution: int = 10_000
) -> Genotypes:
    """Draw architectures uniformly among those whose cost is within a limit.

    Parameters
    ----------
    table : LatencyTable, mapping or sequence
        The cost, as in `best_under`.
    limit : float
        Its upper bound, in its unit and with its intercept.
    n : int
        How many; they may repeat.
    seed : int, default 0
        The same seed gives the same rows, whatever the number of threads, and the first rows of more.
    resolution : int, default 10,000
        Number of cells into which what the limit leaves above the cheapest architecture is cut.

    Returns
    -------
    ndarray of int32, shape (n, d)
        Genotypes.

    Raises
    ------
    TypeError
        If the table is of another kind, or does not hold numbers.
    ValueError
        As in `best_under`; or if the resolution is too coarse for the number of decisions.

    Notes
    -----
    How many ways there are to go on within so many cells is counted by dynamic programming over the decisions
    [1]_, O(choices x resolution), and rows are drawn by these counts, O(choices) each, however rare what is
    within the limit is. Costs are rounded *down* to cells for that, and a row that turns out to be over the
    limit is drawn again: with d decisions only rows within d cells of the limit can be, so that this is
    seldom. Nothing within the limit is left out, as rounding up would leave out what is within d cells below
    it, and the rows are uniform to about 1e-14. Where several genotypes describe one network, each counts.

    References
    ----------
    .. [1] M. Dyer, "Approximate counting by dynamic programming", Symposium on Theory of Computing (2003).

    Examples
    --------
    >>> latency = {"first": [1.0, 2.0], "second": [1.0, 3.0]}
    >>> rows = sample_under(latency, 4.0, 1000, seed=1)
    >>> np.unique(rows, axis=0, return_counts=True)
    (array([[0, 0],
           [0, 1],
           [1, 0]], dtype=int32), array([329, 334, 337]))
    """
    made = _sums([table], ["table"])
    return _native.sample_under(
        made.cardinalities,
        made.entries,
        float(made.intercepts[0]),
        float(_number(limit, "limit")[0]),
        count(resolution, "resolution"),
        count(n, "n", least=0),
        unsigned(seed, "seed"),
        0,
        0,
    )


# -- from what users have to what the core takes -------------------------------------------------------------


class _Sums(NamedTuple):
    cardinalities: npt.NDArray[np.int32]
    entries: _Floats  # a row for each sum, a column for each choice of each decision
    intercepts: _Floats


def _number(value: npt.ArrayLike, name: str) -> _Floats:
    """Return one number as an array of one."""
    array = np.asarray(value)
    if array.ndim or array.dtype.kind not in "iuf":
        raise TypeError(f"{name} must be a number; got {value!r}")
    return array.astype(np.float64).reshape(1)


def _is_several(tables: object) -> bool:
    """Whether this is a sequence of tables, and not of one table's rows."""
    return (
        isinstance(tables, Sequence)
        and len(tables) > 0
        and any(isinstance(part, AdditiveTable | Mapping) for part in tables)
    )


def _several(tables: object, name: str) -> list[Additive]:
    if isinstance(tables, AdditiveTable | Mapping) or not isinstance(tables, Sequence | np.ndarray):
        raise TypeError(f"{name} must be a sequence of tables; got {type(tables).__name__}")
    return list(tables)


def _sums(tables: Sequence[Additive], labels: Sequence[str]) -> _Sums:
    names = None
    for table, label in zip(tables, labels, strict=True):
        if isinstance(table, AdditiveTable | Mapping):
            here = table.space.names if isinstance(table, AdditiveTable) else tuple(table)
            if not here:
                raise ValueError(f"{label} is empty; it must have a row of numbers for each decision")
            # A table's space says the order; mappings among themselves may differ in it.
            if names is not None and set(here) != set(names):
                raise ValueError(f"{label} must have the decisions {', '.join(names)}; got {', '.join(here)}")
            if names is None or isinstance(table, AdditiveTable):
                names = here
    made = [_rows(table, names, label) for table, label in zip(tables, labels, strict=True)]
    counts = [len(row) for row in made[0][0]]
    for (rows, _), label in zip(made, labels, strict=True):
        if [len(row) for row in rows] != counts:
            raise ValueError(
                f"{label} must have {counts} choices, as {labels[0]} has; got {[len(row) for row in rows]}"
            )
    return _Sums(
        np.array(counts, np.int32),
        np.stack([np.concatenate(rows) for rows, _ in made]),
        np.array([intercept for _, intercept in made]),
    )


def _rows(table: Additive, names: Sequence[str] | None, label: str) -> tuple[Sequence[_Floats], float]:
    """Return the numbers of each decision, and the intercept."""
    if isinstance(table, AdditiveTable):
        space = table.space
        if not table.adds_up or table.pairs:
            raise ValueError(
                f"{label} must be a sum over single decisions; {table!r} has entries for "
                f"{'pairs of them' if table.adds_up else 'blocks'}, which none of these searches takes in: "
                "give a LatencyTable without them, such as one that is fitted to its sums"
            )
        if len(space.conditions) or space.constraints:
            raise ValueError(
                f"{label} must be for a space whose decisions are all active and free; {space!r} has "
                f"{'conditions' if len(space.conditions) else 'constraints'}"
            )
        return table.entries, table.intercept
    if isinstance(table, Mapping):
        rows = {name: table[name] for name in names or ()}
    elif isinstance(table, Sequence | np.ndarray) and not isinstance(table, str):
        if names is not None and len(table) != len(names):
            raise ValueError(f"{label} must have {len(names)} rows, one a decision; got {len(table)}")
        rows = (
            {str(j): row for j, row in enumerate(table)}
            if names is None
            else dict(zip(names, table, strict=True))
        )
    else:
        raise TypeError(
            f"{label} must be a LatencyTable, a mapping from decisions to numbers, or a sequence of rows of "
            f"numbers; got {type(table).__name__}"
        )
    if not rows:
        raise ValueError(f"{label} is empty; it must have a row of numbers for each decision")
    made = [floats(row, f"{label}: decision {name}", 1) for name, row in rows.items()]
    for name, row in zip(rows, made, strict=True):
        if len(row) == 0:
            raise ValueError(f"{label}: decision {name} has no choices")
        if not np.isfinite(row).all():
            raise ValueError(
                f"{label}: decision {name} must be finite; choice {int(np.argmin(np.isfinite(row)))} is "
                f"{row[~np.isfinite(row)][0]}"
            )
    return made, 0.0
