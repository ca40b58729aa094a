"""The training that `FBNet` and `ProxylessNAS` share: two optimisers, two parts of the data, costs."""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nasx.nn.supernet import EdgeChoices, Supernet
from nasx.strategies.differentiable.cost_models import CostModels
from nasx.strategies.differentiable.expected_cost import ExpectedCosts
from nasx.strategies.differentiable.training import Training
from nasx.strategies.epochs import mean_loss
from nasx.strategies.supernet import Epoch
from nasx.tasks.batches import stream

if TYPE_CHECKING:
    from nasx.strategies.hardware_aware.base import HardwareAware
    from nasx.strategies.limits import CostLimits
    from nasx.tasks.base import SupernetTask

__all__ = ["CostAwareTraining"]

# Of the epoch's random numbers; the seed is that of the search, and the first of the path is the epoch.
_TORCH, _COSTS = 2, 4


class CostAwareTraining(Training):
    """A supernet, its two optimisers, its two parts of the data, and what its architectures cost.

    Parameters
    ----------
    settings : HardwareAware
        How to train.
    supernet : Supernet
        What to train, in place; it is moved to the device.
    task : SupernetTask
        Batches and loss.
    cost_limits : CostLimits, optional
        Costs and limits; costs take part in the loss where they have targets.
    form : {"add", "multiply", "fbnet"}
        How.
    weight, exponent : float, optional
        As of `ExpectedCosts`.
    seed, device, deadline
        As of `Training`.
    """

    settings: Any

    def __init__(
        self,
        settings: HardwareAware,
        supernet: Supernet,
        task: SupernetTask,
        cost_limits: CostLimits | None,
        *,
        form: str,
        weight: float | None,
        exponent: float | None,
        seed: int,
        device: str | None,
        deadline: float | None,
    ) -> None:
        made: Any = settings  # it has the settings of DARTS that the training reads
        super().__init__(made, supernet, task, seed=seed, device=device, deadline=deadline)
        self.cost_limits = cost_limits
        if cost_limits is not None and (cost_limits.limits or settings.targets):
            self.models = CostModels(supernet, cost_limits, seed=stream(seed, 0, _COSTS))
            self.expected = ExpectedCosts(
                self.models, form=form, weight=weight, exponent=exponent, targets=settings.targets
            )
        elif settings.targets:
            raise ValueError(
                f"targets {dict(settings.targets)} need costs that are not measured anew, as a LatencyTable: "
                "pass costs= to the search"
            )

    # -- one epoch -------------------------------------------------------------------------------------------

    @abstractmethod
    def learn(self, number: int) -> tuple[list[Tensor], dict[str, Any]] | None:
        """Train for an epoch: the losses of both parts go into the entry under their names.

        Parameters
        ----------
        number : int
            From 0.

        Returns
        -------
        tuple or None
            Losses of the weights, and what the entry has besides; None if time was over before its end.
        """

    def epoch(self, number: int) -> Epoch | None:
        """Train for an epoch; see `EpochTraining.epoch`."""
        began = time.monotonic()
        torch.manual_seed(stream(self.seed, number, _TORCH))
        rate = self._schedule(number)
        self.supernet.train()
        found = self.learn(number)
        if found is None:
            return None
        losses, more = found
        entry: Epoch = {"epoch": number + 1, "loss": mean_loss(losses, "loss", number), "lr": rate}
        entry |= {"temperature": self.temperature, **more, **self._describe()}
        entry["seconds"] = time.monotonic() - began
        return entry

    def learns(self, number: int) -> bool:
        """Say whether architecture parameters learn in an epoch, of a number from 0."""
        return bool(number >= self.settings.warmup_epochs)

    @property
    def temperature(self) -> float:
        """What the logits are divided by before an operation is drawn."""
        return 1.0

    def _cosine(self, lr: float, number: int, epochs: int) -> float:
        """Set the weights' learning rate, constant within an epoch; returns it."""
        lowest = self.settings.lr_min
        rate: float = lowest + 0.5 * (lr - lowest) * (1 + math.cos(math.pi * number / epochs))
        for group in self.weight_optimizer.param_groups:
            group["lr"] = rate
        return rate

    # -- what runs -------------------------------------------------------------------------------------------

    def loss_of(self, choices: dict[str, EdgeChoices], batch: Any) -> Tensor:
        """Give the loss of what is computed with these choices."""
        with self.supernet.running(choices):
            return self.task.loss(self.supernet, batch)[0]

    def drawn_weight_step(self, choices: dict[str, EdgeChoices], batch: Any) -> Tensor:
        """Move the weights that take part down the loss on a batch; returns the loss before.

        Weights that take no part have no gradient, rather than one of zero: momentum and decay leave them
        alone.
        """
        with self.supernet.running(choices):
            return self.weight_step(batch)
