"""`ParamsTable`, `FlopsTable`, `MemoryTable`: costs counted on networks without values, kept in files."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import os
from abc import abstractmethod
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from nasx._arguments import count, floats
from nasx.architecture import Block
from nasx.hardware.additive_table import AdditiveTable
from nasx.hardware.costs import NetworkCost
from nasx.hardware.table_files import check_space, read_table, write_table

if TYPE_CHECKING:
    from torch import nn

    from nasx.architecture import Architecture
    from nasx.space import Space
    from nasx.tasks.base import TaskSpec

__all__ = ["CountedCost", "CountedTable", "FlopsTable", "MemoryTable", "ParamsTable"]

_FORMAT = "nasx counted table 1"


class _Counted(NamedTuple):
    """What a file has: the networks and blocks that were counted, and for which space and spec."""

    file: str
    space: dict[str, Any]
    spec: dict[str, Any]
    known: dict[bytes, float]
    blocks: dict[Block, float]


class CountedTable(NetworkCost):
    """A cost counted on networks without values, each once; what was counted can be kept in a file."""

    _blocks: dict[Block, float]
    _loaded: _Counted | None = None

    def bind(self, space: Space, spec: TaskSpec | None) -> Self:
        """Say whose architectures will be built and what for.

        Parameters
        ----------
        space : Space
            A space that can build networks.
        spec : TaskSpec
            Shape of one input and number of outputs.

        Returns
        -------
        CountedTable
            A bound copy, which has counted nothing yet but for what was loaded.

        Raises
        ------
        TypeError
            If the space cannot build networks.
        ValueError
            If there is no spec, or what was loaded is of another space or for another spec.
        nasx.errors.MissingDependencyError
            If torch is not installed.
        """
        bound = super().bind(space, spec)
        bound._blocks = {}
        if self._loaded is not None:
            file, recorded, recorded_spec, known, blocks = self._loaded
            check_space(recorded, space, f"{file} is a table")
            if spec is not None and _json(dataclasses.asdict(spec)) != recorded_spec:
                raise ValueError(f"{file} is a table for {recorded_spec}, not for {spec}")
            bound._known, bound._blocks = dict(known), dict(blocks)
        return bound

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what was counted so far to a file: an npz of arrays and one text of JSON, without pickles.

        Parameters
        ----------
        path : path-like
            The file, replaced as a whole if it is there.

        Raises
        ------
        RuntimeError
            If the cost is not bound.
        """
        space, spec = self._space, self._spec
        if space is None or spec is None:
            raise RuntimeError(f"{type(self).__name__} has counted nothing: call bind(space, spec) first")
        header = {
            "cost": self.name,
            "settings": self.settings,
            "unit": self.unit,
            "spec": dataclasses.asdict(spec),
            "versions": {name: version(name) for name in ("nasx", "torch")},
            "blocks": [block.to_dict() for block in self._blocks],
        }
        arrays: dict[str, npt.NDArray[Any]] = {
            "genotypes": np.frombuffer(b"".join(self._known), np.int32).reshape(-1, len(space)),
            "values": np.array(list(self._known.values()), np.float64),
            "block_values": np.array(list(self._blocks.values()), np.float64),
        }
        write_table(path, _FORMAT, space, header, arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, space: Space | None = None) -> Self:
        """Read a table from a file.

        Parameters
        ----------
        path : path-like
            What `save` wrote.
        space : Space, optional
            The space that it must be for, by default the recorded one.

        Returns
        -------
        CountedTable
            With the recorded settings. Once bound to the recorded space and spec, it knows what was counted;
            `bind` refuses others.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is damaged, no table of this cost, or a table of another space: one with other decisions, or
            of the same class with other settings.
        """
        read = functools.partial(cls._read, os.fspath(path))
        return read_table(path, [_FORMAT], f"a table of {cls.name}", read, space)

    @classmethod
    def _read(cls, file: str, space: Space, header: dict[str, Any], arrays: Mapping[str, Any]) -> Self:
        if header["cost"] != cls.name:
            raise ValueError(f"it is a table of {header['cost']}")
        rows = space.check(arrays["genotypes"])
        known = zip((row.tobytes() for row in rows), _counts(arrays["values"], len(rows)), strict=True)
        parts = [Block.from_dict(part) for part in header["blocks"]]
        blocks = zip(parts, _counts(arrays["block_values"], len(parts)), strict=True)
        table = cls(**header["settings"])
        table._loaded = _Counted(file, header["space"], dict(header["spec"]), dict(known), dict(blocks))
        return table


