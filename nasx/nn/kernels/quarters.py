"""Every other row and column of images, with gradients that stay in the images' layout."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nasx.nn.kernels import tensors

__all__ = ["quarters"]


def quarters(x: Tensor) -> tuple[Tensor, Tensor]:
    """Take the pixels of even rows and columns, and those of odd ones.

    Both are as slices give them. Slices pass gradients back in images that lie rows first, each in its own:
    adding them up and bringing them into the layout of the others takes as long as a convolution.

    Parameters
    ----------
    x : Tensor of shape (B, C, H, W)
        Images; gradients of those whose channels are last stay so.

    Returns
    -------
    even : Tensor of shape (B, C, ceil(H / 2), ceil(W / 2))
        ``x[:, :, ::2, ::2]``.
    odd : Tensor of shape (B, C, H // 2, W // 2)
        ``x[:, :, 1::2, 1::2]``.

    Raises
    ------
    ValueError
        If `x` has not four dimensions.

    Examples
    --------
    >>> even, odd = quarters(torch.arange(9.0).reshape(1, 1, 3, 3))
    >>> even.flatten().tolist(), odd.flatten().tolist()
    ([0.0, 2.0, 6.0, 8.0], [4.0])
    """
    tensors.check_images(x, 1)
    if (
        not tensors.active()
        or torch.compiler.is_compiling()
        or not (x.requires_grad and torch.is_grad_enabled())
        or not tensors.fits(x, x.dtype, torch.channels_last)
    ):
        return _slices(x)
    found: tuple[Tensor, Tensor] = _Quarters.apply(x)  # type: ignore[no-untyped-call]
    return found


def _slices(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[:, :, ::2, ::2], x[:, :, 1::2, 1::2]


class _Quarters(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, ...]:
        ctx.size = x.shape
        return tuple(one.contiguous(memory_format=torch.channels_last) for one in _slices(x))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        first = grads[0]
        if torch.is_grad_enabled():  # this gradient is to be differentiated
            like = first.new_zeros(ctx.size).requires_grad_()
            (found,) = torch.autograd.grad(_slices(like), like, grads, create_graph=True)
            return found
        out = torch.empty(
            ctx.size, dtype=first.dtype, device=first.device, memory_format=torch.channels_last
        ).zero_()
        for to, grad in zip(_slices(out), grads, strict=True):
            to.copy_(grad)
        return out
