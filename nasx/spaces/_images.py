"""What spaces of image networks have in common."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nasx.space import Space
    from nasx.tasks.base import TaskSpec

__all__ = ["check_images", "check_sizes", "scaled"]


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


def check_sizes(**sizes: tuple[int, int]) -> None:
    """Raise ValueError for what is no integer of at least the second number."""
    for name, (value, least) in sizes.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name} must be an integer of at least {least}; got {value!r}")
