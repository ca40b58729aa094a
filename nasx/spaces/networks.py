"""`Network` and `Networks`: genomes of a `Topology`, and what they compute."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from nasx._core import neat as _neat
from nasx.architecture import Architecture

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import nn

    from nasx.spaces.topology import Topology
    from nasx.tasks.base import TaskSpec

__all__ = ["Network", "Networks"]

Floats = npt.NDArray[np.float64]


class Networks(Sequence["Network"]):
    """Many networks of one `nasx.spaces.Topology`: a generation, say. They compute together, in C++.

    Made by ``topology.sample``, ``NEAT.ask`` and by taking some of others: ``networks[3]`` is a `Network`,
    ``networks[3:7]``, ``networks[[0, 5]]`` and ``networks[mask]`` are `Networks`. Immutable.

    Parameters
    ----------
    space : Topology
        What they have in common.
    native : nasx._core.neat.Genomes
        Their genes, checked.

    Examples
    --------
    >>> from nasx.spaces import Topology
    >>> networks = Topology(inputs=2, outputs=1).sample(5)
    >>> networks([[0.0, 1.0], [1.0, 1.0], [0.5, 0.0]]).shape
    (5, 3, 1)
    >>> networks.connections.tolist()
    [3, 3, 3, 3, 3]
    """

    def __init__(self, space: Topology, native: _neat.Genomes) -> None:
        self.space, self.native = space, native

    def __reduce__(self) -> tuple[Any, ...]:
        return Networks, (self.space, self.native)

    def __len__(self) -> int:
        return len(self.native)

    @overload
    def __getitem__(self, place: int) -> Network: ...
    @overload
    def __getitem__(self, place: slice | Sequence[int] | npt.NDArray[Any]) -> Networks: ...
    def __getitem__(self, place: int | slice | Sequence[int] | npt.NDArray[Any]) -> Network | Networks:
        if isinstance(place, int | np.integer):
            n = len(self.native)
            if not -n <= place < n:
                raise IndexError(f"there are {n} networks; got place {place}")
            i = int(place) % n
            return Network(self.space, self.native.cut(i, i + 1))
        if isinstance(place, slice):
            begin, end, step = place.indices(len(self))
            if step == 1:
                return Networks(self.space, self.native.cut(begin, max(begin, end)))
        places = np.arange(len(self))[place]
        if places.ndim != 1:
            raise IndexError(f"networks have one dimension; got {place!r}")
        return Networks(self.space, self.native.take(places.astype(np.int64)))

    def __iter__(self) -> Iterator[Network]:
        for i in range(len(self.native)):
            yield Network(self.space, self.native.cut(i, i + 1))

    def __eq__(self, other: object) -> bool:
        """Networks are equal when their genes are, one by one."""
        return isinstance(other, Networks) and self.native == other.native and self.space == other.space

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{len(self)} networks of {self.space!r}>"

    # -- complexity ------------------------------------------------------------------------------------------

    @property
    def nodes(self) -> npt.NDArray[np.int64]:
        """Number of output and hidden nodes of each, shape ``(n,)``."""
        return self.native.nodes()

    @property
    def connections(self) -> npt.NDArray[np.int64]:
        """Number of enabled connections of each, shape ``(n,)``."""
        return self.native.enabled()

    # -- computing -------------------------------------------------------------------------------------------

    @property
    def width(self) -> int:
        """How many numbers the state of a recurrent network is: its nodes that matter, at most."""
        return self._compiled.width

    @cached_property
    def _compiled(self) -> _neat.Networks:
        return _neat.Networks(self.space.native, self.native)

    def __call__(self, x: npt.ArrayLike) -> Floats:
        """Compute the outputs.

        Parameters
        ----------
        x : array_like of float, shape (rows, inputs), or (n, rows, inputs)
            The same inputs for all networks, or each network's own. For recurrent ones sequences, shape
            (rows, steps, inputs) or (n, rows, steps, inputs), each of which begins with no memory.

        Returns
        -------
        ndarray of float64, shape (n, rows, outputs), for recurrent ones (n, rows, steps, outputs)
            The same bits at any number of threads and on every CPU.

        Raises
        ------
        ValueError
            If the shape does not fit, or an input is not finite.
        """
        space, n = self.space, len(self)
        own = 4 if space.recurrent else 3
        values = _inputs(x, space.inputs, (own - 1, own))
        if values.ndim == own and len(values) != n:
            raise ValueError(f"x must have inputs for each of the {n} networks; got shape {values.shape}")
        if not space.recurrent:
            if values.ndim == own:
                return self._compiled.evaluate_each(values)
            return self._compiled.evaluate(values)
        if values.ndim < own:
            values = np.broadcast_to(values, (n, *values.shape))
        rows, steps = values.shape[1:3]
        out = np.empty((n, rows, steps, space.outputs))
        state = np.zeros((n, rows, self._compiled.width))
        for step in range(steps):
            now, state = self._compiled.step(np.ascontiguousarray(values[:, :, step]), state)
            out[:, :, step] = now
        return out

    def step(self, x: npt.ArrayLike, state: Floats | None = None) -> tuple[Floats, Floats]:
        """Take one step of recurrent networks, each in an environment of its own or in several.

        Every node reads what the nodes were a step before and what the inputs are now, so that signals take
        one step for each connection.

        Parameters
        ----------
        x : array_like of float, shape (n, inputs), or (n, copies, inputs)
            What each network sees, in each of its environments.
        state : ndarray of float64, optional
            What the step before returned; by default no memory. Rows set to zero begin anew.

        Returns
        -------
        outputs : ndarray of float64, shape (n, outputs), or (n, copies, outputs)
            What each network does.
        state : ndarray of float64, shape (n, width), or (n, copies, width)
            For the next step; `width` numbers, those of nodes that a network lacks are 0.

        Raises
        ------
        ValueError
            If the networks are not recurrent, a shape does not fit, or an input is not finite.

        Examples
        --------
        >>> from nasx.spaces import Topology
        >>> networks = Topology(inputs=4, outputs=1, recurrent=True).sample(3)
        >>> state = None
        >>> for _ in range(5):
        ...     actions, state = networks.step(np.ones((3, 4)), state)
        >>> actions.shape
        (3, 1)
        """
        if not self.space.recurrent:
            raise ValueError("these networks have no state: call them, or give the Topology recurrent=True")
        values = _inputs(x, self.space.inputs, (2, 3))
        single = values.ndim == 2
        if single:
            values = values[:, None]
        width = self._compiled.width
        if state is None:
            before = np.zeros((*values.shape[:2], width))
        else:
            before = np.ascontiguousarray(state, np.float64).reshape(*values.shape[:2], -1)
        out, after = self._compiled.step(values, before)
        return (out[:, 0], after[:, 0]) if single else (out, after)

    # -- other forms -----------------------------------------------------------------------------------------

    def tolist(self) -> list[dict[str, Any]]:
        """Return the genes as JSON types.

        Returns
        -------
        list of dict
            Of each network ``nodes`` and ``connections``.
        """
        return [dict(network) for network in self]

    def tobytes(self) -> bytes:
        """Return the genes as bytes; equal networks give equal ones."""
        return self.native.to_bytes()


class Network(Architecture):
    """An evolved network: a function of arrays, its genes, a torch module, a picture.

    It is an `nasx.Architecture` of a `nasx.spaces.Topology`, with ``"nodes"`` (output and hidden ones) and
    ``"connections"``; weights are part of it.

    Parameters
    ----------
    space : Topology
        The topology it belongs to.
    native : nasx._core.neat.Genomes
        Its genes, checked.
    spec : TaskSpec, optional
        What the network is for.

    Examples
    --------
    >>> from nasx.spaces import Topology
    >>> network = Topology(inputs=2, outputs=1).sample(1)[0]
    >>> network([[0.0, 1.0], [1.0, 1.0]]).shape
    (2, 1)
    >>> network["connections"][0]["source"], network["connections"][0]["target"]
    (0, 3)
    >>> Architecture.from_json(network.to_json()) == network
    True
    """

    __slots__ = ("_networks",)
    _space: Topology

    def __init__(self, space: Topology, native: _neat.Genomes, *, spec: TaskSpec | None = None) -> None:
        self._space, self._spec, self._networks = space, spec, Networks(space, native)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self._space, self._networks.native, self._spec)

    @property
    def space(self) -> Topology:
        """The topology it belongs to."""
        return self._space

    @property
    def genotype(self) -> Any:
        """The network itself: it is its own genotype."""
        return self

    @property
    def native(self) -> _neat.Genomes:
        """Its genes in C++."""
        return self._networks.native

    # -- its genes as a mapping ------------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Any:
        nodes, connections = self.native.genes(0)
        if name == "nodes":
            return [
                {"id": i, "activation": ACTIVATIONS[activation], "aggregation": AGGREGATIONS[aggregation]}
                for i, activation, aggregation in nodes
            ]
        if name == "connections":
            keys = ("innovation", "source", "target", "weight", "enabled")
            return [dict(zip(keys, gene, strict=True)) for gene in connections]
        raise KeyError(f"a network has 'nodes' and 'connections'; got {name!r}")

    def __iter__(self) -> Iterator[str]:
        return iter(("nodes", "connections"))

    def __len__(self) -> int:
        return 2

    def __eq__(self, other: object) -> bool:
        """Networks are equal when their genes are, weights included."""
        if isinstance(other, Network):
            return self.native == other.native and self._space == other._space
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.native.hash(0))

    def tobytes(self) -> bytes:
        """Return the genes as bytes; equal networks give equal ones."""
        return self._networks.tobytes()

    def __repr__(self) -> str:
        hidden = self.nodes - self._space.outputs
        return (
            f"<Network: {self._space.inputs} inputs, {self._space.outputs} outputs, {hidden} hidden nodes, "
            f"{self.connections} connections>"
        )

    # -- complexity ------------------------------------------------------------------------------------------

    @property
    def nodes(self) -> int:
        """Number of output and hidden nodes."""
        return int(self._networks.nodes[0])

    @property
    def connections(self) -> int:
        """Number of enabled connections."""
        return int(self._networks.connections[0])

    # -- computing -------------------------------------------------------------------------------------------

    def __call__(self, x: npt.ArrayLike) -> Floats:
        """Compute the outputs.

        Parameters
        ----------
        x : array_like of float, shape (rows, inputs), for a recurrent network (rows, steps, inputs)
            Inputs, or sequences of them that begin with no memory.

        Returns
        -------
        ndarray of float64, shape (rows, outputs), for a recurrent network (rows, steps, outputs)
            The outputs.

        Raises
        ------
        ValueError
            If the shape does not fit, or an input is not finite.
        """
        own = 3 if self._space.recurrent else 2
        out: Floats = self._networks(_inputs(x, self._space.inputs, (own,)))[0]
        return out

    def step(self, x: npt.ArrayLike, state: Floats | None = None) -> tuple[Floats, Floats]:
        """Take one step of a recurrent network, in one environment or in several.

        Parameters
        ----------
        x : array_like of float, shape (inputs,), or (copies, inputs)
            What it sees.
        state : ndarray of float64, optional
            What the step before returned; by default no memory.

        Returns
        -------
        outputs : ndarray of float64, shape (outputs,), or (copies, outputs)
            What it does.
        state : ndarray of float64
            For the next step.

        Raises
        ------
        ValueError
            If the network is not recurrent, a shape does not fit, or an input is not finite.
        """
        values = _inputs(x, self._space.inputs, (1, 2))
        out, after = self._networks.step(values[None], None if state is None else state[None])
        return out[0], after[0]

    # -- other forms -----------------------------------------------------------------------------------------

    def build(self, spec: TaskSpec | None = None) -> nn.Module:
        """Make a torch module with these weights, in torch's default type.

        Parameters
        ----------
        spec : TaskSpec, optional
            What the network is for; its inputs and outputs are checked.

        Returns
        -------
        torch.nn.Module
            As `to_torch`.

        Raises
        ------
        ValueError
            If the task has other inputs or outputs.
        """
        return self._space.build(self, spec or self._spec)

    def to_torch(self, dtype: Any = None) -> nn.Module:
        """Make an equal torch module, whose weights can be trained further.

        Parameters
        ----------
        dtype : torch.dtype, optional
            Of the weights; float64 by default, with which the outputs are those of the network to rounding.

        Returns
        -------
        nasx.nn.EvolvedModule
            It maps ``(rows, inputs)`` to ``(rows, outputs)``, sequences to sequences if recurrent.

        Raises
        ------
        MissingDependencyError
            If torch is not installed.
        """
        from nasx.nn import EvolvedModule

        return EvolvedModule(self, dtype=dtype)

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draw the network: inputs left, outputs right, positive weights blue, negative red.

        Parameters
        ----------
        path : path-like, optional
            Write the picture here too.

        Returns
        -------
        matplotlib.figure.Figure
            The picture; notebooks show it.

        Raises
        ------
        MissingDependencyError
            If matplotlib is not installed.
        """
        from nasx.spaces._drawing import draw

        return draw(self, path)


ACTIVATIONS = _neat.activation_names
AGGREGATIONS = _neat.aggregation_names


def _rebuild(space: Topology, native: _neat.Genomes, spec: TaskSpec | None) -> Network:
    return Network(space, native, spec=spec)


def _inputs(x: npt.ArrayLike, inputs: int, dimensions: tuple[int, ...]) -> Floats:
    values = np.ascontiguousarray(x, np.float64)
    if values.ndim not in dimensions or values.shape[-1] != inputs:
        wanted = " or ".join(map(str, dimensions))
        raise ValueError(
            f"x must have {wanted} dimensions, the last of the {inputs} inputs; got shape {values.shape}"
        )
    if not np.isfinite(values).all():
        raise ValueError("x must be finite; it holds NaN or infinity")
    return values
