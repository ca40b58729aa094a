"""What spaces of image networks have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nasx.space import Space
    from nasx.tasks.base import TaskSpec

__all__ = ["check_images"]


def check_images(space: Space, spec: TaskSpec) -> None:
    """Raise ValueError unless the inputs are images, ``(C, H, W)``."""
    if len(spec.input_shape) != 3:
        raise ValueError(
            f"{type(space).__name__} needs images, input_shape (C, H, W); got input_shape {spec.input_shape}"
        )
