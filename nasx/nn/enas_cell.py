"""The cells of ENAS, and the networks they make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nasx.nn.blocks import Classifier
from nasx.nn.darts import FactorizedReduce, darts_operation, darts_stem, relu_conv_norm
from nasx.nn.drop_path import DropPath
from nasx.nn.layers import after_stem
from nasx.nn.nasbench201 import nasbench201_block

__all__ = [
    "ENASCellModule",
    "JoinEnds",
    "MicroCell",
    "MicroPlace",
    "PlainCell",
    "cell_block",
    "loose_ends",
    "micro_layout",
    "stages",
]

_STEM = 3  # the stem of cells is so many times as wide as the first of them


def loose_ends(edges: Sequence[tuple[int, int, str]], nodes: int) -> list[int]:
    """List what no node of a cell reads, the cell's two inputs among it: that is what is joined.

    Parameters
    ----------
    edges : sequence of (int, int, str)
        ``(node, source, operation)``; 0 and 1 are the inputs.
    nodes : int
        Number of nodes.

    Returns
    -------
    list of int
        In increasing order; the last node is always among them.

    Examples
    --------
    >>> loose_ends([(2, 0, "skip_connect"), (2, 0, "skip_connect"), (3, 0, "skip_connect"), (3, 0, "")], 2)
    [1, 2, 3]
    """
    read = {source for _, source, _ in edges}
    return [value for value in range(nodes + 2) if value not in read]


class MicroPlace(NamedTuple):
    """Where a cell stands: channels of its two inputs, its own, and whether it halves height and width."""

    before: int
    previous: int
    channels: int
    reduction: bool


def micro_layout(cells: int, channels: int) -> list[MicroPlace]:
    """Lay a network's cells out: reductions after one and two thirds of them, where channels double.

    Parameters
    ----------
    cells, channels : int
        Number of cells, and channels of the first.

    Returns
    -------
    list of MicroPlace
        In the order of the network.

    Examples
    --------
    >>> [cell.channels for cell in micro_layout(6, 4)]
    [4, 4, 8, 8, 16, 16]
    """
    found = []
    before = previous = _STEM * channels
    for place in range(cells):
        reduction = place in stages(cells)
        channels *= 2 if reduction else 1
        found.append(MicroPlace(before, previous, channels, reduction))
        # A reduction cell leaves its halved input, not the input, for the next one.
        before, previous = channels if reduction else previous, channels
    return found


def stages(layers: int) -> tuple[int, int]:
    """Give the places, from 0, at which height and width are halved: after one and two thirds."""
    return layers // 3, 2 * layers // 3


class JoinEnds(nn.Module):
    """Any loose ends to a cell's output: a ReLU, a 1x1 convolution, a batch normalisation.

    Every value of a cell has its own slice of the convolution's weight, and those of the loose ends are
    taken: a shared cell thus has one weight for whatever number of ends.

    Parameters
    ----------
    values : int
        Number of values in the cell, its inputs among them.
    channels : int
        Channels of each, and of the output.

    References
    ----------
    H. Pham, M. Guan, B. Zoph, Q. Le and J. Dean, "Efficient Neural Architecture Search via Parameter
    Sharing", ICML 2018; the trick is that of the code released with it.

    Examples
    --------
    >>> join = JoinEnds(4, 8)
    >>> join([torch.ones(2, 8, 3, 3)] * 2, [1, 3]).shape
    torch.Size([2, 8, 3, 3])
    >>> join.kernel([1, 3]).shape
    torch.Size([8, 16, 1, 1])
    """

    def __init__(self, values: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(values, channels, channels))
        self.norm = nn.BatchNorm2d(channels)
        bound = channels**-0.5
        nn.init.uniform_(self.weight, -bound, bound)

    def kernel(self, ends: Sequence[int]) -> Tensor:
        """Give the convolution's weight for some ends: ``(channels, len(ends) * channels, 1, 1)``."""
        return torch.cat([self.weight[end] for end in ends], 1)[:, :, None, None]

    def forward(self, values: Sequence[Tensor], ends: Sequence[int]) -> Tensor:
        """Map the values of `ends`, each ``(B, channels, H, W)``, to one of that shape."""
        joined = nn.functional.relu(torch.cat(list(values), 1))
        out: Tensor = self.norm(nn.functional.conv2d(joined, self.kernel(ends)))
        return out


