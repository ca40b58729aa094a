"""Native kernels of mixed operations on the CPU, with their gradients; what they do not take goes to PyTorch.

`weighted_sum` is for what `nasx.nn.mixed.mix` computes; `max_pool_3x3` and `avg_pool_3x3` are for the
poolings of `nasx.nn.darts` and `nasx.nn.nasbench201`. These modules do not call them yet: where a kernel is
faster than PyTorch has to be measured first, with ``bench/bench_mixed_op.py``.

Each function looks at its arguments. Contiguous tensors of float32 or float64 on the CPU, not too small, go
to the native core: directly, or through operators registered as ``torch.ops.nasx.*`` while ``torch.compile``
traces. Other devices, dtypes and layouts, autocast, tensor subclasses, `torch.func` and exports go to
PyTorch's own operators, with the same result. So does a backward pass that is to be differentiated itself,
except under ``torch.compile``, where it is an error. ``NASX_KERNELS=off`` in the environment, or
`use_kernels`, sends everything to PyTorch.

This is the only file that hands addresses of tensors to the core: it checks device, dtype, layout and size.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nasx._core import mixed_op as native

__all__ = ["avg_pool_3x3", "kernels_in_use", "max_pool_3x3", "use_kernels", "weighted_sum"]

# Tensors of fewer numbers stay with PyTorch, whose own operators cost tens of microseconds less to call. On
# the safe side until it is measured: `bench/bench_mixed_op.py --small` shows from which size on kernels win.
_LEAST = 32768

_NATIVE = {
    dtype: {
        name: getattr(native, f"{name}_{suffix}")
        for name in (
            "weighted_sum",
            "weighted_sum_backward",
            "max_pool_3x3",
            "max_pool_3x3_backward",
            "avg_pool_3x3",
            "avg_pool_3x3_backward",
        )
    }
    for dtype, suffix in ((torch.float32, "float32"), (torch.float64, "float64"))
}


def _wanted() -> bool:
    value = os.environ.get("NASX_KERNELS", "on")
    if value not in ("on", "off"):
        raise ValueError(f"NASX_KERNELS must be 'on' or 'off'; got {value!r}; unset it to use the kernels")
    return value == "on"


_in_use = _wanted()


def use_kernels(on: bool) -> None:
    """Say whether native kernels are used from now on, instead of what ``NASX_KERNELS`` said.

    What ``torch.compile`` has traced stays as it is.

    Parameters
    ----------
    on : bool
        False sends everything to PyTorch's operators.

    Examples
    --------
    >>> before = kernels_in_use()
    >>> use_kernels(False)
    >>> kernels_in_use()
    False
    >>> use_kernels(before)
    """
    global _in_use
    _in_use = bool(on)


def kernels_in_use() -> bool:
    """Say whether native kernels are used where they can be.

    Returns
    -------
    bool
        What `use_kernels` said last, else False if the environment variable ``NASX_KERNELS`` is ``off``.

    Examples
    --------
    >>> kernels_in_use() in (True, False)
    True
    """
    return _in_use


# -- which tensors a kernel takes ----------------------------------------------------------------------------


def _layout(x: Tensor) -> torch.memory_format:
    """Give the order that a kernel works in: channels last for images that lie so, else rows first."""
    if x.dim() == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format


def _active() -> bool:
    """Say whether kernels may be used here at all."""
    return (
        _in_use
        and not torch.is_autocast_enabled("cpu")
        and not torch._C._are_functorch_transforms_active()
        # The programs that read an export have no such operators.
        and torch._C._get_tracing_state() is None
        and not getattr(torch.compiler, "is_exporting", bool)()  # torch 2.4 cannot tell
    )


def _fits(x: Tensor, dtype: torch.dtype, layout: torch.memory_format) -> bool:
    """Say whether a kernel may read a tensor's memory as numbers of this dtype, in this order."""
    return (
        x.device.type == "cpu"
        and x.dtype == dtype
        and dtype in _NATIVE
        and x.layout is torch.strided
        # Subclasses mean something else by their memory, or have none.
        and type(x) in (Tensor, torch.nn.Parameter)
        and x.is_contiguous(memory_format=layout)
    )


