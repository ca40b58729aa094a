"""`Cost`: a metric known without training; and the two that are counted on the network itself."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from nasx.errors import EvaluationError, require

if TYPE_CHECKING:
    from torch import nn

    from nasx.architecture import Architecture
    from nasx.space import Space
    from nasx.tasks.base import TaskSpec

__all__ = ["Cost", "FLOPs", "NetworkCost", "Parameters"]


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


class Parameters(NetworkCost):
    """Number of trainable parameters. Nothing is allocated: networks are built on torch's "meta" device.

    Examples
    --------
    >>> from nasx import TaskSpec
    >>> from nasx.spaces import ConvNet
    >>> space = ConvNet(depths=[1], widths=[8, 16], operations=["conv"], kernel_sizes=[3], residual=False)
    >>> spec = TaskSpec((1, 8, 8), 10, "image_classification")
    >>> Parameters().bind(space, spec)(space.enumerate()[:1])
    array([770.])
    """

    name = "parameters"
    unit = "parameters"

    def _measure(self, architecture: Architecture, spec: TaskSpec) -> float:
        return sum(p.numel() for p in on_meta(architecture).parameters() if p.requires_grad)


class FLOPs(NetworkCost):
    """Floating-point operations to evaluate one input; a multiply-add counts as two.

    Counts what torch's ``FlopCounterMode`` counts, convolutions and matrix products, and leaves out
    normalisation, activations and pooling. Nothing is computed: networks are built on torch's "meta" device.

    Examples
    --------
    >>> from nasx import TaskSpec
    >>> from nasx.spaces import ConvNet
    >>> space = ConvNet(depths=[1], widths=[8], operations=["conv"], kernel_sizes=[3], residual=False)
    >>> spec = TaskSpec((1, 8, 8), 10, "image_classification")
    >>> FLOPs().bind(space, spec)(space.enumerate()[:1])
    array([83104.])
    """

    name = "flops"
    unit = "FLOP"

    def _measure(self, architecture: Architecture, spec: TaskSpec) -> float:
        import torch
        from torch.utils.flop_counter import FlopCounterMode

        model = on_meta(architecture).eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(torch.empty(1, *spec.input_shape, device="meta"))
        return float(counter.get_total_flops())


def on_meta(architecture: Architecture) -> nn.Module:
    """Build a network without memory or values; torch's random state is left alone."""
    import torch

    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                return architecture.build()
        except (NotImplementedError, RuntimeError):
            # Its constructor looks at values, which meta tensors lack.
            return architecture.build().to("meta")
