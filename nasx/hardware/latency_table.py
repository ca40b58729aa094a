"""`LatencyTable`: the latency of any architecture of a space as a sum over its decisions."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from nasx._arguments import floats
from nasx._core import latency_table as _native
from nasx._npz import read_arrays
from nasx.hardware.adaptation import Mixture
from nasx.hardware.additive_fit import fit_additive
from nasx.hardware.costs import Cost
from nasx.hardware.measuring import measure_additive
from nasx.hardware.timing import TimingSettings
from nasx.space import Genotypes, Space

if TYPE_CHECKING:
    from nasx.tasks.base import TaskSpec

__all__ = ["LatencyTable"]

_FORMAT = "nasx latency table 1"
_ENUMERABLE = 1_000_000
_SAMPLED = 2_000
Entries = Mapping[str, npt.ArrayLike] | Sequence[npt.ArrayLike]


class LatencyTable(Cost):
    """Latency in milliseconds as a sum: an intercept, an entry for each choice, perhaps one for each pair.

    What the decisions take is added up in their order; inactive ones add nothing. Pairs are of neighbouring
    decisions. A table is a cost:
    ``nasx.search(space, task, costs={"latency_ms": table}, limits={"latency_ms": 5.0})``.

    Parameters
    ----------
    space : Space
        Whose architectures it is for.
    entries : mapping of str to array_like, or sequence of array_like
        For each decision, by name or in order, one number for each choice, in milliseconds.
    pairs : sequence of array_like, optional
        For each decision but the last, a matrix with a row for each of its choices and a column for each
        choice of the next decision.
    intercept : float, default 0
        What every architecture takes.
    about : mapping of str to JSON types, optional
        What is known of its origin: device, versions, errors.

    Raises
    ------
    ValueError
        If a decision has no entries, their number does not fit, or one is not finite.

    Notes
    -----
    A call takes O(n d) for n genotypes of d decisions, in the core and on several threads; the sums are the
    same bits on every platform.

    Examples
    --------
    >>> from nasx import Categorical, Space
    >>> space = Space({"first": Categorical(["conv", "skip"]), "second": Categorical(["conv", "skip"])})
    >>> table = LatencyTable(space, {"first": [2.0, 0.5], "second": [1.0, 0.25]}, intercept=1)
    >>> table([[0, 0], [1, 1]])
    array([4.  , 1.75])
    >>> table.fastest(), table.range()
    (array([1, 1], dtype=int32), (1.75, 4.0))
    """

    name = "latency_ms"
    unit = "ms"
    needs_spec = False
    vectorized = True

    def __init__(
        self,
        space: Space,
        entries: Entries,
        *,
        pairs: Sequence[npt.ArrayLike] | None = None,
        intercept: float = 0.0,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        counts = space.cardinalities.tolist()
        if isinstance(entries, Mapping):
            missing = [name for name in space.names if name not in entries]
            if missing or len(entries) != len(space):
                raise ValueError(
                    f"entries must have the decisions {', '.join(space.names)}; got {', '.join(entries)}"
                )
            entries = [entries[name] for name in space.names]
        if len(entries) != len(space):
            raise ValueError(f"entries must have {len(space)} rows, one a decision; got {len(entries)}")
        self.space = space
        self.entries = tuple(
            _shaped(row, (count,), f"entries of {name}")
            for row, count, name in zip(entries, counts, space.names, strict=True)
        )
        self.pairs: tuple[npt.NDArray[np.float64], ...] | None = None
        if pairs is not None:
            if len(pairs) != len(space) - 1:
                raise ValueError(f"pairs must have {len(space) - 1} matrices; got {len(pairs)}")
            self.pairs = tuple(
                _shaped(part, shape, f"pairs of {space.names[j]} and {space.names[j + 1]}")
                for j, (part, *shape) in enumerate(zip(pairs, counts[:-1], counts[1:], strict=True))
            )
        self.intercept = float(intercept)
        self.about = dict(about or {})
        self._table = _native.LatencyTable(
            space.cardinalities,
            np.concatenate(self.entries),
            None if not self.pairs else np.concatenate([part.ravel() for part in self.pairs]),
            self.intercept,
        )

    @property
    def settings(self) -> dict[str, Any]:
        """All its numbers, as JSON types."""
        return {
            "entries": [row.tolist() for row in self.entries],
            "pairs": None if self.pairs is None else [part.tolist() for part in self.pairs],
            "intercept": self.intercept,
        }

    def bind(self, space: Space, spec: TaskSpec | None) -> Self:
        """Make sure that it is asked for architectures of its own space.

        Parameters
        ----------
        space : Space
            The space of a search.
        spec : TaskSpec, optional
            What the networks are for; the table does not look at it.

        Returns
        -------
        LatencyTable
            The table itself.

        Raises
        ------
        ValueError
            If the space has other decisions.
        """
        if space != self.space:
            raise ValueError(
                f"the latency table is for {self.space!r}, not for {space!r}: the decisions differ"
            )
        return self

    def __call__(self, genotypes: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Look architectures up.

        Parameters
        ----------
        genotypes : array_like of int, shape (n, d)
            Genotypes of the table's space.

        Returns
        -------
        ndarray of float64, shape (n,)
            Latencies in milliseconds.

        Raises
        ------
        ValueError
            If there are not `d` columns, or a choice is out of range.
        """
        rows = genotypes if isinstance(genotypes, np.ndarray) else np.asarray(genotypes)
        if rows.dtype != np.int32 or rows.ndim != 2 or not rows.flags.c_contiguous:
            rows = self.space.check(rows)
        return self._table.sum(rows)

    def _compute(self, genotypes: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
        return self._table.sum(genotypes)

    def expected(self, probabilities: Sequence[Any]) -> Any:
        """Mean latency when the choices are drawn independently.

        Parameters
        ----------
        probabilities : sequence of array_like or torch.Tensor, shapes (..., c_j)
            For each decision, in order, the probability of each choice. Of a decision that may be inactive,
            they may sum to less than 1.

        Returns
        -------
        ndarray of float64 or torch.Tensor, shape (...)
            In milliseconds; differentiable if the probabilities are tensors.

        Raises
        ------
        ValueError
            If a number of decisions or choices does not fit.
        """
        if len(probabilities) != len(self.space):
            raise ValueError(
                f"probabilities must have {len(self.space)} parts, one a decision; got {len(probabilities)}"
            )
        parts = [p if hasattr(p, "new_tensor") else np.asarray(p, np.float64) for p in probabilities]
        for part, row, name in zip(parts, self.entries, self.space.names, strict=True):
            if part.shape[-1:] != row.shape:
                raise ValueError(
                    f"probabilities of {name} must have shape (..., {len(row)}); got {tuple(part.shape)}"
                )

        def like(part: Any, values: npt.NDArray[np.float64]) -> Any:
            return part.new_tensor(values) if hasattr(part, "new_tensor") else values

        total = self.intercept
        for part, row in zip(parts, self.entries, strict=True):
            total = total + (part * like(part, row)).sum(-1)
        for j, matrix in enumerate(self.pairs or ()):
            total = total + ((parts[j] @ like(parts[j], matrix)) * parts[j + 1]).sum(-1)
        return total

    def fastest(self) -> Genotypes:
        """Find the architecture with the smallest latency.

        Returns
        -------
        ndarray of int32, shape (d,)
            Its genotype; exact.

        Raises
        ------
        ValueError
            If the space has conditions or constraints and is too large to enumerate.
        """
        return self._extreme(1)

    def slowest(self) -> Genotypes:
        """Find the architecture with the largest latency.

        Returns
        -------
        ndarray of int32, shape (d,)
            Its genotype; exact.

        Raises
        ------
        ValueError
            If the space has conditions or constraints and is too large to enumerate.
        """
        return self._extreme(-1)

    def range(self) -> tuple[float, float]:
        """Latencies of the fastest and of the slowest architecture, in milliseconds.

        Returns
        -------
        fastest, slowest : float
            As of `fastest` and `slowest`.
        """
        low, high = self(np.stack([self.fastest(), self.slowest()])).tolist()
        return low, high

    def _extreme(self, sign: int) -> Genotypes:
        space = self.space
        if len(space.conditions) or space.constraints:
            if not space.has_at_most(_ENUMERABLE):
                raise ValueError(
                    "with conditions or constraints, the fastest and slowest architectures of a space are "
                    f"found by looking at all; this one has more than {_ENUMERABLE:,}"
                )
            rows = space.enumerate()
            found: Genotypes = rows[int(np.argmin(sign * self(rows)))]
            return found
        # From the last decision backwards: the best that may follow each choice, and where it goes next.
        best, follow = sign * self.entries[-1], []
        for j in range(len(space) - 2, -1, -1):
            after = best + (0 if self.pairs is None else sign * self.pairs[j])
            after = np.broadcast_to(after, (len(self.entries[j]), after.shape[-1]))
            follow.append(after.argmin(axis=1))
            best = sign * self.entries[j] + after.min(axis=1)
        row = [int(best.argmin())]
        for step in reversed(follow):
            row.append(int(step[row[-1]]))
        return np.array(row, np.int32)

    # -- from timings ----------------------------------------------------------------------------------------

    @classmethod
    def fit(
        cls,
        space: Space,
        genotypes: npt.ArrayLike,
        measured_ms: npt.ArrayLike,
        *,
        about: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> LatencyTable:
        """Make a table from timings of whole networks.

        A ridge regression on the choices, robust against outliers (Huber's weights). How strong it is, and
        whether neighbouring pairs get entries, is chosen by five-fold cross-validation. Its errors on timings
        that were left out are kept in ``table.about["errors"]``: the mean absolute error in milliseconds, the
        median relative error, the share within 10 %, and Spearman's rank correlation.

        Parameters
        ----------
        space : Space
            Whose architectures were timed.
        genotypes : array_like of int, shape (n, d)
            At least ten different architectures.
        measured_ms : array_like of float, shape (n,)
            Their latencies in milliseconds.
        about : mapping of str to JSON types, optional
            What is known of the timings.
        seed : int, default 0
            Of the folds.

        Returns
        -------
        LatencyTable
            The table.

        Raises
        ------
        ValueError
            If there are too few timings, a length does not fit, or a timing is not finite.

        References
        ----------
        P. J. Huber, "Robust estimation of a location parameter", Annals of Mathematical Statistics 35, 1964.
        """
        rows, timings = _timings(space, genotypes, measured_ms)
        if len(np.unique(rows, axis=0)) < 10:
            raise ValueError(
                f"genotypes must hold at least 10 different architectures; got {len(np.unique(rows, axis=0))}"
            )
        model = fit_additive(rows, timings, space.cardinalities, seed=seed)
        return cls(
            space,
            model.entries,
            pairs=model.pairs,
            intercept=model.intercept,
            about={**(about or {}), "timings": len(rows), "errors": model.errors},
        )

    @classmethod
    def measure(
        cls,
        space: Space,
        spec: TaskSpec,
        *,
        backend: str = "torch",
        device: str = "cpu",
        batch_size: int = 1,
        threads: int = 1,
        networks: int = 60,
        rounds: int = 15,
        about: Mapping[str, Any] | None = None,
        seed: int = 0,
        resume: str | os.PathLike[str] | None = None,
        progress: bool | None = None,
    ) -> LatencyTable:
        """Make a table by timing on this machine.

        The blocks of the space (`Space.blocks`) are timed by what each adds to a network, and some whole
        networks beside them, as `measure_latency` does: in a process of its own with fixed threads, in rounds
        that take all in turn. The blocks' sums are what is expected of an architecture; a robust ridge
        regression towards them calibrates the table on the whole networks. Its errors are of whole networks
        that were left out in turn, in ``table.about["errors"]``, beside the device, the versions, the
        settings, and each block's median and 10th and 90th percentile. Spaces without blocks are measured by
        whole networks alone.

        Parameters
        ----------
        space : Space
            A space that can build networks.
        spec : TaskSpec
            Shape of one input and number of outputs.
        backend : {"torch", "onnxruntime"}, default "torch"
            What runs the networks.
        device : str, default "cpu"
            Where torch runs them.
        batch_size : int, default 1
            Inputs at a time; a latency is of the whole batch.
        threads : int, default 1
            Threads of the backend.
        networks : int, default 60
            Whole networks to time, at least 10.
        rounds : int, default 15
            Times that everything is timed.
        about : mapping of str to JSON types, optional
            What else is known.
        seed : int, default 0
            Of the networks and the order.
        resume : path-like, optional
            Keep what is timed in this file; a call that was stopped goes on with it.
        progress : bool, optional
            By default on a terminal only.

        Returns
        -------
        LatencyTable
            The table.

        Raises
        ------
        TypeError
            If the space cannot build networks.
        ValueError
            If a setting is out of range, or the file is of other timings.
        nasx.errors.EvaluationError
            If a network cannot be built or run.
        nasx.errors.MissingDependencyError
            If the backend is not installed.

        Examples
        --------
        >>> from nasx import TaskSpec
        >>> from nasx.spaces import ConvNet
        >>> space = ConvNet(depths=[1], widths=[8, 64], kernel_sizes=[3], strides=[1], residual=False)
        >>> spec = TaskSpec((1, 8, 8), 10, "image_classification")
        >>> table = LatencyTable.measure(space, spec, networks=10, rounds=3)
        >>> sorted(table.about["errors"])
        ['mean_absolute_ms', 'median_relative', 'rank_correlation', 'within_10_percent']
        """
        settings = TimingSettings(
            backend=backend, device=device, batch_size=batch_size, threads=threads, rounds=rounds
        )
        entries, pairs, intercept, told = measure_additive(
            space, spec, settings, networks=networks, seed=seed, resume=resume, progress=progress
        )
        return cls(space, entries, pairs=pairs, intercept=intercept, about={**(about or {}), **told})

    @classmethod
    def adapt(
        cls,
        tables: Sequence[LatencyTable],
        genotypes: npt.ArrayLike,
        measured_ms: npt.ArrayLike,
        *,
        about: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> LatencyTable:
        """Make a table for a new device from about ten timings and the tables of known devices.

        The new log-latencies are a weighted sum of the known ones: a ridge regression towards equal weights.
        The table is the nearest sum over decisions, perhaps with pairs, to that. Its errors, in
        ``table.about["errors"]``, are of each timing told from the others.

        Parameters
        ----------
        tables : sequence of LatencyTable
            Of known devices, all for the same space.
        genotypes : array_like of int, shape (n, d)
            At least three architectures, timed on the new device.
        measured_ms : array_like of float, shape (n,)
            Their latencies in milliseconds.
        about : mapping of str to JSON types, optional
            What is known of the timings.
        seed : int, default 0
            Of the architectures at which the sum is compared, in a large space.

        Returns
        -------
        LatencyTable
            The table.

        Raises
        ------
        ValueError
            If there are no tables, their spaces differ, there are too few timings, a length does not fit, or
            a timing is not positive.

        Examples
        --------
        >>> from nasx import Integer, Space
        >>> space = Space({"a": Integer(0, 4), "b": Integer(0, 4)})
        >>> rising, flat = [1, 2, 3, 4, 5], [0, 0, 0, 0, 0]
        >>> known = [LatencyTable(space, [rising, flat]), LatencyTable(space, [flat, rising])]
        >>> rows = space.sample(10, seed=0)
        >>> table = LatencyTable.adapt(known, rows, 3 * known[0](rows) * known[1](rows))
        >>> bool(table([[4, 4]])[0] > table([[0, 0]])[0])
        True
        """
        if not tables:
            raise ValueError("tables must hold at least one table of a known device; got none")
        space = tables[0].space
        for table in tables:
            if table.space != space:
                raise ValueError(f"tables must be for one space; got {space!r} and {table.space!r}")
        rows, timings = _timings(space, genotypes, measured_ms)
        if len(rows) < 3 or timings.min() <= 0:
            raise ValueError(
                "measured_ms must hold at least three latencies, all more than 0; got "
                f"{len(timings)}{f', the least {timings.min():g}' if len(timings) else ''}"
            )
        mixture = Mixture(tables, rows, timings)
        some = space.enumerate() if space.size <= _SAMPLED else space.sample(_SAMPLED, seed=seed)
        model = fit_additive(some, mixture(some), space.cardinalities, seed=seed)
        told = {**(about or {}), "timings": len(rows), "errors": mixture.errors}
        return cls(space, model.entries, pairs=model.pairs, intercept=model.intercept, about=told)

    # -- on disk ---------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the table to a file: an npz of arrays and one text of JSON, without pickles.

        Parameters
        ----------
        path : path-like
            The file, replaced as a whole if it is there.
        """
        header = {"format": _FORMAT, "space": self.space.to_dict(), "unit": self.unit, "about": self.about}
        arrays = {
            "header": np.array(json.dumps(header)),
            "entries": np.concatenate(self.entries),
            "intercept": np.array(self.intercept),
        }
        if self.pairs is not None:
            arrays["pairs"] = np.concatenate([np.empty(0), *(part.ravel() for part in self.pairs)])
        path = Path(path)
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        try:
            with open(partial, "wb") as stream:
                np.savez(stream, **arrays)  # type: ignore[arg-type]
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, space: Space | None = None) -> LatencyTable:
        """Read a table from a file.

        Parameters
        ----------
        path : path-like
            What `save` wrote.
        space : Space, optional
            The space that it must be for, by default the recorded one. Constraints are code and are not
            recorded: a space with some has to be given.

        Returns
        -------
        LatencyTable
            The table.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is damaged, no table, or a table of another space.
        """
        name = os.fspath(path)
        file = read_arrays(path, what="a latency table")
        try:
            header = json.loads(str(file["header"]))
            if header["format"] != _FORMAT:
                raise ValueError(f"its format is {header['format']!r}, not {_FORMAT!r}")
            recorded = Space.from_dict(header["space"])
            counts = recorded.cardinalities.astype(np.int64)  # whose products fit
            entries = np.split(floats(file["entries"], "entries", 1), np.cumsum(counts)[:-1])
            pairs = None
            if "pairs" in file:
                sizes = counts[:-1] * counts[1:]
                parts = np.split(floats(file["pairs"], "pairs", 1), np.cumsum(sizes)[:-1])
                shapes = zip(parts[: len(sizes)], counts[:-1], counts[1:], strict=True)
                pairs = [part.reshape(a, b) for part, a, b in shapes]
            table = cls(
                recorded,
                entries,
                pairs=pairs,
                intercept=float(file["intercept"]),
                about=header["about"],
            )
        except Exception as error:  # JSON, NumPy and this block have each their own
            raise ValueError(f"{name} cannot be read as a latency table: {error}") from None
        if space is None:
            return table
        if space != recorded:
            raise ValueError(f"{name} is a table of {recorded!r}, not of {space!r}: the decisions differ")
        return cls(space, table.entries, pairs=table.pairs, intercept=table.intercept, about=table.about)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.space, self.entries, self.pairs, self.intercept, self.about)

    def __repr__(self) -> str:
        paired = ", with pairs" if self.pairs is not None else ""
        return f"LatencyTable({len(self.space)} decisions, {sum(map(len, self.entries))} entries{paired})"


def _rebuild(space: Space, entries: Entries, pairs: Any, intercept: float, about: Any) -> LatencyTable:
    return LatencyTable(space, entries, pairs=pairs, intercept=intercept, about=about)


def _timings(
    space: Space, genotypes: npt.ArrayLike, measured_ms: npt.ArrayLike
) -> tuple[Genotypes, npt.NDArray[np.float64]]:
    rows = space.check(genotypes)
    timings = floats(measured_ms, "measured_ms", 1)
    if len(timings) != len(rows):
        raise ValueError(f"measured_ms must have {len(rows)} values, one a genotype; got {len(timings)}")
    if not np.isfinite(timings).all():
        raise ValueError("measured_ms must be finite; leave failed timings out")
    return rows, timings


def _shaped(values: npt.ArrayLike, shape: Sequence[int], name: str) -> npt.NDArray[np.float64]:
    array = np.array(values, np.float64)
    if array.shape != tuple(shape):
        raise ValueError(f"{name} must have shape {tuple(shape)}; got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite; got {array[~np.isfinite(array)][0]}")
    array.setflags(write=False)
    return array
