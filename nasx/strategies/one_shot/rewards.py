"""What architectures are rewarded by, where they share weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from nasx.errors import EvaluationError

if TYPE_CHECKING:
    from nasx.tasks.base import SupernetTask

__all__ = ["Reward", "reward_of"]

_IGNORED = -100  # as in torch's cross entropy: what is labelled so is not to be predicted


class Reward(NamedTuple):
    """What a network reached on a batch.

    Parameters
    ----------
    value : Tensor, shape ()
        In 0..1, more is better.
    loss : Tensor, shape ()
        The task's.
    examples : int
        How many there are in the batch.
    """

    value: Tensor
    loss: Tensor
    examples: int


def reward_of(task: SupernetTask, network: nn.Module, batch: Any, kind: str) -> Reward:
    """Say what a network reaches on a batch.

    Parameters
    ----------
    task : SupernetTask
        Whose loss.
    network : torch.nn.Module
        A supernet, on the path that is meant and in the modes that are meant.
    batch : object
        One of the task's.
    kind : {"accuracy", "likelihood"}
        The share of right labels, or ``exp(-loss)``.

    Returns
    -------
    Reward
        With the loss and the number of examples.

    Raises
    ------
    nasx.errors.EvaluationError
        If accuracy is to be the reward and the task's batches are not inputs with labels.
    """
    loss, outputs = task.loss(network, batch)
    if kind == "likelihood":
        return Reward(torch.exp(-loss), loss, len(outputs))
    labels = batch[1] if isinstance(batch, tuple | list) and len(batch) == 2 else None
    if (
        not isinstance(labels, Tensor)
        or labels.is_floating_point()
        or outputs.ndim < 2
        or labels.shape != outputs.shape[:-1]
    ):
        raise EvaluationError(
            'reward="accuracy" needs batches (inputs, labels) and outputs (B, classes), or of each token '
            '(B, T) and (B, T, classes); with this task, take reward="likelihood"'
        )
    right = torch.eq(outputs.argmax(-1), labels)[labels != _IGNORED]
    return Reward(right.float().mean(), loss, len(outputs))
