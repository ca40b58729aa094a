"""`ENASCell`: the cells of ENAS, and the networks they make."""

from __future__ import annotations

import functools
import itertools
import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from nasx.architecture import Block
from nasx.space import Categorical, Decision, Genotypes, Space
from nasx.spaces._cells import draw_cells
from nasx.spaces._images import check_images, check_sizes

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import nn

    from nasx.architecture import Architecture
    from nasx.nn import ENASCellSupernet
    from nasx.tasks.base import TaskSpec

__all__ = ["ENASCell"]

_KINDS = ("normal", "reduce")
_MOST = 16  # nodes
_STEM = 3  # the stem is so many times as wide as the first cells


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
        check_sizes(cells=(cells, 3), channels=(channels, 1), nodes=(nodes, 1))
        if nodes > _MOST:
            raise ValueError(f"nodes must be at most {_MOST}; got {nodes}")
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

    def blocks(self, architecture: Architecture, spec: TaskSpec) -> list[Block]:
        """List the parts of an architecture's network: its operations, and what is around them.

        Parameters
        ----------
        architecture : Architecture
            One of this space.
        spec : TaskSpec
            ``input_shape`` ``(C, H, W)`` and the number of outputs.

        Returns
        -------
        list of Block
            Stem, what brings the cells' inputs to one shape, operations, the additions of nodes ("sum"), what
            joins loose ends, and head.

        Raises
        ------
        ValueError
            If the input is not an image.
        """
        check_images(self, spec)
        images, height, width = spec.input_shape
        channels = self.channels
        before = previous = _STEM * channels  # their channels; the sizes are the cell's, or twice it
        found = [_block("stem", (images, height, width), previous, channels_last=False)]
        for place in range(self.cells):
            kind = "normal"
            if place in (self.cells // 3, 2 * self.cells // 3):
                kind, channels = "reduce", 2 * channels
                found += 2 * [_block("reduction", (previous, height, width), channels)]
                before = previous = channels
                height, width = -(-height // 2), -(-width // 2)
            for given in (before, previous):
                if given != channels:
                    found.append(_block("resize", (given, height, width), channels))
            edges = self.cell(architecture, kind)
            read = {source for _, source, _ in edges}
            shape = channels, height, width
            found += [_block(name, shape, channels) for _, _, name in edges]
            found += self.nodes * [_block("sum", shape, channels)]
            found.append(_block("join", ((self.nodes + 2 - len(read)) * channels, height, width), channels))
            before, previous = previous, channels
        return [*found, _block("head", (channels, height, width), spec.num_outputs)]

    def build_block(self, block: Block) -> nn.Module:
        """Make one of `blocks`.

        Parameters
        ----------
        block : Block
            One of this space.

        Returns
        -------
        torch.nn.Module
            What `nasx.nn.enas_cell.cell_block` makes.
        """
        from nasx.nn.enas_cell import cell_block

        return cell_block(block.kind, **dict(block.settings))

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


def _block(kind: str, shape: tuple[int, int, int], outputs: int, *, channels_last: bool = True) -> Block:
    return Block(kind, shape, (("channels", shape[0]), ("outputs", outputs)), channels_last)
