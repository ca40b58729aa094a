"""The networks of `nasx.spaces.ShuffleNetV2`, and the supernet that holds all of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from nasx.architecture import Architecture
from nasx.errors import unknown
from nasx.nn.blocks import Classifier
from nasx.nn.choices import LayerChoice
from nasx.nn.elastic import ElasticBatchNorm2d, ElasticConv2d
from nasx.nn.layers import after_stem
from nasx.nn.module_supernet import ModuleSupernet
from nasx.nn.sizes import Elastic, Size
from nasx.nn.supernet import copy_weights

if TYPE_CHECKING:
    from nasx.spaces.shufflenet import ShuffleLayer, ShuffleNetV2
    from nasx.tasks.base import TaskSpec

__all__ = ["ShuffleNetV2Module", "ShuffleNetV2Supernet", "ShuffleUnit", "shufflenet_block"]

_KERNELS = {"shuffle_3x3": 3, "shuffle_5x5": 5, "shuffle_7x7": 7}
_OPERATIONS = (*_KERNELS, "xception")


class ShuffleUnit(nn.Module):
    """A choice block: half of the channels pass, the other half go through convolutions and join them.

    Every second channel passes, so that the next unit mixes what this one has kept apart. At stride 2 all
    channels go both through the convolutions and through a depthwise and a pointwise one in the place of the
    way around them.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the input and of the output; equal and even at stride 1, increasing at stride 2.
    mid_channels : int, or an elastic size
        Channels between the convolutions.
    operation : {"shuffle_3x3", "shuffle_5x5", "shuffle_7x7", "xception"}, default "shuffle_3x3"
        A pointwise, a depthwise and a pointwise convolution, by the depthwise one's kernel; or three times a
        depthwise 3x3 and a pointwise one.
    stride : {1, 2}, default 1
        Height and width become ``ceil(size / stride)``.
    affine : bool, default True
        Whether batch normalisations learn a scale and a shift.

    Raises
    ------
    ValueError
        If the operation is unknown, or channels and stride do not fit.

    References
    ----------
    Z. Guo et al., "Single Path One-Shot Neural Architecture Search with Uniform Sampling", ECCV 2020.

    Examples
    --------
    >>> ShuffleUnit(8, 20, 6, operation="xception", stride=2)(torch.zeros(4, 8, 7, 7)).shape
    torch.Size([4, 20, 4, 4])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        mid_channels: Size,
        *,
        operation: str = "shuffle_3x3",
        stride: int = 1,
        affine: bool = True,
    ) -> None:
        super().__init__()
        if operation not in _OPERATIONS:
            raise ValueError(unknown("operation", operation, _OPERATIONS))
        if stride == 1 and (in_channels != out_channels or in_channels % 2):
            raise ValueError(
                f"at stride 1 in_channels and out_channels must be equal and even; got {in_channels} and "
                f"{out_channels}"
            )
        if stride == 2 and in_channels >= out_channels:
            raise ValueError(
                f"at stride 2 there must be more out_channels than in_channels; got {in_channels} and "
                f"{out_channels}"
            )
        if stride not in (1, 2):
            raise ValueError(f"stride must be 1 or 2; got {stride}")
        self.operation, self.stride = operation, stride
        inputs = in_channels if stride == 2 else in_channels // 2
        outputs = out_channels - inputs
        kernel = _KERNELS.get(operation, 3)
        if operation == "xception":
            layers = [
                *_depthwise(inputs, 3, stride, affine),
                *_pointwise(inputs, mid_channels, affine),
                *_depthwise(mid_channels, 3, 1, affine),
                *_pointwise(mid_channels, mid_channels, affine),
                *_depthwise(mid_channels, 3, 1, affine),
                *_pointwise(mid_channels, outputs, affine),
            ]
        else:
            layers = [
                *_pointwise(inputs, mid_channels, affine),
                *_depthwise(mid_channels, kernel, stride, affine),
                *_pointwise(mid_channels, outputs, affine),
            ]
        self.main = nn.Sequential(*layers)
        self.around = (
            nn.Sequential(*_depthwise(inputs, kernel, 2, affine), *_pointwise(inputs, inputs, affine))
            if stride == 2
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, in_channels, H, W)`` to ``(B, out_channels, ceil(H / stride), ceil(W / stride))``."""
        if self.around is None:
            return torch.cat([x[:, ::2], self.main(x[:, 1::2])], 1)
        return torch.cat([self.around(x), self.main(x)], 1)


class ShuffleNetV2Module(nn.Module):
    """A 3x3 stem, choice blocks, a 1x1 convolution and a linear classifier over pooled features.

    Parameters
    ----------
    in_channels : int
        Channels of the images.
    num_outputs : int
        Size of the output.
    units : iterable of torch.nn.Module
        The layers: `ShuffleUnit`, each for the channels of the one before it.
    stem : int, default 16
        Channels before the first unit.
    stem_stride : int, default 2
        Stride of the stem.
    channels : int, default 640
        Channels after the last unit.
    head : int, default 1024
        Channels that are pooled.

    Examples
    --------
    >>> units = [ShuffleUnit(8, 16, 8, stride=2), ShuffleUnit(16, 16, 4, operation="xception")]
    >>> network = ShuffleNetV2Module(1, 10, units=units, stem=8, stem_stride=1, channels=16, head=32)
    >>> network(torch.zeros(5, 1, 8, 8)).shape
    torch.Size([5, 10])
    """

    def __init__(
        self,
        in_channels: int,
        num_outputs: int,
        *,
        units: Iterable[nn.Module],
        stem: int = 16,
        stem_stride: int = 2,
        channels: int = 640,
        head: int = 1024,
    ) -> None:
        super().__init__()
        self.stem = _stem(in_channels, stem, stem_stride)
        self.units = nn.Sequential(*units)
        self.head = _head(channels, head, num_outputs)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, in_channels, H, W)`` to scores ``(B, num_outputs)``."""
        scores: Tensor = self.head(self.units(after_stem(self.stem, images)))
        return scores


