"""Batch normalisation as in training, without scale and shift."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nasx.nn.kernels import tensors

__all__ = ["batch_norm"]


def batch_norm(x: Tensor, epsilon: float = 1e-5) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise each channel by its mean and variance over a batch.

    As `torch.nn.functional.batch_norm` does in training, without running statistics, which it does not know:
    `nasx.nn.layers.BatchNorm` keeps them. Gradients flow to `x` from the first result alone.

    Parameters
    ----------
    x : Tensor of shape (B, C, H, W)
        Images; a kernel takes them if their channels are last.
    epsilon : float, default 1e-5
        Added to variances before their roots are taken.

    Returns
    -------
    normalized : Tensor of shape (B, C, H, W)
        In the layout of `x`.
    means, variances : Tensor of shape (C,)
        Of the channels; variances are divided by ``B * H * W``, not by one less.

    Raises
    ------
    ValueError
        If `x` has not four dimensions or only one number for each channel, or epsilon is not positive.

    References
    ----------
    S. Ioffe, C. Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal
    Covariate Shift", ICML 2015.

    Examples
    --------
    >>> normalized, means, variances = batch_norm(torch.tensor([[[[1.0, 3.0]]]]), epsilon=3.0)
    >>> normalized, means, variances
    (tensor([[[[-0.5000,  0.5000]]]]), tensor([2.]), tensor([1.]))
    """
    _check(x, epsilon)
    if not takes(x):
        return _plain(x, epsilon)
    if torch.compiler.is_compiling():
        out, means, variances, _ = torch.ops.nasx.batch_norm(x, epsilon)
        return out, means, variances
    found: tuple[Tensor, Tensor, Tensor] = _BatchNorm.apply(x, epsilon)  # type: ignore[no-untyped-call]
    return found


def takes(x: Tensor) -> bool:
    """Say whether the kernel takes images."""
    kernel = "batch_norm" if x.shape[1] >= 32 else "batch_norm of few channels"
    return (
        tensors.active()
        and tensors.worthwhile(kernel, x.numel())
        and x.numel() >= 2 * x.shape[1]  # one number for a channel is an error
        and tensors.fits(x, x.dtype, torch.channels_last)
    )


def _check(x: Tensor, epsilon: float) -> None:
    tensors.check_images(x, 1)
    if x.shape[0] * x.shape[2] * x.shape[3] < 2:
        raise ValueError(f"x must have more than one number for each channel; got shape {tuple(x.shape)}")
    if not epsilon > 0:
        raise ValueError(f"epsilon must be positive; got {epsilon!r}")


def _plain(x: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    out = F.batch_norm(x, None, None, training=True, eps=epsilon)
    with torch.no_grad():
        variances, means = torch.var_mean(x, (0, 2, 3), correction=0)
    return out, means, variances


def _normalize(x: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Give the normalised images, means, variances, and what the images were multiplied by."""
    batch, channels, height, width = x.shape
    out = tensors.images_like(x, height, width, x.dtype)
    means, variances, scales = (torch.empty(channels, dtype=x.dtype) for _ in range(3))
    x = tensors.ordered(x, torch.channels_last)
    if x.numel():
        tensors.NATIVE[x.dtype]["batch_norm"](
            *(batch * height * width, channels, x.data_ptr(), epsilon),
            *(one.data_ptr() for one in (out, means, variances, scales)),
        )
    return out, means, variances, scales


def _gradient(grad: Tensor, x: Tensor, means: Tensor, scales: Tensor) -> Tensor:
    batch, channels, height, width = x.shape
    out = tensors.images_like(x, height, width, x.dtype)
    grad, x = (tensors.ordered(images, torch.channels_last) for images in (grad, x))
    means, scales = (tensors.ordered(one, torch.contiguous_format) for one in (means, scales))
    if x.numel():
        tensors.NATIVE[x.dtype]["batch_norm_backward"](
            *(batch * height * width, channels),
            *(one.data_ptr() for one in (grad, x, means, scales, out)),
        )
    return out


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
        out, means, variances, scales = _normalize(x, epsilon)
        ctx.save_for_backward(x, means, scales)
        ctx.epsilon = epsilon
        ctx.mark_non_differentiable(means, variances)
        return out, means, variances

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        x, means, scales = ctx.saved_tensors
        if torch.is_grad_enabled():  # this gradient is to be differentiated
            (found,) = torch.autograd.grad(_plain(x, ctx.epsilon)[0], x, grads[0], create_graph=True)
            return found, None
        return _gradient(grads[0], x, means, scales), None


# Anybody may call an operator with anything. Autograd and the functions above have checked what they pass.


def _operator(x: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    _check(x, epsilon)
    tensors.check_dtype("x", x)
    return _normalize(x, epsilon)


def _operator_gradient(grad: Tensor, x: Tensor, means: Tensor, scales: Tensor) -> Tensor:
    tensors.check_images(x, 1)
    tensors.check_dtype("x", x)
    tensors.check_numbers("grad", grad, x.dtype, x.shape)
    tensors.check_numbers("means", means, x.dtype, x.shape[1:2])
    tensors.check_numbers("scales", scales, x.dtype, x.shape[1:2])
    return _gradient(grad, x, means, scales)


def _fake(x: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    height, width = x.shape[2:]
    means, variances, scales = (x.new_empty(x.shape[1:2]) for _ in range(3))
    return tensors.images_like(x, height, width, x.dtype), means, variances, scales


def _fake_gradient(grad: Tensor, x: Tensor, means: Tensor, scales: Tensor) -> Tensor:
    height, width = x.shape[2:]
    return tensors.images_like(x, height, width, x.dtype)


def _save(ctx: Any, inputs: tuple[Tensor, float], output: tuple[Tensor, ...]) -> None:
    _, means, variances, scales = output
    ctx.save_for_backward(inputs[0], means, scales)
    ctx.mark_non_differentiable(means, variances, scales)


def _backward(ctx: Any, grad: Tensor, *_: Tensor | None) -> tuple[Tensor, None]:
    return torch.ops.nasx.batch_norm_backward(grad, *ctx.saved_tensors), None


tensors.register(
    "batch_norm",
    "(Tensor x, float epsilon) -> (Tensor, Tensor, Tensor, Tensor)",
    _operator,
    _fake,
    backward=_backward,
    save=_save,
)
tensors.register(
    "batch_norm_backward",
    "(Tensor grad, Tensor x, Tensor means, Tensor scales) -> Tensor",
    _operator_gradient,
    _fake_gradient,
)
