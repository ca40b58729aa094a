"""The training of a supernet epoch by epoch, which goes on after an interruption where it was."""

from __future__ import annotations

import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nasx.errors import EvaluationError
from nasx.nn.supernet import Supernet
from nasx.strategies.supernet import Epoch
from nasx.tasks.trained import device_of
from nasx.tasks.training import NO_BATCH, random_state

if TYPE_CHECKING:
    from nasx.checkpoint import Checkpoint
    from nasx.tasks.base import Passes, SupernetTask

__all__ = ["EpochTraining", "mean_loss"]


class EpochTraining(ABC):
    """What trains a supernet in place: subclasses say what an epoch is, and what it takes to go on.

    Parameters
    ----------
    supernet : Supernet
        What to train, in place; it is moved to the device.
    task : SupernetTask
        Batches and loss.
    batch_size : int
        Images in a batch, where the data are not loaders.
    seed : int
        Seed of everything random; each epoch's follow from it and from the epoch's number.
    device : str, optional
        By default the task's.
    deadline : float, optional
        ``time.monotonic()`` from which on no further step is begun.

    Raises
    ------
    ValueError
        If the supernet has no weights that learn.
    """

    def __init__(
        self,
        supernet: Supernet,
        task: SupernetTask,
        *,
        batch_size: int,
        seed: int,
        device: str | None,
        deadline: float | None,
    ) -> None:
        self.supernet, self.task, self.batch_size = supernet, task, batch_size
        self.seed, self.deadline = seed, deadline
        self.device = task.device if device is None else device_of(device)
        supernet.to(self.device)
        self.weights = supernet.weight_parameters()
        if not self.weights:
            raise ValueError("supernet must have weights that learn; all of its parameters are frozen")

    @abstractmethod
    def epoch(self, number: int) -> Epoch | None:
        """Train for an epoch.

        Parameters
        ----------
        number : int
            From 0.

        Returns
        -------
        dict or None
            What `history` holds of it; None if time was over before its end.

        Raises
        ------
        nasx.errors.EvaluationError
            If a loss is not finite, or there are no batches.
        """

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Give everything that the next epoch depends on, besides its number."""

    def prepare(self, state: dict[str, Any]) -> None:  # noqa: B027 - most supernets have one shape
        """Bring the supernet into the shape that it had, before its weights are loaded."""

    @abstractmethod
    def load_state(self, state: dict[str, Any], epochs: int) -> None:
        """Be as after so many epochs, when `state` gave this."""

    def run(
        self,
        epochs: int,
        *,
        checkpoint: Checkpoint | None,
        history: list[Epoch],
        report: Callable[[Epoch], None] | None,
        ends: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Train until so many epochs are in the history, or an early end is due.

        Parameters
        ----------
        epochs : int
            How many in all.
        checkpoint : Checkpoint, optional
            Gone on from, and written after every epoch.
        history : list
            Filled with one entry an epoch, those of an earlier run first.
        report : callable, optional
            Called with every new entry, after its checkpoint is written.
        ends : callable, optional
            Says whether training ends here.

        Returns
        -------
        bool
            Whether it came to its end; False if time was over.
        """
        if checkpoint is not None:
            self.restore(checkpoint, history)
        with random_state(self.device, self.seed):  # every epoch seeds itself
            while len(history) < epochs and not ends():
                entry = self.epoch(len(history))
                if entry is None:
                    return False
                history.append(entry)
                if checkpoint is not None:
                    self.save(checkpoint, history)
                if report is not None:
                    report(entry)
        self.supernet.zero_grad(set_to_none=True)
        return True

    @property
    def is_late(self) -> bool:
        """Whether time is over."""
        return self.deadline is not None and time.monotonic() >= self.deadline

    def loader(self, split: str, part: tuple[float, float] | None = None) -> Passes:
        """Give the batches of a split, or of a part of it, to train on.

        Parameters
        ----------
        split, part
            As for ``task.loaders``.

        Returns
        -------
        Passes
            On the device.
        """
        return self.task.loaders(
            split,
            self.seed,
            training=True,
            device=str(self.device),
            batch_size=self.batch_size,
            part=part,
        )

    # -- between two runs ------------------------------------------------------------------------------------

    def save(self, checkpoint: Checkpoint, history: list[Epoch]) -> None:
        """Write down everything that the next epoch depends on.

        Parameters
        ----------
        checkpoint : Checkpoint
            Where.
        history : list
            The epochs so far.
        """
        weights = self.supernet.state_dict()
        checkpoint.save({"supernet": weights, **self.state(), "history": json.dumps(history)})

    def restore(self, checkpoint: Checkpoint, history: list[Epoch]) -> None:
        """Go on from what `save` wrote, if there is anything.

        Parameters
        ----------
        checkpoint : Checkpoint
            Where.
        history : list
            Filled with the epochs so far: none if there is nothing, whatever else was kept of them.
        """
        state = checkpoint.load()
        if state is None:
            history.clear()
            return
        with checkpoint.reading():
            self.prepare(state)
            self.supernet.load_state_dict(state["supernet"])
            epochs = json.loads(state["history"])
            if not isinstance(epochs, list) or not all(isinstance(entry, dict) for entry in epochs):
                raise ValueError("its history is no list of epochs")
            self.load_state(state, len(epochs))
            history[:] = epochs


def mean_loss(losses: list[Tensor], what: str, number: int) -> float:
    """Average the losses of an epoch.

    Parameters
    ----------
    losses : list of Tensor, shape ()
        At least one.
    what : str
        Their name in errors.
    number : int
        The epoch's, from 0.

    Returns
    -------
    float
        The mean.

    Raises
    ------
    nasx.errors.EvaluationError
        If there are none, or the mean is not finite.
    """
    if not losses:
        raise EvaluationError(f"the weights have {NO_BATCH}")
    value = float(torch.stack(losses).mean())
    if not math.isfinite(value):
        raise EvaluationError(
            f"training diverged: the {what} became {value} in epoch {number + 1}; lower lr or set grad_clip"
        )
    return value
