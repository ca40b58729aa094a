"""Convolutional blocks: one operation, an optional shortcut around it, and an activation."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from nasx.errors import unknown

__all__ = ["OPERATIONS", "Classifier", "ConvBlock"]

_EXPANSION = 3


class ConvBlock(nn.Module):
    """A convolutional block with an optional residual connection, followed by a ReLU.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the input and of the output.
    operation : {"conv", "separable", "bottleneck"}, default "conv"
        "conv": a dense convolution [1]_. "separable": a depthwise and a pointwise convolution [2]_.
        "bottleneck": an inverted bottleneck that works at three times the input's channels [3]_. Every one
        is batch-normalised.
    kernel_size : int, default 3
        Odd, so that stride 1 keeps height and width.
    stride : int, default 1
        Height and width become ``ceil(size / stride)``.
    residual : bool, default False
        Add the input to the operation's output. Where the shape changes, the input is average-pooled to the
        new size and projected by a 1x1 convolution to the new channels.

    Raises
    ------
    ValueError
        If the operation is unknown or the kernel size is even.

    References
    ----------
    .. [1] K. He et al., "Deep Residual Learning for Image Recognition", CVPR 2016.
    .. [2] F. Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", CVPR 2017.
    .. [3] M. Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018.

    Examples
    --------
    >>> import torch
    >>> block = ConvBlock(3, 8, operation="bottleneck", stride=2, residual=True)
    >>> block(torch.zeros(4, 3, 7, 7)).shape
    torch.Size([4, 8, 4, 4])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        operation: str = "conv",
        kernel_size: int = 3,
        stride: int = 1,
        residual: bool = False,
    ) -> None:
        super().__init__()
        if operation not in _BODIES:
            raise ValueError(unknown("operation", operation, OPERATIONS))
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd and positive; got {kernel_size}")
        self.body = nn.Sequential(*_BODIES[operation](in_channels, out_channels, kernel_size, stride))
        self.shortcut = _shortcut(in_channels, out_channels, stride) if residual else None
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, in_channels, H, W)`` to ``(B, out_channels, ceil(H / stride), ceil(W / stride))``."""
        y: Tensor = self.body(x)
        if self.shortcut is not None:
            y = y + self.shortcut(x)
        out: Tensor = self.activation(y)
        return out


class Classifier(nn.Linear):
    """A linear layer over the means of images' channels.

    Parameters
    ----------
    in_channels : int
        Channels of the images.
    num_outputs : int
        Size of the output.

    Examples
    --------
    >>> import torch
    >>> Classifier(8, 10)(torch.zeros(4, 8, 3, 3)).shape
    torch.Size([4, 10])
    """

    def __init__(self, in_channels: int, num_outputs: int) -> None:
        super().__init__(in_channels, num_outputs)

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(B, in_channels, H, W)`` to ``(B, num_outputs)``."""
        return super().forward(images.mean((2, 3)))


def _conv(
    in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1
) -> nn.Conv2d:
    # Batch normalisation follows and would cancel a bias.
    return nn.Conv2d(
        in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, groups=groups, bias=False
    )


def _dense(in_channels: int, out_channels: int, kernel_size: int, stride: int) -> list[nn.Module]:
    return [_conv(in_channels, out_channels, kernel_size, stride), nn.BatchNorm2d(out_channels)]


def _separable(in_channels: int, out_channels: int, kernel_size: int, stride: int) -> list[nn.Module]:
    return [
        _conv(in_channels, in_channels, kernel_size, stride, groups=in_channels),
        _conv(in_channels, out_channels, 1),
        nn.BatchNorm2d(out_channels),
    ]


def _bottleneck(in_channels: int, out_channels: int, kernel_size: int, stride: int) -> list[nn.Module]:
    inner = _EXPANSION * in_channels
    return [
        *(_conv(in_channels, inner, 1), nn.BatchNorm2d(inner), nn.ReLU(inplace=True)),
        *(
            _conv(inner, inner, kernel_size, stride, groups=inner),
            nn.BatchNorm2d(inner),
            nn.ReLU(inplace=True),
        ),
        *(_conv(inner, out_channels, 1), nn.BatchNorm2d(out_channels)),
    ]


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    layers: list[nn.Module] = []
    if stride > 1:
        # ceil_mode gives the size that a padded convolution of the same stride gives.
        layers.append(nn.AvgPool2d(stride, ceil_mode=True))
    if in_channels != out_channels:
        layers += [_conv(in_channels, out_channels, 1), nn.BatchNorm2d(out_channels)]
    return nn.Sequential(*layers) if layers else nn.Identity()


_BODIES: dict[str, Callable[[int, int, int, int], list[nn.Module]]] = {
    "conv": _dense,
    "separable": _separable,
    "bottleneck": _bottleneck,
}

OPERATIONS: tuple[str, ...] = tuple(_BODIES)
"""Operations that `ConvBlock` knows."""
