"""`ENASCell` and `ENASMacro`: the cells and the whole networks of ENAS."""

from __future__ import annotations

import functools
import itertools
import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from nasx.space import Boolean, Categorical, Decision, Genotypes, Space
from nasx.spaces._cells import draw_cells
from nasx.spaces._images import check_images

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import nn

    from nasx.architecture import Architecture
    from nasx.nn import ENASCellSupernet, ENASMacroSupernet
    from nasx.tasks.base import TaskSpec

__all__ = ["ENASCell", "ENASMacro"]

_KINDS = ("normal", "reduce")
_MOST_NODES, _MOST_LAYERS = 16, 48


class ENASCell(Space):
    """The micro space of ENAS [1]_: a normal and a reduction cell, whose nodes each add two operations.

    Node ``i`` of a cell reads two of the ``i + 2`` values before it, which may be the same: 0 and 1 are the
    cell's inputs, 2 and more its own nodes. The decisions are ``normal.<node>.first_input``, such as ``"0"``,
    ``normal.<node>.first``, the operation on it, ``.second_input`` and ``.second``, and the same for
    ``reduce``. What no node reads is joined by a 1x1 convolution. The two halves of a node are in order of
    their inputs and operations: architectures that differ in this only are one.

    Parameters
    ----------
    cells : int, default 8
        Cells of the network, two of them reductions: 8 in the published searches, 17 in the networks that
        are trained at last.
    channels : int, default 20
        Channels of the first cells: 20 and 36.
    nodes : int, default 5
        Nodes of each cell.

    Attributes
    ----------
    operations : tuple of str
        Separable convolutions, poolings and the identity, named as those of `nasx.spaces.DARTS`.

    Raises
    ------
    ValueError
        If a number is not a positive integer, there are fewer than 3 cells, or more than 16 nodes.

    References
    ----------
    .. [1] H. Pham, M. Guan, B. Zoph, Q. Le and J. Dean, "Efficient Neural Architecture Search via Parameter
       Sharing", ICML 2018.

    Examples
    --------
    >>> from nasx import TaskSpec
    >>> space = ENASCell(cells=3, channels=4)
    >>> f"{space.size:.1e}"
    '4.4e+22'
    >>> architecture = space.decode(space.sample(1)[0])
    >>> network = architecture.build(TaskSpec((3, 32, 32), 10, "image_classification"))
    """

    operations: ClassVar[tuple[str, ...]] = (
        "sep_conv_3x3",
        "sep_conv_5x5",
        "avg_pool_3x3",
        "max_pool_3x3",
        "skip_connect",
    )
    canonical = True

    def __init__(self, *, cells: int = 8, channels: int = 20, nodes: int = 5) -> None:
        _check_sizes(cells=(cells, 3), channels=(channels, 1), nodes=(nodes, 1))
        if nodes > _MOST_NODES:
            raise ValueError(f"nodes must be at most {_MOST_NODES}; got {nodes}")
        self.cells, self.channels, self.nodes = cells, channels, nodes
        decisions: dict[str, Decision] = {}
        for kind, node, which in itertools.product(_KINDS, range(nodes), ("first", "second")):
            decisions[f"{kind}.{node}.{which}_input"] = Categorical(map(str, range(node + 2)))
            decisions[f"{kind}.{node}.{which}"] = Categorical(self.operations)
        super().__init__(decisions)

    @property
    def settings(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON types."""
        return {"cells": self.cells, "channels": self.channels, "nodes": self.nodes}

    @functools.cached_property
    def size(self) -> int:
        """Number of different architectures."""
        halves = [(node + 2) * len(self.operations) for node in range(self.nodes)]
        return math.prod(half * (half + 1) // 2 for half in halves) ** 2

    def canonicalize(self, genotypes: Genotypes) -> Genotypes:
        """Bring the two halves of each node in order.

        Parameters
        ----------
        genotypes : ndarray of int32, shape (n, d)
            Well-formed genotypes.

        Returns
        -------
        ndarray of int32, shape (n, d)
            The same networks, new rows.

        Examples
        --------
        >>> import numpy as np
        >>> ENASCell(nodes=1).canonicalize(np.array([[1, 0, 0, 3, 0, 4, 0, 2]], np.int32)).tolist()
        [[0, 3, 1, 0, 0, 2, 0, 4]]
        """
        halves = genotypes.reshape(len(genotypes), -1, 2, 2)  # node, first or second, input and operation
        order = halves[..., 0] * len(self.operations) + halves[..., 1]
        swapped = order[..., :1, None] > order[..., 1:, None]
        ordered: Genotypes = np.where(swapped, halves[..., ::-1, :], halves).reshape(genotypes.shape)
        return ordered

    def cell(self, architecture: Mapping[str, Any], kind: str) -> list[tuple[int, int, str]]:
        """List the edges of a cell.

        Parameters
        ----------
        architecture : mapping of str to str
            One of this space.
        kind : {"normal", "reduce"}
            Which cell.

        Returns
        -------
        list of (int, int, str)
            ``(node, source, operation)``, two for each node; 0 and 1 are its inputs.
        """
        return [
            (
                node + 2,
                int(architecture[f"{kind}.{node}.{which}_input"]),
                str(architecture[f"{kind}.{node}.{which}"]),
            )
            for node in range(self.nodes)
            for which in ("first", "second")
        ]

    def build(self, architecture: Architecture, spec: TaskSpec) -> nn.Module:
        """Make the network of two cells.

        Parameters
        ----------
        architecture : Architecture
            One of this space.
        spec : TaskSpec
            ``input_shape`` ``(C, H, W)`` and the number of outputs.

        Returns
        -------
        nasx.nn.ENASCellModule
            Maps ``(B, C, H, W)`` to ``(B, num_outputs)``; freshly initialised from torch's random state.

        Raises
        ------
        ValueError
            If the input is not an image.
        nasx.errors.MissingDependencyError
            If torch is not installed.
        """
        check_images(self, spec)
        from nasx.nn import ENASCellModule

        return ENASCellModule(
            spec.input_shape[0],
            spec.num_outputs,
            normal=self.cell(architecture, "normal"),
            reduce=self.cell(architecture, "reduce"),
            nodes=self.nodes,
            cells=self.cells,
            channels=self.channels,
        )

    def draw(self, architecture: Architecture, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draw both cells.

        Parameters
        ----------
        architecture : Architecture
            One of this space.
        path : path-like, optional
            Write the picture here too.

        Returns
        -------
        matplotlib.figure.Figure
            Inputs ``c[k-2]`` and ``c[k-1]``, nodes, and what joins the loose ends, ``c[k]``.
        """
        names = ["c[k-2]", "c[k-1]", *(str(node) for node in range(self.nodes)), "c[k]"]
        last = self.nodes + 2
        drawn = {}
        for kind in _KINDS:
            edges = self.cell(architecture, kind)
            read = {source for _, source, _ in edges}
            drawn[f"{kind} cell"] = (
                names,
                [*edges, *((last, end, "") for end in range(last) if end not in read)],
            )
        return draw_cells(drawn, path)

    def supernet(
        self, spec: TaskSpec, *, partial_channels: int = 1, edge_normalization: bool = False
    ) -> ENASCellSupernet:
        """Make the network that holds all of this space's.

        Parameters
        ----------
        spec : TaskSpec
            ``input_shape`` ``(C, H, W)`` and the number of outputs.
        partial_channels, edge_normalization
            As for `Space.supernet`.

        Returns
        -------
        nasx.nn.ENASCellSupernet
            Freshly initialised from torch's random state.

        Raises
        ------
        ValueError
            If the input is not an image, or `partial_channels` does not divide the channels.
        nasx.errors.MissingDependencyError
            If torch is not installed.
        """
        check_images(self, spec)
        from nasx.nn import ENASCellSupernet

        return ENASCellSupernet(
            self, spec, partial_channels=partial_channels, edge_normalization=edge_normalization
        )


class ENASMacro(Space):
    """The macro space of ENAS [1]_: every layer of a network chooses its operation and what it adds.

    Layer ``k``, counted from 1, works on the output of the layer before it; ``<k>.operation`` says how. For
    every value before that one, ``<k>.skip.<value>`` says whether it is added to the layer's output: 0 is the
    stem's output, ``i`` that of layer ``i``. After one and two thirds of the layers height and width are
    halved.

    Parameters
    ----------
    layers : int, default 12
        Layers of the network.
    channels : int, default 36
        Channels of the first layers; they double when height and width are halved.

    Attributes
    ----------
    operations : tuple of str
        Convolutions, separable convolutions and poolings, as for `nasx.nn.enas_layer`.

    Raises
    ------
    ValueError
        If a number is not a positive integer, or `layers` is not in 3..48.

    References
    ----------
    .. [1] H. Pham, M. Guan, B. Zoph, Q. Le and J. Dean, "Efficient Neural Architecture Search via Parameter
       Sharing", ICML 2018.

    Examples
    --------
    >>> from nasx import TaskSpec
    >>> space = ENASMacro(layers=3, channels=4)
    >>> space.size == 6**3 * 2**3, ENASMacro().size == 6**12 * 2**66
    (True, True)
    >>> list(space)
    ['1.operation', '2.operation', '2.skip.0', '3.operation', '3.skip.0', '3.skip.1']
    >>> network = space.decode(space.sample(1)[0]).build(TaskSpec((3, 32, 32), 10, "image_classification"))
    """

    operations: ClassVar[tuple[str, ...]] = (
        "conv_3x3",
        "conv_5x5",
        "sep_conv_3x3",
        "sep_conv_5x5",
        "avg_pool_3x3",
        "max_pool_3x3",
    )

    def __init__(self, *, layers: int = 12, channels: int = 36) -> None:
        _check_sizes(layers=(layers, 3), channels=(channels, 1))
        if layers > _MOST_LAYERS:
            raise ValueError(f"layers must be at most {_MOST_LAYERS}; got {layers}")
        self.layers, self.channels = layers, channels
        decisions: dict[str, Decision] = {}
        for layer in range(1, layers + 1):
            decisions[f"{layer}.operation"] = Categorical(self.operations)
            decisions |= {f"{layer}.skip.{value}": Boolean() for value in range(layer - 1)}
        super().__init__(decisions)

    @property
    def settings(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON types."""
        return {"layers": self.layers, "channels": self.channels}

    def network(self, architecture: Mapping[str, Any]) -> tuple[list[str], list[list[int]]]:
        """List what an architecture's layers do.

        Parameters
        ----------
        architecture : mapping of str to str or bool
            One of this space.

        Returns
        -------
        operations : list of str
            That of each layer.
        skips : list of list of int
            For each layer the values that it adds, 0 for the stem's output.
        """
        layers = range(1, self.layers + 1)
        return (
            [str(architecture[f"{layer}.operation"]) for layer in layers],
            [
                [value for value in range(layer - 1) if architecture[f"{layer}.skip.{value}"]]
                for layer in layers
            ],
        )

    def build(self, architecture: Architecture, spec: TaskSpec) -> nn.Module:
        """Make the network of an architecture.

        Parameters
        ----------
        architecture : Architecture
            One of this space.
        spec : TaskSpec
            ``input_shape`` ``(C, H, W)`` and the number of outputs.

        Returns
        -------
        nasx.nn.ENASMacroModule
            Maps ``(B, C, H, W)`` to ``(B, num_outputs)``; freshly initialised from torch's random state.

        Raises
        ------
        ValueError
            If the input is not an image.
        nasx.errors.MissingDependencyError
            If torch is not installed.
        """
        check_images(self, spec)
        from nasx.nn import ENASMacroModule

        operations, skips = self.network(architecture)
        return ENASMacroModule(
            spec.input_shape[0],
            spec.num_outputs,
            operations=operations,
            skips=skips,
            channels=self.channels,
        )

    def draw(self, architecture: Architecture, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draw the layers and what they add.

        Parameters
        ----------
        architecture : Architecture
            One of this space.
        path : path-like, optional
            Write the picture here too.

        Returns
        -------
        matplotlib.figure.Figure
            The stem and the layers; grey edges are those that only add.
        """
        operations, skips = self.network(architecture)
        edges = [(layer, layer - 1, name) for layer, name in enumerate(operations, start=1)]
        edges += [(layer, value, "") for layer, values in enumerate(skips, start=1) for value in values]
        names = ["stem", *map(str, range(1, self.layers + 1))]
        return draw_cells({"network": (names, edges)}, path)

    def supernet(
        self, spec: TaskSpec, *, partial_channels: int = 1, edge_normalization: bool = False
    ) -> ENASMacroSupernet:
        """Make the network that holds all of this space's.

        Parameters
        ----------
        spec : TaskSpec
            ``input_shape`` ``(C, H, W)`` and the number of outputs.
        partial_channels : int, default 1
            As for `Space.supernet`.
        edge_normalization : bool, default False
            Makes no difference: earlier layers have weights of their own in any case.

        Returns
        -------
        nasx.nn.ENASMacroSupernet
            Freshly initialised from torch's random state.

        Raises
        ------
        ValueError
            If the input is not an image, or `partial_channels` does not divide the channels.
        nasx.errors.MissingDependencyError
            If torch is not installed.
        """
        check_images(self, spec)
        from nasx.nn import ENASMacroSupernet

        return ENASMacroSupernet(self, spec, partial_channels=partial_channels)


def _check_sizes(**sizes: tuple[int, int]) -> None:
    """Refuse what is no integer of at least the second number."""
    for name, (value, least) in sizes.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name} must be an integer of at least {least}; got {value!r}")
