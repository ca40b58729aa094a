"""`DARTS`: the cells of DARTS, and the networks they make."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from nasx.architecture import Block
from nasx.errors import unknown
from nasx.space import Categorical, Decision, Space
from nasx.spaces._cells import draw_cells
from nasx.spaces._images import check_images

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import nn

    from nasx.architecture import Architecture
    from nasx.nn import DARTSSupernet
    from nasx.tasks.base import TaskSpec

__all__ = ["DARTS"]

_KINDS = ("normal", "reduce")
_OPERATIONS = (
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)


class DARTS(Space):
    """The cells of DARTS [1]_: a normal one and a reduction cell, of four nodes with two operations each.

    Node ``i`` of a cell reads two of the ``i + 2`` values before it: 0 and 1 are the outputs of the two
    cells before, 2 and more the cell's own nodes. The decisions are ``normal.<node>.inputs``, such as
    ``"0+2"`` (the first node has no other inputs than ``"0+1"`` and no such decision),
    ``normal.<node>.first`` and ``.second``, the operations on them, and the same for ``reduce``. The default
    settings span some 1e18 architectures.

    Parameters
    ----------
    cells : int, default 8
        Cells of the network: 8 in the published searches, 20 in the networks that are trained at last.
    channels : int, default 16
        Channels of the first cells: 16 and 36.
    nodes : int, default 4
        Intermediate nodes of each cell.
    auxiliary : bool, default False
        Give built networks an auxiliary classifier, see `nasx.nn.DARTSModule`.

    Attributes
    ----------
    operations : tuple of str
        The seven operations of architectures.
    all_operations : tuple of str
        Those of the supernet: "none" before the others.
    edges : tuple of (int, int)
        ``(node, source)`` of a cell's possible edges.

    Raises
    ------
    ValueError
        If a number is not a positive integer, there are fewer than 3 cells, or `auxiliary` is no bool.

    References
    ----------
    .. [1] H. Liu, K. Simonyan and Y. Yang, "DARTS: Differentiable Architecture Search", ICLR 2019.

    Examples
    --------
    >>> from nasx import TaskSpec
    >>> space = DARTS(cells=3, channels=4)
    >>> space.size == (180 * 7**8) ** 2
    True
    >>> architecture = space.decode(space.sample(1)[0])
    >>> network = architecture.build(TaskSpec((3, 32, 32), 10, "image_classification"))
    """

    operations: ClassVar[tuple[str, ...]] = _OPERATIONS
    all_operations: ClassVar[tuple[str, ...]] = ("none", *_OPERATIONS)

    def __init__(
        self, *, cells: int = 8, channels: int = 16, nodes: int = 4, auxiliary: bool = False
    ) -> None:
        for name, value, least in (("cells", cells, 3), ("channels", channels, 1), ("nodes", nodes, 1)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be an integer of at least {least}; got {value!r}")
        if nodes > 16:
            raise ValueError(f"nodes must be at most 16; got {nodes}")
        if not isinstance(auxiliary, bool):
            raise ValueError(f"auxiliary must be True or False; got {auxiliary!r}")
        self.cells, self.channels, self.nodes, self.auxiliary = cells, channels, nodes, auxiliary
        self.edges = tuple((node, source) for node in range(2, nodes + 2) for source in range(node))
        decisions: dict[str, Decision] = {}
        for kind, node in itertools.product(_KINDS, range(nodes)):
            pairs = [f"{a}+{b}" for a, b in itertools.combinations(range(node + 2), 2)]
            if len(pairs) > 1:
                decisions[f"{kind}.{node}.inputs"] = Categorical(pairs)
            decisions[f"{kind}.{node}.first"] = Categorical(_OPERATIONS)
            decisions[f"{kind}.{node}.second"] = Categorical(_OPERATIONS)
        super().__init__(decisions)

    @property
    def settings(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON types."""
        return {
            "cells": self.cells,
            "channels": self.channels,
            "nodes": self.nodes,
            "auxiliary": self.auxiliary,
        }

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
        edges = []
        for node in range(self.nodes):
            sources = str(architecture.get(f"{kind}.{node}.inputs", "0+1")).split("+")
            for source, which in zip(sources, ("first", "second"), strict=True):
                edges.append((node + 2, int(source), str(architecture[f"{kind}.{node}.{which}"])))
        return edges

    def to_genotype(self, architecture: Mapping[str, Any]) -> dict[str, list[tuple[str, int]]]:
        """Write an architecture as the field does.

        Parameters
        ----------
        architecture : mapping of str to str
            One of this space.

        Returns
        -------
        dict
            "normal" and "reduce": ``(operation, source)``, two for each node.
        """
        return {
            kind: [(name, source) for _, source, name in self.cell(architecture, kind)] for kind in _KINDS
        }

    def from_genotype(
        self, genotype: Mapping[str, Sequence[tuple[str, int]]], *, spec: TaskSpec | None = None
    ) -> Architecture:
        """Read an architecture as the field writes it.

        Parameters
        ----------
        genotype : mapping
            "normal" and "reduce": ``(operation, source)``, two for each node. Other keys, such as
            "normal_concat", are ignored: all nodes are joined.
        spec : TaskSpec, optional
            What the network is for.

        Returns
        -------
        Architecture
            One of this space.

        Raises
        ------
        ValueError
            If it is none: an operation is unknown or "none", a node does not have two different sources
            before it, or the number of nodes is another.
        """
        choices: dict[str, Any] = {}
        for kind in _KINDS:
            edges = genotype.get(kind, ())
            if not _are_pairs(edges) or len(edges) != 2 * self.nodes:
                raise ValueError(
                    f"genotype[{kind!r}] must hold {2 * self.nodes} pairs (operation, source), two for each "
                    f"node; got {len(edges) if _are_pairs(edges) else edges}"
                )
            for node in range(self.nodes):
                pair = sorted(edges[2 * node : 2 * node + 2], key=lambda edge: edge[1])
                for operation, _ in pair:
                    if operation not in _OPERATIONS:
                        raise ValueError(unknown("operation", operation, _OPERATIONS))
                (first, low), (second, high) = pair
                if not 0 <= low < high < node + 2:
                    raise ValueError(
                        f"genotype[{kind!r}]: node {node + 2} must have two different sources before it; "
                        f"got {low} and {high}"
                    )
                if node:
                    choices[f"{kind}.{node}.inputs"] = f"{low}+{high}"
                choices |= {f"{kind}.{node}.first": first, f"{kind}.{node}.second": second}
        return self.decode(self.encode(choices), spec=spec)

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
        nasx.nn.DARTSModule
            Maps ``(B, C, H, W)`` to ``(B, num_outputs)``; freshly initialised from torch's random state.

        Raises
        ------
        ValueError
            If the input is not an image.
        nasx.errors.MissingDependencyError
            If torch is not installed.
        """
        check_images(self, spec)
        from nasx.nn import DARTSModule

        return DARTSModule(
            spec.input_shape[0],
            spec.num_outputs,
            normal=self.cell(architecture, "normal"),
            reduce=self.cell(architecture, "reduce"),
            nodes=self.nodes,
            cells=self.cells,
            channels=self.channels,
            auxiliary=self.auxiliary,
        )

    def blocks(self, architecture: Architecture, spec: TaskSpec) -> list[Block]:
        """List the parts of a network: its operations, and what is around them in and between cells.

        Parameters
        ----------
        architecture : Architecture
            One of this space.
        spec : TaskSpec
            ``input_shape`` ``(C, H, W)`` and the number of outputs.

        Returns
        -------
        list of Block
            Of each cell what it brings its inputs to its shape with ("bring", "halve"), each edge's operation
            but identities, the additions of nodes ("sum") and their join; stem, head, auxiliary classifier.

        Raises
        ------
        ValueError
            If the input is not an image.
        nasx.errors.MissingDependencyError
            If torch is not installed.
        """
        check_images(self, spec)
        from nasx.nn.darts import layout

        images, *size = spec.input_shape
        found = [_block("stem", images, size, self.channels, channels_last=False)]
        size_before = size
        places = layout(self.cells, self.channels, self.nodes)
        edges = {kind: self.cell(architecture, kind) for kind in ("normal", "reduce")}
        for number, place in enumerate(places):
            halved = "halve" if place.reduction_before else "bring"
            found.append(_block(halved, place.before, size_before, place.channels))
            found.append(_block("bring", place.previous, size, place.channels))
            own = [-(-side // 2) for side in size] if place.reduction else size
            for _, source, name in edges["reduce" if place.reduction else "normal"]:
                stride = 2 if place.reduction and source < 2 else 1
                if name != "skip_connect" or stride == 2:
                    found.append(_block(name, place.channels, size if stride == 2 else own, stride=stride))
            found += self.nodes * [_block("sum", place.channels, own)]
            found.append(_block("join", place.channels, own, self.nodes))
            size_before, size = size, own
            if self.auxiliary and number == 2 * self.cells // 3:
                found.append(_block("auxiliary", self.nodes * place.channels, own, spec.num_outputs))
        return [*found, _block("head", self.nodes * places[-1].channels, size, spec.num_outputs)]

    def build_block(self, block: Block) -> nn.Module:
        """Make one of `blocks`.

        Parameters
        ----------
        block : Block
            One of this space.

        Returns
        -------
        torch.nn.Module
            What `nasx.nn.darts_block` makes.
        """
        from nasx.nn import darts_block

        return darts_block(block.kind, **dict(block.settings))

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
            Inputs ``c[k-2]`` and ``c[k-1]``, nodes, and what joins them, ``c[k]``.
        """
        names = ["c[k-2]", "c[k-1]", *(str(node) for node in range(self.nodes)), "c[k]"]
        last = self.nodes + 2
        joined = [(last, node, "") for node in range(2, last)]
        return draw_cells(
            {f"{kind} cell": (names, [*self.cell(architecture, kind), *joined]) for kind in _KINDS}, path
        )

    @property
    def edges_kept(self) -> int:
        """How many of the edges into a node an architecture keeps."""
        return 2

    def supernet(
        self, spec: TaskSpec, *, partial_channels: int = 1, edge_normalization: bool = False
    ) -> DARTSSupernet:
        """Make the network that holds all of this space's.

        Parameters
        ----------
        spec : TaskSpec
            ``input_shape`` ``(C, H, W)`` and the number of outputs.
        partial_channels, edge_normalization
            As for `Space.supernet`.

        Returns
        -------
        nasx.nn.DARTSSupernet
            Freshly initialised from torch's random state.

        Raises
        ------
        ValueError
            If the input is not an image, or `partial_channels` does not divide the channels.
        nasx.errors.MissingDependencyError
            If torch is not installed.
        """
        check_images(self, spec)
        from nasx.nn import DARTSSupernet

        return DARTSSupernet(
            self, spec, partial_channels=partial_channels, edge_normalization=edge_normalization
        )


def _block(
    kind: str,
    channels: int,
    size: Sequence[int],
    outputs: int | None = None,
    *,
    stride: int = 1,
    channels_last: bool = True,
) -> Block:
    settings = (("channels", channels), ("outputs", outputs), ("stride", stride))
    return Block(kind, (channels, *size), settings, channels_last)


def _are_pairs(edges: Any) -> bool:
    """Whether edges are ``(operation, source)``, sources integers."""
    return isinstance(edges, tuple | list) and all(
        isinstance(pair, tuple | list) and len(pair) == 2 and type(pair[1]) is int for pair in edges
    )
