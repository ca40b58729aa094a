"""`NASBench201`: the cells of NAS-Bench-201, and the networks they make."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from nasx.architecture import Block
from nasx.errors import unknown
from nasx.space import Categorical, Genotypes, Space
from nasx.spaces._cells import draw_cells
from nasx.spaces._classes import lookup, representatives
from nasx.spaces._images import check_images

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import nn

    from nasx.architecture import Architecture
    from nasx.nn import NASBench201Supernet
    from nasx.tasks.base import TaskSpec

__all__ = ["NASBench201"]

# (node, the earlier node its input comes from)
_EDGES = ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2))
_OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
_TERM = re.compile(r"([^|~+]+)~(\d)")


class NASBench201(Space):
    """The 15,625 cells of NAS-Bench-201 [1]_: four nodes, an operation on each of the six edges.

    The decisions are named by their edges, ``"1<-0", "2<-0", "2<-1", "3<-0", "3<-1", "3<-2"``, and a genotype
    holds the operations' indices in `operations`. A node is the sum of what its edges bring.

    Parameters
    ----------
    cells : int, default 5
        Cells in each of the network's three stages.
    channels : int, default 16
        Channels of the first stage; the second has two times, the third four times as many.
    canonical : bool, default False
        Take cells for one that have the same canonical form: 6,466 are left. The form is that of [1]_: an
        edge without operation brings a zero, and so does any edge from a node that is a zero; a skip
        connection brings its node; a sum is its sorted terms, whatever their edges. Cells of one form
        compute the same function. Leave it off for measured tables, where they were measured apart.

    Attributes
    ----------
    operations : tuple of str
        The operations: "none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3".
    edges : tuple of (int, int)
        ``(node, source)`` of each edge.

    Raises
    ------
    ValueError
        If `cells` or `channels` is not a positive integer, or `canonical` not a bool.

    References
    ----------
    .. [1] X. Dong, Y. Yang, "NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search",
       ICLR 2020.

    Examples
    --------
    >>> from nasx import TaskSpec
    >>> space = NASBench201(cells=1)
    >>> space.size, NASBench201(canonical=True).size
    (15625, 6466)
    >>> cell = "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|avg_pool_3x3~1|none~2|"
    >>> architecture = space.from_string(cell)
    >>> architecture["3<-1"]
    'avg_pool_3x3'
    >>> space.to_string(architecture) == cell
    True
    >>> network = architecture.build(TaskSpec((3, 32, 32), 10, "image_classification"))
    """

    operations: ClassVar[tuple[str, ...]] = _OPERATIONS
    edges: ClassVar[tuple[tuple[int, int], ...]] = _EDGES

    def __init__(self, *, cells: int = 5, channels: int = 16, canonical: bool = False) -> None:
        for name, value in (("cells", cells), ("channels", channels)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a positive integer; got {value!r}")
        if not isinstance(canonical, bool):
            raise ValueError(f"canonical must be True or False; got {canonical!r}")
        self.cells, self.channels, self.canonical = cells, channels, canonical
        super().__init__({f"{node}<-{source}": Categorical(_OPERATIONS) for node, source in _EDGES})

    @property
    def settings(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON types."""
        return {"cells": self.cells, "channels": self.channels, "canonical": self.canonical}

    def canonicalize(self, genotypes: Genotypes) -> Genotypes:
        """Replace each cell by the lexicographically smallest one with the same canonical form.

        Parameters
        ----------
        genotypes : ndarray of int32, shape (n, 6)
            Cells.

        Returns
        -------
        ndarray of int32, shape (n, 6)
            Their representatives; the cells themselves unless the space is canonical.

        Notes
        -----
        The first call takes a tenth of a second, to write down the forms of all cells.

        Examples
        --------
        >>> import numpy as np
        >>> space = NASBench201(canonical=True)
        >>> cells = np.array([[3, 0, 1, 0, 0, 1], [0, 0, 0, 3, 0, 0]], np.int32)
        >>> space.canonicalize(cells).tolist()
        [[0, 0, 0, 3, 0, 1], [0, 0, 0, 3, 0, 0]]
        """
        if not self.canonical:
            return genotypes
        return lookup(_representatives(), self.cardinalities, genotypes)

    def to_string(self, architecture: Mapping[str, Any]) -> str:
        """Write a cell as the field does.

        Parameters
        ----------
        architecture : mapping of str to str
            The operation on each edge: an `Architecture` of this space, or a dict.

        Returns
        -------
        str
            For each node the operations on its edges, each with the node it comes from:
            ``"|op~0|+|op~0|op~1|+|op~0|op~1|op~2|"``.

        Raises
        ------
        ValueError
            If it is no cell.
        """
        # Not encoded in full: a canonical space would write another cell of the same form.
        operations = [
            _OPERATIONS[self[edge].index(architecture[edge])] for edge in self if edge in architecture
        ]
        if len(operations) < len(self) or len(architecture) != len(self):
            raise ValueError(f"architecture must give each of {list(self)} an operation; got {architecture}")
        nodes: dict[int, str] = {}
        for (node, source), operation in zip(_EDGES, operations, strict=True):
            nodes[node] = nodes.get(node, "|") + f"{operation}~{source}|"
        return "+".join(nodes.values())

    def from_string(self, text: str, *, spec: TaskSpec | None = None) -> Architecture:
        """Read a cell as the field writes it.

        Parameters
        ----------
        text : str
            ``"|op~0|+|op~0|op~1|+|op~0|op~1|op~2|"``.
        spec : TaskSpec, optional
            What the network is for.

        Returns
        -------
        Architecture
            The cell.

        Raises
        ------
        ValueError
            If the text is no cell of this space.
        """
        terms = _TERM.findall(text)
        for operation, _ in terms:
            if operation not in _OPERATIONS:
                raise ValueError(unknown("operation", operation, _OPERATIONS))
        cell = {
            f"{node}<-{source}": operation
            for (node, source), (operation, _) in zip(_EDGES, terms, strict=False)
        }
        if len(cell) < len(_EDGES) or self.to_string(cell) != text:
            raise ValueError(
                'text must be a cell such as "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|'
                f'none~1|nor_conv_3x3~2|"; got {text!r}'
            )
        return self.decode(self.encode(cell), spec=spec)

    def build(self, architecture: Architecture, spec: TaskSpec) -> nn.Module:
        """Make the network of a cell: a stem, three stages of cells, a classifier.

        Parameters
        ----------
        architecture : Architecture
            One of this space.
        spec : TaskSpec
            ``input_shape`` ``(C, H, W)`` and the number of outputs.

        Returns
        -------
        nasx.nn.NASBench201Module
            Maps ``(B, C, H, W)`` to ``(B, num_outputs)``; freshly initialised from torch's random state.

        Raises
        ------
        ValueError
            If the input is not an image.
        nasx.errors.MissingDependencyError
            If torch is not installed.
        """
        check_images(self, spec)
        from nasx.nn import NASBench201Module

        return NASBench201Module(
            spec.input_shape[0],
            spec.num_outputs,
            edges=[(*edge, str(architecture[name])) for edge, name in zip(_EDGES, self, strict=True)],
            cells=self.cells,
            channels=self.channels,
        )

    def blocks(self, architecture: Architecture, spec: TaskSpec) -> list[Block]:
        """List the parts of a cell's network: its operations, and what is around the cells.

        Parameters
        ----------
        architecture : Architecture
            One of this space.
        spec : TaskSpec
            ``input_shape`` ``(C, H, W)`` and the number of outputs.

        Returns
        -------
        list of Block
            Each edge's operation in each cell, the additions of nodes ("sum"), stem, reductions and head.

        Raises
        ------
        ValueError
            If the input is not an image.
        """
        check_images(self, spec)
        images, height, width = spec.input_shape
        operations = [str(architecture[name]) for name in self if architecture[name] != "none"]
        nodes = {edge[0] for edge, name in zip(_EDGES, self, strict=True) if architecture[name] != "none"}
        cell = operations + ["sum"] * (len(operations) - len(nodes))
        channels = self.channels
        found = [_block("stem", (images, height, width), channels)]
        for stage in range(3):
            if stage:
                found.append(_block("reduction", (channels, height, width)))
                channels, height, width = 2 * channels, -(-height // 2), -(-width // 2)
            found += self.cells * [_block(kind, (channels, height, width)) for kind in cell]
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
            What `nasx.nn.nasbench201_block` makes.
        """
        from nasx.nn import nasbench201_block

        return nasbench201_block(block.kind, **dict(block.settings))

    def draw(self, architecture: Architecture, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draw the cell; edges without operation are left out.

        Parameters
        ----------
        architecture : Architecture
            One of this space.
        path : path-like, optional
            Write the picture here too.

        Returns
        -------
        matplotlib.figure.Figure
            Its four nodes and the operations between them.
        """
        taken = zip(_EDGES, architecture.values(), strict=True)
        edges = [(*edge, str(name)) for edge, name in taken if name != "none"]
        return draw_cells({"cell": (["in", "1", "2", "out"], edges)}, path)

    def supernet(
        self, spec: TaskSpec, *, partial_channels: int = 1, edge_normalization: bool = False
    ) -> NASBench201Supernet:
        """Make the network that holds all of this space's.

        Parameters
        ----------
        spec : TaskSpec
            ``input_shape`` ``(C, H, W)`` and the number of outputs.
        partial_channels, edge_normalization
            As for `Space.supernet`.

        Returns
        -------
        nasx.nn.NASBench201Supernet
            Freshly initialised from torch's random state.

        Raises
        ------
        ValueError
            If the input is not an image, or `partial_channels` does not divide the channels.
        nasx.errors.MissingDependencyError
            If torch is not installed.
        """
        check_images(self, spec)
        from nasx.nn import NASBench201Supernet

        return NASBench201Supernet(
            self, spec, partial_channels=partial_channels, edge_normalization=edge_normalization
        )


def _block(kind: str, shape: tuple[int, int, int], outputs: int | None = None) -> Block:
    return Block(kind, shape, (("channels", shape[0]), ("outputs", outputs)))


def _form(cell: Sequence[int]) -> str:
    """Write down what the last node computes; the same text means the same function.

    The converse does not hold: sums in sums are written without brackets after sorting, so some equal sums
    differ in their texts. Which do depends on the characters; these are the published ones, and so is the
    number of classes.
    """
    texts = ["0"]
    for node in (1, 2, 3):
        terms = []
        for (target, source), index in zip(_EDGES, cell, strict=True):
            if target != node:
                continue
            operation = _OPERATIONS[index]
            if operation == "none" or texts[source] == "#":
                terms.append("#")
            elif operation == "skip_connect":
                terms.append(texts[source])
            else:
                terms.append(f"({texts[source]})@{operation}")
        texts.append("+".join(sorted(terms)))
    return texts[-1]


@functools.cache
def _representatives() -> Genotypes:
    """Give all cells their representatives, in lexicographic order of the cells."""
    cells = NASBench201().enumerate()
    return representatives(cells, [_form(cell) for cell in cells.tolist()])
