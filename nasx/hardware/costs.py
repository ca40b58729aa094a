"""`Cost`: a metric known without training; and those that are counted on the network itself."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from nasx._arguments import count
from nasx.errors import EvaluationError, require

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from nasx.architecture import Architecture, Block
    from nasx.space import Space
    from nasx.tasks.base import TaskSpec

__all__ = [
    "Connections",
    "Cost",
    "CountedCost",
    "FlopsTable",
    "MemoryTable",
    "NetworkCost",
    "Nodes",
    "ParamsTable",
]


class Cost(ABC):
    """A metric of architectures that is known without training: a function of genotypes.

    A search binds it to its space and to what the networks are for; on its own, call `bind` first.
    Subclasses define `_compute`, and `settings` if they have any.

    Attributes
    ----------
    name : str
        Name of the metric, and of the cost in `nasx.hardware.get_cost`.
    unit : str
        Unit of the values.
    deterministic : bool
        Whether an architecture has the same cost whenever and wherever it is asked for.
    needs_spec : bool
        Whether it has to know what the networks are for.

    Examples
    --------
    >>> from nasx import Ordinal, Space, TaskSpec
    >>> class Width(Cost):
    ...     name, unit = "width", "channels"
    ...     def _compute(self, genotypes):
    ...         return 8.0 * 2.0 ** genotypes[:, 0]
    >>> space = Space({"width": Ordinal([8, 16, 32])})
    >>> Width().bind(space, TaskSpec((1, 8, 8), 10, "image_classification"))([[0], [2]])
    array([ 8., 32.])
    """

    name: ClassVar[str]
    unit: ClassVar[str]
    deterministic: ClassVar[bool] = True
    needs_spec: ClassVar[bool] = True

    _space: Space | None = None
    _spec: TaskSpec | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """Keyword arguments that make an equal cost, as JSON types."""
        return {}

    def bind(self, space: Space, spec: TaskSpec | None) -> Self:
        """Say whose architectures will be asked for and what the networks are for.

        Parameters
        ----------
        space : Space
            The space of the genotypes.
        spec : TaskSpec
            Shape of one input and number of outputs.

        Returns
        -------
        Cost
            A bound copy; this cost stays as it is.
        """
        bound = copy.copy(self)
        bound._space, bound._spec = space, spec
        return bound

    def __call__(self, genotypes: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Compute the cost of architectures.

        Parameters
        ----------
        genotypes : array_like of int, shape (n, d)
            Architectures of the bound space.

        Returns
        -------
        ndarray of float64, shape (n,)
            Their costs.

        Raises
        ------
        RuntimeError
            If the cost is not bound.
        ValueError
            If a row is no genotype of the space.
        nasx.errors.EvaluationError
            If an architecture cannot be built or run.
        """
        if self._space is None:
            raise RuntimeError(
                f"{type(self).__name__} is bound to no space: call bind(space, spec) first, and use what it "
                "returns; nasx.search does it for costs=..."
            )
        return self._compute(self._space.check(genotypes))

    @abstractmethod
    def _compute(self, genotypes: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
        """Cost of each row of checked genotypes."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.settings.items())})"


class NetworkCost(Cost):
    """A cost found by building the network; each architecture is built once and its value kept.

    Subclasses define `_measure`.
    """

    _known: dict[bytes, float]

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
        NetworkCost
            A bound copy, which has measured nothing yet.

        Raises
        ------
        TypeError
            If the space cannot build networks.
        ValueError
            If there is no spec.
        nasx.errors.MissingDependencyError
            If torch is not installed.
        """
        if not space.can_build:
            raise TypeError(
                f"{type(self).__name__} is found by building networks, and {type(space).__name__} has no "
                "build(); define it, or give the cost as a function of genotypes"
            )
        if spec is None:
            raise ValueError(f"{type(self).__name__} needs a TaskSpec: what its networks are for")
        require("torch", f"nasx.hardware.{type(self).__name__}", "torch")
        bound = super().bind(space, spec)
        bound._known = {}
        return bound

    def _compute(self, genotypes: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
        return np.array([self._of(row) for row in genotypes], np.float64)

    def _of(self, row: npt.NDArray[np.int32]) -> float:
        key = row.tobytes()
        if key not in self._known:
            assert self._space is not None
            assert self._spec is not None
            architecture = self._space.decode(row, spec=self._spec)
            try:
                self._known[key] = float(self._measure(architecture, self._spec))
            except Exception as error:
                raise EvaluationError(f"{self.name} of {architecture} cannot be found: {error}") from error
        return self._known[key]

    @abstractmethod
    def _measure(self, architecture: Architecture, spec: TaskSpec) -> float:
        """Build the network and find its cost."""


class CountedCost(NetworkCost):
    """A cost counted on the network without computing anything: it is built on torch's "meta" device.

    Where a space says what its networks are made of (`Space.blocks`), each block is counted once and a
    network is a sum; else each network is built. Subclasses define `_count`.
    """

    _blocks: dict[Block, float]

    def bind(self, space: Space, spec: TaskSpec | None) -> Self:
        """As for every cost of networks; the copy has counted nothing yet."""
        bound = super().bind(space, spec)
        bound._blocks = {}
        return bound

    def _measure(self, architecture: Architecture, spec: TaskSpec) -> float:
        space = architecture.space
        if space.has_blocks:
            return sum(self._of_block(space, block) for block in space.blocks(architecture, spec))
        return self._count(on_meta(architecture.build), spec.input_shape)

    def _of_block(self, space: Space, block: Block) -> float:
        if block not in self._blocks:
            module = on_meta(lambda: space.build_block(block))
            self._blocks[block] = self._count(module, block.input_shape)
        return self._blocks[block]

    @abstractmethod
    def _count(self, module: nn.Module, input_shape: tuple[int, ...]) -> float:
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

    def _count(self, module: nn.Module, input_shape: tuple[int, ...]) -> float:
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

    def _count(self, module: nn.Module, input_shape: tuple[int, ...]) -> float:
        import torch
        from torch.utils.flop_counter import FlopCounterMode

        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            module.eval()(torch.empty(1, *input_shape, device="meta"))
        return float(counter.get_total_flops())


class MemoryTable(NetworkCost):
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
        from nasx.hardware.liveness import peak_bytes

        shape = (self._batch_size, *spec.input_shape)
        return float(peak_bytes(architecture.build, shape, reorders=self._device == "cpu"))


class NetworkSize(Cost):
    """A size that networks of a `nasx.spaces.Topology` show by themselves; subclasses define `_compute`."""

    needs_spec = False
    vectorized = True

    def bind(self, space: Space, spec: TaskSpec | None) -> Self:
        """Say whose networks will be asked for.

        Parameters
        ----------
        space : Topology
            Their space.
        spec : TaskSpec or None
            Not needed.

        Returns
        -------
        NetworkSize
            A bound copy.

        Raises
        ------
        TypeError
            If the space has decisions instead of nodes and connections.
        """
        if space.decisions:
            raise TypeError(
                f"{type(self).__name__} counts in networks of a nasx.spaces.Topology; {type(space).__name__} "
                'has decisions: use "parameters" or "flops"'
            )
        return super().bind(space, spec)


class Nodes(NetworkSize):
    """Number of output and hidden nodes of an evolved network.

    Examples
    --------
    >>> from nasx.spaces import Topology
    >>> space = Topology(inputs=3, outputs=2)
    >>> Nodes().bind(space, None)(space.sample(2))
    array([2., 2.])
    """

    name = "nodes"
    unit = "nodes"

    def _compute(self, genotypes: Any) -> npt.NDArray[np.float64]:
        return np.asarray(genotypes.nodes, np.float64)


class Connections(NetworkSize):
    """Number of enabled connections of an evolved network, that is, of its weights.

    Examples
    --------
    >>> from nasx.spaces import Topology
    >>> space = Topology(inputs=3, outputs=2)
    >>> Connections().bind(space, None)(space.sample(2))
    array([8., 8.])
    """

    name = "connections"
    unit = "connections"

    def _compute(self, genotypes: Any) -> npt.NDArray[np.float64]:
        return np.asarray(genotypes.connections, np.float64)


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
