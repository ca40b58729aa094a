"""What networks and blocks are given where it matters how large inputs are, and not what they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from nasx.tasks.base import TaskSpec

__all__ = ["input_type"]


def input_type(spec: TaskSpec, shape: tuple[int, ...]) -> torch.dtype:
    """Say of what type inputs of a network, or of one of its blocks, are.

    Parameters
    ----------
    spec : TaskSpec
        What the network is for.
    shape : tuple of int
        Shape of one input. A block is given the task's own inputs if its are of their shape.

    Returns
    -------
    torch.dtype
        int64 for tokens, of which 0 is always one, else float32.

    Examples
    --------
    >>> from nasx import TaskSpec
    >>> spec = TaskSpec((64,), 100, "language_modelling")
    >>> input_type(spec, (64,)), input_type(spec, (64, 32))
    (torch.int64, torch.float32)
    """
    return torch.int64 if spec.takes_tokens and shape == spec.input_shape else torch.float32
