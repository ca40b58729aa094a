"""`LatencyTable`: the latency of any architecture of a space, from timings."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from nasx._arguments import floats
from nasx.architecture import Block
from nasx.hardware.adaptation import Mixture
from nasx.hardware.additive_fit import errors_of, fit_additive
from nasx.hardware.additive_table import AdditiveTable, Entries
from nasx.hardware.block_times import BlockTimes
from nasx.hardware.measuring import measure_table
from nasx.hardware.table_files import check_space, read_table, write_table
from nasx.hardware.timing import TimingSettings
from nasx.space import Genotypes, Space

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from nasx.tasks.base import TaskSpec

__all__ = ["LatencyTable"]

_FORMATS = ("nasx latency table 1", "nasx latency table of blocks 1")
_SAMPLED = 2_000


class LatencyTable(AdditiveTable):
    """Latency in milliseconds as a sum: an intercept, an entry for each choice, perhaps one for each pair.

    What the decisions take is added up in their order; inactive ones add nothing. Pairs are of neighbouring
    decisions. Where what a part of a network takes depends on more than that, a measured table also adds up
    what the network's blocks take. A table is a cost:
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
    blocks : BlockTimes, optional
        What the blocks of the space's networks take, in addition.
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

    def __init__(
        self,
        space: Space,
        entries: Entries,
        *,
        pairs: Sequence[npt.ArrayLike] | None = None,
        intercept: float = 0.0,
        blocks: BlockTimes | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(space, entries, pairs=pairs, intercept=intercept)
        self.blocks = blocks
        self.vectorized = blocks is None
        self.about = dict(about or {})

    @property
    def adds_up(self) -> bool:
        """Whether the latency is the sum over decisions and nothing else: the table has no blocks."""
        return self.blocks is None

    @property
    def settings(self) -> dict[str, Any]:
        """All its numbers, as JSON types."""
        if self.blocks is None:
            return super().settings
        blocks = [[block.to_dict(), ms] for block, ms in self.blocks.times.items()]
        return {**super().settings, "blocks": blocks}

    def _compute(self, genotypes: Genotypes) -> npt.NDArray[np.float64]:
        sums = super()._compute(genotypes)
        return sums if self.blocks is None else sums + self.blocks(genotypes)

    def bind(self, space: Space, spec: TaskSpec | None) -> Self:
        """Make sure that it is asked for architectures of its own space, on inputs that it was measured for.

        Parameters
        ----------
        space : Space
            The space of a search.
        spec : TaskSpec, optional
            What the networks are for. A table from `measure` knows the shape of its inputs, others need not.

        Returns
        -------
        LatencyTable
            The table itself.

        Raises
        ------
        ValueError
            If the space has other decisions, or is of the same class with other settings; or if inputs have
            another shape than those that were measured.
        """
        check_space(self.space.to_dict(), space, "the latency table is one")
        shape = self._input_shape
        if spec is not None and shape is not None and shape != spec.input_shape:
            raise ValueError(
                f"the latency table is one for inputs of shape {shape}, not {spec.input_shape}: measure one "
                "for these by LatencyTable.measure(space, spec)"
            )
        return self

    @property
    def _input_shape(self) -> tuple[int, ...] | None:
        """Shape of the inputs that were measured, where it is known."""
        if self.blocks is not None:
            return self.blocks.spec.input_shape
        spec = self.about.get("spec")
        shape = spec.get("input_shape") if isinstance(spec, Mapping) else None
        return tuple(shape) if isinstance(shape, list | tuple) else None

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
        held_out: int = 0,
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
        regression towards them calibrates the table on the whole networks. Where these sums are no sums over
        decisions, to within 1 %, because what a block takes depends on those before it, the table keeps the
        blocks (``table.blocks``). Its errors are of whole networks that were left out in turn, in
        ``table.about["errors"]``, beside the device, the versions, the settings, and each block's median and
        10th and 90th percentile; those of blocks that had to be told from others, as a large space's must,
        are in ``table.about["block_errors"]``. Spaces without blocks are measured by whole networks alone.

        With networks held out, ``table.about["held_out"]`` has their genotypes, what was measured and what
        the table says of them, its errors, the errors of one half of the rounds against the other, which say
        how well the timings repeat, and the plain sums of their blocks timed alone (none where a block was
        not timed). They are timed among all else: on a machine whose speed drifts, timings of another hour
        say how far it drifted, not how right the table is.

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
        held_out : int, default 0
            More whole networks, timed in the same rounds, which nothing is fitted to.
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
        found = measure_table(
            space,
            spec,
            settings,
            networks=networks,
            held_out=held_out,
            seed=seed,
            resume=resume,
            progress=progress,
        )
        return cls(
            space,
            found.entries,
            pairs=found.pairs,
            intercept=found.intercept,
            blocks=found.blocks,
            about={**(about or {}), **found.about},
        )

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
        ``table.about["errors"]``, are of each timing told from the others, and of what the sum leaves.

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
        found = cls(space, model.entries, pairs=model.pairs, intercept=model.intercept)
        errors = errors_of(mixture.left_out + found(rows) - mixture(rows), timings)
        found.about = {**(about or {}), "timings": len(rows), "errors": errors}
        return found

    def plot(
        self,
        genotypes: npt.ArrayLike,
        measured_ms: npt.ArrayLike,
        *,
        path: str | os.PathLike[str] | None = None,
    ) -> Figure:
        """Draw what the table says beside what was measured.

        Parameters
        ----------
        genotypes : array_like of int, shape (n, d)
            Architectures; better others than those the table was made from.
        measured_ms : array_like of float, shape (n,)
            Their latencies in milliseconds, as from `measure_latency`.
        path : path-like, optional
            Write the picture here too; the ending decides the format.

        Returns
        -------
        matplotlib.figure.Figure
            See `nasx.plots.plot_predictions`.

        Raises
        ------
        MissingDependencyError
            If matplotlib is not installed.
        ValueError
            If a length does not fit, or a timing is not finite.

        Examples
        --------
        >>> from nasx import Integer, Space
        >>> table = LatencyTable(Space({"a": Integer(0, 2)}), [[1.0, 2.0, 4.0]])
        >>> table.plot([[0], [1], [2]], [1.0, 2.0, 5.0]).axes[0].get_title()
        'median error 0.0%, within 10%: 67%, rank correlation 1.000'
        """
        from nasx import plots

        rows, timings = _timings(self.space, genotypes, measured_ms)
        return plots.plot_predictions(self(rows), timings, path=path)

    # -- on disk ---------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the table to a file: an npz of arrays and one text of JSON, without pickles.

        Parameters
        ----------
        path : path-like
            The file, replaced as a whole if it is there.
        """
        arrays = {"entries": np.concatenate(self.entries), "intercept": np.array(self.intercept)}
        if self.pairs is not None:
            arrays["pairs"] = np.concatenate([np.empty(0), *(part.ravel() for part in self.pairs)])
        header: dict[str, Any] = {"unit": self.unit, "about": self.about}
        if self.blocks is not None:
            header["spec"] = dataclasses.asdict(self.blocks.spec)
            header["blocks"] = [block.to_dict() for block in self.blocks.times]
            arrays["block_ms"] = np.array(list(self.blocks.times.values()))
        write_table(path, _FORMATS[self.blocks is not None], self.space, header, arrays)

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
            If it is damaged, no table, or a table of another space: one with other decisions, of the same
            class with other settings, or of another class (other than `Space` itself).
        """
        return read_table(path, _FORMATS, "a latency table", cls._read, space)

    @classmethod
    def _read(cls, space: Space, header: dict[str, Any], arrays: Mapping[str, Any]) -> LatencyTable:
        counts = space.cardinalities.astype(np.int64)  # whose products fit
        entries = np.split(floats(arrays["entries"], "entries", 1), np.cumsum(counts)[:-1])
        pairs = None
        if "pairs" in arrays:
            sizes = counts[:-1] * counts[1:]
            parts = np.split(floats(arrays["pairs"], "pairs", 1), np.cumsum(sizes)[:-1])
            shapes = zip(parts[: len(sizes)], counts[:-1], counts[1:], strict=True)
            pairs = [part.reshape(a, b) for part, a, b in shapes]
        blocks = None
        if header["format"] == _FORMATS[1]:
            from nasx.tasks.base import TaskSpec

            if not space.has_blocks:
                raise ValueError("its space is no built-in one: it has to be given as space=")
            timed = [Block.from_dict(block) for block in header["blocks"]]
            times = zip(timed, floats(arrays["block_ms"], "block_ms", 1).tolist(), strict=True)
            blocks = BlockTimes(space, TaskSpec(**header["spec"]), dict(times))
        intercept = float(arrays["intercept"])
        return cls(space, entries, pairs=pairs, intercept=intercept, blocks=blocks, about=header["about"])

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.space, self.entries, self.pairs, self.intercept, self.blocks, self.about)

    def __repr__(self) -> str:
        more = ", with pairs" if self.pairs is not None else ""
        more += f", {len(self.blocks.times)} blocks" if self.blocks is not None else ""
        return f"LatencyTable({len(self.space)} decisions, {sum(map(len, self.entries))} entries{more})"


def _rebuild(
    space: Space, entries: Entries, pairs: Any, intercept: float, blocks: Any, about: Any
) -> LatencyTable:
    return LatencyTable(space, entries, pairs=pairs, intercept=intercept, blocks=blocks, about=about)


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
