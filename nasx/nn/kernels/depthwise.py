"""ReLU and a depthwise convolution in one, as separable and dilated convolutions of `nasx.nn.darts` begin."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nasx.nn.kernels import tensors

__all__ = ["relu_depthwise"]


def relu_depthwise(x: Tensor, weight: Tensor, stride: int = 1, dilation: int = 1) -> Tensor:
    """Set negative numbers to zero and convolve each channel with a kernel of its own.

    As `torch.nn.functional.relu` and `conv2d` with one group for each channel and padding
    ``dilation * (k // 2)``, which keeps height and width at stride 1. The rectified images are not kept.

    Parameters
    ----------
    x : Tensor of shape (B, C, H, W)
        Images; a kernel takes them if their channels are last.
    weight : Tensor of shape (C, 1, k, k)
        The kernels; k is 3 or 5.
    stride : int, default 1
        1 or 2 pixels from output to output.
    dilation : int, default 1
        1 or 2 pixels from weight to weight.

    Returns
    -------
    Tensor of shape (B, C, ceil(H / stride), ceil(W / stride))
        In the layout of `x`.

    Raises
    ------
    ValueError
        If `x` has not four dimensions, the weights are no such kernels for its channels, or the stride or the
        dilation is another.

    References
    ----------
    H. Liu, K. Simonyan and Y. Yang, "DARTS: Differentiable Architecture Search", ICLR 2019.

    Examples
    --------
    >>> relu_depthwise(torch.tensor([[[[-1.0, 1.0, 2.0]]]]), torch.ones(1, 1, 3, 3))
    tensor([[[[1., 3., 3.]]]])
    """
    _check(x, weight, stride, dilation)
    if not (
        tensors.active()
        and tensors.worthwhile("relu_depthwise", x.numel())
        and tensors.fits(x, x.dtype, torch.channels_last)
        and tensors.fits(weight, x.dtype, torch.contiguous_format)
    ):
        return _plain(x, weight, stride, dilation)
    if torch.compiler.is_compiling():
        compiled: Tensor = torch.ops.nasx.relu_depthwise(x, weight, stride, dilation)
        return compiled
    return tensors.apply(_ReLUDepthwise, x, weight, stride, dilation)


def _check(x: Tensor, weight: Tensor, stride: int, dilation: int) -> None:
    tensors.check_images(x, stride)
    kernels = [(x.shape[1], 1, k, k) for k in (3, 5)]
    if weight.shape not in kernels:
        raise ValueError(
            f"weight must have shape {kernels[0]} or {kernels[1]}, a kernel for each channel of x; "
            f"got {tuple(weight.shape)}"
        )
    if dilation not in (1, 2):
        raise ValueError(f"dilation must be 1 or 2; got {dilation!r}")


def _plain(x: Tensor, weight: Tensor, stride: int, dilation: int) -> Tensor:
    padding = dilation * (weight.shape[-1] // 2)
    return F.conv2d(F.relu(x), weight, None, stride, padding, dilation, groups=x.shape[1])


def _sizes(x: Tensor, weight: Tensor, stride: int, dilation: int) -> tuple[int, ...]:
    batch, channels, height, width = x.shape
    return batch, height, width, channels, weight.shape[-1], stride, dilation


def _convolve(x: Tensor, weight: Tensor, stride: int, dilation: int) -> Tensor:
    out = tensors.outputs_like(x, stride, x.dtype)
    if out.numel():
        x = tensors.ordered(x, torch.channels_last)
        weight = tensors.ordered(weight, torch.contiguous_format)
        tensors.NATIVE[x.dtype]["relu_depthwise"](
            *_sizes(x, weight, stride, dilation), x.data_ptr(), weight.data_ptr(), out.data_ptr()
        )
    return out


def _gradients(
    grad: Tensor, x: Tensor, weight: Tensor, stride: int, dilation: int, *, wanted: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    """Compute the gradients of `x` and of the weights, those that are wanted."""
    height, width = x.shape[2:]
    of_x = tensors.images_like(x, height, width, x.dtype) if wanted[0] else None
    of_weight = torch.zeros_like(weight, memory_format=torch.contiguous_format) if wanted[1] else None
    if grad.numel():
        grad, x = (tensors.ordered(images, torch.channels_last) for images in (grad, x))
        weight = tensors.ordered(weight, torch.contiguous_format)
        tensors.NATIVE[x.dtype]["relu_depthwise_backward"](
            *_sizes(x, weight, stride, dilation),
            *(grad.data_ptr(), x.data_ptr(), weight.data_ptr()),
            *(0 if one is None else one.data_ptr() for one in (of_x, of_weight)),
        )
    return of_x, of_weight


class _ReLUDepthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, dilation: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.steps = stride, dilation
        return _convolve(x, weight, stride, dilation)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad[:2]
        if torch.is_grad_enabled():  # these gradients are to be differentiated
            inputs = [one for one, want in zip((x, weight), wanted, strict=True) if want]
            found = iter(torch.autograd.grad(_plain(x, weight, *ctx.steps), inputs, grads, create_graph=True))
            of_x, of_weight = (next(found) if want else None for want in wanted)
        else:
            of_x, of_weight = _gradients(grads[0], x, weight, *ctx.steps, wanted=wanted)
        return of_x, of_weight, None, None


# Anybody may call an operator with anything. Autograd and the functions above have checked what they pass.


def _check_operator(x: Tensor, weight: Tensor, stride: int, dilation: int) -> None:
    _check(x, weight, stride, dilation)
    tensors.check_dtype("x", x)
    tensors.check_numbers("weight", weight, x.dtype, weight.shape)


def _operator(x: Tensor, weight: Tensor, stride: int, dilation: int) -> Tensor:
    _check_operator(x, weight, stride, dilation)
    return _convolve(x, weight, stride, dilation)


def _operator_gradients(
    grad: Tensor, x: Tensor, weight: Tensor, stride: int, dilation: int
) -> tuple[Tensor | None, Tensor | None]:
    _check_operator(x, weight, stride, dilation)
    outputs = (*x.shape[:2], *(-(-size // stride) for size in x.shape[2:]))
    tensors.check_numbers("grad", grad, x.dtype, outputs)
    return _gradients(grad, x, weight, stride, dilation, wanted=(True, True))


def _fake(x: Tensor, weight: Tensor, stride: int, dilation: int) -> Tensor:
    return tensors.outputs_like(x, stride, x.dtype)


def _fake_gradients(
    grad: Tensor, x: Tensor, weight: Tensor, stride: int, dilation: int
) -> tuple[Tensor, Tensor]:
    height, width = x.shape[2:]
    of_x = tensors.images_like(x, height, width, x.dtype)
    return of_x, torch.empty_like(weight, memory_format=torch.contiguous_format)


def _save(ctx: Any, inputs: tuple[Tensor, Tensor, int, int], output: Tensor) -> None:
    x, weight, *steps = inputs
    ctx.save_for_backward(x, weight)
    ctx.steps = steps


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
    of_x, of_weight = torch.ops.nasx.relu_depthwise_backward(grad, *ctx.saved_tensors, *ctx.steps)
    return of_x, of_weight, None, None


tensors.register(
    "relu_depthwise",
    "(Tensor x, Tensor weight, SymInt stride, SymInt dilation) -> Tensor",
    _operator,
    _fake,
    backward=_backward,
    save=_save,
)
tensors.register(
    "relu_depthwise_backward",
    "(Tensor grad, Tensor x, Tensor weight, SymInt stride, SymInt dilation) -> (Tensor, Tensor)",
    _operator_gradients,
    _fake_gradients,
)
