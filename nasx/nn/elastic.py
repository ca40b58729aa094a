"""Layers whose width, kernel size or depth is decided: the smaller ones are parts of the largest."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nasx.nn.choices import ElasticModule
from nasx.nn.sizes import (
    Elastic,
    ElasticProduct,
    Size,
    check_size,
    current,
    is_decided,
    largest,
    possible,
    same,
)

__all__ = ["ElasticBatchNorm2d", "ElasticConv2d", "ElasticLinear", "ElasticRepeat", "copied"]


class ElasticConv2d(ElasticModule):
    """A convolution with elastic numbers of channels and an elastic kernel.

    A smaller one is the first output and the first input channels of the largest, and the middle of its
    kernels [1]_. It computes what a `torch.nn.Conv2d` with these weights does, and the gradient of all other
    weights is zero.

    Parameters
    ----------
    in_channels, out_channels : int, Elastic or ElasticProduct
        Channels.
    kernel_size : int or Elastic
        Odd if it is elastic.
    stride : int, default 1
        Stride.
    padding : int, optional
        By default half of the kernel, so that height and width become ``ceil(size / stride)`` for every odd
        kernel size.
    dilation : int, default 1
        Distance of the kernel's points.
    groups : int, Elastic or ElasticProduct, default 1
        A number that divides all numbers of channels: each group is then made smaller by itself. Or the
        elastic `in_channels`, with the same `out_channels`: a depthwise convolution.
    bias : bool, default True
        Whether a bias is learned.

    Raises
    ------
    ValueError
        If a size is no positive integer, an elastic kernel size is even or has a padding, or `groups` does
        not fit the channels.

    References
    ----------
    .. [1] H. Cai et al., "Once-for-All: Train One Network and Specialize it for Efficient Deployment",
       ICLR 2020.

    Examples
    --------
    >>> width, kernel = Elastic([4, 8], name="width"), Elastic([3, 5], name="kernel")
    >>> pointwise = ElasticConv2d(3, width, 1)
    >>> depthwise = ElasticConv2d(width, width, kernel, groups=width)
    >>> with width.at(4), kernel.at(3):
    ...     depthwise(pointwise(torch.zeros(1, 3, 6, 6))).shape, depthwise.extract()
    (torch.Size([1, 4, 6, 6]), Conv2d(4, 4, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), groups=4))
    """

    def __init__(
        self,
        in_channels: Size,
        out_channels: Size,
        kernel_size: Size,
        stride: int = 1,
        padding: int | None = None,
        dilation: int = 1,
        groups: Size = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        check_size(in_channels, "in_channels")
        check_size(out_channels, "out_channels")
        check_size(groups, "groups")
        check_size(kernel_size, "kernel_size", odd=not isinstance(kernel_size, int))
        if padding is not None and not isinstance(kernel_size, int):
            raise ValueError(
                "padding must be left out where kernel_size is elastic: it is half of the kernel, and so all "
                f"outputs have one size; got {padding}"
            )
        _check_groups(groups, in_channels, out_channels)
        self.in_channels, self.out_channels, self.kernel_size = in_channels, out_channels, kernel_size
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups
        # Looked at in every forward pass: children take longer to find.
        self._sizes = in_channels, out_channels, kernel_size, groups
        inputs, outputs, kernel = map(largest, (in_channels, out_channels, kernel_size))
        whole = nn.Conv2d(inputs, outputs, kernel, groups=largest(groups), bias=bias)
        self.weight, self.bias = whole.weight, whole.bias

    @property
    def is_decided(self) -> bool:
        """Whether channels and kernel size are set."""
        return all(map(is_decided, self._sizes))

    def active(self) -> tuple[Tensor, Tensor | None]:
        """Give the part of the weights that is used now: views where there is one group.

        Returns
        -------
        weight : Tensor of shape (out_channels, in_channels / groups, kernel_size, kernel_size)
            The weight.
        bias : Tensor of shape (out_channels,), or None
            The bias.
        """
        inputs, outputs, kernel, groups = map(current, self._sizes)
        parts = groups if isinstance(self._sizes[3], int) else 1  # a depthwise one has its first groups
        weight, bias = self.weight, self.bias
        edge = (weight.shape[-1] - kernel) // 2
        if edge:
            weight = weight[:, :, edge : edge + kernel, edge : edge + kernel]
        if inputs // groups < weight.shape[1]:
            weight = weight[:, : inputs // groups]
        if outputs < len(weight):
            weight = _first(weight, outputs, parts)
            bias = None if bias is None else _first(bias, outputs, parts)
        return weight, bias

    def _options(self, kernel: int) -> tuple[int, int, int, int]:
        """Give stride, padding, dilation and groups."""
        padding = self.dilation * (kernel // 2) if self.padding is None else self.padding
        return self.stride, padding, self.dilation, current(self._sizes[3])

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, in_channels, H, W)`` to ``(B, out_channels, H', W')``."""
        weight, bias = self.active()
        return F.conv2d(x, weight, bias, *self._options(weight.shape[-1]))

    def extract(self, memo: dict[int, Any] | None = None) -> nn.Conv2d:
        """Make a plain convolution with copies of the weights that are used now."""
        weight, bias = self.active()
        inputs, outputs, kernel, _ = map(current, self._sizes)
        plain = nn.Conv2d(
            inputs, outputs, kernel, *self._options(kernel), bias=bias is not None, device="meta"
        )
        plain.weight = copied(weight, self.weight)
        if bias is not None and self.bias is not None:
            plain.bias = copied(bias, self.bias)
        return plain.train(self.training)

    def extra_repr(self) -> str:
        """Give the numbers that are none of a child."""
        sizes = ("in_channels", "out_channels", "kernel_size", "stride", "groups")
        return ", ".join(f"{name}={getattr(self, name)}" for name in sizes if _is_plain(self, name))


