"""`TabularBenchmark`: architectures whose metrics are all known, answered from a table."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from nasx import pareto
from nasx._arguments import integers
from nasx._core import population as _native
from nasx.architecture import Architecture
from nasx.errors import EvaluationError, unknown
from nasx.population import GenotypeSet, sample
from nasx.space import Genotypes, Space
from nasx.tasks.base import Direction, Report, Task, TaskSpec, check_directions

__all__ = ["Replicates", "TabularBenchmark"]

Values: TypeAlias = npt.NDArray[np.float64]
Replicates: TypeAlias = Literal["mean", "sample"]

# The random stream that draws repetitions: not that of `Space.sample`, whose rows are looked up here.
_DRAW = 2**32 - 2


class TabularBenchmark(Task):
    """A task whose answers are measured already: a table of genotypes and metrics.

    Parameters
    ----------
    space : Space
        The space of the genotypes.
    genotypes : array_like of int, shape (n, d)
        The architectures that were measured, no two alike. Where the space is canonical, rows that are not
        are left out: their architecture is the canonical row's.
    metrics : mapping of str to array_like of float, shape (n,) or (n, replicates)
        What was measured; columns of a matrix are repetitions.
    objectives : mapping of str to {"minimize", "maximize"}
        The metrics that a search optimises by default.
    replicates : {"mean", "sample"}, default "mean"
        Answer with the mean of the repetitions, or with one drawn by the evaluation's seed: a noisy
        objective. Metrics with the same number of repetitions are drawn together.
    name : str, default "table"
        What errors and journals call the table.
    spec : TaskSpec, optional
        What the networks are for, so that those found can be built.

    Attributes
    ----------
    space : Space
        The space.
    genotypes : ndarray of int32, shape (n, d)
        The rows of the table; read-only.
    columns : mapping of str to ndarray of float64, shape (n,)
        The metrics, mean over repetitions; read-only.

    Raises
    ------
    ValueError
        If rows are no genotypes of the space or repeated, a metric has another number of rows or is not
        finite, or an objective is not among the metrics.
    TypeError
        If a metric does not hold real numbers.

    Examples
    --------
    >>> from nasx import Categorical, search
    >>> space = Space({"op": Categorical(["conv", "skip"]), "act": Categorical(["relu", "gelu"])})
    >>> table = TabularBenchmark(
    ...     space,
    ...     space.enumerate(),
    ...     {"accuracy": [91.0, 92.5, 60.0, 61.0], "latency_ms": [3.1, 3.4, 1.0, 1.2]},
    ...     objectives={"accuracy": "maximize"},
    ... )
    >>> table.evaluate({"op": "conv", "act": "gelu"}, seed=0)
    {'accuracy': 92.5, 'latency_ms': 3.4}
    >>> table.evaluate_many([[0, 0], [1, 1]])["accuracy"]
    array([91., 61.])
    >>> search(space, table, evaluations=4).best.metrics["accuracy"]
    92.5
    """

    def __init__(
        self,
        space: Space,
        genotypes: npt.ArrayLike,
        metrics: Mapping[str, npt.ArrayLike],
        *,
        objectives: Mapping[str, Direction],
        replicates: Replicates = "mean",
        name: str = "table",
        spec: TaskSpec | None = None,
    ) -> None:
        if replicates not in ("mean", "sample"):
            raise ValueError(f"replicates: {unknown('choice', replicates, ['mean', 'sample'])}")
        self.space, self.name, self._spec, self._replicates = space, name, spec, replicates
        rows = space.check(genotypes)
        if not len(rows):
            raise ValueError("genotypes is empty; a table needs at least one row")
        _refuse_repeats(rows)
        if not metrics:
            raise ValueError("metrics is empty; a table needs at least one column")
        measured = {metric: _column(metric, values, len(rows)) for metric, values in metrics.items()}
        if space.canonical:
            kept = (space.canonicalize(rows) == rows).all(axis=1)
            if not kept.any():
                raise ValueError("genotypes: none is canonical; give space.canonicalize(genotypes)")
            rows, measured = rows[kept], {metric: values[kept] for metric, values in measured.items()}
        self._objectives = _check_objectives(objectives, measured)
        self._places = GenotypeSet(len(space), rows)
        self._measured = measured
        self._columns = {metric: values.mean(axis=1) for metric, values in measured.items()}
        for values in self._columns.values():
            values.flags.writeable = False
        # One row an architecture: an answer touches one place in memory.
        self._means = np.column_stack(list(self._columns.values()))
        self.genotypes: Genotypes = rows.copy()
        self.genotypes.flags.writeable = False

    # -- what a task is --------------------------------------------------------------------------------------

    @property
    def spec(self) -> TaskSpec | None:
        """What the networks are for, if the table was told."""
        return self._spec

    @property
    def objectives(self) -> Mapping[str, Direction]:
        """The metrics that a search optimises by default."""
        return dict(self._objectives)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of all metrics."""
        return tuple(self._columns)

    @property
    def columns(self) -> Mapping[str, Values]:
        """Name -> values, shape ``(n,)``, mean over repetitions; read-only."""
        return MappingProxyType(self._columns)

    @property
    def settings(self) -> Mapping[str, Any]:
        """Name, metrics and fingerprint of the table, and how it answers; JSON types."""
        return {
            "name": self.name,
            "metrics": list(self.metrics),
            "replicates": self._replicates,
            "fingerprint": self._fingerprint,
        }

    @functools.cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256(np.array(self.genotypes.shape, "<i8").tobytes())
        digest.update(self.genotypes.astype("<i4").tobytes())
        for name, values in self._measured.items():
            digest.update(f"{name}\0{values.shape[1]}\0".encode())
            digest.update(values.astype("<f8").tobytes())
        return digest.hexdigest()

    def evaluate(
        self,
        architecture: Architecture | Mapping[str, Any],
        *,
        seed: int,
        device: str | None = None,
        budget: int | None = None,
        report: Report | None = None,
    ) -> dict[str, float]:
        """Look one architecture up.

        Parameters
        ----------
        architecture : Architecture or mapping
            One of the space.
        seed : int
            Chooses the repetition if ``replicates="sample"``.
        device, budget, report
            Not used: a table holds finished measurements only.

        Returns
        -------
        dict of str to float
            All metrics.

        Raises
        ------
        nasx.errors.EvaluationError
            If it is not in the table.
        """
        if isinstance(architecture, Architecture) and architecture.space == self.space:
            row = architecture.genotype
        else:
            row = self.space.encode(architecture)
        return {name: float(values[0]) for name, values in self.evaluate_many(row[None], seed=seed).items()}

    # -- whole populations -----------------------------------------------------------------------------------

    def evaluate_many(self, genotypes: npt.ArrayLike, *, seed: int = 0) -> dict[str, Values]:
        """Look many architectures up at once.

        Parameters
        ----------
        genotypes : array_like of int, shape (n, d)
            Architectures.
        seed : int, default 0
            Chooses the repetitions if ``replicates="sample"``, for each row its own.

        Returns
        -------
        dict of str to ndarray of float64, shape (n,)
            All metrics.

        Raises
        ------
        nasx.errors.EvaluationError
            If an architecture is not in the table; the first one is named.
        ValueError
            If a row is no genotype of the space.
        """
        places = self._find(genotypes)
        if self._replicates == "mean":
            return dict(zip(self._columns, self._means.take(places, axis=0).T, strict=True))
        n = len(places)
        drawn = {
            count: sample([count], n, seed=seed, generation=_DRAW)[:, 0]
            for count in {values.shape[1] for values in self._measured.values()}
        }
        return {name: values[places, drawn[values.shape[1]]] for name, values in self._measured.items()}

    def _find(self, genotypes: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Places of architectures in the table."""
        rows = self.space.canonicalize(self.space.check(genotypes))
        places = self._places.find(rows)
        if places.size and places.min() < 0:
            first = int(np.argmax(places < 0))
            architecture = dict(self.space.decode(rows[first]))
            raise EvaluationError(
                f"{self.name} has no row for {architecture}, genotypes[{first}]; it holds "
                f"{len(self.genotypes)} of the space's {self.space.size} architectures"
            )
        return places

    def cost(self, metric: str) -> Callable[[Genotypes], Values]:
        """Give one metric as a cost, known without evaluation, for ``search(costs=...)``.

        Parameters
        ----------
        metric : str
            Its name. The mean over repetitions.

        Returns
        -------
        callable
            Maps genotypes ``(n, d)`` to values ``(n,)``.

        Raises
        ------
        ValueError
            If there is no such metric.

        Notes
        -----
        The cost needs another name in the search than the metric has, for the table answers with that too.

        Examples
        --------
        >>> from nasx import Integer, search
        >>> space = Space({"width": Integer(1, 4)})
        >>> measured = {"error": [4.0, 3.0, 2.0, 1.0], "gpu_ms": [1.0, 2.0, 3.0, 4.0]}
        >>> table = TabularBenchmark(space, space.enumerate(), measured, objectives={"error": "minimize"})
        >>> costs, limits = {"latency_ms": table.cost("gpu_ms")}, {"latency_ms": 2.5}
        >>> search(space, table, evaluations=4, costs=costs, limits=limits).best.metrics["error"]
        3.0
        """
        if metric not in self._columns:
            raise ValueError(unknown("metric", metric, self._columns))
        return _TableCost(self, metric)

    # -- the truth -------------------------------------------------------------------------------------------

    def losses(self, objectives: Mapping[str, Direction] | None = None) -> Values:
        """All rows as losses, smaller is better: for reference points, regrets and hypervolumes.

        Parameters
        ----------
        objectives : mapping of str to {"minimize", "maximize"}, optional
            By default those of the table.

        Returns
        -------
        ndarray of float64, shape (n, number of objectives)
            Means over repetitions; signs turned where an objective is maximised.

        Raises
        ------
        ValueError
            If an objective is not among the metrics.
        """
        wanted = self._objectives if objectives is None else _check_objectives(objectives, self._columns)
        return np.column_stack(
            [self._columns[name] * (1.0 if way == "minimize" else -1.0) for name, way in wanted.items()]
        )

    def best(self, objectives: Mapping[str, Direction] | None = None) -> Architecture:
        """Find the best architecture of the table by the first objective; of equals the first row.

        Parameters
        ----------
        objectives : mapping of str to {"minimize", "maximize"}, optional
            By default those of the table.

        Returns
        -------
        Architecture
            What a search cannot surpass.

        Raises
        ------
        ValueError
            If an objective is not among the metrics.
        """
        row = int(np.argmin(self.losses(objectives)[:, 0]))
        return Architecture(self.space, self.genotypes[row], spec=self._spec)

    def pareto_front(self, objectives: Mapping[str, Direction] | None = None) -> tuple[Genotypes, Values]:
        """Find the true Pareto front.

        Parameters
        ----------
        objectives : mapping of str to {"minimize", "maximize"}, optional
            By default those of the table.

        Returns
        -------
        genotypes : ndarray of int32, shape (k, d)
            The architectures that no other dominates, in the table's order.
        losses : ndarray of float64, shape (k, number of objectives)
            Their losses, as in `losses`.

        Raises
        ------
        ValueError
            If an objective is not among the metrics.
        """
        losses = self.losses(objectives)
        on_front = pareto.front(losses)
        return self.genotypes[on_front], losses[on_front]

    def __len__(self) -> int:
        return len(self.genotypes)

    def __repr__(self) -> str:
        return f"TabularBenchmark({self.name!r}, {len(self)} architectures, metrics {list(self.metrics)})"


class _TableCost:
    """A metric of a table as a cost."""

    deterministic = vectorized = True

    def __init__(self, table: TabularBenchmark, metric: str) -> None:
        self.name, self._table = metric, table
        # Where the table has every row there can be, a value's place is worked out, not looked for.
        counts = table.space.cardinalities
        self._all: Values | None = None
        if len(table) == math.prod(counts):
            self._counts, self._all = np.array(counts, np.int32), np.empty(len(table))
            self._all[np.ravel_multi_index(tuple(table.genotypes.T), counts)] = table.columns[metric]

    @property
    def settings(self) -> dict[str, Any]:
        """The table as JSON types."""
        return dict(self._table.settings)

    def __call__(self, genotypes: Genotypes) -> Values:
        """Look the metric up: genotypes ``(n, d)`` to values ``(n,)``."""
        if self._all is not None:
            try:
                return _native.look_up(genotypes, self._counts, self._all)
            except (TypeError, ValueError):  # a list, other integers, or wrong
                return _native.look_up(integers(genotypes, "genotypes", 2), self._counts, self._all)
        values: Values = self._table._columns[self.name].take(self._table._find(genotypes))
        return values


def _refuse_repeats(rows: Genotypes) -> None:
    is_new = GenotypeSet(rows.shape[1]).insert(rows)
    if not is_new.all():
        second = int(np.argmin(is_new))
        first = int(np.argmax((rows == rows[second]).all(axis=1)))
        raise ValueError(
            f"genotypes[{second}] repeats genotypes[{first}]; give repetitions as columns of a metric"
        )


def _column(name: str, values: npt.ArrayLike, n: int) -> Values:
    """Check a metric and return it as a matrix of its own, one column for each repetition."""
    if not isinstance(name, str) or not name:
        raise ValueError(f"metrics: names must be non-empty strings; got {name!r}")
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"metrics[{name!r}] must hold real numbers; got dtype {array.dtype}")
    if array.ndim not in (1, 2) or len(array) != n or array.size == 0:
        raise ValueError(f"metrics[{name!r}] must have shape ({n},) or ({n}, replicates); got {array.shape}")
    column = np.array(array.reshape(n, -1), np.float64)
    wrong = ~np.isfinite(column).all(axis=1)
    if wrong.any():
        row = int(np.argmax(wrong))
        came = column[row][~np.isfinite(column[row])][0]
        raise ValueError(
            f"metrics[{name!r}] must be finite; got {came} in row {row}. Leave architectures without a "
            "measurement out"
        )
    return column


def _check_objectives(
    objectives: Mapping[str, Direction], metrics: Mapping[str, Any]
) -> dict[str, Direction]:
    checked = check_directions(objectives)
    for name in checked:
        if name not in metrics:
            raise ValueError(f"objectives: {unknown('metric', name, metrics)}")
    return checked
