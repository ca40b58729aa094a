"""Batch normalisation as in training, without scale and shift."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from nasx._core import mixed_op as native
from nasx.nn.kernels import tensors

__all__ = ["RunningStatistics", "batch_norm", "follow"]

_FOLLOW = {
    torch.float32: native.follow_statistics_float32,
    torch.float64: native.follow_statistics_float64,
}
# Versions of torch before 2.6 take one tensor at a time.
_SEVERAL_VERSIONS = tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 6)


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


class RunningStatistics(NamedTuple):
    """What a layer keeps, and what it follows.

    Parameters
    ----------
    means, variances : Tensor of shape (C,)
        Its running statistics.
    batches : Tensor of shape ()
        Of how many batches they are.
    share : float or None
        How much of a batch's statistics they take; None: as much as the batch is of all batches.
    row : int
        Which of the batch's statistics they follow.
    """

    means: Tensor
    variances: Tensor
    batches: Tensor
    share: float | None
    row: int


def follow(layers: Sequence[RunningStatistics], means: Tensor, variances: Tensor, count: int) -> None:
    """Let running statistics of layers follow those of a batch, as `torch.nn.BatchNorm2d` does.

    Parameters
    ----------
    layers : sequence of RunningStatistics
        They are changed in place.
    means, variances : Tensor of shape (K, C)
        Of the batch; variances are divided by the count.
    count : int
        Numbers of each channel, at least 2.
    """
    if not _follows(layers, means, variances):
        with torch.no_grad():
            _follow_plainly(layers, means, variances * (count / (count - 1)))
        return
    (step, _), size = means.stride(), means.element_size()
    first_mean, first_variance = means.data_ptr(), variances.data_ptr()
    _FOLLOW[means.dtype](
        means.shape[1],
        count,
        [
            (
                first_mean + row * step * size,
                first_variance + row * step * size,
                *(running_means.data_ptr(), running_variances.data_ptr(), batches.data_ptr(), share),
            )
            for running_means, running_variances, batches, share, row in layers
        ],
    )
    changed = [buffer for layer in layers for buffer in layer[:3]]
    if _SEVERAL_VERSIONS:
        torch.autograd.graph.increment_version(changed)
    else:
        for buffer in changed:
            torch.autograd.graph.increment_version(buffer)


def _follows(layers: Sequence[RunningStatistics], means: Tensor, variances: Tensor) -> bool:
    """Whether the native function may read and write all of it."""
    dtype = means.dtype
    return (
        tensors.active()
        and not torch.compiler.is_compiling()
        and all(
            tensors.fits(one[0], dtype, torch.contiguous_format) for one in (means, variances) if len(one)
        )
        and means.stride() == variances.stride()
        and all(
            tensors.fits(layer.means, dtype, torch.contiguous_format)
            and tensors.fits(layer.variances, dtype, torch.contiguous_format)
            and layer.means.shape == layer.variances.shape == means.shape[1:]
            and layer.batches.is_cpu
            and layer.batches.dtype == torch.int64
            and layer.batches.numel() == 1
            for layer in layers
        )
    )


def _follow_plainly(layers: Sequence[RunningStatistics], means: Tensor, variances: Tensor) -> None:
    """Do that by operators of PyTorch, with variances divided by one less than the count."""
    for running_means, running_variances, batches, share, row in layers:
        batches.add_(1)
        taken = 1 / float(batches) if share is None else share
        running_means.lerp_(means[row], taken)
        running_variances.lerp_(variances[row], taken)


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
