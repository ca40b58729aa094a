"""The operations, cells and networks of DARTS."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nasx.errors import unknown
from nasx.nn.blocks import Classifier
from nasx.nn.drop_path import DropPath
from nasx.nn.edges import sum_edges
from nasx.nn.kernels import quarters
from nasx.nn.layers import (
    AvgPool3x3,
    BatchNorm,
    MaxPool3x3,
    Pointwise,
    ReLUDepthwise,
    after_stem,
    is_traced,
)
from nasx.nn.mixed import Zero
from nasx.nn.supernet import EdgeChoices, run_edges

__all__ = [
    "DARTSCell",
    "DARTSModule",
    "DARTSOperation",
    "FactorizedReduce",
    "darts_block",
    "darts_operation",
    "darts_stem",
    "layout",
    "relu_conv_norm",
]

_STEM = 3  # the stem is so many times as wide as the first cells


class DARTSOperation(NamedTuple):
    """An operation on an edge of a cell: to `node`, from `source`; nodes 0 and 1 are the cell's inputs."""

    node: int
    source: int
    module: nn.Module


class Cell(NamedTuple):
    """Where a cell stands: channels of the two outputs that it reads, its own, and whether they halve."""

    before: int
    previous: int
    channels: int
    reduction: bool
    reduction_before: bool


