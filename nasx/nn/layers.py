"""Layers of PyTorch that run on native kernels where those are faster, with the same weights and results."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, fx, nn

from nasx.nn import kernels
from nasx.nn.kernels import batch_norms

__all__ = [
    "AvgPool3x3",
    "BatchNorm",
    "MaxPool3x3",
    "Pointwise",
    "ReLUDepthwise",
    "after_stem",
    "as_torch",
    "in_fast_layout",
    "is_traced",
    "keep_statistics",
]


class ReLUDepthwise(nn.Conv2d):
    """ReLU and a depthwise convolution, padded so that stride 1 keeps height and width.

    Its weights are those of the convolution. The input is left as it is.

    Parameters
    ----------
    channels : int
        Channels of the images.
    kernel_size : int
        3 or 5.
    stride, dilation : int, default 1
        1 or 2.

    Examples
    --------
    >>> import torch
    >>> layer = ReLUDepthwise(4, 3, stride=2)
    >>> layer(torch.zeros(1, 4, 7, 7)).shape, layer.weight.shape
    (torch.Size([1, 4, 4, 4]), torch.Size([4, 1, 3, 3]))
    """

    def __init__(self, channels: int, kernel_size: int, stride: int = 1, dilation: int = 1) -> None:
        padding = dilation * (kernel_size // 2)
        super().__init__(
            channels, channels, kernel_size, stride, padding, dilation, groups=channels, bias=False
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to ``(B, C, ceil(H / stride), ceil(W / stride))``."""
        return kernels.relu_depthwise(x, self.weight, self.stride[0], self.dilation[0])


class Pointwise(nn.Conv2d):
    """A convolution of single pixels, without bias.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the input and of the output.

    Examples
    --------
    >>> layer = Pointwise(4, 2)
    >>> layer(torch.zeros(1, 4, 7, 7)).shape, layer.weight.shape
    (torch.Size([1, 2, 7, 7]), torch.Size([2, 4, 1, 1]))
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, in_channels, H, W)`` to ``(B, out_channels, H, W)``."""
        return kernels.pointwise(x, self.weight)


class MaxPool3x3(nn.MaxPool2d):
    """The largest number of each window of 3x3 pixels, with padding 1.

    Parameters
    ----------
    stride : int, default 1
        1 or 2.

    Examples
    --------
    >>> import torch
    >>> MaxPool3x3(2)(torch.arange(16.0).reshape(1, 1, 4, 4)).flatten().tolist()
    [5.0, 7.0, 13.0, 15.0]
    """

    def __init__(self, stride: int = 1) -> None:
        super().__init__(3, stride, padding=1)
        self.step = stride

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to ``(B, C, ceil(H / stride), ceil(W / stride))``."""
        return kernels.max_pool_3x3(x, self.step)


class AvgPool3x3(nn.AvgPool2d):
    """The mean of each window of 3x3 pixels, with padding 1 that does not count.

    Parameters
    ----------
    stride : int, default 1
        1 or 2.

    Examples
    --------
    >>> import torch
    >>> AvgPool3x3(2)(torch.arange(16.0).reshape(1, 1, 4, 4)).flatten().tolist()
    [2.5, 4.0, 8.5, 10.0]
    """

    def __init__(self, stride: int = 1) -> None:
        super().__init__(3, stride, padding=1, count_include_pad=False)
        self.step = stride

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to ``(B, C, ceil(H / stride), ceil(W / stride))``."""
        return kernels.avg_pool_3x3(x, self.step)


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation that has a kernel for training without scale and shift, as supernets have it.

    Parameters
    ----------
    channels : int
        Channels of the images.
    affine : bool, default True
        Whether it learns a scale and a shift: PyTorch then computes it.

    Examples
    --------
    >>> layer = BatchNorm(1, affine=False)
    >>> layer(torch.tensor([[[[1.0, 3.0]]]])).round(decimals=3).flatten().tolist()
    [-1.0, 1.0]
    >>> layer.running_mean, layer.running_var
    (tensor([0.2000]), tensor([1.1000]))
    """

    def __init__(self, channels: int, *, affine: bool = True) -> None:
        super().__init__(channels, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to the same shape."""
        if not self.alone or x.dim() != 4 or not batch_norms.takes(x):
            return super().forward(x)
        out, means, variances = batch_norms.batch_norm(x, self.eps)
        self.keep(means, variances, x.numel() // x.shape[1])
        return out

    @property
    def alone(self) -> bool:
        """Whether it works by the statistics of a batch alone, without scale and shift."""
        return self.training and not self.affine

    def keep(self, means: Tensor, variances: Tensor, count: int) -> None:
        """Let running statistics follow those of a batch.

        Parameters
        ----------
        means, variances : Tensor of shape (C,)
            Of the batch's channels; variances are divided by the count.
        count : int
            Numbers of each channel, at least 2.
        """
        keep_statistics([(self, 0)], means[None], variances[None], count)


def keep_statistics(
    norms: Sequence[tuple[BatchNorm, int]], means: Tensor, variances: Tensor, count: int
) -> None:
    """Do what `BatchNorm.keep` does for several layers at once.

    Parameters
    ----------
    norms : sequence of (BatchNorm, int)
        Layers, and for each the row of the statistics that it follows.
    means, variances : Tensor of shape (K, C)
        Of the batch.
    count : int
        Numbers of each channel, at least 2.
    """
    batch_norms.follow(
        [
            batch_norms.RunningStatistics(
                norm.running_mean,
                norm.running_var,  # type: ignore[arg-type]
                norm.num_batches_tracked,  # type: ignore[arg-type]
                norm.momentum,
                row,
            )
            for norm, row in norms
            if norm.track_running_stats and norm.running_mean is not None
        ],
        means,
        variances,
        count,
    )


_OF_TORCH: dict[type[nn.Module], type[nn.Module]] = {
    AvgPool3x3: nn.AvgPool2d,
    BatchNorm: nn.BatchNorm2d,
    MaxPool3x3: nn.MaxPool2d,
    Pointwise: nn.Conv2d,
    ReLUDepthwise: nn.Conv2d,
}


def as_torch(layer: nn.Module) -> nn.Module:
    """Make PyTorch's own layer of one that has a class there.

    Parameters
    ----------
    layer : torch.nn.Module
        Any.

    Returns
    -------
    torch.nn.Module
        A layer of PyTorch's class that holds the same parameters and buffers; or the one that was given.
        A `ReLUDepthwise` becomes a convolution, before which a ReLU is wanted.

    Examples
    --------
    >>> as_torch(BatchNorm(2)), as_torch(nn.ReLU())
    (BatchNorm2d(2, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True), ReLU())
    """
    kind = _OF_TORCH.get(type(layer))
    if kind is None:
        return layer
    own = kind.__new__(kind)
    own.__dict__.update(layer.__dict__)
    return own


def in_fast_layout(features: Tensor) -> Tensor:
    """Bring images to the layout in which layers train fastest on their device: channels last on the CPU.

    What is traced stays as it is: a device is known only to tensors with values.
    """
    if not is_traced(features) and features.device.type == "cpu":
        return features.contiguous(memory_format=torch.channels_last)
    return features


def after_stem(stem: nn.Module, images: Tensor) -> Tensor:
    """Compute a network's stem in the fast layout, and give what it makes in that layout.

    Images of one channel are in both layouts at once, and what becomes of them is in neither for certain.
    """
    return in_fast_layout(stem(in_fast_layout(images)))


def is_traced(value: object) -> bool:
    """Say whether something stands for a tensor that has no values yet."""
    return isinstance(value, fx.Proxy)
