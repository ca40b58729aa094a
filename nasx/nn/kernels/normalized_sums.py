"""Weighted sums of batch-normalised tensors: a mixed operation's end in one, with nothing normalised kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nasx.nn.kernels import tensors
from nasx.nn.kernels.weighted_sums import plain_sum

__all__ = ["normalized_sum", "plain", "takes"]


def normalized_sum(
    terms: Sequence[Tensor], normalized: Sequence[bool], weights: Tensor, epsilon: float = 1e-5
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise images by their channels' means and variances over the batch, and add them up with weights.

    As `nasx.nn.kernels.batch_norm` and then `weighted_sum`. Gradients flow from the sum alone.

    Parameters
    ----------
    terms : sequence of Tensor
        K batches of images ``(B, C, H, W)``; a kernel takes them if their channels are last.
    normalized : sequence of bool
        For each whether it is normalised; the others go into the sum as they are.
    weights : Tensor of shape (K,)
        Their weights.
    epsilon : float, default 1e-5
        Added to variances before their roots are taken.

    Returns
    -------
    total : Tensor of shape (B, C, H, W)
        The sum.
    means, variances : Tensor of shape (K, C)
        Of the terms that are normalised, variances divided by ``B * H * W``; 0 and 1 elsewhere.

    Raises
    ------
    ValueError
        If there are no terms, not one flag and one weight for each, terms of different shapes or that are no
        batches of images, only one number for each channel, or epsilon is not positive.

    Examples
    --------
    >>> x = torch.tensor([[[[1.0, 3.0]]]])
    >>> total, means, variances = normalized_sum([x, x], [True, False], torch.tensor([2.0, 1.0]), 3.0)
    >>> total, means.flatten(), variances.flatten()
    (tensor([[[[0., 4.]]]]), tensor([2., 0.]), tensor([1., 1.]))
    """
    _check(terms, normalized, weights, epsilon)
    if not takes(terms, weights):
        return plain(terms, normalized, weights, epsilon)
    if torch.compiler.is_compiling():
        total, means, variances, _ = torch.ops.nasx.normalized_sum(
            list(terms), list(normalized), weights, epsilon
        )
        return total, means, variances
    found: tuple[Tensor, Tensor, Tensor] = _NormalizedSum.apply(  # type: ignore[no-untyped-call]
        tuple(normalized), epsilon, weights, *terms
    )
    return found


def takes(terms: Sequence[Tensor], weights: Tensor) -> bool:
    """Say whether the kernel takes terms and weights."""
    first = terms[0]
    return (
        tensors.active()
        and tensors.worthwhile("normalized_sum", first.numel())
        and first.numel() >= 2 * first.shape[1]  # one number for a channel is an error
        and tensors.fits(weights, first.dtype, torch.contiguous_format)
        and all(tensors.fits(term, first.dtype, torch.channels_last) for term in terms)
    )


def _check(terms: Sequence[Tensor], normalized: Sequence[bool], weights: Tensor, epsilon: float) -> None:
    if not terms:
        raise ValueError("terms must hold at least one tensor; got none")
    for k, term in enumerate(terms):
        if term.dim() != 4 or term.shape != terms[0].shape:
            raise ValueError(
                f"terms must have one shape (B, C, H, W); terms[0] has {tuple(terms[0].shape)}, "
                f"terms[{k}] {tuple(term.shape)}"
            )
    if len(normalized) != len(terms) or weights.shape != (len(terms),):
        raise ValueError(
            f"normalized and weights must have one entry for each of the {len(terms)} terms; "
            f"got {len(normalized)} and shape {tuple(weights.shape)}"
        )
    batch, _, height, width = terms[0].shape
    if batch * height * width < 2:
        raise ValueError(
            f"terms must have more than one number for each channel; got shape {tuple(terms[0].shape)}"
        )
    if not epsilon > 0:
        raise ValueError(f"epsilon must be positive; got {epsilon!r}")


