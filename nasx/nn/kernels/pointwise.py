"""Convolutions of single pixels, which separable and dilated convolutions of `nasx.nn.darts` end with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nasx.nn.kernels import tensors

__all__ = ["pointwise"]

# With more channels arithmetic takes longer than memory, and PyTorch is as fast or faster.
MOST_CHANNELS = 16


def pointwise(x: Tensor, weight: Tensor) -> Tensor:
    """Multiply the channels of each pixel by a matrix.

    As `torch.nn.functional.conv2d` with kernels of 1x1, without bias.

    Parameters
    ----------
    x : Tensor of shape (B, C, H, W)
        Images; a kernel takes them if their channels are last, and both C and D are multiples of 8 and at
        most 16.
    weight : Tensor of shape (D, C, 1, 1)
        The matrix.

    Returns
    -------
    Tensor of shape (B, D, H, W)
        In the layout of `x`.

    Raises
    ------
    ValueError
        If `x` has not four dimensions, or the weights are no such matrix for its channels.

    References
    ----------
    M. Lin, Q. Chen and S. Yan, "Network In Network", ICLR 2014.

    Examples
    --------
    >>> pointwise(torch.tensor([[[[1.0]], [[2.0]]]]), torch.tensor([[[[3.0]], [[4.0]]]]))
    tensor([[[[11.]]]])
    """
    _check(x, weight)
    if not _takes(x, weight):
        return F.conv2d(x, weight)
    if torch.compiler.is_compiling():
        compiled: Tensor = torch.ops.nasx.pointwise(x, weight)
        return compiled
    return tensors.apply(_Pointwise, x, weight)


def _takes(x: Tensor, weight: Tensor) -> bool:
    return (
        tensors.active()
        and tensors.worthwhile("pointwise", x.numel())
        and _vectors(weight)
        and max(weight.shape[:2]) <= MOST_CHANNELS
        and tensors.fits(x, x.dtype, torch.channels_last)
        and tensors.fits(weight, x.dtype, torch.contiguous_format)
    )


def _vectors(weight: Tensor) -> bool:
    return weight.shape[0] % 8 == 0 and weight.shape[1] % 8 == 0


def _check(x: Tensor, weight: Tensor) -> None:
    tensors.check_images(x, 1)
    if weight.dim() != 4 or weight.shape[1:] != (x.shape[1], 1, 1):
        raise ValueError(
            f"weight must have shape (D, {x.shape[1]}, 1, 1), a row for each channel of the output; "
            f"got {tuple(weight.shape)}"
        )


def _sizes(x: Tensor, weight: Tensor) -> tuple[int, int, int]:
    batch, channels, height, width = x.shape
    return batch * height * width, channels, weight.shape[0]


def _outputs(x: Tensor, weight: Tensor) -> Tensor:
    shape = (x.shape[0], weight.shape[0], *x.shape[2:])
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


def _multiply(x: Tensor, weight: Tensor) -> Tensor:
    out = _outputs(x, weight)
    if not x.numel():
        return out.zero_()
    if out.numel():
        x = tensors.ordered(x, torch.channels_last)
        weight = tensors.ordered(weight, torch.contiguous_format)
        tensors.NATIVE[x.dtype]["pointwise"](
            *_sizes(x, weight), x.data_ptr(), weight.data_ptr(), out.data_ptr()
        )
    return out


def _gradients(
    grad: Tensor, x: Tensor, weight: Tensor, *, wanted: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    """Compute the gradients of `x` and of the weights, those that are wanted."""
    of_x = tensors.outputs_like(x, 1, x.dtype) if wanted[0] else None
    of_weight = torch.empty_like(weight, memory_format=torch.contiguous_format) if wanted[1] else None
    if not (grad.numel() and x.numel()):
        return tuple(None if one is None else one.zero_() for one in (of_x, of_weight))  # type: ignore[return-value]
    grad, x = (tensors.ordered(images, torch.channels_last) for images in (grad, x))
    weight = tensors.ordered(weight, torch.contiguous_format)
    tensors.NATIVE[x.dtype]["pointwise_backward"](
        *_sizes(x, weight),
        *(grad.data_ptr(), x.data_ptr(), weight.data_ptr()),
        *(0 if one is None else one.data_ptr() for one in (of_x, of_weight)),
    )
    return of_x, of_weight


class _Pointwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _multiply(x, weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad[:2]
        if torch.is_grad_enabled():  # these gradients are to be differentiated
            inputs = [one for one, want in zip((x, weight), wanted, strict=True) if want]
            found = iter(torch.autograd.grad(F.conv2d(x, weight), inputs, grads, create_graph=True))
            return tuple(next(found) if want else None for want in wanted)
        return _gradients(grads[0], x, weight, wanted=wanted)


# Anybody may call an operator with anything. Autograd and the functions above have checked what they pass.


def _check_operator(x: Tensor, weight: Tensor) -> None:
    _check(x, weight)
    tensors.check_dtype("x", x)
    tensors.check_numbers("weight", weight, x.dtype, weight.shape)
    if not _vectors(weight):
        raise ValueError(f"weight must have multiples of 8 channels; got shape {tuple(weight.shape)}")


def _operator(x: Tensor, weight: Tensor) -> Tensor:
    _check_operator(x, weight)
    return _multiply(x, weight)


def _operator_gradients(grad: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor | None, Tensor | None]:
    _check_operator(x, weight)
    tensors.check_numbers("grad", grad, x.dtype, (x.shape[0], weight.shape[0], *x.shape[2:]))
    return _gradients(grad, x, weight, wanted=(True, True))


def _fake_gradients(grad: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    of_weight = torch.empty_like(weight, memory_format=torch.contiguous_format)
    return tensors.outputs_like(x, 1, x.dtype), of_weight


def _save(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
    x, weight = ctx.saved_tensors
    of_x, of_weight = torch.ops.nasx.pointwise_backward(grad, x, weight)
    return of_x, of_weight


tensors.register(
    "pointwise", "(Tensor x, Tensor weight) -> Tensor", _operator, _outputs, backward=_backward, save=_save
)
tensors.register(
    "pointwise_backward",
    "(Tensor grad, Tensor x, Tensor weight) -> (Tensor, Tensor)",
    _operator_gradients,
    _fake_gradients,
)
