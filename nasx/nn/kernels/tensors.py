"""Whether kernels are used, which tensors they take, and how their operators are registered."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from nasx._core import mixed_op as native
from nasx.nn.kernels.threads import borrow_threads

__all__ = [
    "NATIVE",
    "active",
    "apply",
    "check_dtype",
    "check_images",
    "check_numbers",
    "check_outputs",
    "fits",
    "images_like",
    "kernels_in_use",
    "layout_of",
    "ordered",
    "outputs_like",
    "register",
    "use_kernels",
    "worthwhile",
]

# Tensors of fewer numbers stay with PyTorch, whose own operators cost tens of microseconds less to call:
# measured on one core with `bench/bench_mixed_op.py --small`. Those of poolings are of their outputs.
LEAST = {
    "weighted_sum": 1024,
    "normalized_sum": 8192,
    "mixed_sum": 0,
    "relu_depthwise": 0,
    "pointwise": 16384,
    "batch_norm": 2**19,
    "batch_norm of few channels": 16384,  # below 32, where PyTorch's takes up to ten times as long
    "channel_parts": 8192,  # of what is split, and of the first part where it is shuffled
    "max_pool_3x3": 32768,
    "avg_pool_3x3": 32768,
    # Pixels narrower than a register, and no two neighbours in one loop: PyTorch is always faster.
    "max_pool_3x3 of few channels at stride 2": sys.maxsize,
}

NATIVE = {
    dtype: {
        name: getattr(native, f"{name}_{suffix}")
        for name in (
            "weighted_sum",
            "weighted_sum_backward",
            "max_pool_3x3",
            "max_pool_3x3_backward",
            "avg_pool_3x3",
            "avg_pool_3x3_backward",
            "relu_depthwise",
            "relu_depthwise_backward",
            "pointwise",
            "pointwise_backward",
            "batch_norm",
            "batch_norm_backward",
            "normalized_sum",
            "normalized_sum_backward",
            "mixed_sums",
            "mixed_sums_backward",
            "take_channels",
            "join_channels",
            "shuffle_channels",
            "unshuffle_channels",
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
borrow_threads()


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


def layout_of(x: Tensor) -> torch.memory_format:
    """Give the order that a kernel works in: channels last for images that lie so, else rows first."""
    if x.dim() == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format


def active() -> bool:
    """Say whether kernels may be used here at all."""
    return (
        _in_use
        and not torch.is_autocast_enabled("cpu")
        and not torch._C._are_functorch_transforms_active()
        # Who watches operators, to count them for example, is to see them all.
        and (torch.compiler.is_compiling() or not torch._C._len_torch_dispatch_stack())
        # The programs that read an export have no such operators.
        and torch._C._get_tracing_state() is None
        and not getattr(torch.compiler, "is_exporting", bool)()  # torch 2.4 cannot tell
    )


def worthwhile(kernel: str, numbers: int) -> bool:
    """Say whether a kernel is faster than PyTorch for so many numbers."""
    return numbers >= LEAST[kernel]


def fits(x: Tensor, dtype: torch.dtype, layout: torch.memory_format) -> bool:
    """Say whether a kernel may read a tensor's memory as numbers of this dtype, in this order."""
    return (
        x.is_cpu
        and x.dtype == dtype
        and dtype in NATIVE
        and x.layout is torch.strided
        # Subclasses mean something else by their memory, or have none.
        and type(x) in (Tensor, torch.nn.Parameter)
        and x.is_contiguous(memory_format=layout)
    )


def ordered(x: Tensor, layout: torch.memory_format) -> Tensor:
    """Bring a tensor's numbers into an order, if they are not."""
    return x.resolve_neg().contiguous(memory_format=layout)


def apply(function: Any, *arguments: Any) -> Tensor:
    """Apply a function with gradients."""
    out: Tensor = function.apply(*arguments)
    return out


def register(
    name: str,
    schema: str,
    kernel: Callable[..., Any],
    fake: Callable[..., Any],
    *,
    backward: Callable[..., Any] | None = None,
    save: Callable[..., None] | None = None,
) -> None:
    """Register an operator: what computes it, what makes its outputs without values, and its gradients."""

    def checked(*arguments: Any) -> Any:
        # What takes a tensor is also given None, which torch lets pass for one without values.
        for argument in arguments:
            if argument is None or (
                isinstance(argument, list | tuple) and any(each is None for each in argument)
            ):
                raise TypeError(f"nasx::{name} takes tensors and numbers; got None for one of them")
        return kernel(*arguments)

    operator: Any = torch.library.custom_op(
        f"nasx::{name}", checked, mutates_args=(), device_types="cpu", schema=schema
    )
    operator.register_fake(fake)
    if backward is not None:
        operator.register_autograd(backward, setup_context=save)


def check_numbers(name: str, x: Tensor, dtype: torch.dtype, shape: Sequence[int]) -> None:
    """Refuse another dtype or shape, where an operator may have been called with anything."""
    if x.dtype != dtype or x.shape != tuple(shape):
        raise ValueError(
            f"{name} must have dtype {dtype} and shape {tuple(shape)}; got {x.dtype} and {tuple(x.shape)}"
        )


def check_dtype(name: str, x: Tensor) -> None:
    """Refuse a dtype that no kernel takes."""
    if x.dtype not in NATIVE:
        raise ValueError(f"{name} must have dtype float32 or float64; got {x.dtype}")


def check_images(x: Tensor, stride: int) -> None:
    """Refuse what is no batch of images, or a stride that no kernel has."""
    if x.dim() != 4:
        raise ValueError(f"x must have four dimensions (B, C, H, W); got shape {tuple(x.shape)}")
    if stride not in (1, 2):
        raise ValueError(f"stride must be 1 or 2; got {stride!r}")


def images_like(x: Tensor, height: int, width: int, dtype: torch.dtype) -> Tensor:
    """Make room for as many images and channels as `x` has, channels last."""
    shape = (*x.shape[:2], height, width)
    return torch.empty(shape, dtype=dtype, device=x.device, memory_format=torch.channels_last)


def outputs_like(x: Tensor, stride: int, dtype: torch.dtype) -> Tensor:
    """Make room for what an operation of this stride gives of images, channels last."""
    if stride == 1:
        return torch.empty_like(x, dtype=dtype, memory_format=torch.channels_last)
    height, width = x.shape[2:]
    return images_like(x, (height + stride - 1) // stride, (width + stride - 1) // stride, dtype)


def check_outputs(name: str, x: Tensor, dtype: torch.dtype, height: int, width: int, stride: int) -> None:
    """Refuse what is not as an operation on images of this size gives it."""
    check_images(x, stride)
    outputs = (-(-height // stride), -(-width // stride))
    check_numbers(name, x, dtype, (*x.shape[:2], *outputs))
