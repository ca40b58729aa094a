"""Candidates that are chains of kernels, found among the layers of a mixed operation and computed as one."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nasx.nn.kernels import kernels_in_use, mixed_sums, tensors
from nasx.nn.kernels.mixed_sums import Term
from nasx.nn.layers import (
    AvgPool3x3,
    BatchNorm,
    MaxPool3x3,
    Pointwise,
    ReLUDepthwise,
    keep_statistics,
)

__all__ = ["as_one", "is_watched", "without_norm"]

_POOLINGS: Mapping[type[nn.Module], mixed_sums.Kind] = {MaxPool3x3: "max_pool", AvgPool3x3: "avg_pool"}

Body = Callable[[Tensor], Tensor]


def without_norm(operation: nn.Module) -> tuple[Callable[..., Tensor], BatchNorm | None]:
    """Take a batch normalisation off the end of an operation, if it may be computed with the sum."""
    if type(operation) is not nn.Sequential or not len(operation) or not kernels_in_use():
        return operation, None
    *layers, last = operation
    if type(last) is not BatchNorm or not last.alone or is_watched([operation, last]):
        return operation, None
    return _one_after_another(layers), last


def _after_relu(operation: Any) -> Body | None:
    """Take a ReLU off the beginning too, if others may share what it gives."""
    layers = list(operation)[:-1]
    if not layers or type(layers[0]) is not nn.ReLU or is_watched(layers[:1]):
        return None
    if any(getattr(layer, "inplace", False) for part in layers for layer in part.modules()):
        return None  # what others share must not change
    return _one_after_another(layers[1:])


def _one_after_another(layers: Sequence[nn.Module]) -> Body:
    return lambda x: functools.reduce(lambda value, layer: layer(value), layers, x)


def as_one(
    groups: Sequence[tuple[Sequence[nn.Module], Tensor]],
    x: Tensor,
    *,
    recompute: bool = False,
    run: Callable[[Callable[[Tensor], list[Tensor]], Tensor], list[Tensor]] = lambda give, x: give(x),
) -> list[Tensor] | None:
    """Compute weighted sums of what operations make of `x` as one function, if kernels are to do so.

    Parameters
    ----------
    groups : sequence of (sequence of torch.nn.Module, Tensor)
        For each sum K candidates, and their weights ``(K,)``.
    x : Tensor of shape (B, C, H, W)
        The input of all.
    recompute : bool, default False
        Whether chains of kernels are computed again in the backward pass.
    run : callable
        Calls a function that computes all operations that are no such chains.

    Returns
    -------
    list of Tensor or None
        The sums; None if the operations are to be computed one by one.
    """
    if not tensors.active() or torch.compiler.is_compiling():
        return None
    found = _Terms(len(groups))
    for alike in itertools.zip_longest(*(operations for operations, _ in groups)):
        for one_sum, operation in enumerate(alike):
            if operation is not None:
                found.add(one_sum, operation, x)
    norms = found.norms
    epsilons = {norm.eps for norm, _ in norms}
    if len(found.strides) != 1 or len(epsilons) > 1 or len({norm for norm, _ in norms}) < len(norms):
        return None  # a layer that is there twice follows statistics in order
    (stride,) = found.strides
    sums = [(numbers, weights) for numbers, (_, weights) in zip(found.sums, groups, strict=True)]
    if not mixed_sums.takes(x, found.terms, found.parameters, sums, stride):
        return None
    given = run(found.give, x) if found.others else []
    totals, means, variances = mixed_sums.mixed_sums(
        x,
        found.terms,
        found.parameters,
        given,
        sums,
        stride=stride,
        epsilon=epsilons.pop() if epsilons else 1e-5,
        recompute=recompute,
    )
    count = totals[0].numel() // totals[0].shape[1]
    keep_statistics(norms, means, variances, count)
    return list(totals)


class _Terms:
    """The terms of several sums, and the layers behind them.

    Attributes
    ----------
    terms : list of Term
        All; poolings of the input, and the input itself, once for all sums.
    sums : list of list of int
        The numbers of each sum's terms, ascending: so it adds them in the same order, kept or not.
    parameters : list of Tensor
        Of their stages, as `mixed_sums` takes them.
    others : list of (int, callable, callable or None)
        For each other term a sum that it is in, and what gives it of the input; and of the input after a ReLU
        if it begins with one.
    strides : set of int
        Of all chains.
    norms : list of (BatchNorm, int)
        Layers, and which row of the statistics they follow.
    """

    def __init__(self, sums: int) -> None:
        self.terms: list[Term] = []
        self.sums: list[list[int]] = [[] for _ in range(sums)]
        self.parameters: list[Tensor] = []
        self.others: list[tuple[int, nn.Module | Body, Body | None]] = []
        self.strides: set[int] = set()
        self._ends: list[tuple[BatchNorm, int]] = []
        self._inner: list[BatchNorm] = []
        self._shared: dict[Term, int] = {}
        self._ones: Tensor | None = None

    @property
    def norms(self) -> list[tuple[BatchNorm, int]]:
        return [*self._ends, *((norm, len(self.terms) + row) for row, norm in enumerate(self._inner))]

    def add(self, one_sum: int, operation: nn.Module, x: Tensor) -> None:
        """Add a term to a sum."""
        chain = _chain_of(operation)
        if chain is None:
            body, end = without_norm(operation)
            self.others.append((one_sum, body, None if end is None else _after_relu(operation)))
            self._add(one_sum, Term("given", end is not None), end)
            return
        term, stride, layers = chain
        self.strides.add(stride)
        norms = [layer for layer in layers if isinstance(layer, BatchNorm)]
        end = norms.pop() if term.normalized else None
        self._inner += norms
        for layer, following in itertools.pairwise(layers):
            if isinstance(layer, nn.Conv2d):
                self.parameters.append(layer.weight)
            elif type(layer) is nn.ReLU:
                if self._ones is None:  # they change nothing
                    self._ones = x.new_ones(following.in_channels, 1, 1, 1)
                self.parameters.append(self._ones)
        self._add(one_sum, term, end)

    def give(self, x: Tensor) -> list[Tensor]:
        """Compute the terms that are no chains, sum by sum: so random numbers are drawn as for each alone."""
        given: dict[int, Tensor] = {}
        rectified = None
        for place, (_, body, after_relu) in sorted(enumerate(self.others), key=lambda other: other[1][0]):
            if after_relu is None:
                given[place] = body(x)
            else:
                rectified = x.relu() if rectified is None else rectified
                given[place] = after_relu(rectified)
        return [given[place] for place in range(len(given))]

    def _add(self, one_sum: int, term: Term, end: BatchNorm | None) -> None:
        numbers = self.sums[one_sum]
        number = self._shared.get(term, -1)
        if number <= max(numbers, default=-1):
            number = len(self.terms)
            self.terms.append(term)
            if term.kind not in ("given", "convolutions"):
                self._shared[term] = number
        numbers.append(number)
        if end is not None:
            self._ends.append((end, number))


def is_watched(modules: Sequence[nn.Module]) -> bool:
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
    if is_watched([operation, *every]):
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