class ElasticLinear(ElasticModule):
    """A linear layer with elastic numbers of features: the first ones of the largest.

    Parameters
    ----------
    in_features, out_features : int, Elastic or ElasticProduct
        Features.
    bias : bool, default True
        Whether a bias is learned.

    Raises
    ------
    ValueError
        If a size is no positive integer.

    Examples
    --------
    >>> width = Elastic([4, 8])
    >>> layer = ElasticLinear(width, 2)
    >>> with width.at(4):
    ...     layer(torch.zeros(5, 4)).shape, layer.extract()
    (torch.Size([5, 2]), Linear(in_features=4, out_features=2, bias=True))
    """

    def __init__(self, in_features: Size, out_features: Size, bias: bool = True) -> None:
        super().__init__()
        check_size(in_features, "in_features")
        check_size(out_features, "out_features")
        self.in_features, self.out_features = in_features, out_features
        whole = nn.Linear(largest(in_features), largest(out_features), bias=bias)
        self.weight, self.bias = whole.weight, whole.bias

    @property
    def is_decided(self) -> bool:
        """Whether both numbers of features are set."""
        return is_decided(self.in_features) and is_decided(self.out_features)

    def active(self) -> tuple[Tensor, Tensor | None]:
        """Give the part of the weights that is used now: views of weight and bias."""
        outputs = current(self.out_features)
        bias = None if self.bias is None else self.bias[:outputs]
        return self.weight[:outputs, : current(self.in_features)], bias

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., in_features)`` to ``(..., out_features)``."""
        return F.linear(x, *self.active())

    def extract(self, memo: dict[int, Any] | None = None) -> nn.Linear:
        """Make a plain linear layer with copies of the weights that are used now."""
        weight, bias = self.active()
        plain = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
        plain.weight = copied(weight, self.weight)
        if bias is not None and self.bias is not None:
            plain.bias = copied(bias, self.bias)
        return plain.train(self.training)

    def extra_repr(self) -> str:
        """Give the numbers that are none of a child."""
        sizes = ("in_features", "out_features")
        return ", ".join(f"{name}={getattr(self, name)}" for name in sizes if _is_plain(self, name))


class ElasticBatchNorm2d(nn.BatchNorm2d, ElasticModule):
    """A batch normalisation of an elastic number of channels: the first ones, with their statistics.

    Networks of different widths share its running statistics, which are those of no single network:
    `nasx.nn.recalibrate` measures them for one.

    Parameters
    ----------
    num_features : int, Elastic or ElasticProduct
        Channels.
    eps, momentum, affine, track_running_stats
        As for `torch.nn.BatchNorm2d`.

    Raises
    ------
    ValueError
        If `num_features` is no positive integer.

    Examples
    --------
    >>> width = Elastic([2, 3])
    >>> norm = ElasticBatchNorm2d(width)
    >>> with width.at(2):
    ...     _ = norm(torch.tensor([1.0, 3.0, 5.0, 7.0]).view(2, 2, 1, 1))
    >>> norm.running_mean
    tensor([0.3000, 0.5000, 0.0000])
    """

    def __init__(
        self,
        num_features: Size,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        check_size(num_features, "num_features")
        super().__init__(largest(num_features), eps, momentum, affine, track_running_stats)
        self.num_features = num_features  # type: ignore[assignment]  # a child in the place of the number
        self._size, self._whole = num_features, largest(num_features)

    @property
    def is_decided(self) -> bool:
        """Whether the number of channels is set."""
        return is_decided(self.num_features)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(B, num_features, H, W)``, by the batch's statistics in training."""
        self._check_input_dim(x)
        channels = current(self._size)
        keeps, factor = self.training and self.track_running_stats, self.momentum
        if keeps and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if factor is None:  # the mean over all batches so far
                factor = 1.0 / float(self.num_batches_tracked)
        tensors: tuple[Tensor | None, ...] = self.running_mean, self.running_var, self.weight, self.bias
        if self.training and not keeps:
            tensors = None, None, *tensors[2:]
        if channels < self._whole:
            # Views: a part of the statistics is updated in place.
            tensors = tuple(None if one is None else one[:channels] for one in tensors)
        mean, variance, weight, bias = tensors
        by_batch = self.training or mean is None
        return F.batch_norm(x, mean, variance, weight, bias, by_batch, factor or 0.0, self.eps)

    def extract(self, memo: dict[int, Any] | None = None) -> nn.BatchNorm2d:
        """Make a plain batch normalisation with copies of the weights and statistics that are used now."""
        channels = current(self.num_features)
        plain = nn.BatchNorm2d(
            channels, self.eps, self.momentum, self.affine, self.running_mean is not None, device="meta"
        )
        plain.track_running_stats = self.track_running_stats
        for name, parameter in self.named_parameters(recurse=False):
            setattr(plain, name, copied(parameter[:channels], parameter))
        for name, buffer in self.named_buffers(recurse=False):
            setattr(plain, name, buffer[:channels].clone() if buffer.ndim else buffer.clone())
        return plain.train(self.training)