class MicroCell(nn.Module):
    """A cell: two inputs of one shape, nodes that each add two operations, and what no node reads is joined.

    A reduction cell first halves the output of the cell before it; that and its halved form are its inputs.
    Subclasses say what nodes are and how ends are joined.

    Parameters
    ----------
    place : MicroPlace
        Where it stands, from `micro_layout`.
    """

    def __init__(self, place: MicroPlace) -> None:
        super().__init__()
        channels = place.channels
        self.reduction = FactorizedReduce(place.previous, channels) if place.reduction else None
        if place.reduction:
            self.from_before: nn.Module = FactorizedReduce(place.previous, channels)
            self.from_previous: nn.Module = nn.Identity()
        else:
            self.from_before = _resized(place.before, channels)
            self.from_previous = _resized(place.previous, channels)

    def inputs(self, before: Tensor, previous: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Give what the next cell sees as the one before, and this cell's two inputs."""
        if self.reduction is not None:
            before, previous = previous, self.reduction(previous)
        return previous, [self.from_before(before), self.from_previous(previous)]


class PlainCell(MicroCell):
    """The cell of one architecture.

    Parameters
    ----------
    place : MicroPlace
        Where it stands, from `micro_layout`.
    edges : sequence of (int, int, str)
        ``(node, source, operation)``, two for each node.
    nodes : int
        Number of nodes.
    """

    def __init__(self, place: MicroPlace, edges: Sequence[tuple[int, int, str]], nodes: int) -> None:
        super().__init__(place)
        self.places = [(node, source) for node, source, _ in edges]
        self.operations = nn.ModuleList()
        for _, _, name in edges:
            operation = darts_operation(name, place.channels)
            # An identity is never dropped: something must go on.
            if not isinstance(operation, nn.Identity):
                operation = nn.Sequential(operation, DropPath())
            self.operations.append(operation)
        self.ends = loose_ends(edges, nodes)
        self.nodes = nodes
        # A ReLU, a convolution, a normalisation.
        self.join = relu_conv_norm(len(self.ends) * place.channels, place.channels)

    def forward(self, before: Tensor, previous: Tensor) -> tuple[Tensor, Tensor]:
        """Map the outputs of the two cells before to what the next cell sees as those."""
        previous, inputs = self.inputs(before, previous)
        values: list[Tensor | None] = [*inputs, *[None] * self.nodes]
        for (node, source), operation in zip(self.places, self.operations, strict=True):
            brought = operation(values[source])
            values[node] = brought if values[node] is None else values[node] + brought
        ends = [value for end in self.ends if (value := values[end]) is not None]
        return previous, self.join(torch.cat(ends, 1))


class ENASCellModule(nn.Module):
    """A network of cells that architectures of `nasx.spaces.ENASCell` describe.

    A 3x3 stem, normal cells, two reduction cells, a linear classifier over averaged features [1]_.

    Parameters
    ----------
    in_channels : int
        Channels of the images.
    num_outputs : int
        Size of the output.
    normal, reduce : sequence of (int, int, str)
        The cells' edges, ``(node, source, operation)``, two for each node; 0 and 1 are the inputs. Operations
        are those of `nasx.nn.darts_operation`.
    nodes : int, default 5
        Nodes of each cell.
    cells : int, default 8
        Number of cells.
    channels : int, default 20
        Channels of the first cells; they double at each reduction.

    References
    ----------
    .. [1] H. Pham, M. Guan, B. Zoph, Q. Le and J. Dean, "Efficient Neural Architecture Search via Parameter
       Sharing", ICML 2018.

    Examples
    --------
    >>> cell = [(2, 0, "skip_connect"), (2, 1, "sep_conv_3x3")]
    >>> network = ENASCellModule(1, 10, normal=cell, reduce=cell, nodes=1, cells=3, channels=4)
    >>> network(torch.zeros(5, 1, 8, 8)).shape
    torch.Size([5, 10])
    """

    def __init__(
        self,
        in_channels: int,
        num_outputs: int,
        *,
        normal: Sequence[tuple[int, int, str]],
        reduce: Sequence[tuple[int, int, str]],
        nodes: int = 5,
        cells: int = 8,
        channels: int = 20,
    ) -> None:
        super().__init__()
        self.stem = darts_stem(in_channels, channels)
        places = micro_layout(cells, channels)
        self.cells = nn.ModuleList(
            PlainCell(place, reduce if place.reduction else normal, nodes) for place in places
        )
        self.classifier = Classifier(places[-1].channels, num_outputs)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, in_channels, H, W)`` to scores ``(B, num_outputs)``."""
        before = previous = after_stem(self.stem, images)
        for cell in self.cells:
            before, previous = cell(before, previous)
        scores: Tensor = self.classifier(previous)
        return scores


def cell_block(kind: str, channels: int, outputs: int) -> nn.Module:
    """Make a part of these networks.

    Parameters
    ----------
    kind : str
        "stem", "reduction", "resize", "join" or "head", "sum" for one addition in a node, or an operation of
        `darts_operation`.
    channels, outputs : int
        Channels of its input and of its output, or outputs of a head.

    Returns
    -------
    torch.nn.Module
        The part.

    Raises
    ------
    ValueError
        If there is no such part.
    """
    if kind == "stem":
        return darts_stem(channels, outputs // _STEM)
    if kind == "reduction":
        return FactorizedReduce(channels, outputs)
    if kind in ("resize", "join"):
        return relu_conv_norm(channels, outputs)
    if kind == "head":
        return Classifier(channels, outputs)
    return nasbench201_block("sum", channels) if kind == "sum" else darts_operation(kind, channels)


def _resized(channels: int, out_channels: int) -> nn.Module:
    return nn.Identity() if channels == out_channels else relu_conv_norm(channels, out_channels)
