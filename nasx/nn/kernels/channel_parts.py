"""Channels in parts: the first is split off, and shuffled among the others at the end."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nasx.nn.kernels import tensors

__all__ = ["shuffle_channels", "split_channels"]


def split_channels(x: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Split images into their first channels and the others.

    Parameters
    ----------
    x : Tensor of shape (B, C, H, W)
        Images. A kernel takes them if their channels are last.
    width : int
        How many are the first.

    Returns
    -------
    part : Tensor of shape (B, width, H, W)
        In the layout of `x`, if its channels are last: as other kernels want it.
    rest : Tensor of shape (B, C - width, H, W)
        A view of `x`.

    Raises
    ------
    ValueError
        If there are fewer channels than that.

    Examples
    --------
    >>> part, rest = split_channels(torch.arange(4.0).view(1, 4, 1, 1), 1)
    >>> part.flatten().tolist(), rest.flatten().tolist()
    ([0.0], [1.0, 2.0, 3.0])
    """
    if not 0 <= width <= x.shape[1]:
        raise ValueError(f"width must be at most the number of channels, {x.shape[1]}; got {width}")
    if 0 < width < x.shape[1] and _takes(x):
        part, rest = tensors.apply(_Split, x, width)
        return part, rest
    part, rest = x[:, :width], x[:, width:]
    if tensors.layout_of(x) is torch.channels_last:
        part = part.contiguous(memory_format=torch.channels_last)
    return part, rest


def shuffle_channels(part: Tensor, rest: Tensor, portion: int) -> Tensor:
    """Shuffle equal parts of channels, so that neighbours come from different parts.

    Parameters
    ----------
    part : Tensor of shape (B, C / portion, H, W)
        The first part.
    rest : Tensor of shape (B, C - C / portion, H, W)
        The other parts. A kernel takes it with channels last, also as a view of more channels.
    portion : int
        How many parts there are, K.

    Returns
    -------
    Tensor of shape (B, C, H, W)
        The first channel of every part, then the second of every part, and so on.

    Raises
    ------
    ValueError
        If the parts are not equal.

    Examples
    --------
    >>> x = torch.arange(6.0).view(1, 6, 1, 1)
    >>> shuffle_channels(x[:, :2], x[:, 2:], 3).flatten().tolist()
    [0.0, 2.0, 4.0, 1.0, 3.0, 5.0]
    """
    batch, width, *size = part.shape
    if rest.shape != (batch, (portion - 1) * width, *size):
        raise ValueError(
            f"rest must have shape {(batch, (portion - 1) * width, *size)}, of {portion - 1} parts as the "
            f"first; got {tuple(rest.shape)}"
        )
    if _takes(part) and _step(rest, part.dtype) is not None:
        return tensors.apply(_Shuffle, part, rest, portion)
    return F.channel_shuffle(torch.cat([part, rest], 1), portion)


def _takes(x: Tensor) -> bool:
    return (
        tensors.active()
        and not torch.compiler.is_compiling()  # copies are what it makes one loop of itself
        and x.dim() == 4
        and x.numel() > 0
        and tensors.worthwhile("channel_parts", x.numel())
        and tensors.fits(x, x.dtype, torch.channels_last)
    )


def _step(rest: Tensor, dtype: torch.dtype) -> int | None:
    """Say how far apart a view's pixels are, if they lie one after the other with their channels last."""
    _, channels, height, width = rest.shape
    step = rest.stride(3) if width > 1 else rest.stride(2) if height > 1 else rest.stride(0)
    wanted = (height * width * step, 1, width * step, step)
    if rest.numel() == 0 or rest.dtype != dtype or rest.is_neg() or step < channels:
        return None
    lies = all(
        size == 1 or there == here
        for size, there, here in zip(rest.shape, rest.stride(), wanted, strict=True)
    )
    plain = rest.device.type == "cpu" and type(rest) is Tensor and rest.layout is torch.strided
    return step if lies and plain else None


def _pixels(x: Tensor) -> int:
    return x.shape[0] * x.shape[2] * x.shape[3]


def _room(x: Tensor, channels: int) -> Tensor:
    """Make room for images as these, with so many channels, channels last."""
    shape = (x.shape[0], channels, *x.shape[2:])
    return torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last)


class _Split(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, width: int) -> tuple[Tensor, Tensor]:
        x = tensors.ordered(x, torch.channels_last)
        part = _room(x, width)
        tensors.NATIVE[x.dtype]["take_channels"](_pixels(x), x.shape[1], width, x.data_ptr(), part.data_ptr())
        return part, x[:, width:]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        if torch.is_grad_enabled():
            return torch.cat(grads, 1), None
        part, rest = (tensors.ordered(grad, torch.channels_last) for grad in grads)
        width, others = part.shape[1], rest.shape[1]
        out = _room(part, width + others)
        tensors.NATIVE[out.dtype]["join_channels"](
            _pixels(out), width, others, part.data_ptr(), rest.data_ptr(), out.data_ptr()
        )
        return out, None


class _Shuffle(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor, rest: Tensor, portion: int) -> Tensor:
        ctx.portion = portion
        part = tensors.ordered(part, torch.channels_last)
        width = part.shape[1]
        out = _room(part, portion * width)
        tensors.NATIVE[out.dtype]["shuffle_channels"](
            *(_pixels(out), width, portion, part.data_ptr()),
            *(rest.data_ptr(), _step(rest, out.dtype), out.data_ptr()),
        )
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        (grad,) = grads
        channels = grad.shape[1]
        width = channels // ctx.portion
        if torch.is_grad_enabled():
            parts = grad.reshape(len(grad), width, ctx.portion, *grad.shape[2:]).transpose(1, 2)
            parts = parts.reshape(grad.shape)
            return parts[:, :width], parts[:, width:], None
        grad = tensors.ordered(grad, torch.channels_last)
        part, rest = _room(grad, width), _room(grad, channels - width)
        tensors.NATIVE[grad.dtype]["unshuffle_channels"](
            _pixels(grad), width, ctx.portion, grad.data_ptr(), part.data_ptr(), rest.data_ptr()
        )
        return part, rest, None