def _counts(values: npt.ArrayLike, n: int) -> list[float]:
    numbers = floats(values, "values", 1)
    if len(numbers) != n or not np.isfinite(numbers).all() or numbers.min(initial=0) < 0:
        raise ValueError(f"values must be {n} finite numbers of at least 0")
    listed: list[float] = numbers.tolist()
    return listed


def _json(data: dict[str, Any]) -> Any:
    return json.loads(json.dumps(data))


class CountedCost(CountedTable):
    """A cost counted on the network without computing anything: it is built on torch's "meta" device.

    Where a space says what its networks are made of (`Space.blocks`), each block is counted once and a
    network is a sum; else each network is built. Where blocks depend on neighbouring decisions alone
    (`Space.neighbouring_blocks`), many networks are looked up in a table of all choices, to the same numbers.
    Subclasses define `_count`.
    """

    _table: AdditiveTable | None = None
    _asked = 0

    def __getstate__(self) -> dict[str, Any]:
        # The table is quickly made again: what it is made of has been counted.
        return self.__dict__ | {"_table": None}

    def bind(self, space: Space, spec: TaskSpec | None) -> Self:
        """Say whose architectures will be built and what for; see `CountedTable.bind`."""
        bound = super().bind(space, spec)
        bound._table, bound._asked = None, 0
        return bound

    @property
    def vectorized(self) -> bool:
        """Whether many architectures are looked up in a table."""
        return self._space is not None and self._space.neighbouring_blocks

    def _compute(self, genotypes: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
        if self._table is None and self.vectorized:
            assert self._space is not None
            sizes = self._space.cardinalities
            self._asked += len(genotypes)
            if self._asked >= int(sizes.sum() + (sizes[:-1] * sizes[1:]).sum()):  # what the table takes
                self._table = _tabulated(self._space, super()._compute)
        return super()._compute(genotypes) if self._table is None else self._table(genotypes)

    def _measure(self, architecture: Architecture, spec: TaskSpec) -> float:
        space = architecture.space
        if space.has_blocks:
            return sum(self._of_block(space, block, spec) for block in space.blocks(architecture, spec))
        return self._count(on_meta(architecture.build), spec.input_shape, spec)

    def _of_block(self, space: Space, block: Block, spec: TaskSpec) -> float:
        if block not in self._blocks:
            module = on_meta(lambda: space.build_block(block))
            self._blocks[block] = self._count(module, block.input_shape, spec)
        return self._blocks[block]

    @abstractmethod
    def _count(self, module: nn.Module, input_shape: tuple[int, ...], spec: TaskSpec) -> float:
        """Count on a module without values."""


class ParamsTable(CountedCost):
    """Number of trainable parameters. Nothing is allocated: networks are built on torch's "meta" device.

    Examples
    --------
    >>> from nasx import TaskSpec
    >>> from nasx.spaces import ConvNet
    >>> space = ConvNet(depths=[1], widths=[8, 16], operations=["conv"], kernel_sizes=[3], residual=False)
    >>> spec = TaskSpec((1, 8, 8), 10, "image_classification")
    >>> ParamsTable().bind(space, spec)(space.enumerate()[:1])
    array([770.])
    """

    name = "parameters"
    unit = "parameters"

    def _count(self, module: nn.Module, input_shape: tuple[int, ...], spec: TaskSpec) -> float:
        return sum(p.numel() for p in module.parameters() if p.requires_grad)


class FlopsTable(CountedCost):
    """Floating-point operations to evaluate one input; a multiply-add counts as two.

    Counts what torch's ``FlopCounterMode`` counts, convolutions and matrix products, and leaves out
    normalisation, activations and pooling. Nothing is computed: networks are built on torch's "meta" device.

    Examples
    --------
    >>> from nasx import TaskSpec
    >>> from nasx.spaces import ConvNet
    >>> space = ConvNet(depths=[1], widths=[8], operations=["conv"], kernel_sizes=[3], residual=False)
    >>> spec = TaskSpec((1, 8, 8), 10, "image_classification")
    >>> FlopsTable().bind(space, spec)(space.enumerate()[:1])
    array([83104.])
    """

    name = "flops"
    unit = "FLOP"

    def _count(self, module: nn.Module, input_shape: tuple[int, ...], spec: TaskSpec) -> float:
        import torch
        from torch.utils.flop_counter import FlopCounterMode

        from nasx.hardware.inputs import input_type

        inputs = torch.empty(1, *input_shape, dtype=input_type(spec, input_shape), device="meta")
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            module.eval()(inputs)
        return float(counter.get_total_flops())


class MemoryTable(CountedTable):
    """Memory to evaluate a batch, in bytes: the network's weights and the most that its tensors take at once.

    The network is run on tensors without values, and every one counts from when it is made to when nothing
    refers to it any more; an operation's result is there before its inputs go. On a CPU, convolutions copy
    images that are not in the "channels last" layout into a layout of their own and back, which counts too.
    What else a library takes for itself is not known, nor is the memory of torch itself.

    Parameters
    ----------
    batch_size : int, default 1
        Inputs at a time.
    device : str, default "cpu"
        Where the network is going to run.

    Raises
    ------
    ValueError
        If `batch_size` is no positive integer, or `device` no name.

    Examples
    --------
    >>> from nasx import TaskSpec
    >>> from nasx.spaces import ConvNet
    >>> space = ConvNet(depths=[1], widths=[8], operations=["conv"], kernel_sizes=[3], residual=False)
    >>> spec = TaskSpec((1, 8, 8), 10, "image_classification")
    >>> one, many = (MemoryTable(batch_size=b).bind(space, spec)(space.enumerate()[:1]) for b in (1, 64))
    >>> bool(0 < one < many)
    True
    """

    name = "memory_bytes"
    unit = "B"

    def __init__(self, *, batch_size: int = 1, device: str = "cpu") -> None:
        count(batch_size, "batch_size")
        if not isinstance(device, str) or not device:
            raise ValueError(f"device must be a name such as 'cpu' or 'cuda'; got {device!r}")
        self._batch_size, self._device = batch_size, device

    @property
    def settings(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"batch_size": self._batch_size, "device": self._device}

    def _measure(self, architecture: Architecture, spec: TaskSpec) -> float:
        from nasx.hardware.inputs import input_type
        from nasx.hardware.liveness import peak_bytes

        shape, dtype = (self._batch_size, *spec.input_shape), input_type(spec, spec.input_shape)
        return float(peak_bytes(architecture.build, shape, dtype=dtype, reorders=self._device == "cpu"))


def _tabulated(
    space: Space, count_rows: Callable[[npt.NDArray[np.int32]], npt.NDArray[np.float64]]
) -> AdditiveTable:
    """Write down what each choice and each pair of neighbouring ones adds to the first architecture's cost.

    Counts are integers, so that sums of their differences are exact.
    """
    sizes = space.cardinalities.tolist()
    first = np.zeros((1, len(space)), np.int32)
    base = count_rows(first)[0]
    entries, pairs = [], []
    for j, size in enumerate(sizes):
        rows = np.repeat(first, size, axis=0)
        rows[:, j] = np.arange(size)
        entries.append(count_rows(rows) - base)
    for j, shape in enumerate(itertools.pairwise(sizes)):
        rows = np.repeat(first, shape[0] * shape[1], axis=0)
        rows[:, j : j + 2] = np.indices(shape).reshape(2, -1).T
        both = count_rows(rows).reshape(shape) - base
        pairs.append(both - entries[j][:, None] - entries[j + 1])
    return AdditiveTable(space, entries, pairs=pairs, intercept=base)


def on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    """Build a module without memory or values; torch's random state is left alone."""
    import torch

    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                # A copy of a module that is already there stays where it was made.
                return build().to("meta")
        except (NotImplementedError, RuntimeError):
            # Its constructor looks at values, which meta tensors lack.
            return build().to("meta")
