"""`arrange_rows`: a table that holds a sample of a large space, as a small space that it fills."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from nasx._arguments import count, floats
from nasx.errors import unknown
from nasx.population import GenotypeSet
from nasx.space import Decision, Genotypes, Integer, Space
from nasx.tasks.tabular import TabularBenchmark

__all__ = ["arrange_rows"]


def arrange_rows(
    table: TabularBenchmark,
    *,
    decisions: Sequence[str],
    traits: Mapping[str, npt.ArrayLike],
    parts: int = 8,
) -> TabularBenchmark:
    """Give the rows of a table that samples a large space an address each, so that they can be searched.

    In such a table nearly every architecture that a strategy proposes is missing. Here it is told by some of
    its decisions, by the part of the table that it belongs to in each of some traits, and by its place there:
    rows that are alike have addresses that are alike. The first trait cuts the rows with equal decisions into
    `parts` parts of one size, from small to large; the second trait cuts each of these, and so on.

    Parameters
    ----------
    table : TabularBenchmark
        The sample.
    decisions : sequence of str
        Decisions of its space to keep as they are, none of them conditional.
    traits : mapping of str to array_like of float, shape (n,)
        What else tells its n rows apart: sums over layers, numbers of parameters.
    parts : int, default 8
        Into how many parts each trait cuts.

    Returns
    -------
    TabularBenchmark
        The same rows in the same order, with their mean measurements, in a space of the decisions, the traits
        and "row", the place in the last part; a constraint leaves out addresses that no row has.

    Raises
    ------
    ValueError
        If a decision is unknown or conditional, a name comes twice, a trait has another length or is not
        finite, or `parts` is less than 1.
    TypeError
        If a trait does not hold real numbers.

    Notes
    -----
    O(n log n) for each trait.

    Examples
    --------
    >>> from nasx import Integer, Space
    >>> space = Space({"depth": Integer(1, 2), **{f"width.{j}": Integer(0, 99) for j in range(5)}})
    >>> rows = space.sample(80, seed=0)
    >>> widths = rows[:, 1:].sum(axis=1)
    >>> table = TabularBenchmark(space, rows, {"error": -widths}, objectives={"error": "minimize"})
    >>> arranged = arrange_rows(table, decisions=["depth"], traits={"width": widths}, parts=4)
    >>> arranged.space.names, len(arranged), arranged.best()["width"]
    (('depth', 'width', 'row'), 80, 3)
    """
    rows = table.genotypes
    made: dict[str, Decision] = {}
    columns: list[npt.NDArray[np.int64]] = []
    for name in decisions:
        if name not in table.space.names:
            raise ValueError(f"decisions: {unknown('decision', name, table.space.names)}")
        decision = table.space[name]
        if decision.when:
            raise ValueError(
                f"decisions must always be taken; {name!r} depends on {', '.join(decision.when)}"
            )
        _add(made, name, decision)
        columns.append(rows[:, table.space.names.index(name)].astype(np.int64))
    for name, values in traits.items():
        trait = floats(values, f"traits[{name!r}]", 1)
        if len(trait) != len(rows) or not np.isfinite(trait).all():
            raise ValueError(
                f"traits[{name!r}] must be {len(rows)} finite numbers, one a row; got {len(trait)}, "
                f"{int((~np.isfinite(trait)).sum())} of them not finite"
            )
        _add(made, name, Integer(0, count(parts, "parts") - 1))
        place, size = _places(columns, trait)
        columns.append(place * parts // size)
    place, size = _places(columns, np.zeros(len(rows)))
    _add(made, "row", Integer(0, int(size.max()) - 1))
    genotypes = np.column_stack([*columns, place]).astype(np.int32)
    return TabularBenchmark(
        Space(made, constraints=[_Addresses(genotypes)]),
        genotypes,
        table.columns,
        objectives=table.objectives,
        name=table.name,
    )


def _add(made: dict[str, Decision], name: str, decision: Decision) -> None:
    if name in made:
        raise ValueError(f"decisions, traits: {name!r} comes twice; names must differ, and from 'row'")
    made[name] = decision


def _places(
    columns: Sequence[npt.NDArray[np.int64]], values: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Say where each row stands by its value among those with equal columns, and how many those are."""
    order = np.lexsort([values, *columns[::-1]])
    if columns:
        _, group = np.unique(np.column_stack(columns), axis=0, return_inverse=True)
        group = group.reshape(-1)
    else:
        group = np.zeros(len(values), np.int64)
    sizes = np.bincount(group)
    place = np.empty(len(values), np.int64)
    place[order] = np.arange(len(values)) - (np.cumsum(sizes) - sizes)[group[order]]
    return place, sizes[group]


class _Addresses:
    """Which genotypes are the address of a row."""

    def __init__(self, genotypes: Genotypes) -> None:
        self._known = GenotypeSet(genotypes.shape[1], genotypes)

    def __call__(self, genotypes: Genotypes) -> npt.NDArray[np.bool_]:
        return self._known.contains(genotypes)
