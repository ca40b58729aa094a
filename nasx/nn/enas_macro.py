"""The layers of ENAS's macro networks, and the networks they make."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence

from torch import Tensor, nn

from nasx.errors import unknown
from nasx.nn.blocks import Classifier
from nasx.nn.darts import FactorizedReduce
from nasx.nn.enas_cell import stages
from nasx.nn.layers import after_stem
from nasx.nn.nasbench201 import nasbench201_block

__all__ = [
    "ENASMacroModule",
    "enas_layer",
    "halved",
    "macro_block",
    "macro_stem",
    "reductions_for",
    "reductions_of",
    "widths",
]


def enas_layer(name: str, channels: int) -> nn.Module:
    """Make an operation of a macro layer: a 1x1 convolution, and what the name says, both normalised.

    Parameters
    ----------
    name : str
        "conv_3x3", "conv_5x5", "sep_conv_3x3", "sep_conv_5x5", "avg_pool_3x3" or "max_pool_3x3".
    channels : int
        Channels of the input and of the output.

    Returns
    -------
    torch.nn.Module
        Maps ``(B, channels, H, W)`` to the same shape.

    Raises
    ------
    ValueError
        If the name is unknown.

    Examples
    --------
    >>> import torch
    >>> enas_layer("sep_conv_5x5", 4)(torch.zeros(2, 4, 3, 3)).shape
    torch.Size([2, 4, 3, 3])
    """
    if name not in _LAYERS:
        raise ValueError(unknown("operation", name, _LAYERS))
    first = (nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
    return nn.Sequential(*first, *_LAYERS[name](channels))


def reductions_of(skips: Sequence[Sequence[int]]) -> dict[str, int]:
    """List which earlier values are halved where a layer begins a new stage.

    Parameters
    ----------
    skips : sequence of sequence of int
        For each layer the values that are added to its own; value 0 is the stem's, k that of layer k.

    Returns
    -------
    dict of str to int
        ``"layer<i>_value<k>"`` -> number of the stage that layer i, counted from 0, begins, 1 or 2; for the
        values k that it or a later one reads.

    Examples
    --------
    >>> reductions_of([[], [], [0]])
    {'layer1_value0': 1, 'layer1_value1': 1, 'layer2_value0': 2, 'layer2_value2': 2}
    """
    found = {}
    for stage, layer in enumerate(stages(len(skips)), start=1):
        for value in range(layer + 1):
            if value == layer or any(value in later for later in skips[layer:]):
                found[_name(layer, value)] = stage
    return found


def widths(layers: int, channels: int) -> list[int]:
    """Give the channels of each layer: those of the first, doubled where height and width are halved."""
    return [channels * 2 ** sum(layer >= first for first in stages(layers)) for layer in range(layers)]


def reductions_for(names: Mapping[str, int], channels: int) -> nn.ModuleDict:
    """Make what halves values and doubles their channels.

    Parameters
    ----------
    names : mapping of str to int
        From `reductions_of`.
    channels : int
        Channels of the first layers.

    Returns
    -------
    torch.nn.ModuleDict
        A module by each name.
    """
    return nn.ModuleDict(
        {
            name: FactorizedReduce(channels * 2 ** (stage - 1), channels * 2**stage)
            for name, stage in names.items()
        }
    )


def halved(
    values: Sequence[Tensor], layer: int, reductions: nn.ModuleDict, names: Container[str]
) -> list[Tensor]:
    """Halve those of a layer's earlier values that `names` lists; the others, which nobody reads, stay."""
    return [
        reductions[name](value) if (name := _name(layer, place)) in names else value
        for place, value in enumerate(values)
    ]


class ENASMacroModule(nn.Module):
    """A network that an architecture of `nasx.spaces.ENASMacro` describes.

    A 3x3 stem, layers that each read the one before and add earlier ones to their output, a linear classifier
    over averaged features [1]_. After one and two thirds of the layers height and width are halved.

    Parameters
    ----------
    in_channels : int
        Channels of the images.
    num_outputs : int
        Size of the output.
    operations : sequence of str
        That of each layer, as for `enas_layer`.
    skips : sequence of sequence of int
        For each layer the values that are added to its own: 0 is the stem's, k that of the k-th layer. What
        the layer reads is none of them.
    channels : int, default 36
        Channels of the first layers; they double when height and width are halved.

    References
    ----------
    .. [1] H. Pham, M. Guan, B. Zoph, Q. Le and J. Dean, "Efficient Neural Architecture Search via Parameter
       Sharing", ICML 2018.

    Examples
    --------
    >>> import torch
    >>> names = ["conv_3x3", "max_pool_3x3", "sep_conv_5x5"]
    >>> network = ENASMacroModule(1, 10, operations=names, skips=[[], [0], [0, 1]], channels=4)
    >>> network(torch.zeros(5, 1, 8, 8)).shape
    torch.Size([5, 10])
    """

    def __init__(
        self,
        in_channels: int,
        num_outputs: int,
        *,
        operations: Sequence[str],
        skips: Sequence[Sequence[int]],
        channels: int = 36,
    ) -> None:
        super().__init__()
        self.stem = macro_stem(in_channels, channels)
        self.skips = [list(sources) for sources in skips]
        self.halved = reductions_of(skips)  # what is not read is not made
        self.reductions = reductions_for(self.halved, channels)
        of_layers = widths(len(operations), channels)
        self.layers = nn.ModuleList(
            enas_layer(name, width) for name, width in zip(operations, of_layers, strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in of_layers)
        self.classifier = Classifier(of_layers[-1], num_outputs)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, in_channels, H, W)`` to scores ``(B, num_outputs)``."""
        values: list[Tensor] = [after_stem(self.stem, images)]
        for place, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            if place in stages(len(self.layers)):
                values = halved(values, place, self.reductions, self.halved)
            out = layer(values[-1])
            for source in self.skips[place]:
                out = out + values[source]
            values.append(norm(out))
        scores: Tensor = self.classifier(values[-1])
        return scores


def macro_block(kind: str, channels: int, outputs: int) -> nn.Module:
    """Make a part of these networks.

    Parameters
    ----------
    kind : str
        "stem", "reduction", "norm" or "head", "sum" for one addition, or an operation of `enas_layer`.
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
        return macro_stem(channels, outputs)
    if kind == "reduction":
        return FactorizedReduce(channels, outputs)
    if kind == "norm":
        return nn.BatchNorm2d(channels)
    if kind == "head":
        return Classifier(channels, outputs)
    return nasbench201_block("sum", channels) if kind == "sum" else enas_layer(kind, channels)


def _name(layer: int, value: int) -> str:
    """Name what halves a value where a layer begins a stage."""
    return f"layer{layer}_value{value}"


def macro_stem(in_channels: int, channels: int) -> nn.Module:
    """Make the first layer: a 3x3 convolution."""
    return nn.Sequential(nn.Conv2d(in_channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))


def _convolution(kernel_size: int) -> Callable[[int], list[nn.Module]]:
    return lambda channels: [
        nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    ]


def _separable(kernel_size: int) -> Callable[[int], list[nn.Module]]:
    return lambda channels: [
        nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels, bias=False),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    ]


_LAYERS: Mapping[str, Callable[[int], list[nn.Module]]] = {
    "conv_3x3": _convolution(3),
    "conv_5x5": _convolution(5),
    "sep_conv_3x3": _separable(3),
    "sep_conv_5x5": _separable(5),
    "avg_pool_3x3": lambda channels: [nn.AvgPool2d(3, 1, padding=1, count_include_pad=False)],
    "max_pool_3x3": lambda channels: [nn.MaxPool2d(3, 1, padding=1)],
}