def plain(
    terms: Sequence[Tensor], normalized: Sequence[bool], weights: Tensor, epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Do what `normalized_sum` does by operators of PyTorch."""
    scaled = [
        F.batch_norm(term, None, None, training=True, eps=epsilon) if norm else term
        for term, norm in zip(terms, normalized, strict=True)
    ]
    with torch.no_grad():
        channels = terms[0].shape[1]
        untouched = terms[0].new_ones(channels), terms[0].new_zeros(channels)
        statistics = [
            torch.var_mean(term, (0, 2, 3), correction=0) if norm else untouched
            for term, norm in zip(terms, normalized, strict=True)
        ]
        variances, means = (torch.stack(rows) for rows in zip(*statistics, strict=True))
    return plain_sum(scaled, weights), means, variances


def _add_up(
    terms: Sequence[Tensor], normalized: Sequence[bool], weights: Tensor, epsilon: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Give the sum, means, variances, and what differences from the means were multiplied by."""
    batch, channels, height, width = terms[0].shape
    out = tensors.images_like(terms[0], height, width, terms[0].dtype)
    means, variances, scales = (terms[0].new_empty(len(terms), channels) for _ in range(3))
    if out.numel():
        arrays = [tensors.ordered(term, torch.channels_last) for term in terms]
        factors = tensors.ordered(weights, torch.contiguous_format)
        tensors.NATIVE[out.dtype]["normalized_sum"](
            *(batch * height * width, channels, [array.data_ptr() for array in arrays]),
            *(list(normalized), factors.data_ptr(), epsilon),
            *(one.data_ptr() for one in (out, means, variances, scales)),
        )
    return out, means, variances, scales


def _gradients(
    grad: Tensor,
    terms: Sequence[Tensor],
    normalized: Sequence[bool],
    weights: Tensor,
    means: Tensor,
    scales: Tensor,
    wanted: Sequence[bool],
) -> tuple[list[Tensor | None], Tensor]:
    """Compute the terms' gradients that are wanted, and the weights'."""
    batch, channels, height, width = grad.shape
    found = [tensors.images_like(grad, height, width, grad.dtype) if want else None for want in wanted]
    products = torch.zeros_like(weights, memory_format=torch.contiguous_format)
    if grad.numel():
        grad, *arrays = (tensors.ordered(one, torch.channels_last) for one in (grad, *terms))
        weights, means, scales = (
            tensors.ordered(one, torch.contiguous_format) for one in (weights, means, scales)
        )
        tensors.NATIVE[grad.dtype]["normalized_sum_backward"](
            *(batch * height * width, channels, grad.data_ptr()),
            *([array.data_ptr() for array in arrays], list(normalized)),
            *(one.data_ptr() for one in (weights, means, scales)),
            [0 if one is None else one.data_ptr() for one in found],
            products.data_ptr(),
        )
    return found, products


class _NormalizedSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, normalized: tuple[bool, ...], epsilon: float, weights: Tensor, *terms: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        out, means, variances, scales = _add_up(terms, normalized, weights, epsilon)
        ctx.save_for_backward(weights, means, scales, *terms)
        ctx.settings = normalized, epsilon
        ctx.mark_non_differentiable(means, variances)
        return out, means, variances

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        weights, means, scales, *terms = ctx.saved_tensors
        normalized, epsilon = ctx.settings
        wanted = ctx.needs_input_grad[2:]
        if torch.is_grad_enabled():  # these gradients are to be differentiated
            inputs = [one for one, want in zip((weights, *terms), wanted, strict=True) if want]
            total = plain(terms, normalized, weights, epsilon)[0]
            found = iter(torch.autograd.grad(total, inputs, grads[0], create_graph=True))
            return None, None, *(next(found) if want else None for want in wanted)
        of_terms, of_weights = _gradients(grads[0], terms, normalized, weights, means, scales, wanted[1:])
        return None, None, of_weights, *of_terms


# Anybody may call an operator with anything. Autograd and the functions above have checked what they pass.


def _check_numbers(terms: Sequence[Tensor], weights: Tensor) -> None:
    tensors.check_dtype("terms[0]", terms[0])
    for k, term in enumerate(terms):
        tensors.check_numbers(f"terms[{k}]", term, terms[0].dtype, terms[0].shape)
    tensors.check_numbers("weights", weights, terms[0].dtype, (len(terms),))


def _operator(
    terms: Sequence[Tensor], normalized: Sequence[bool], weights: Tensor, epsilon: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    _check(terms, normalized, weights, epsilon)
    _check_numbers(terms, weights)
    return _add_up(terms, normalized, weights, epsilon)


def _operator_gradients(
    grad: Tensor,
    terms: Sequence[Tensor],
    normalized: Sequence[bool],
    weights: Tensor,
    means: Tensor,
    scales: Tensor,
) -> tuple[list[Tensor | None], Tensor]:
    _check(terms, normalized, weights, 1.0)
    _check_numbers(terms, weights)
    tensors.check_numbers("grad", grad, terms[0].dtype, terms[0].shape)
    for name, one in (("means", means), ("scales", scales)):
        tensors.check_numbers(name, one, terms[0].dtype, (len(terms), terms[0].shape[1]))
    return _gradients(grad, terms, normalized, weights, means, scales, [True] * len(terms))


def _fake(
    terms: Sequence[Tensor], normalized: Sequence[bool], weights: Tensor, epsilon: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    first = terms[0]
    height, width = first.shape[2:]
    means, variances, scales = (first.new_empty(len(terms), first.shape[1]) for _ in range(3))
    return tensors.images_like(first, height, width, first.dtype), means, variances, scales


def _fake_gradients(
    grad: Tensor,
    terms: Sequence[Tensor],
    normalized: Sequence[bool],
    weights: Tensor,
    means: Tensor,
    scales: Tensor,
) -> tuple[list[Tensor], Tensor]:
    height, width = grad.shape[2:]
    found = [tensors.images_like(grad, height, width, grad.dtype) for _ in terms]
    return found, torch.empty_like(weights, memory_format=torch.contiguous_format)


def _save(
    ctx: Any, inputs: tuple[list[Tensor], list[bool], Tensor, float], output: tuple[Tensor, ...]
) -> None:
    terms, ctx.normalized, weights, _ = inputs
    _, means, variances, scales = output
    ctx.save_for_backward(weights, means, scales, *terms)
    ctx.mark_non_differentiable(means, variances, scales)


def _backward(ctx: Any, grad: Tensor, *_: Tensor | None) -> tuple[list[Tensor], None, Tensor, None]:
    weights, means, scales, *terms = ctx.saved_tensors
    of_terms, of_weights = torch.ops.nasx.normalized_sum_backward(
        grad, terms, ctx.normalized, weights, means, scales
    )
    return of_terms, None, of_weights, None


tensors.register(
    "normalized_sum",
    "(Tensor[] terms, bool[] normalized, Tensor weights, float epsilon) -> (Tensor, Tensor, Tensor, Tensor)",
    _operator,
    _fake,
    backward=_backward,
    save=_save,
)
tensors.register(
    "normalized_sum_backward",
    "(Tensor grad, Tensor[] terms, bool[] normalized, Tensor weights, Tensor means, Tensor scales) "
    "-> (Tensor[], Tensor)",
    _operator_gradients,
    _fake_gradients,
)
