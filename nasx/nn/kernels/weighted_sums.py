"""Weighted sums of K tensors, as `nasx.nn.mixed.mix` takes them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nasx.nn.kernels import tensors

__all__ = ["weighted_sum"]


def weighted_sum(terms: Sequence[Tensor], weights: Tensor) -> Tensor:
    """Add up tensors with weights: ``weights[0] * terms[0] + weights[1] * terms[1] + ...``.

    The gradient of ``weights[k]`` is the inner product of the output's gradient and ``terms[k]``.

    Parameters
    ----------
    terms : sequence of Tensor
        K tensors of one shape. A kernel takes them if all are contiguous, or all channels last.
    weights : Tensor of shape (K,)
        Their weights, of the same dtype for a kernel.

    Returns
    -------
    Tensor
        Of the terms' shape and layout.

    Raises
    ------
    ValueError
        If there are no terms, not K weights, or terms of different shapes.

    Examples
    --------
    >>> weighted_sum([torch.ones(2), torch.tensor([0.0, 4.0])], torch.tensor([1.0, 0.5]))
    tensor([1., 3.])
    """
    if not terms:
        raise ValueError("terms must hold at least one tensor; got none")
    if weights.shape != (len(terms),):
        raise ValueError(
            f"weights must have shape ({len(terms)},), one for each term; got {tuple(weights.shape)}"
        )
    first = terms[0]
    for k, term in enumerate(terms):
        if term.shape != first.shape:
            raise ValueError(
                f"terms must have one shape; terms[0] has {tuple(first.shape)}, "
                f"terms[{k}] {tuple(term.shape)}"
            )
    layout = tensors.layout_of(first)
    if not (
        tensors.active()
        and len(terms) > 1  # else it is one product
        and tensors.worthwhile("weighted_sum", first.numel())
        and tensors.fits(weights, first.dtype, torch.contiguous_format)
        and all(tensors.fits(term, first.dtype, layout) for term in terms)
    ):
        return plain_sum(terms, weights)
    if torch.compiler.is_compiling():
        compiled: Tensor = torch.ops.nasx.weighted_sum(list(terms), weights)
        return compiled
    return tensors.apply(_WeightedSum, weights, *terms)


def plain_sum(terms: Sequence[Tensor], weights: Tensor) -> Tensor:
    """Compute the sum by operators of PyTorch."""
    products = (term * weight for term, weight in zip(terms, weights.unbind(), strict=True))
    return functools.reduce(torch.add, products)


def _sum_terms(terms: Sequence[Tensor], weights: Tensor) -> Tensor:
    layout = tensors.layout_of(terms[0])
    out = torch.empty_like(terms[0], memory_format=layout)
    if out.numel():
        arrays = [tensors.ordered(term, layout) for term in terms]
        factors = tensors.ordered(weights, torch.contiguous_format)
        tensors.NATIVE[out.dtype]["weighted_sum"](
            [array.data_ptr() for array in arrays], factors.data_ptr(), out.numel(), out.data_ptr()
        )
    return out


def _sum_gradients(
    grad: Tensor,
    terms: Sequence[Tensor],
    weights: Tensor,
    wanted: Sequence[bool],
    layout: torch.memory_format,
) -> tuple[list[Tensor | None], Tensor | None]:
    """Compute the terms' gradients that are wanted, and the weights' if `terms` holds what it needs."""
    found: list[Tensor | None] = [
        torch.empty_like(grad, memory_format=layout) if want else None for want in wanted
    ]
    products = torch.zeros_like(weights, memory_format=torch.contiguous_format) if terms else None
    if grad.numel():
        grad, factors = tensors.ordered(grad, layout), tensors.ordered(weights, torch.contiguous_format)
        arrays = [tensors.ordered(term, layout) for term in terms]
        tensors.NATIVE[grad.dtype]["weighted_sum_backward"](
            grad.data_ptr(),
            [array.data_ptr() for array in arrays] or [0] * len(wanted),
            factors.data_ptr(),
            grad.numel(),
            [0 if one is None else one.data_ptr() for one in found],
            0 if products is None else products.data_ptr(),
        )
    return found, products


class _WeightedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, *terms: Tensor) -> Tensor:
        # Terms are kept for the weights' gradient alone.
        ctx.save_for_backward(weights, *(terms if ctx.needs_input_grad[0] else ()))
        ctx.format = tensors.layout_of(terms[0])
        return _sum_terms(terms, weights)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad = grads[0]
        weights, *terms = ctx.saved_tensors
        wanted = ctx.needs_input_grad[1:]
        if torch.is_grad_enabled():  # these gradients are to be differentiated
            scaled = [
                grad * weight if want else None for weight, want in zip(weights.unbind(), wanted, strict=True)
            ]
            return (torch.stack([(grad * term).sum() for term in terms]) if terms else None, *scaled)
        found, products = _sum_gradients(grad, terms, weights, wanted, ctx.format)
        return (products, *found)


# Anybody may call an operator with anything. Autograd and the functions above have checked what they pass.


def _check_terms(terms: Sequence[Tensor], weights: Tensor) -> None:
    if not terms:
        raise ValueError("terms must hold at least one tensor; got none")
    tensors.check_dtype("terms[0]", terms[0])
    for k, term in enumerate(terms):
        tensors.check_numbers(f"terms[{k}]", term, terms[0].dtype, terms[0].shape)
    tensors.check_numbers("weights", weights, terms[0].dtype, (len(terms),))


def _operator_sum(terms: Sequence[Tensor], weights: Tensor) -> Tensor:
    _check_terms(terms, weights)
    return _sum_terms(terms, weights)


def _fake_sum(terms: Sequence[Tensor], weights: Tensor) -> Tensor:
    return torch.empty_like(terms[0], memory_format=tensors.layout_of(terms[0]))


def _save_terms(ctx: Any, inputs: tuple[list[Tensor], Tensor], output: Tensor) -> None:
    terms, weights = inputs
    ctx.save_for_backward(weights, *terms)


def _sum_backward(ctx: Any, grad: Tensor) -> tuple[list[Tensor], Tensor]:
    weights, *terms = ctx.saved_tensors
    found: tuple[list[Tensor], Tensor] = torch.ops.nasx.weighted_sum_backward(grad, terms, weights)
    return found


def _operator_sum_gradients(
    grad: Tensor, terms: Sequence[Tensor], weights: Tensor
) -> tuple[list[Tensor | None], Tensor | None]:
    _check_terms(terms, weights)
    tensors.check_numbers("grad", grad, terms[0].dtype, terms[0].shape)
    return _sum_gradients(grad, terms, weights, [True] * len(terms), tensors.layout_of(terms[0]))


def _fake_sum_gradients(
    grad: Tensor, terms: Sequence[Tensor], weights: Tensor
) -> tuple[list[Tensor], Tensor]:
    layout = tensors.layout_of(terms[0])
    scaled = [torch.empty_like(term, memory_format=layout) for term in terms]
    return scaled, torch.empty_like(weights, memory_format=torch.contiguous_format)


tensors.register(
    "weighted_sum",
    "(Tensor[] terms, Tensor weights) -> Tensor",
    _operator_sum,
    _fake_sum,
    backward=_sum_backward,
    save=_save_terms,
)
tensors.register(
    "weighted_sum_backward",
    "(Tensor grad, Tensor[] terms, Tensor weights) -> (Tensor[], Tensor)",
    _operator_sum_gradients,
    _fake_sum_gradients,
)
