"""Candidates that are chains of kernels, found among the layers of a mixed operation and computed as one."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nasx.nn.kernels import kernels_in_use, mixed_sums
from nasx.nn.kernels.mixed_sums import Term
from nasx.nn.layers import (
    AvgPool3x3,
    BatchNorm,
    MaxPool3x3,
    Pointwise,
    ReLUDepthwise,
    keep_statistics,
)

__all__ = ["as_one", "without_norm"]

_POOLINGS: Mapping[type[nn.Module], mixed_sums.Kind] = {MaxPool3x3: "max_pool", AvgPool3x3: "avg_pool"}

Body = Callable[[Tensor], Tensor]


def without_norm(operation: nn.Module) -> tuple[Callable[..., Tensor], BatchNorm | None]:
    """Take a batch normalisation off the end of an operation, if it may be computed with the sum."""
    if type(operation) is not nn.Sequential or not len(operation) or not kernels_in_use():
        return operation, None
    *layers, last = operation
    if type(last) is not BatchNorm or not last.alone or _is_watched([operation, last]):
        return operation, None
    return lambda x: functools.reduce(lambda value, layer: layer(value), layers, x), last


def as_one(
    operations: Sequence[nn.Module],
    x: Tensor,
    weights: Tensor,
    *,
    recompute: bool = False,
    run: Callable[[nn.Module | Body, Tensor], Tensor] = lambda body, x: body(x),
) -> Tensor | None:
    """Compute a weighted sum of what operations make of `x` as one function, if kernels are to do so.

    Parameters
    ----------
    operations : sequence of torch.nn.Module
        K candidates.
    x : Tensor of shape (B, C, H, W)
        Their input.
    weights : Tensor of shape (K,)
        Their weights.
    recompute : bool, default False
        Whether chains of kernels are computed again in the backward pass.
    run : callable
        Computes an operation that is no such chain.

    Returns
    -------
    Tensor or None
        The sum; None if the operations are to be computed one by one.
    """
    if not kernels_in_use() or torch.compiler.is_compiling():
        return None
    terms: list[Term] = []
    parameters: list[Tensor] = []
    others: list[nn.Module | Body] = []
    ends: list[BatchNorm | None] = []
    inner: list[BatchNorm] = []
    strides = set()
    for operation in operations:
        chain = _chain_of(operation)
        if chain is None:
            body, end = without_norm(operation)
            others.append(body)
            ends.append(end)
            terms.append(Term("given", end is not None))
            continue
        term, stride, layers = chain
        terms.append(term)
        strides.add(stride)
        norms = [layer for layer in layers if isinstance(layer, BatchNorm)]
        ends.append(norms.pop() if term.normalized else None)
        inner += norms
        for layer, following in itertools.pairwise(layers):
            if isinstance(layer, nn.Conv2d):
                parameters.append(layer.weight)
            elif type(layer) is nn.ReLU:
                parameters.append(x.new_ones(following.in_channels, 1, 1, 1))  # changes nothing
    every = [norm for norm in (*inner, *ends) if norm is not None]
    epsilons = {norm.eps for norm in every}
    if len(strides) != 1 or len(epsilons) > 1 or len(set(every)) < len(every):
        return None  # a layer that is there twice follows statistics in order
    (stride,) = strides
    if not mixed_sums.takes(x, terms, parameters, weights, stride):
        return None
    found = mixed_sums.run(
        x,
        terms,
        parameters,
        [run(body, x) for body in others],
        weights,
        stride=stride,
        epsilon=epsilons.pop() if epsilons else 1e-5,
        recompute=recompute,
    )
    count = found.total.numel() // found.total.shape[1]
    keep_statistics([*ends, *inner], found.means, found.variances, count)
    return found.total


def _is_watched(modules: Sequence[nn.Module]) -> bool:
    """Whether somebody is to see them run."""
    for module in modules:
        if (
            module._forward_hooks
            or module._forward_pre_hooks
            or module._backward_hooks
            or module._backward_pre_hooks
        ):
            return True
    return False


def _is_pointwise(layer: nn.Conv2d) -> bool:
    """Whether a convolution is one of single pixels, without bias."""
    return (
        layer.kernel_size == (1, 1)
        and layer.stride == (1, 1)
        and layer.padding == (0, 0)
        and layer.groups == 1
        and layer.bias is None
    )


def _chain_of(operation: nn.Module) -> tuple[Term, int, list[Any]] | None:
    """Describe an operation as a chain, with its stride and its layers; None if it is another one."""
    every: list[Any] = list(operation) if type(operation) is nn.Sequential else [operation]
    layers = [layer for layer in every if type(layer) is not nn.Identity]
    if _is_watched([operation, *every]):
        return None
    kinds = [type(layer) for layer in layers]
    if any(kind is BatchNorm and not layer.alone for kind, layer in zip(kinds, layers, strict=True)):
        return None
    if not kinds:
        return Term("identity", False), 1, layers
    if kinds[0] in _POOLINGS and kinds[1:] in ([], [BatchNorm]):
        return Term(_POOLINGS[kinds[0]], len(kinds) == 2), layers[0].step, layers
    if kinds == [nn.ReLU, nn.Conv2d, BatchNorm] and not layers[0].inplace and _is_pointwise(layers[1]):
        return Term("convolutions", True, (1,)), 1, layers
    stages = len(kinds) // 3
    if kinds != [ReLUDepthwise, Pointwise, BatchNorm] * stages:
        return None
    convolutions = layers[::3]
    if any(layer.stride[0] != 1 for layer in convolutions[1:]):
        return None
    dilations = tuple(layer.dilation[0] for layer in convolutions)
    return Term("convolutions", True, dilations), convolutions[0].stride[0], layers