def layout(cells: int, channels: int, nodes: int) -> list[Cell]:
    """Lay a network's cells out: reductions after one and two thirds of them, where channels double.

    Parameters
    ----------
    cells, channels, nodes : int
        Number of cells, channels of the first, and intermediate nodes of each, whose outputs are joined.

    Returns
    -------
    list of Cell
        In the order of the network.

    Examples
    --------
    >>> [cell.channels for cell in layout(6, 4, nodes=4)]
    [4, 4, 8, 8, 16, 16]
    """
    found: list[Cell] = []
    before = previous = _STEM * channels
    reduction_before = False
    for place in range(cells):
        reduction = place in (cells // 3, 2 * cells // 3)
        channels *= 2 if reduction else 1
        found.append(Cell(before, previous, channels, reduction, reduction_before))
        before, previous, reduction_before = previous, nodes * channels, reduction
    return found


def darts_operation(
    name: str, channels: int, stride: int = 1, *, affine: bool = True, pool_norm: bool = False
) -> nn.Module:
    """Make one of the eight operations of DARTS [1]_.

    Parameters
    ----------
    name : str
        "none", "max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5",
        "dil_conv_3x3" or "dil_conv_5x5". Separable convolutions are applied twice; dilated ones have
        dilation 2; a skip connection at stride 2 is a factorised reduction.
    channels : int
        Channels of the input and of the output.
    stride : int, default 1
        1 or 2; height and width become ``ceil(size / stride)``.
    affine : bool, default True
        Whether batch normalisation learns a scale and a shift: not while architectures are searched, where
        a scale could undo the architecture's weights.
    pool_norm : bool, default False
        Whether batch normalisation follows a pooling, as it does while architectures are searched.

    Returns
    -------
    torch.nn.Module
        Maps ``(B, channels, H, W)`` to the same number of channels.

    Raises
    ------
    ValueError
        If the name is unknown.

    References
    ----------
    .. [1] H. Liu, K. Simonyan and Y. Yang, "DARTS: Differentiable Architecture Search", ICLR 2019.

    Examples
    --------
    >>> darts_operation("dil_conv_3x3", 4, stride=2)(torch.zeros(1, 4, 7, 7)).shape
    torch.Size([1, 4, 4, 4])
    """
    if name not in _OPERATIONS:
        raise ValueError(unknown("operation", name, _OPERATIONS))
    operation = _OPERATIONS[name](channels, stride, affine)
    if pool_norm and "pool" in name:
        return nn.Sequential(operation, BatchNorm(channels, affine=affine))
    return operation


class DARTSCell(nn.Module):
    """A cell: two inputs brought to one shape, nodes that add up what their edges bring, all nodes joined.

    Parameters
    ----------
    place : Cell
        Where it stands, from `layout`.
    edges : sequence of DARTSOperation
        Its operations, in the order in which a node's outputs are added; a supernet adds them by their
        sources. Those of a supernet take a choice as second argument.
    nodes : int
        Number of intermediate nodes.
    affine : bool, default True
        As for `darts_operation`.
    """

    def __init__(
        self, place: Cell, edges: Sequence[DARTSOperation], *, nodes: int, affine: bool = True
    ) -> None:
        super().__init__()
        if place.reduction_before:
            self.from_before: nn.Module = FactorizedReduce(place.before, place.channels, affine)
        else:
            self.from_before = relu_conv_norm(place.before, place.channels, affine)
        self.from_previous = relu_conv_norm(place.previous, place.channels, affine)
        self.places = [(edge.node, edge.source) for edge in edges]
        self.operations = nn.ModuleList(edge.module for edge in edges)
        self.nodes = nodes

    def forward(self, before: Tensor, previous: Tensor, chosen: EdgeChoices | None = None) -> Tensor:
        """Map the outputs of the two cells before to ``(B, nodes * channels, H, W)``.

        Parameters
        ----------
        before, previous : Tensor
            Outputs of the last cell but one, and of the last.
        chosen : EdgeChoices, optional
            What runs on each edge, in a supernet.

        Returns
        -------
        Tensor
            The nodes' values, joined along the channels.
        """
        inputs = [self.from_before(before), self.from_previous(previous)]
        if chosen is None:
            values = [*inputs, *[None] * self.nodes]
            for (node, source), operation in zip(self.places, self.operations, strict=True):
                value, begin = values[node], values[source]
                assert begin is not None  # a node is zero, not nothing, before the next one reads it
                brought = operation(begin)
                values[node] = brought if value is None else value + brought
        else:

            def run(edges: Sequence[int], value: Tensor | None) -> list[Tensor | None]:
                assert value is not None  # here too
                return run_edges(self.operations, edges, chosen, value)

            values = sum_edges(inputs, self.places, self.nodes, run)
        return torch.cat([value for value in values[2:] if value is not None], 1)


class DARTSModule(nn.Module):
    """A network of cells that architectures of `nasx.spaces.DARTS` describe.

    A 3x3 stem, normal cells, two reduction cells, a linear classifier over averaged features [1]_.

    Parameters
    ----------
    in_channels : int
        Channels of the images.
    num_outputs : int
        Size of the output.
    normal, reduce : sequence of (int, int, str)
        The cells' edges, ``(node, source, operation)``; 0 and 1 are the outputs of the two cells before.
    nodes : int, default 4
        Intermediate nodes of each cell.
    cells : int, default 20
        Number of cells.
    channels : int, default 36
        Channels of the first cells.
    auxiliary : bool, default False
        In training mode return ``(scores, auxiliary scores)``, the second from a classifier after two thirds
        of the cells, which helps deep networks to learn [2]_.
    pool_norm : bool, default False
        As for `darts_operation`.

    References
    ----------
    .. [1] H. Liu, K. Simonyan and Y. Yang, "DARTS: Differentiable Architecture Search", ICLR 2019.
    .. [2] C. Szegedy et al., "Going Deeper with Convolutions", CVPR 2015.

    Examples
    --------
    >>> cell = [(2, 0, "skip_connect"), (2, 1, "sep_conv_3x3")]
    >>> network = DARTSModule(1, 10, normal=cell, reduce=cell, nodes=1, cells=3, channels=4)
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
        nodes: int = 4,
        cells: int = 20,
        channels: int = 36,
        auxiliary: bool = False,
        pool_norm: bool = False,
    ) -> None:
        super().__init__()
        self.stem = darts_stem(in_channels, channels)
        self.cells = nn.ModuleList()
        places = layout(cells, channels, nodes)
        for place in places:
            edges = []
            for node, source, name in reduce if place.reduction else normal:
                stride = 2 if place.reduction and source < 2 else 1
                operation = darts_operation(name, place.channels, stride, pool_norm=pool_norm)
                # An identity is never dropped: something must go on.
                if not isinstance(operation, nn.Identity):
                    operation = nn.Sequential(operation, DropPath())
                edges.append(DARTSOperation(node, source, operation))
            self.cells.append(DARTSCell(place, edges, nodes=nodes))
        self.classifier = Classifier(nodes * places[-1].channels, num_outputs)
        self.auxiliary = None
        if auxiliary:
            self.after = 2 * cells // 3
            self.auxiliary = _AuxiliaryHead(nodes * places[self.after].channels, num_outputs)

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Map images ``(B, in_channels, H, W)`` to scores ``(B, num_outputs)``; see `auxiliary`."""
        before = previous = after_stem(self.stem, images)
        more: Tensor | None = None
        for place, cell in enumerate(self.cells):
            before, previous = previous, cell(before, previous)
            if self.auxiliary is not None and self.training and place == self.after:
                more = self.auxiliary(previous)
        scores: Tensor = self.classifier(previous)
        return scores if more is None else (scores, more)


def darts_stem(in_channels: int, channels: int) -> nn.Sequential:
    """Make the first layer: a 3x3 convolution, three times as wide as the first cells."""
    return nn.Sequential(
        nn.Conv2d(in_channels, _STEM * channels, 3, padding=1, bias=False), nn.BatchNorm2d(_STEM * channels)
    )


def darts_block(kind: str, channels: int, outputs: int | None = None, stride: int = 1) -> nn.Module:
    """Make a part of these networks.

    Parameters
    ----------
    kind : str
        "stem", "head" or "auxiliary", the classifier that only training runs; "bring" or "halve", by which a
        cell brings an output of those before to its shape; an operation of the cells; "sum" for one addition
        in a node, or "join" for all nodes of a cell.
    channels : int
        Channels of its input.
    outputs : int, optional
        Of a stem the channels of the first cells; of a head the outputs; of what a cell brings, its channels;
        of what it joins, its nodes.
    stride : int, default 1
        Of an operation.

    Returns
    -------
    torch.nn.Module
        The part.

    Raises
    ------
    ValueError
        If there is no such part.
    """
    if kind in _OPERATIONS:
        return darts_operation(kind, channels, stride)
    if kind == "sum":
        return _Sum()
    if kind not in _PARTS or outputs is None:
        raise ValueError(unknown("kind", kind, [*_PARTS, *_OPERATIONS, "sum"]))
    return _PARTS[kind](channels, outputs)


class _Sum(nn.Module):
    """What a node does with its second edge."""

    def forward(self, x: Tensor) -> Tensor:
        return x + x


class _Join(nn.Module):
    """What a cell does with its nodes, all of one shape."""

    def __init__(self, channels: int, nodes: int) -> None:
        super().__init__()
        self.nodes = nodes

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x] * self.nodes, 1)


