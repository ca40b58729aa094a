"""Whole mixed operations on one input: chains of kernels, normalised and added up, as one function."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from nasx.nn.kernels import normalized_sums, tensors

__all__ = ["MixedSum", "MixedSums", "Term", "mixed_sum", "mixed_sums", "takes"]

Kind: TypeAlias = Literal["given", "identity", "max_pool", "avg_pool", "convolutions"]
_NUMBERS: dict[Kind, int] = {"given": 0, "identity": 1, "max_pool": 2, "avg_pool": 3, "convolutions": 4}

# With more channels the matrices of pointwise convolutions outgrow the first cache, and PyTorch's are faster:
# `python bench/bench_mixed_op.py --only mixed --shape 64 192 4 4`, against kernels one by one.
MOST_CHANNELS = 128


class Term(NamedTuple):
    """What leads to a term of a mixed sum.

    Parameters
    ----------
    kind : {"given", "identity", "max_pool", "avg_pool", "convolutions"}
        A tensor computed elsewhere, the input, a pooling over windows of 3x3, or stages of a ReLU, a
        depthwise convolution, a pointwise one and a batch normalisation, of which the sum has the last.
    normalized : bool
        Whether the sum normalises it; always after stages.
    dilations : tuple of int, default ()
        Of the stages' depthwise convolutions.
    """

    kind: Kind
    normalized: bool
    dilations: tuple[int, ...] = ()


class MixedSum(NamedTuple):
    """What `mixed_sum` gives.

    Parameters
    ----------
    total : Tensor of shape (B, C, H, W)
        The sum.
    means, variances : Tensor of shape (K + I, C)
        Of the K terms, 0 and 1 where they are not normalised, and then of what is normalised within chains,
        in their order; variances are divided by ``B * H * W``.
    """

    total: Tensor
    means: Tensor
    variances: Tensor


class MixedSums(NamedTuple):
    """What `mixed_sums` gives: several sums, and the statistics of all their terms as in `MixedSum`.

    Parameters
    ----------
    totals : tuple of Tensor
        Each ``(B, C, H, W)``.
    means, variances : Tensor of shape (K + I, C)
        Of the K terms, and of what is normalised within chains.
    """

    totals: tuple[Tensor, ...]
    means: Tensor
    variances: Tensor


def mixed_sum(
    x: Tensor,
    terms: Sequence[Term],
    parameters: Sequence[Tensor],
    given: Sequence[Tensor],
    weights: Tensor,
    *,
    stride: int = 1,
    epsilon: float = 1e-5,
    recompute: bool = False,
) -> MixedSum:
    """Apply chains of kernels to one input, and compute the `normalized_sum` of what they give.

    As `relu_depthwise`, `pointwise`, `batch_norm` and the poolings one after another; `takes` says whether it
    is faster. Nothing that is normalised is ever in memory.

    Parameters
    ----------
    x : Tensor of shape (B, C, H, W)
        The input of all chains, channels last.
    terms : sequence of Term
        K of them.
    parameters : sequence of Tensor
        Weights of depthwise and pointwise convolutions, ``(C, 1, k, k)`` and ``(C, C, 1, 1)``, in turn, in
        the order of terms and stages; k is 3 or 5, or 1 with ones for a stage that has no depthwise one.
    given : sequence of Tensor of shape (B, C, ceil(H / stride), ceil(W / stride))
        The terms that are given, in order.
    weights : Tensor of shape (K,)
        Of the terms.
    stride : int, default 1
        Of poolings, and of each chain's first convolution; 1 where a term is the input.
    epsilon : float, default 1e-5
        Of all normalisations.
    recompute : bool, default False
        Whether the input alone is kept, and chains are computed again in the backward pass, one at a time.

    Returns
    -------
    MixedSum
        The sum and the statistics. Gradients flow from the sum alone.

    Raises
    ------
    ValueError
        If a kernel cannot read the images or the parameters, or a term that is given has another shape or
        dtype than the others.

    References
    ----------
    H. Liu, K. Simonyan and Y. Yang, "DARTS: Differentiable Architecture Search", ICLR 2019.

    Examples
    --------
    >>> x = torch.ones(2, 8, 32, 32).to(memory_format=torch.channels_last)
    >>> terms = [Term("identity", False), Term("max_pool", False)]
    >>> mixed_sum(x, terms, [], [], torch.tensor([2.0, 1.0])).total.unique()
    tensor([3.])
    """
    sums = [(range(len(terms)), weights)]
    if not _fits(x, terms, parameters, sums, stride):
        raise ValueError(
            "x must be images of more than one pixel, channels last and a multiple of 8, with a weight for "
            f"each term; got shapes {tuple(x.shape)} and {tuple(weights.shape)}, stride {stride}, "
            f"{len(terms)} terms and {len(parameters)} parameters"
        )
    found = mixed_sums(x, terms, parameters, given, sums, stride=stride, epsilon=epsilon, recompute=recompute)
    return MixedSum(found.totals[0], found.means, found.variances)


def mixed_sums(
    x: Tensor,
    terms: Sequence[Term],
    parameters: Sequence[Tensor],
    given: Sequence[Tensor],
    sums: Sequence[tuple[Sequence[int], Tensor]],
    *,
    stride: int,
    epsilon: float,
    recompute: bool,
) -> MixedSums:
    """Compute several sums of terms of one input, with what `takes` has looked at.

    As `mixed_sum`, but that a pooling or the input may be in more than one of the sums: it is computed once,
    and so is its gradient.

    Parameters
    ----------
    sums : sequence of (sequence of int, Tensor)
        Of each the numbers of its terms, ascending, and as many weights.
    x, terms, parameters, given, stride, epsilon, recompute
        As for `mixed_sum`.

    Returns
    -------
    MixedSums
        The sums and the statistics.

    Raises
    ------
    ValueError
        If a term that is given has another shape or dtype than the others.
    """
    given = [one.contiguous(memory_format=torch.channels_last) for one in given]
    batch, channels, *sizes = x.shape
    shape = (batch, channels, *(-(-size // stride) for size in sizes))
    for one in given:
        if one.shape != shape or one.dtype != x.dtype or one.device != x.device:
            raise ValueError(
                f"operations must give one shape and dtype on one device; one gives {tuple(one.shape)}, "
                f"{one.dtype} and {one.device}, others {shape}, {x.dtype} and {x.device}"
            )
    settings = _Settings(
        tuple(terms), tuple(tuple(of_sum) for of_sum, _ in sums), stride, epsilon, recompute, len(parameters)
    )
    *totals, means, variances = _MixedSums.apply(  # type: ignore[no-untyped-call]
        settings, x, *(weights for _, weights in sums), *parameters, *given
    )
    return MixedSums(tuple(totals), means, variances)


def takes(
    x: Tensor,
    terms: Sequence[Term],
    parameters: Sequence[Tensor],
    sums: Sequence[tuple[Sequence[int], Tensor]],
    stride: int,
) -> bool:
    """Say whether the kernel takes all of it and is worth its while."""
    return (
        tensors.active()
        and not torch.compiler.is_compiling()
        and _fits(x, terms, parameters, sums, stride)
        and x.shape[1] <= MOST_CHANNELS
        and tensors.worthwhile("mixed_sum", x.numel() // stride**2)
        and any(term.kind == "convolutions" for term in terms)  # others gain nothing
    )


def _fits(
    x: Tensor,
    terms: Sequence[Term],
    parameters: Sequence[Tensor],
    sums: Sequence[tuple[Sequence[int], Tensor]],
    stride: int,
) -> bool:
    """Say whether the kernel may read all of it."""
    if x.dim() != 4 or stride not in (1, 2):
        return False
    channels = x.shape[1]
    return (
        channels > 0
        and channels % 8 == 0
        # One number for a channel is an error.
        and x.shape[0] * math.prod(-(-size // stride) for size in x.shape[2:]) >= 2
        and not (stride == 2 and any(term.kind == "identity" for term in terms))
        and tensors.fits(x, x.dtype, torch.channels_last)
        and all(
            tensors.fits(weights, x.dtype, torch.contiguous_format) and weights.shape == (len(of_sum),)
            for of_sum, weights in sums
        )
        and all(tensors.fits(one, x.dtype, torch.contiguous_format) for one in parameters)
        and len(parameters) == 2 * sum(len(term.dilations) for term in terms)
        and all(one.shape == (channels, channels, 1, 1) for one in parameters[1::2])
        and all(one.shape in [(channels, 1, k, k) for k in (1, 3, 5)] for one in parameters[::2])
    )


class _Settings(NamedTuple):
    terms: tuple[Term, ...]
    sums: tuple[tuple[int, ...], ...]  # the numbers of their terms
    stride: int
    epsilon: float
    recompute: bool
    parameters: int


def _rooms(settings: _Settings, x: Tensor) -> list[Tensor]:
    """Make room for what chains give: of each its own, or shared if it is not kept."""
    terms, stride = settings.terms, settings.stride

    def images() -> Tensor:
        return tensors.outputs_like(x, stride, x.dtype)

    places = [tensors.outputs_like(x, stride, torch.int8) for term in terms if term.kind == "max_pool"]
    pools = [term for term in terms if term.kind in ("max_pool", "avg_pool")]
    if not settings.recompute:
        return [images() for term in terms for _ in term.dilations] + [
            *(images() for _ in pools),
            *places,
        ]
    deepest = max([len(term.dilations) for term in terms])
    shared = [images() for _ in range(deepest)] or [images()]
    of_stages = [room for term in terms for room in shared[: len(term.dilations)]]
    return of_stages + [shared[0] for _ in pools] + [places[0] for _ in places]


def _addresses(
    settings: _Settings, parameters: Sequence[Tensor], given: Sequence[Tensor], rooms: Sequence[Tensor]
) -> list[tuple[int, bool, list[tuple[int, ...]], int, int]]:
    """Describe terms as the native function reads them."""
    terms = settings.terms
    stages = sum(len(term.dilations) for term in terms)
    each = zip(parameters[::2], parameters[1::2], rooms[:stages], strict=True)
    pools, others = iter(rooms[stages:]), iter(given)
    places = iter([room for room in rooms[stages:] if room.dtype == torch.int8])
    described = []
    for term in terms:
        own = [
            (depthwise.shape[-1], dilation, *(one.data_ptr() for one in (depthwise, *others_of_stage)))
            for dilation, (depthwise, *others_of_stage) in zip(term.dilations, each, strict=False)
        ]
        out = where = 0
        if term.kind == "given":
            out = next(others).data_ptr()
        elif term.kind in ("max_pool", "avg_pool"):
            out = next(pools).data_ptr()
        if term.kind == "max_pool":
            where = next(places).data_ptr()
        described.append((_NUMBERS[term.kind], term.normalized, own, out, where))
    return described


def _sizes(x: Tensor, stride: int) -> tuple[int, ...]:
    batch, channels, height, width = x.shape
    return batch, height, width, channels, stride


def _plain(settings: _Settings, x: Tensor, weights: Sequence[Tensor], more: Sequence[Tensor]) -> list[Tensor]:
    """Compute the sums by operators of PyTorch, whose gradients have gradients."""
    left: Iterator[Tensor] = iter(more[: settings.parameters])
    given = iter(more[settings.parameters :])
    found = []
    for term in settings.terms:
        value, stride = x, settings.stride
        if term.kind == "given":
            value = next(given)
        elif term.kind == "max_pool":
            value = F.max_pool2d(x, 3, stride, padding=1)
        elif term.kind == "avg_pool":
            value = F.avg_pool2d(x, 3, stride, padding=1, count_include_pad=False)
        for stage, dilation in enumerate(term.dilations):
            if stage > 0:
                value = F.batch_norm(value, None, None, training=True, eps=settings.epsilon)
            weight = next(left)
            padding = dilation * (weight.shape[-1] // 2)
            value = F.conv2d(F.relu(value), weight, None, stride, padding, dilation, groups=x.shape[1])
            value, stride = F.conv2d(value, next(left)), 1
        found.append(value)
    return [
        normalized_sums.plain(
            [found[k] for k in of_sum],
            [settings.terms[k].normalized for k in of_sum],
            factors,
            settings.epsilon,
        )[0]
        for of_sum, factors in zip(settings.sums, weights, strict=True)
    ]


class _MixedSums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, settings: _Settings, x: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        terms, sums, stride, epsilon, recompute, count = settings
        inner = sum(max(0, len(term.dilations) - 1) for term in terms)
        statistics = x.new_empty(len(terms) + inner, 3, x.shape[1])
        rooms = _rooms(settings, x)
        totals = [tensors.outputs_like(x, stride, x.dtype) for _ in sums]
        images, *own = (one.resolve_neg() for one in (x, *others))
        weights, more = own[: len(sums)], own[len(sums) :]
        tensors.NATIVE[x.dtype]["mixed_sums"](
            _sizes(x, stride),
            images.data_ptr(),
            _addresses(settings, more[:count], more[count:], rooms),
            [
                (of_sum, factors.data_ptr(), total.data_ptr())
                for of_sum, factors, total in zip(sums, weights, totals, strict=True)
            ],
            *(statistics.data_ptr(), epsilon, not recompute),
        )
        ctx.settings = settings
        ctx.save_for_backward(x, statistics, *others, *(() if recompute else rooms))
        means, variances = statistics[:, 0], statistics[:, 1]
        ctx.mark_non_differentiable(means, variances)
        return *totals, means, variances

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        settings = ctx.settings
        terms, sums, stride, _, recompute, count = settings
        x, statistics, *saved = ctx.saved_tensors
        wanted = ctx.needs_input_grad[1:]
        others, rooms = saved[: len(wanted) - 1], saved[len(wanted) - 1 :]
        weights, more = others[: len(sums)], others[len(sums) :]
        if torch.is_grad_enabled():  # these gradients are to be differentiated
            inputs = [one for one, want in zip((x, *others), wanted, strict=True) if want]
            every = zip(_plain(settings, x, weights, more), grads[: len(sums)], strict=True)
            outputs, of_outputs = zip(*(pair for pair in every if pair[0].requires_grad), strict=True)
            each = iter(torch.autograd.grad(outputs, inputs, of_outputs, create_graph=True))
            return None, *(next(each) if want else None for want in wanted)
        passed = [tensors.ordered(grad, torch.channels_last) for grad in grads[: len(sums)]]
        found = [
            torch.empty_like(one) if want else None for one, want in zip((x, *others), wanted, strict=True)
        ]
        of_x, of_weights, of_more = found[0], found[1 : len(sums) + 1], found[len(sums) + 1 :]
        products = [
            torch.empty_like(one) if of_one is None else of_one
            for one, of_one in zip(weights, of_weights, strict=True)
        ]
        places = [0 if one is None else one.data_ptr() for one in of_more]
        of_parameters, of_given = iter(places[:count]), iter(places[count:])
        gradients = []
        between: list[Tensor] = []  # rooms between stages
        for term in terms:
            pairs = [(next(of_parameters), next(of_parameters)) for _ in term.dilations]
            last = next(of_given) if term.kind == "given" else 0
            room = 0
            if len(pairs) > 1:
                if not (recompute and between):
                    between.append(torch.empty_like(passed[0]))
                room = between[-1].data_ptr()
            gradients.append(([first for first, _ in pairs], [second for _, second in pairs], last, room))
        if recompute:
            rooms = _rooms(settings, x)
        images, *own = (one.resolve_neg() for one in (x, *others))
        each_sum = zip(sums, own[: len(sums)], passed, products, strict=True)
        own = own[len(sums) :]
        tensors.NATIVE[x.dtype]["mixed_sums_backward"](
            _sizes(x, stride),
            images.data_ptr(),
            _addresses(settings, own[:count], own[count:], rooms),
            [(of_sum, *(one.data_ptr() for one in arrays)) for of_sum, *arrays in each_sum],
            *(statistics.data_ptr(), not recompute),
            gradients,
            0 if of_x is None else of_x.data_ptr(),
        )
        return None, *found
