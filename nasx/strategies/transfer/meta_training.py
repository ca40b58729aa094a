"""Reptile over weights and architecture parameters."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from nasx.nn.supernet import Supernet
from nasx.strategies.differentiable.cost_models import CostModels
from nasx.strategies.differentiable.training import describe
from nasx.strategies.epochs import EpochTraining, mean_loss
from nasx.strategies.supernet import Epoch
from nasx.strategies.transfer.task_training import TaskTraining
from nasx.tasks.batches import stream

if TYPE_CHECKING:
    from nasx.strategies.limits import CostLimits
    from nasx.strategies.transfer.meta_nas import MetaNAS
    from nasx.tasks.base import SupernetTask
    from nasx.tasks.distributions import TaskDistribution

__all__ = ["MetaTraining"]


class MetaTraining(EpochTraining):
    """A supernet whose parameters move towards those that it has once it is adapted to tasks.

    Parameters
    ----------
    settings : MetaNAS
        How to train.
    supernet : Supernet
        What to train, in place; it is moved to the device.
    tasks : TaskDistribution
        What to learn from.
    seed : int
        Seed of everything random; each epoch's follow from it and from the epoch's number.
    device : str, optional
        By default the tasks'.
    deadline : float, optional
        ``time.monotonic()`` from which on no further step is begun.
    cost_limits : CostLimits, optional
        Costs and limits: what is derived is within them.
    """

    def __init__(
        self,
        settings: MetaNAS,
        supernet: Supernet,
        tasks: TaskDistribution,
        *,
        seed: int,
        device: str | None,
        deadline: float | None,
        cost_limits: CostLimits | None = None,
    ) -> None:
        super().__init__(
            supernet,
            cast("SupernetTask", tasks),
            batch_size=settings.batch_size,
            seed=seed,
            device=device,
            deadline=deadline,
        )
        self.settings, self.tasks = settings, tasks
        limited = cost_limits is not None and bool(cost_limits.limits)
        models = CostModels(supernet, cost_limits, seed=seed) if cost_limits and limited else None
        self.training = TaskTraining(settings, supernet, models)

    def epoch(self, number: int) -> Epoch | None:
        """Make an epoch's updates; see `EpochTraining.epoch`."""
        settings, began = self.settings, time.monotonic()
        torch.manual_seed(stream(self.seed, number, 2))
        learns, soft = number >= settings.first_learning_epoch, settings.soft_at(number)
        losses: list[Tensor] = []
        others: list[Tensor] = []
        for update in range(settings.updates_per_epoch):
            at = number * settings.updates_per_epoch + update
            if not self._update(at, learns, soft, losses, others):
                return None
        self.supernet.temperature = settings.final_temperature  # with which architectures are derived
        weight_rate, architecture_rate = settings.meta_rates((number + 1) * settings.updates_per_epoch - 1)
        return {
            "epoch": number + 1,
            "loss": mean_loss(losses, "loss", number),
            "architecture_loss": mean_loss(others, "architecture loss", number) if learns else None,
            "lr": weight_rate,
            "architecture_lr": architecture_rate,
            "temperature": self.supernet.temperature,
            **describe(self.supernet, self.training.derive()),
            "seconds": time.monotonic() - began,
        }

    def _update(
        self, number: int, learns: bool, soft: int, losses: list[Tensor], others: list[Tensor]
    ) -> bool:
        """Adapt to some tasks, each from the same parameters, and move these; False if time was over."""
        settings, learned = self.settings, self.training.learned
        before = [parameter.detach().clone() for parameter in learned]
        moved = [torch.zeros_like(parameter) for parameter in before]
        for task in range(settings.tasks_per_update):
            index = stream(self.seed, number, task, 3)
            try:
                found = self.training.run(
                    self.tasks.episode(index),
                    steps=settings.task_steps,
                    seed=index,
                    device=self.device,
                    learns=learns,
                    soft=soft,
                    is_late=lambda: self.is_late,
                )
                with torch.no_grad():
                    for total, parameter, first in zip(moved, learned, before, strict=True):
                        total += parameter - first
            finally:
                with torch.no_grad():
                    for parameter, first in zip(learned, before, strict=True):
                        parameter.copy_(first)
            if found is None:
                return False
            losses += found.weights
            others += found.architectures
        rates = settings.meta_rates(number)
        weights = len(self.training.weights)
        with torch.no_grad():
            for place, (parameter, total) in enumerate(zip(learned, moved, strict=True)):
                parameter.add_(total, alpha=rates[place >= weights] / settings.tasks_per_update)
        return True

    def state(self) -> dict[str, Any]:
        """Give everything that the next epoch depends on, besides its number."""
        return self.training.state()

    def load_state(self, state: dict[str, Any], epochs: int) -> None:
        """Be as after so many epochs, when `state` gave this."""
        self.training.load_state(state)
        if epochs:
            self.supernet.temperature = self.settings.final_temperature
