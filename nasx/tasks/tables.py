"""Readers of measured tables: npz files and the package NAS-Bench-Graph. No reader runs code from a file.

`arrange_rows` makes a small space of a table that samples a large one.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nasx._npz import read_arrays
from nasx.errors import require, unknown
from nasx.space import Categorical, Decision, Genotypes, Ordinal, Space
from nasx.spaces import NASBenchGraph
from nasx.tasks._plain_pickle import load_plain
from nasx.tasks.arranged_rows import arrange_rows
from nasx.tasks.base import Direction, TaskSpec
from nasx.tasks.tabular import Replicates, TabularBenchmark

__all__ = ["arrange_rows", "nas_bench_graph", "read_columns", "read_npz"]

_GRAPHS = ("arxiv", "citeseer", "computers", "cora", "cs", "photo", "physics", "proteins", "pubmed")
# The table's names, ours, and what one of theirs is in ours: milliseconds, parameters.
_GRAPH_METRICS = (
    ("valid_perf", "valid_score", 1.0),
    ("perf", "test_score", 1.0),
    ("latency", "latency_ms", 1e3),
    ("para", "parameters", 1e6),
)


def read_npz(
    path: str | os.PathLike[str],
    *,
    objectives: Mapping[str, Direction],
    space: Space | None = None,
    metrics: Sequence[str] | None = None,
    replicates: Replicates = "mean",
    name: str | None = None,
    spec: TaskSpec | None = None,
) -> TabularBenchmark:
    """Read a table from an npz file with an array ``genotypes`` and an array for each metric.

    Parameters
    ----------
    path : path-like
        The file.
    objectives : mapping of str to {"minimize", "maximize"}
        The metrics that a search optimises by default.
    space : Space, optional
        The space of the genotypes; by default one categorical decision ``"0", "1", ...`` a column, whose
        choices are the indices up to the largest one there.
    metrics : sequence of str, optional
        The arrays to take; by default all that hold as many numbers, or rows of numbers, as there are
        genotypes.
    replicates, name, spec
        As in `TabularBenchmark`; the name is the file's by default.

    Returns
    -------
    TabularBenchmark
        The table.

    Raises
    ------
    ValueError
        If the file is damaged, lacks an array, holds anything but plain arrays, or is no such table.
    FileNotFoundError
        If there is no such file.

    Examples
    --------
    >>> import tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "tiny.npz")
    >>> np.savez(path, genotypes=[[0, 0], [0, 2], [1, 1]], accuracy=[0.5, 0.7, 0.9])
    >>> table = read_npz(path, objectives={"accuracy": "maximize"})
    >>> table, dict(table.best())
    (TabularBenchmark('tiny', 3 architectures, metrics ['accuracy']), {'0': 1, '1': 1})
    """
    arrays = read_arrays(path, None if metrics is None else ["genotypes", *metrics], what="a table")
    genotypes = arrays.pop("genotypes", None)
    if genotypes is None:
        raise ValueError(f'{path} has no array "genotypes"; it has {list(arrays)}. See read_columns')
    if genotypes.ndim != 2 or genotypes.dtype.kind not in "iu" or not genotypes.size:
        raise ValueError(
            f"{path}: genotypes must be integers of shape (n, d); got {genotypes.dtype} {genotypes.shape}"
        )
    if space is None and genotypes.min() < 0:
        raise ValueError(f"{path}: genotypes holds {genotypes.min()}; give the space that says what it means")
    with _naming(path):
        if space is None:
            columns = enumerate(genotypes.max(axis=0).tolist())
            space = Space({str(j): Categorical(range(largest + 1)) for j, largest in columns})
        return TabularBenchmark(
            space,
            genotypes,
            _measured(arrays, len(genotypes), metrics),
            objectives=objectives,
            replicates=replicates,
            name=pathlib.Path(path).stem if name is None else name,
            spec=spec,
        )


def read_columns(
    path: str | os.PathLike[str],
    *,
    decisions: Sequence[str],
    objectives: Mapping[str, Direction],
    length: str | None = None,
    metrics: Sequence[str] | None = None,
    replicates: Replicates = "mean",
    name: str | None = None,
    spec: TaskSpec | None = None,
) -> TabularBenchmark:
    """Read a table from an npz file that names its architectures' choices, in arrays of numbers.

    An array of shape ``(n,)`` is one decision among the values it holds. One of shape ``(n, layers)`` is a
    decision for each layer, named ``"<array>.1", "<array>.2", ...``, among the values that it holds for any
    layer. If depth varies, `length` names the array that gives it: layers beyond are inactive, whatever
    stands there.

    Parameters
    ----------
    path : path-like
        The file.
    decisions : sequence of str
        The arrays that hold choices, in the order of the decisions.
    objectives : mapping of str to {"minimize", "maximize"}
        The metrics that a search optimises by default.
    length : str, optional
        The decision that says how many layers there are.
    metrics : sequence of str, optional
        The arrays that hold metrics; by default all others that hold as many numbers, or rows of numbers, as
        there are architectures.
    replicates, name, spec
        As in `TabularBenchmark`; the name is the file's by default.

    Returns
    -------
    TabularBenchmark
        The table, with a space made of the decisions.

    Raises
    ------
    ValueError
        If the file is damaged, lacks an array, holds anything but plain arrays, or is no such table.
    FileNotFoundError
        If there is no such file.

    Examples
    --------
    >>> import tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "tiny.npz")
    >>> np.savez(path, depth=[1, 2, 2], heads=[[4, 0], [4, 8], [8, 8]], loss=[3.0, 2.0, 1.0])
    >>> table = read_columns(
    ...     path, decisions=["depth", "heads"], length="depth", objectives={"loss": "minimize"}
    ... )
    >>> table.space["heads.2"]
    Ordinal([4, 8], when={'depth': (2,)})
    >>> dict(table.best())
    {'depth': 2, 'heads.1': 8, 'heads.2': 8}
    """
    arrays = read_arrays(path, None if metrics is None else [*decisions, *metrics], what="a table")
    chosen: dict[str, npt.NDArray[Any]] = {}
    for decision in decisions:
        if decision not in arrays:
            raise ValueError(f"{path}: decisions: {unknown('array', decision, arrays)}")
        values = chosen[decision] = arrays.pop(decision)
        if values.ndim not in (1, 2) or values.dtype.kind not in "iuf" or not values.size:
            raise ValueError(
                f"{path}: {decision} must be numbers of shape (n,) or (n, layers); got {values.dtype} "
                f"{values.shape}"
            )
    if not chosen or len({len(values) for values in chosen.values()}) > 1:
        raise ValueError(
            f"{path}: decisions must be arrays of one length; got "
            f"{ {decision: len(values) for decision, values in chosen.items()} }"
        )
    with _naming(path):
        space, genotypes = _encode(chosen, length)
        return TabularBenchmark(
            space,
            genotypes,
            _measured(arrays, len(genotypes), metrics),
            objectives=objectives,
            replicates=replicates,
            name=pathlib.Path(path).stem if name is None else name,
            spec=spec,
        )


@contextlib.contextmanager
def _naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Put the file before the message of whatever is wrong with what it holds."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from None


def _encode(chosen: Mapping[str, npt.NDArray[Any]], length: str | None) -> tuple[Space, Genotypes]:
    """Make the space of named choices, and the genotypes."""
    depths = np.zeros(0, np.int64)
    if length is not None:
        if length not in chosen or chosen[length].ndim != 1 or chosen[length].dtype.kind not in "iu":
            raise ValueError(f"length must name a decision of shape (n,) that holds integers; got {length!r}")
        depths = chosen[length].astype(np.int64)
    made: dict[str, Decision] = {}
    columns = []
    for name, values in chosen.items():
        layered = values.ndim == 2
        matrix = values if layered else values[:, None]
        active = np.ones(matrix.shape, bool)
        if layered and length is not None:
            active = np.arange(matrix.shape[1]) < depths[:, None]
            if depths.max() > matrix.shape[1]:
                raise ValueError(
                    f"{length} must be at most {matrix.shape[1]}, the layers of {name}; got {depths.max()}"
                )
        choices = np.unique(matrix[active])
        for layer, column in enumerate(matrix.T):
            needs = np.unique(depths[depths > layer]).tolist() if layered and length is not None else None
            if needs == []:
                continue  # no architecture is that deep
            when = {str(length): needs} if needs is not None and layer >= depths.min() else None
            made[f"{name}.{layer + 1}" if layered else name] = Ordinal(choices.tolist(), when=when)
            columns.append(np.where(active[:, layer], np.searchsorted(choices, column), -1))
    return Space(made), np.column_stack(columns).astype(np.int32)


def nas_bench_graph(dataset: str, *, objectives: Mapping[str, Direction] | None = None) -> TabularBenchmark:
    """Read a table of NAS-Bench-Graph [1]_ from the installed package ``nas-bench-graph``.

    The metrics are ``valid_score`` and ``test_score`` (larger is better), ``latency_ms`` and ``parameters``,
    all means of three runs with different seeds, and with hyper-parameters chosen for each data set.

    Parameters
    ----------
    dataset : str
        "arxiv", "citeseer", "computers", "cora", "cs", "photo", "physics", "proteins" or "pubmed".
    objectives : mapping of str to {"minimize", "maximize"}, optional
        The metrics that a search optimises by default; ``{"valid_score": "maximize"}`` unless given.

    Returns
    -------
    TabularBenchmark
        26,206 networks of `nasx.spaces.NASBenchGraph`; for "proteins" the 2,021 that were measured.

    Raises
    ------
    ValueError
        If the data set is unknown, or the package's file is not what it should be.
    nasx.errors.MissingDependencyError
        If the package is not installed.

    Notes
    -----
    The package's own units are seconds and millions. It keeps its tables as pickles, which are read without
    running anything that a file names, and refused if they hold more than containers and numbers.

    References
    ----------
    .. [1] Y. Qin, Z. Zhang, X. Wang, Z. Zhang, W. Zhu, "NAS-Bench-Graph: Benchmarking Graph Neural
       Architecture Search", NeurIPS 2022 Datasets and Benchmarks.
    """
    if dataset not in _GRAPHS:
        raise ValueError(f"dataset: {unknown('data set', dataset, _GRAPHS)}")
    package = require("nas_bench_graph", "nasx.tasks.tables.nas_bench_graph", "tables")
    path = pathlib.Path(package.__file__).parent / "light" / f"{dataset}.bench"
    genotypes, metrics = _graph_rows(path, load_plain(path))
    # Of a key, the digits are the structure and the operations among all nine.
    names = NASBenchGraph.all_operations
    present = np.unique(genotypes[:, 1:])
    space = NASBenchGraph(operations=[names[i] for i in present])
    genotypes[:, 1:] = np.searchsorted(present, genotypes[:, 1:])
    return TabularBenchmark(
        space,
        space.canonicalize(space.check(genotypes)),
        metrics,
        objectives=objectives or {"valid_score": "maximize"},
        name=f"NAS-Bench-Graph {dataset}",
    )


def _graph_rows(path: pathlib.Path, rows: Any) -> tuple[Genotypes, dict[str, npt.NDArray[np.float64]]]:
    """Check what a file of NAS-Bench-Graph held: genotypes among all operations, and metrics."""
    wanted = [theirs for theirs, _, _ in _GRAPH_METRICS]
    try:
        if not all(type(key) is int for key in rows):
            raise TypeError("keys must be integers")
        keys = np.array(list(rows), np.int64)
        values = np.array([[float(row[metric]) for metric in wanted] for row in rows.values()])
    except (TypeError, ValueError, LookupError, AttributeError, OverflowError):
        keys, values = np.zeros(0, np.int64), np.zeros((0, len(wanted)))
    genotypes = (keys[:, None] // 10 ** np.arange(4, -1, -1)).astype(np.int32)
    genotypes[:, 1:] %= 10
    if not keys.size or genotypes.min() < 0 or genotypes.max() > 8:
        raise ValueError(f"{path} is no table of NAS-Bench-Graph: it must map keys to {', '.join(wanted)}")
    metrics = {ours: values[:, j] * factor for j, (_, ours, factor) in enumerate(_GRAPH_METRICS)}
    return genotypes, metrics


def _measured(
    arrays: Mapping[str, npt.NDArray[Any]], n: int, metrics: Sequence[str] | None
) -> dict[str, npt.NDArray[Any]]:
    """Pick the metrics: those named, or all that fit."""
    if metrics is not None:
        return {name: arrays[name] for name in metrics if name in arrays}
    return {
        name: values
        for name, values in arrays.items()
        if values.ndim in (1, 2) and len(values) == n and values.dtype.kind in "biuf"
    }
