"""Max and average pooling over windows of 3x3 pixels, as `nasx.nn.darts` and `nasx.nn.nasbench201` have."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nasx.nn.kernels import tensors

__all__ = ["avg_pool_3x3", "max_pool_3x3"]


def max_pool_3x3(x: Tensor, stride: int = 1) -> Tensor:
    """Take the largest number of each window of 3x3 pixels, with padding 1, as `torch.nn.MaxPool2d` does.

    The gradient goes to the first of equal numbers. A window with NaN gives NaN.

    Parameters
    ----------
    x : Tensor of shape (B, C, H, W)
        Images; a kernel takes them if their channels are last.
    stride : int, default 1
        1 or 2 pixels from window to window.

    Returns
    -------
    Tensor of shape (B, C, ceil(H / stride), ceil(W / stride))
        In the layout of `x`.

    Raises
    ------
    ValueError
        If `x` has not four dimensions, or the stride is another.

    Examples
    --------
    >>> max_pool_3x3(torch.arange(16.0).reshape(1, 1, 4, 4), stride=2)
    tensor([[[[ 5.,  7.],
              [13., 15.]]]])
    """
    tensors.check_images(x, stride)
    if not _fits_pooling(x, stride, "max_pool_3x3"):
        return F.max_pool2d(x, 3, stride, padding=1)
    if torch.compiler.is_compiling():
        compiled: Tensor = torch.ops.nasx.max_pool_3x3(x, stride)[0]
        return compiled
    return tensors.apply(_MaxPool, x, stride)


def avg_pool_3x3(x: Tensor, stride: int = 1) -> Tensor:
    """Take the mean of each window of 3x3 pixels, with padding 1 that does not count.

    As `torch.nn.AvgPool2d` does with ``count_include_pad=False``: at the border, means are over fewer pixels.

    Parameters
    ----------
    x : Tensor of shape (B, C, H, W)
        Images; a kernel takes them if their channels are last.
    stride : int, default 1
        1 or 2 pixels from window to window.

    Returns
    -------
    Tensor of shape (B, C, ceil(H / stride), ceil(W / stride))
        In the layout of `x`.

    Raises
    ------
    ValueError
        If `x` has not four dimensions, or the stride is another.

    Examples
    --------
    >>> avg_pool_3x3(torch.arange(16.0).reshape(1, 1, 4, 4), stride=2)
    tensor([[[[ 2.5000,  4.0000],
              [ 8.5000, 10.0000]]]])
    """
    tensors.check_images(x, stride)
    if not _fits_pooling(x, stride, "avg_pool_3x3"):
        return F.avg_pool2d(x, 3, stride, padding=1, count_include_pad=False)
    if torch.compiler.is_compiling():
        compiled: Tensor = torch.ops.nasx.avg_pool_3x3(x, stride)
        return compiled
    return tensors.apply(_AvgPool, x, stride)


def _fits_pooling(x: Tensor, stride: int, kernel: str) -> bool:
    outputs = x.numel() // stride**2
    if kernel == "max_pool_3x3" and stride == 2 and x.shape[1] < 8:
        kernel += " of few channels at stride 2"
    return (
        tensors.active()
        and tensors.worthwhile(kernel, outputs)
        and tensors.fits(x, x.dtype, torch.channels_last)
    )


def _largest(x: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Take the largest of each window, and its place in it, 3 * row + column, as int8."""
    out, places = tensors.outputs_like(x, stride, x.dtype), tensors.outputs_like(x, stride, torch.int8)
    if out.numel():
        x = tensors.ordered(x, torch.channels_last)
        batch, channels, height, width = x.shape
        tensors.NATIVE[x.dtype]["max_pool_3x3"](
            batch, height, width, channels, stride, x.data_ptr(), out.data_ptr(), places.data_ptr()
        )
    return out, places


def _largest_gradient(grad: Tensor, places: Tensor, height: int, width: int, stride: int) -> Tensor:
    batch, channels = grad.shape[:2]
    out = tensors.images_like(grad, height, width, grad.dtype)
    if out.numel():
        grad = tensors.ordered(grad, torch.channels_last)
        places = tensors.ordered(places, torch.channels_last)
        tensors.NATIVE[grad.dtype]["max_pool_3x3_backward"](
            *(batch, height, width, channels, stride), grad.data_ptr(), places.data_ptr(), out.data_ptr()
        )
    return out


def _means(x: Tensor, stride: int) -> Tensor:
    out = tensors.outputs_like(x, stride, x.dtype)
    if out.numel():
        x = tensors.ordered(x, torch.channels_last)
        batch, channels, height, width = x.shape
        tensors.NATIVE[x.dtype]["avg_pool_3x3"](
            batch, height, width, channels, stride, x.data_ptr(), out.data_ptr()
        )
    return out


def _means_gradient(grad: Tensor, height: int, width: int, stride: int) -> Tensor:
    batch, channels = grad.shape[:2]
    out = tensors.images_like(grad, height, width, grad.dtype)
    if out.numel():
        grad = tensors.ordered(grad, torch.channels_last)
        tensors.NATIVE[grad.dtype]["avg_pool_3x3_backward"](
            batch, height, width, channels, stride, grad.data_ptr(), out.data_ptr()
        )
    return out