def _ordered(x: Tensor, layout: torch.memory_format) -> Tensor:
    """Bring a tensor's numbers into an order, if they are not."""
    return x.resolve_neg().contiguous(memory_format=layout)


def _apply(function: Any, *arguments: Any) -> Tensor:
    out: Tensor = function.apply(*arguments)
    return out


# -- weighted sums -------------------------------------------------------------------------------------------


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
    layout = _layout(first)
    if not (
        _active()
        and len(terms) > 1  # else it is one product
        and first.numel() >= _LEAST
        and _fits(weights, first.dtype, torch.contiguous_format)
        and all(_fits(term, first.dtype, layout) for term in terms)
    ):
        return _plain_sum(terms, weights)
    if torch.compiler.is_compiling():
        compiled: Tensor = torch.ops.nasx.weighted_sum(list(terms), weights)
        return compiled
    return _apply(_WeightedSum, weights, *terms)


def _plain_sum(terms: Sequence[Tensor], weights: Tensor) -> Tensor:
    products = (term * weight for term, weight in zip(terms, weights.unbind(), strict=True))
    return functools.reduce(torch.add, products)


def _sum_terms(terms: Sequence[Tensor], weights: Tensor) -> Tensor:
    layout = _layout(terms[0])
    out = torch.empty_like(terms[0], memory_format=layout)
    if out.numel():
        arrays = [_ordered(term, layout) for term in terms]
        factors = _ordered(weights, torch.contiguous_format)
        _NATIVE[out.dtype]["weighted_sum"](
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
        grad, factors = _ordered(grad, layout), _ordered(weights, torch.contiguous_format)
        arrays = [_ordered(term, layout) for term in terms]
        _NATIVE[grad.dtype]["weighted_sum_backward"](
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
        ctx.format = _layout(terms[0])
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


# -- pooling -------------------------------------------------------------------------------------------------


def max_pool_3x3(x: Tensor, stride: int = 1) -> Tensor:
    """Take the largest number of each window of 3x3 pixels, with padding 1, as `torch.nn.MaxPool2d` does.

    The gradient goes to the first of equal numbers. A window with NaN gives NaN.

    Parameters
    ----------
    x : Tensor of shape (B, C, H, W)
        Images; a kernel takes them if their channels are last.
    stride : int, default 1
        1 or 2 pixels from window to window.

    Returns
    -------
    Tensor of shape (B, C, ceil(H / stride), ceil(W / stride))
        In the layout of `x`.

    Raises
    ------
    ValueError
        If `x` has not four dimensions, or the stride is another.

    Examples
    --------
    >>> max_pool_3x3(torch.arange(16.0).reshape(1, 1, 4, 4), stride=2)
    tensor([[[[ 5.,  7.],
              [13., 15.]]]])
    """
    _check_images(x, stride)
    if not _fits_pooling(x):
        return F.max_pool2d(x, 3, stride, padding=1)
    if torch.compiler.is_compiling():
        compiled: Tensor = torch.ops.nasx.max_pool_3x3(x, stride)[0]
        return compiled
    return _apply(_MaxPool, x, stride)


def avg_pool_3x3(x: Tensor, stride: int = 1) -> Tensor:
    """Take the mean of each window of 3x3 pixels, with padding 1 that does not count.

    As `torch.nn.AvgPool2d` does with ``count_include_pad=False``: at the border, means are over fewer pixels.

    Parameters
    ----------
    x : Tensor of shape (B, C, H, W)
        Images; a kernel takes them if their channels are last.
    stride : int, default 1
        1 or 2 pixels from window to window.

    Returns
    -------
    Tensor of shape (B, C, ceil(H / stride), ceil(W / stride))
        In the layout of `x`.

    Raises
    ------
    ValueError
        If `x` has not four dimensions, or the stride is another.

    Examples
    --------
    >>> avg_pool_3x3(torch.arange(16.0).reshape(1, 1, 4, 4), stride=2)
    tensor([[[[ 2.5000,  4.0000],
              [ 8.5000, 10.0000]]]])
    """
    _check_images(x, stride)
    if not _fits_pooling(x):
        return F.avg_pool2d(x, 3, stride, padding=1, count_include_pad=False)
    if torch.compiler.is_compiling():
        compiled: Tensor = torch.ops.nasx.avg_pool_3x3(x, stride)
        return compiled
    return _apply(_AvgPool, x, stride)


def _check_images(x: Tensor, stride: int) -> None:
    if x.dim() != 4:
        raise ValueError(f"x must have four dimensions (B, C, H, W); got shape {tuple(x.shape)}")
    if stride not in (1, 2):
        raise ValueError(f"stride must be 1 or 2; got {stride!r}")


def _fits_pooling(x: Tensor) -> bool:
    return _active() and x.numel() >= _LEAST and _fits(x, x.dtype, torch.channels_last)


def _images_like(x: Tensor, height: int, width: int, dtype: torch.dtype) -> Tensor:
    """Make room for as many images and channels as `x` has, channels last."""
    shape = (*x.shape[:2], height, width)
    return torch.empty(shape, dtype=dtype, device=x.device, memory_format=torch.channels_last)


def _pooled_like(x: Tensor, stride: int, dtype: torch.dtype) -> Tensor:
    height, width = x.shape[2:]
    return _images_like(x, (height + stride - 1) // stride, (width + stride - 1) // stride, dtype)


def _largest(x: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Take the largest of each window, and its place in it, 3 * row + column, as int8."""
    out, places = _pooled_like(x, stride, x.dtype), _pooled_like(x, stride, torch.int8)
    if out.numel():
        x = _ordered(x, torch.channels_last)
        batch, channels, height, width = x.shape
        _NATIVE[x.dtype]["max_pool_3x3"](
            batch, height, width, channels, stride, x.data_ptr(), out.data_ptr(), places.data_ptr()
        )
    return out, places


def _largest_gradient(grad: Tensor, places: Tensor, height: int, width: int, stride: int) -> Tensor:
    batch, channels = grad.shape[:2]
    out = _images_like(grad, height, width, grad.dtype)
    if out.numel():
        grad = _ordered(grad, torch.channels_last)
        places = _ordered(places, torch.channels_last)
        _NATIVE[grad.dtype]["max_pool_3x3_backward"](
            *(batch, height, width, channels, stride), grad.data_ptr(), places.data_ptr(), out.data_ptr()
        )
    return out


def _means(x: Tensor, stride: int) -> Tensor:
    out = _pooled_like(x, stride, x.dtype)
    if out.numel():
        x = _ordered(x, torch.channels_last)
        batch, channels, height, width = x.shape
        _NATIVE[x.dtype]["avg_pool_3x3"](batch, height, width, channels, stride, x.data_ptr(), out.data_ptr())
    return out


def _means_gradient(grad: Tensor, height: int, width: int, stride: int) -> Tensor:
    batch, channels = grad.shape[:2]
    out = _images_like(grad, height, width, grad.dtype)
    if out.numel():
        grad = _ordered(grad, torch.channels_last)
        _NATIVE[grad.dtype]["avg_pool_3x3_backward"](
            batch, height, width, channels, stride, grad.data_ptr(), out.data_ptr()
        )
    return out


def _differentiable_largest_gradient(
    grad: Tensor, places: Tensor, height: int, width: int, stride: int
) -> Tensor:
    """Compute what `_largest_gradient` does by operators of PyTorch, which have gradients."""
    rows, columns = places.shape[2:]
    row = torch.arange(rows)[:, None] * stride - 1 + places // 3
    column = torch.arange(columns) * stride - 1 + places % 3
    flat = (row * width + column).flatten(2)
    zeros = grad.new_zeros((*grad.shape[:2], height * width))
    return zeros.scatter_add(2, flat, grad.flatten(2)).reshape(*grad.shape[:2], height, width)


def _differentiable_means_gradient(grad: Tensor, height: int, width: int, stride: int) -> Tensor:
    """Compute what `_means_gradient` does by operators of PyTorch, which have gradients."""
    like = grad.new_zeros((*grad.shape[:2], height, width)).requires_grad_()
    pooled = F.avg_pool2d(like, 3, stride, padding=1, count_include_pad=False)
    (found,) = torch.autograd.grad(pooled, like, grad, create_graph=True)
    return found


class _MaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, stride: int) -> Tensor:
        out, places = _largest(x, stride)
        ctx.save_for_backward(places)
        ctx.sizes = (*x.shape[2:], stride)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (places,) = ctx.saved_tensors
        gradient = _differentiable_largest_gradient if torch.is_grad_enabled() else _largest_gradient
        return gradient(grads[0], places, *ctx.sizes), None


class _AvgPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, stride: int) -> Tensor:
        ctx.sizes = (*x.shape[2:], stride)
        return _means(x, stride)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        gradient = _differentiable_means_gradient if torch.is_grad_enabled() else _means_gradient
        return gradient(grads[0], *ctx.sizes), None


# -- the same as registered operators, for torch.compile -----------------------------------------------------


def _register(
    name: str,
    schema: str,
    kernel: Callable[..., Any],
    fake: Callable[..., Any],
    *,
    backward: Callable[..., Any] | None = None,
    save: Callable[..., None] | None = None,
) -> None:
    """Register an operator: what computes it, what makes its outputs without values, and its gradients."""
    operator: Any = torch.library.custom_op(
        f"nasx::{name}", kernel, mutates_args=(), device_types="cpu", schema=schema
    )
    operator.register_fake(fake)
    if backward is not None:
        operator.register_autograd(backward, setup_context=save)


# Anybody may call an operator with anything. Autograd and the functions above have checked what they pass.


def _check_numbers(name: str, x: Tensor, dtype: torch.dtype, shape: Sequence[int]) -> None:
    if x.dtype != dtype or x.shape != tuple(shape):
        raise ValueError(
            f"{name} must have dtype {dtype} and shape {tuple(shape)}; got {x.dtype} and {tuple(x.shape)}"
        )


def _check_dtype(name: str, x: Tensor) -> None:
    if x.dtype not in _NATIVE:
        raise ValueError(f"{name} must have dtype float32 or float64; got {x.dtype}")


def _check_terms(terms: Sequence[Tensor], weights: Tensor) -> None:
    if not terms:
        raise ValueError("terms must hold at least one tensor; got none")
    _check_dtype("terms[0]", terms[0])
    for k, term in enumerate(terms):
        _check_numbers(f"terms[{k}]", term, terms[0].dtype, terms[0].shape)
    _check_numbers("weights", weights, terms[0].dtype, (len(terms),))


def _check_outputs(name: str, x: Tensor, dtype: torch.dtype, height: int, width: int, stride: int) -> None:
    """Refuse what is not as a pooling of images of this size gives it."""
    _check_images(x, stride)
    outputs = (-(-height // stride), -(-width // stride))
    _check_numbers(name, x, dtype, (*x.shape[:2], *outputs))


def _operator_sum(terms: Sequence[Tensor], weights: Tensor) -> Tensor:
    _check_terms(terms, weights)
    return _sum_terms(terms, weights)


def _operator_largest(x: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    _check_images(x, stride)
    _check_dtype("x", x)
    return _largest(x, stride)


def _operator_largest_gradient(grad: Tensor, places: Tensor, height: int, width: int, stride: int) -> Tensor:
    _check_dtype("grad", grad)
    _check_outputs("grad", grad, grad.dtype, height, width, stride)
    _check_numbers("places", places, torch.int8, grad.shape)
    return _largest_gradient(grad, places, height, width, stride)


def _operator_means(x: Tensor, stride: int) -> Tensor:
    _check_images(x, stride)
    _check_dtype("x", x)
    return _means(x, stride)


def _operator_means_gradient(grad: Tensor, height: int, width: int, stride: int) -> Tensor:
    _check_dtype("grad", grad)
    _check_outputs("grad", grad, grad.dtype, height, width, stride)
    return _means_gradient(grad, height, width, stride)


def _fake_sum(terms: Sequence[Tensor], weights: Tensor) -> Tensor:
    return torch.empty_like(terms[0], memory_format=_layout(terms[0]))


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
    _check_numbers("grad", grad, terms[0].dtype, terms[0].shape)
    return _sum_gradients(grad, terms, weights, [True] * len(terms), _layout(terms[0]))


def _fake_sum_gradients(
    grad: Tensor, terms: Sequence[Tensor], weights: Tensor
) -> tuple[list[Tensor], Tensor]:
    layout = _layout(terms[0])
    scaled = [torch.empty_like(term, memory_format=layout) for term in terms]
    return scaled, torch.empty_like(weights, memory_format=torch.contiguous_format)


def _fake_largest(x: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    return _pooled_like(x, stride, x.dtype), _pooled_like(x, stride, torch.int8)


def _save_places(ctx: Any, inputs: tuple[Tensor, int], output: tuple[Tensor, Tensor]) -> None:
    x, stride = inputs
    ctx.save_for_backward(output[1])
    ctx.sizes = (*x.shape[2:], stride)


def _max_pool_backward(ctx: Any, grad: Tensor, of_places: Tensor | None) -> tuple[Tensor, None]:
    return torch.ops.nasx.max_pool_3x3_backward(grad, *ctx.saved_tensors, *ctx.sizes), None


def _fake_largest_gradient(grad: Tensor, places: Tensor, height: int, width: int, stride: int) -> Tensor:
    return _images_like(grad, height, width, grad.dtype)


def _fake_means(x: Tensor, stride: int) -> Tensor:
    return _pooled_like(x, stride, x.dtype)


def _save_sizes(ctx: Any, inputs: tuple[Tensor, int], output: Tensor) -> None:
    x, stride = inputs
    ctx.sizes = (*x.shape[2:], stride)


def _avg_pool_backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
    return torch.ops.nasx.avg_pool_3x3_backward(grad, *ctx.sizes), None


def _fake_means_gradient(grad: Tensor, height: int, width: int, stride: int) -> Tensor:
    return _images_like(grad, height, width, grad.dtype)


_register(
    "weighted_sum",
    "(Tensor[] terms, Tensor weights) -> Tensor",
    _operator_sum,
    _fake_sum,
    backward=_sum_backward,
    save=_save_terms,
)
_register(
    "weighted_sum_backward",
    "(Tensor grad, Tensor[] terms, Tensor weights) -> (Tensor[], Tensor)",
    _operator_sum_gradients,
    _fake_sum_gradients,
)
_register(
    "max_pool_3x3",
    "(Tensor x, SymInt stride) -> (Tensor, Tensor)",
    _operator_largest,
    _fake_largest,
    backward=_max_pool_backward,
    save=_save_places,
)
_register(
    "max_pool_3x3_backward",
    "(Tensor grad, Tensor places, SymInt height, SymInt width, SymInt stride) -> Tensor",
    _operator_largest_gradient,
    _fake_largest_gradient,
)
_register(
    "avg_pool_3x3",
    "(Tensor x, SymInt stride) -> Tensor",
    _operator_means,
    _fake_means,
    backward=_avg_pool_backward,
    save=_save_sizes,
)
_register(
    "avg_pool_3x3_backward",
    "(Tensor grad, SymInt height, SymInt width, SymInt stride) -> Tensor",
    _operator_means_gradient,
    _fake_means_gradient,
)