class _OnlyTrained(nn.Module):
    """A classifier that is there, and that networks in evaluation pass by."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.classifier = _AuxiliaryHead(channels, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return x


class _AuxiliaryHead(nn.Sequential):
    """A small classifier on features inside the network, pooled to at most 2x2 pixels."""

    def __init__(self, channels: int, num_outputs: int) -> None:
        super().__init__(
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Conv2d(channels, 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(inplace=True),
            nn.Conv2d(128, 768, 2, bias=False),
            nn.BatchNorm2d(768),
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.Linear(768, num_outputs),
        )


class FactorizedReduce(nn.Module):
    """Halve height and width: two 1x1 convolutions, one on even rows and columns, the other on odd ones.

    The pixels are taken out before the convolutions: strided 1x1 convolutions of few channels overwrite
    memory in torch 2.13, on the CPU and with channels last.

    Parameters
    ----------
    channels, out_channels : int
        Of the input and of the output.
    affine : bool, default True
        As for `darts_operation`.
    """

    def __init__(self, channels: int, out_channels: int, affine: bool = True) -> None:
        super().__init__()
        half = out_channels // 2
        self.first = nn.Conv2d(channels, half, 1, bias=False)
        self.second = nn.Conv2d(channels, out_channels - half, 1, bias=False)
        self.norm = BatchNorm(out_channels, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, channels, H, W)`` to ``(B, out_channels, ceil(H / 2), ceil(W / 2))``."""
        even, odd = (x[:, :, ::2, ::2], x[:, :, 1::2, 1::2]) if is_traced(x) else quarters(x)
        height, width = x.shape[2:]
        # There may be one odd row or column less. What is traced has no sizes yet, and is padded in any case.
        if is_traced(x) or height % 2 or width % 2:
            odd = F.pad(odd, (0, width % 2, 0, height % 2))
        out: Tensor = self.norm(torch.cat([self.first(F.relu(even)), self.second(F.relu(odd))], 1))
        return out


def relu_conv_norm(channels: int, out_channels: int, affine: bool = True) -> nn.Module:
    """Make a 1x1 convolution between a ReLU and a batch normalisation."""
    # A ReLU that comes first must not work in place: other edges and cells read the same tensor.
    return nn.Sequential(
        nn.ReLU(),
        Pointwise(channels, out_channels),
        BatchNorm(out_channels, affine=affine),
    )


def _depthwise_separable(
    channels: int, kernel_size: int, stride: int, affine: bool, *, dilation: int = 1
) -> list[nn.Module]:
    return [
        nn.Identity(),  # weights keep their names: the ReLU that stood here is in the next layer
        ReLUDepthwise(channels, kernel_size, stride, dilation),
        Pointwise(channels, channels),
        BatchNorm(channels, affine=affine),
    ]


def _separable(kernel_size: int) -> Callable[[int, int, bool], nn.Module]:
    return lambda channels, stride, affine: nn.Sequential(
        *_depthwise_separable(channels, kernel_size, stride, affine),
        *_depthwise_separable(channels, kernel_size, 1, affine),
    )


def _dilated(kernel_size: int) -> Callable[[int, int, bool], nn.Module]:
    return lambda channels, stride, affine: nn.Sequential(
        *_depthwise_separable(channels, kernel_size, stride, affine, dilation=2)
    )


def _skip(channels: int, stride: int, affine: bool) -> nn.Module:
    return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels, affine)


_OPERATIONS: Mapping[str, Callable[[int, int, bool], nn.Module]] = {
    "none": lambda channels, stride, affine: Zero(stride),
    "max_pool_3x3": lambda channels, stride, affine: MaxPool3x3(stride),
    "avg_pool_3x3": lambda channels, stride, affine: AvgPool3x3(stride),
    "skip_connect": _skip,
    "sep_conv_3x3": _separable(3),
    "sep_conv_5x5": _separable(5),
    "dil_conv_3x3": _dilated(3),
    "dil_conv_5x5": _dilated(5),
}


_PARTS: Mapping[str, Callable[[int, int], nn.Module]] = {
    "stem": darts_stem,
    "bring": relu_conv_norm,
    "halve": FactorizedReduce,
    "join": _Join,
    "head": Classifier,
    "auxiliary": _OnlyTrained,
}