class ElasticRepeat(ElasticModule):
    """Layers one after the other, of which only the first few may be there.

    Parameters
    ----------
    modules : iterable of torch.nn.Module
        The layers; each takes what the one before it gives. What is decided within a layer is decided only in
        networks that are so deep.
    depth : int or Elastic
        How many there are.

    Raises
    ------
    ValueError
        If the largest depth is not the number of layers, or `depth` is no integer of at least 0.

    Examples
    --------
    >>> depth = Elastic([1, 2], name="depth")
    >>> layers = ElasticRepeat([nn.Linear(2, 2), nn.Tanh()], depth)
    >>> with depth.at(1):
    ...     layers.extract()
    Sequential(
      (0): Linear(in_features=2, out_features=2, bias=True)
    )
    """

    depth: int | Elastic

    def __init__(self, modules: Iterable[nn.Module], depth: int | Elastic) -> None:
        super().__init__()
        listed = list(modules)
        if isinstance(depth, ElasticProduct):
            raise ValueError("depth must be an integer or an nasx.nn.Elastic; got a product")
        check_size(depth, "depth", least=0)
        if largest(depth) != len(listed):
            raise ValueError(
                f"depth must be up to the number of modules, {len(listed)}; got up to {largest(depth)}"
            )
        self.depth = depth
        self._length = len(listed)
        for i, module in enumerate(listed):
            self.add_module(str(i), module)

    @property
    def is_decided(self) -> bool:
        """Whether the depth is set."""
        return is_decided(self.depth)

    def needed_for(self, child: str) -> tuple[Elastic, Sequence[str]] | None:
        """Say in which depths a layer is there."""
        if not child.isdigit() or isinstance(self.depth, int) or int(child) < min(possible(self.depth)):
            return None
        deep = zip(self.depth.choices, possible(self.depth), strict=True)
        return self.depth, [choice for choice, depth in deep if depth > int(child)]

    def _active(self) -> list[nn.Module]:
        return [self.get_submodule(str(i)) for i in range(current(self.depth))]

    def forward(self, x: Any) -> Any:
        """Run the layers that are there."""
        for module in self._active():
            x = module(x)
        return x

    def extract(self, memo: dict[int, Any] | None = None) -> nn.Sequential:
        """Make a plain sequence of copies of the layers that are there."""
        layers = (copy.deepcopy(module, memo) for module in self._active())
        return nn.Sequential(*layers).train(self.training)


def _check_groups(groups: Size, in_channels: Size, out_channels: Size) -> None:
    if not isinstance(groups, int):
        if not (same(groups, in_channels) and same(groups, out_channels)):
            raise ValueError(
                "groups may be elastic in depthwise convolutions only, where in_channels and out_channels "
                "are the same decision as groups"
            )
        return
    for name, size in (("in_channels", in_channels), ("out_channels", out_channels)):
        for channels in possible(size):
            if channels % groups:
                raise ValueError(f"groups must divide all {name}; {groups} does not divide {channels}")


def _first(whole: Tensor, count: int, parts: int) -> Tensor:
    """Take the first of a tensor's rows, or as many in all, the first of each of its parts."""
    if parts == 1:
        return whole[:count]
    return whole.reshape(parts, -1, *whole.shape[1:])[:, : count // parts].flatten(0, 1)


def copied(part: Tensor, parameter: Tensor) -> nn.Parameter:
    """Copy a part of a parameter as a parameter that learns if that does; a view would keep the whole."""
    own = part.detach().clone(memory_format=torch.contiguous_format)
    return nn.Parameter(own, requires_grad=parameter.requires_grad)


def _is_plain(module: nn.Module, name: str) -> bool:
    return not isinstance(getattr(module, name), nn.Module)
