"""The networks of NAS-Bench-201: three stages of one cell."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from nasx.errors import unknown
from nasx.nn.blocks import Classifier
from nasx.nn.edges import sum_edges
from nasx.nn.layers import AvgPool3x3, BatchNorm
from nasx.nn.mixed import Zero

__all__ = ["NASBench201Cell", "NASBench201Module", "nasbench201_block"]

Edge = tuple[int, int, str]


class NASBench201Module(nn.Module):
    """A 3x3 stem, three stages of cells with residual blocks that halve the size between them, a classifier.

    Parameters
    ----------
    in_channels : int
        Channels of the images.
    num_outputs : int
        Size of the output.
    edges : sequence of (int, int, str)
        The cell, as in `NASBench201Cell`; all cells are alike.
    cells : int, default 5
        Cells in each stage.
    channels : int, default 16
        Channels of the first stage; they double from stage to stage.

    Notes
    -----
    The layers and their order are those of [1]_. Odd heights and widths, which it does not have, are halved
    upwards.

    References
    ----------
    .. [1] X. Dong, Y. Yang, "NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search",
       ICLR 2020.

    Examples
    --------
    >>> edges = [(1, 0, "nor_conv_3x3"), (2, 1, "skip_connect"), (3, 0, "avg_pool_3x3"), (3, 2, "none")]
    >>> network = NASBench201Module(1, 10, edges=edges, cells=2, channels=4)
    >>> network(torch.zeros(5, 1, 8, 8)).shape
    torch.Size([5, 10])
    """

    def __init__(
        self, in_channels: int, num_outputs: int, *, edges: Sequence[Edge], cells: int = 5, channels: int = 16
    ) -> None:
        super().__init__()
        self.stem = nasbench201_block("stem", in_channels, channels)
        self.body = nn.Sequential()
        for stage in range(3):
            if stage:
                self.body.append(nasbench201_block("reduction", channels))
                channels *= 2
            for _ in range(cells):
                self.body.append(NASBench201Cell(channels, edges))
        self.head = nasbench201_block("head", channels, num_outputs)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, in_channels, H, W)`` to scores ``(B, num_outputs)``."""
        scores: Tensor = self.head(self.body(self.stem(images)))
        return scores


def nasbench201_block(
    kind: str, channels: int, outputs: int | None = None, *, affine: bool = True
) -> nn.Module:
    """Make a part of these networks.

    Parameters
    ----------
    kind : str
        "stem", "reduction" or "head", an operation of the cells, or "sum" for one addition in a node.
    channels : int
        Channels of its input.
    outputs : int, optional
        Channels of a stem's output, or outputs of a head.
    affine : bool, default True
        Whether an operation's batch normalisation learns a scale and a shift.

    Returns
    -------
    torch.nn.Module
        The part.

    Raises
    ------
    ValueError
        If there is no such part.
    """
    kinds = {"stem": _stem, "head": _head}
    if kind in kinds and outputs is not None:
        return kinds[kind](channels, outputs)
    if kind in _OPERATIONS:
        return _OPERATIONS[kind](channels, affine)
    if kind == "reduction":
        return _Reduction(channels)
    if kind == "sum":
        return _Sum()
    raise ValueError(unknown("kind", kind, [*kinds, *_OPERATIONS, "reduction", "sum"]))


class NASBench201Cell(nn.Module):
    """Nodes joined by operations; each is the sum of what its edges bring, and the last is the output.

    Parameters
    ----------
    channels : int
        Channels of every node.
    edges : sequence of (int, int, str)
        ``(node, source, operation)`` in the order of nodes; node 0 is the input. Operations are "none",
        "skip_connect", "nor_conv_1x1", "nor_conv_3x3" and "avg_pool_3x3". A node whose edges bring nothing
        is zero.

    Raises
    ------
    ValueError
        If an operation is unknown.

    Examples
    --------
    >>> cell = NASBench201Cell(4, [(1, 0, "skip_connect"), (2, 0, "skip_connect"), (2, 1, "skip_connect")])
    >>> cell(torch.ones(1, 4, 1, 1)).flatten().tolist()
    [2.0, 2.0, 2.0, 2.0]
    """

    def __init__(self, channels: int, edges: Sequence[Edge]) -> None:
        super().__init__()
        for _, _, operation in edges:
            if operation not in _OPERATIONS:
                raise ValueError(unknown("operation", operation, _OPERATIONS))
        self.edges = [(node, source) for node, source, operation in edges if operation != "none"]
        self.nodes = max(node for node, _, _ in edges)
        self.operations = nn.ModuleList(
            _OPERATIONS[operation](channels, True) for _, _, operation in edges if operation != "none"
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, channels, H, W)`` to the same shape."""

        def run(edges: Sequence[int], value: Tensor) -> list[Tensor | None]:
            return [self.operations[edge](value) for edge in edges]

        return last_node(x, self.edges, self.nodes, run)


def last_node(
    x: Tensor,
    edges: Sequence[tuple[int, int]],
    nodes: int,
    run: Callable[[Sequence[int], Tensor], Sequence[Tensor | None]],
) -> Tensor:
    """Compute a cell's last node, as `sum_edges` does; one whose edges bring nothing is zero.

    Parameters
    ----------
    x : Tensor
        Node 0.
    edges, nodes, run
        As for `sum_edges`.

    Returns
    -------
    Tensor
        Of the shape of `x`.
    """

    def run_from(leaving: Sequence[int], value: Tensor | None) -> Sequence[Tensor | None]:
        # Operations on a zero still add their biases.
        return run(leaving, torch.zeros_like(x) if value is None else value)

    last = sum_edges([x], edges, nodes, run_from)[-1]
    return torch.zeros_like(x) if last is None else last


class _Sum(nn.Module):
    """What a node does with a second edge."""

    def forward(self, x: Tensor) -> Tensor:
        return x + x


def _stem(channels: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(channels, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs))


def _head(channels: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True), Classifier(channels, outputs))


class _Reduction(nn.Module):
    """A residual block that halves height and width and doubles the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            _relu_conv_norm(channels, 3, 2 * channels, stride=2),
            _relu_conv_norm(2 * channels, 3),
        )
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, ceil_mode=True),  # upwards, as the convolution does with odd sizes
            nn.Conv2d(channels, 2 * channels, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.shortcut(x) + self.block(x)
        return out


def _relu_conv_norm(
    channels: int, kernel_size: int, out_channels: int | None = None, stride: int = 1, affine: bool = True
) -> nn.Module:
    out_channels = out_channels or channels
    # The first ReLU must not work in place: other edges read the same node.
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False),
        BatchNorm(out_channels, affine=affine),
    )


_OPERATIONS: dict[str, Callable[[int, bool], nn.Module]] = {
    "none": lambda channels, affine: Zero(),
    "skip_connect": lambda channels, affine: nn.Identity(),
    "nor_conv_1x1": lambda channels, affine: _relu_conv_norm(channels, 1, affine=affine),
    "nor_conv_3x3": lambda channels, affine: _relu_conv_norm(channels, 3, affine=affine),
    "avg_pool_3x3": lambda channels, affine: AvgPool3x3(),
}