class ShuffleNetV2Supernet(ModuleSupernet):
    """All networks of `nasx.spaces.ShuffleNetV2` in one: each layer has all choice blocks, at their widest.

    Parameters
    ----------
    space : nasx.spaces.ShuffleNetV2
        The space.
    spec : TaskSpec
        ``input_shape`` ``(C, H, W)`` and the number of outputs.

    Notes
    -----
    A narrower block is the first inner channels of the widest [1]_. Where widths are decided there is no
    weighted mixture: one architecture is computed at a time, within `path`. Batch normalisations of choice
    blocks learn no scale and shift, since inputs differ from path to path.

    References
    ----------
    .. [1] Z. Guo et al., "Single Path One-Shot Neural Architecture Search with Uniform Sampling", ECCV 2020.
    """

    def __init__(self, space: ShuffleNetV2, spec: TaskSpec) -> None:
        layers = [_Layer(layer, space.multipliers) for layer in space.layers]
        network = ShuffleNetV2Module(spec.input_shape[0], spec.num_outputs, units=layers, **space.frame)
        super().__init__(space, network)
        self.spec = spec

    def extract(self, architecture: Architecture) -> ShuffleNetV2Module:
        """Make an architecture's network with copies of the shared weights.

        Running statistics are those of all paths: `nasx.nn.recalibrate` before it is evaluated.

        Raises
        ------
        ValueError
            If the architecture is of another space.
        """
        mine, theirs = super().extract(architecture), self.space.build(architecture, self.spec)
        assert isinstance(mine, ShuffleNetV2Module)
        assert isinstance(theirs, ShuffleNetV2Module)
        copy_weights(mine.stem, theirs.stem)
        copy_weights(mine.head, theirs.head)
        for layer, unit in zip(mine.units, theirs.units, strict=True):
            copy_weights(layer.get_submodule("operation"), unit)
        return theirs.to(next(self.parameters())).train(self.training)


class _Layer(nn.Module):
    """All choice blocks of one layer."""

    def __init__(self, layer: ShuffleLayer, multipliers: tuple[float, ...] | None) -> None:
        super().__init__()
        mid: Size = layer.mid_channels()
        if multipliers is not None:
            # Before the blocks, so that it is decided whichever of them is chosen.
            self.width = Elastic(multipliers, name=f"{layer.name}.width")
            mid = self.width * (layer.out_channels // 2)
        blocks = {
            operation: ShuffleUnit(
                layer.in_channels,
                layer.out_channels,
                mid,
                operation=operation,
                stride=layer.stride,
                affine=False,
            )
            for operation in _OPERATIONS
        }
        self.operation = LayerChoice(blocks, name=f"{layer.name}.operation")

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.operation(x)
        return out


def shufflenet_block(kind: str, **settings: Any) -> nn.Module:
    """Make a part of these networks.

    Parameters
    ----------
    kind : {"stem", "unit", "head"}
        Which.
    **settings
        ``in_channels`` and what it takes to make it.

    Returns
    -------
    torch.nn.Module
        The part.

    Raises
    ------
    ValueError
        If there is no such part.
    """
    if kind not in _PARTS:
        raise ValueError(unknown("kind", kind, _PARTS))
    part: nn.Module = _PARTS[kind](**settings)
    return part


def _stem(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def _head(in_channels: int, channels: int, num_outputs: int) -> nn.Module:
    return nn.Sequential(*_pointwise(in_channels, channels, True), Classifier(channels, num_outputs))


_PARTS: dict[str, Any] = {"stem": _stem, "unit": ShuffleUnit, "head": _head}


def _pointwise(inputs: Size, outputs: Size, affine: bool) -> list[nn.Module]:
    if isinstance(inputs, int) and isinstance(outputs, int):
        convolution: nn.Module = nn.Conv2d(inputs, outputs, 1, bias=False)
    else:
        convolution = ElasticConv2d(inputs, outputs, 1, bias=False)
    return [convolution, _norm(outputs, affine), nn.ReLU(inplace=True)]


def _depthwise(channels: Size, kernel: int, stride: int, affine: bool) -> list[nn.Module]:
    options: dict[str, Any] = {"stride": stride, "padding": kernel // 2, "bias": False}
    if isinstance(channels, int):
        convolution: nn.Module = nn.Conv2d(channels, channels, kernel, groups=channels, **options)
    else:
        convolution = ElasticConv2d(channels, channels, kernel, groups=channels, **options)
    return [convolution, _norm(channels, affine)]


def _norm(channels: Size, affine: bool) -> nn.Module:
    if isinstance(channels, int):
        return nn.BatchNorm2d(channels, affine=affine)
    return ElasticBatchNorm2d(channels, affine=affine)
