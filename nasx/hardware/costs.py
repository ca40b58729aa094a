"""`Cost`: a metric known without training; and sizes that evolved networks show by themselves."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from nasx.errors import EvaluationError, require

if TYPE_CHECKING:
    from nasx.architecture import Architecture
    from nasx.space import Space
    from nasx.tasks.base import TaskSpec

__all__ = [
    "Connections",
    "Cost",
    "NetworkCost",
    "Nodes",
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
