"""What spaces of image networks have in common."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nasx._arguments import count

if TYPE_CHECKING:
    from nasx.space import Space
    from nasx.tasks.base import TaskSpec

__all__ = ["check_images", "check_sizes", "divisible", "listed", "scaled"]


def check_images(space: Space, spec: TaskSpec) -> None:
    """Raise ValueError unless the inputs are images, ``(C, H, W)``."""
    if len(spec.input_shape) != 3:
        raise ValueError(
            f"{type(space).__name__} needs images, input_shape (C, H, W); got input_shape {spec.input_shape}"
        )


def scaled(channels: int, multiplier: float) -> int:
    """Multiply a number of channels: rounded down, at least 1."""
    # A product such as 0.29 * 100 may be a little less than what is meant.
    return max(1, math.floor(channels * multiplier + 1e-6))


def divisible(channels: int, multiplier: float) -> int:
    """Multiply a number of channels by anything but 1, to the nearest multiple of 8, as MobileNet V2 does.

    It is at least 8, and the next multiple where the nearest would take off more than a tenth.
    """
    if multiplier == 1:
        return channels
    wanted = channels * multiplier
    nearest = max(8, math.floor(wanted + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * wanted else nearest + 8


def listed(values: Sequence[int], name: str) -> tuple[int, ...]:
    """Return positive integers as a tuple; raise ValueError for anything else."""
    if isinstance(values, str | int) or not len(values):
        raise ValueError(f"{name} must be a non-empty list of integers; got {values!r}")
    return tuple(count(value, f"each of {name}") for value in values)


def check_sizes(**sizes: tuple[int, int]) -> None:
    """Raise ValueError for what is no integer of at least the second number."""
    for name, (value, least) in sizes.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name} must be an integer of at least {least}; got {value!r}")