def _differentiable_largest_gradient(
    grad: Tensor, places: Tensor, height: int, width: int, stride: int
) -> Tensor:
    """Compute what `_largest_gradient` does by operators of PyTorch, which have gradients."""
    rows, columns = places.shape[2:]
    row = torch.arange(rows)[:, None] * stride - 1 + places // 3
    column = torch.arange(columns) * stride - 1 + places % 3
    flat = (row * width + column).flatten(2)
    zeros = grad.new_zeros((*grad.shape[:2], height * width))
    return zeros.scatter_add(2, flat, grad.flatten(2)).reshape(*grad.shape[:2], height, width)


def _differentiable_means_gradient(grad: Tensor, height: int, width: int, stride: int) -> Tensor:
    """Compute what `_means_gradient` does by operators of PyTorch, which have gradients."""
    like = grad.new_zeros((*grad.shape[:2], height, width)).requires_grad_()
    pooled = F.avg_pool2d(like, 3, stride, padding=1, count_include_pad=False)
    (found,) = torch.autograd.grad(pooled, like, grad, create_graph=True)
    return found


class _MaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, stride: int) -> Tensor:
        out, places = _largest(x, stride)
        ctx.save_for_backward(places)
        ctx.sizes = (*x.shape[2:], stride)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (places,) = ctx.saved_tensors
        gradient = _differentiable_largest_gradient if torch.is_grad_enabled() else _largest_gradient
        return gradient(grads[0], places, *ctx.sizes), None


class _AvgPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, stride: int) -> Tensor:
        ctx.sizes = (*x.shape[2:], stride)
        return _means(x, stride)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        gradient = _differentiable_means_gradient if torch.is_grad_enabled() else _means_gradient
        return gradient(grads[0], *ctx.sizes), None


# Anybody may call an operator with anything. Autograd and the functions above have checked what they pass.


def _operator_largest(x: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    tensors.check_images(x, stride)
    tensors.check_dtype("x", x)
    return _largest(x, stride)


def _operator_largest_gradient(grad: Tensor, places: Tensor, height: int, width: int, stride: int) -> Tensor:
    tensors.check_dtype("grad", grad)
    tensors.check_outputs("grad", grad, grad.dtype, height, width, stride)
    tensors.check_numbers("places", places, torch.int8, grad.shape)
    return _largest_gradient(grad, places, height, width, stride)


def _operator_means(x: Tensor, stride: int) -> Tensor:
    tensors.check_images(x, stride)
    tensors.check_dtype("x", x)
    return _means(x, stride)


def _operator_means_gradient(grad: Tensor, height: int, width: int, stride: int) -> Tensor:
    tensors.check_dtype("grad", grad)
    tensors.check_outputs("grad", grad, grad.dtype, height, width, stride)
    return _means_gradient(grad, height, width, stride)


def _fake_largest(x: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    return tensors.outputs_like(x, stride, x.dtype), tensors.outputs_like(x, stride, torch.int8)


def _save_places(ctx: Any, inputs: tuple[Tensor, int], output: tuple[Tensor, Tensor]) -> None:
    x, stride = inputs
    ctx.save_for_backward(output[1])
    ctx.sizes = (*x.shape[2:], stride)


def _max_pool_backward(ctx: Any, grad: Tensor, of_places: Tensor | None) -> tuple[Tensor, None]:
    return torch.ops.nasx.max_pool_3x3_backward(grad, *ctx.saved_tensors, *ctx.sizes), None


def _fake_largest_gradient(grad: Tensor, places: Tensor, height: int, width: int, stride: int) -> Tensor:
    return tensors.images_like(grad, height, width, grad.dtype)


def _fake_means(x: Tensor, stride: int) -> Tensor:
    return tensors.outputs_like(x, stride, x.dtype)


def _save_sizes(ctx: Any, inputs: tuple[Tensor, int], output: Tensor) -> None:
    x, stride = inputs
    ctx.sizes = (*x.shape[2:], stride)


def _avg_pool_backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
    return torch.ops.nasx.avg_pool_3x3_backward(grad, *ctx.sizes), None


def _fake_means_gradient(grad: Tensor, height: int, width: int, stride: int) -> Tensor:
    return tensors.images_like(grad, height, width, grad.dtype)


tensors.register(
    "max_pool_3x3",
    "(Tensor x, SymInt stride) -> (Tensor, Tensor)",
    _operator_largest,
    _fake_largest,
    backward=_max_pool_backward,
    save=_save_places,
)
tensors.register(
    "max_pool_3x3_backward",
    "(Tensor grad, Tensor places, SymInt height, SymInt width, SymInt stride) -> Tensor",
    _operator_largest_gradient,
    _fake_largest_gradient,
)
tensors.register(
    "avg_pool_3x3",
    "(Tensor x, SymInt stride) -> Tensor",
    _operator_means,
    _fake_means,
    backward=_avg_pool_backward,
    save=_save_sizes,
)
tensors.register(
    "avg_pool_3x3_backward",
    "(Tensor grad, SymInt height, SymInt width, SymInt stride) -> Tensor",
    _operator_means_gradient,
    _fake_means_gradient,
)
