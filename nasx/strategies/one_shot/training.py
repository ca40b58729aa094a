"""The training of a supernet by single paths."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from nasx.hardware import FlopsTable
from nasx.nn.supernet import Supernet
from nasx.space import Genotypes
from nasx.strategies.base import CostViolation
from nasx.strategies.epochs import EpochTraining, mean_loss
from nasx.strategies.one_shot.distillation import sandwich_losses
from nasx.strategies.one_shot.sampling import ends_within, paths
from nasx.strategies.supernet import Epoch
from nasx.tasks.batches import stream

if TYPE_CHECKING:
    from nasx.strategies.one_shot.spos import SPOS
    from nasx.tasks.base import SupernetTask

__all__ = ["PathTraining"]


class PathTraining(EpochTraining):
    """A supernet and the optimiser of its weights, which move by the gradients of one path or a few.

    A layer that is on no path of a step has no gradient at all, rather than one of zero: so neither momentum
    nor weight decay moves it. They do move what an elastic layer leaves unused.

    Parameters
    ----------
    settings : SPOS
        How to train.
    supernet : Supernet
        What to train, in place; it is moved to the device.
    task : SupernetTask
        Batches and loss.
    seed : int
        Seed of everything random; each epoch's follow from it and from the epoch's number.
    device : str, optional
        By default the task's.
    deadline : float, optional
        ``time.monotonic()`` from which on no further step is begun.
    cost_violation : callable, optional
        As for `OneShotStrategy.fit`.
    epochs : int, optional
        Over which the learning rate falls; by default the settings' own.
    """

    def __init__(
        self,
        settings: SPOS,
        supernet: Supernet,
        task: SupernetTask,
        *,
        seed: int,
        device: str | None,
        deadline: float | None,
        cost_violation: CostViolation | None = None,
        epochs: int | None = None,
    ) -> None:
        super().__init__(
            supernet, task, batch_size=settings.batch_size, seed=seed, device=device, deadline=deadline
        )
        self.settings, self.cost_violation = settings, cost_violation
        space, rule = supernet.space, settings.sampling
        # Where operations are counted block by block they also say which architecture is the largest.
        counts = rule == "flops" or (rule == "sandwich" and (space.has_blocks or not space.ordered.any()))
        self.cost = FlopsTable().bind(space, task.spec) if counts else None
        self.ends = ends_within(space, self.cost, cost_violation) if rule == "sandwich" else None
        self.epochs = settings.epochs if epochs is None else epochs
        self.optimizer: torch.optim.Optimizer
        if settings.optimizer == "adamw":
            self.optimizer = torch.optim.AdamW(self.weights, settings.lr, weight_decay=settings.weight_decay)
        else:
            self.optimizer = torch.optim.SGD(
                self.weights, settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay
            )
        self.mixed = settings.mixed_precision and self.device.type == "cuda"
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.mixed)
        self.batches = self.loader("train")

    def epoch(self, number: int) -> Epoch | None:
        """Train for an epoch; see `EpochTraining.epoch`."""
        began = time.monotonic()
        torch.manual_seed(stream(self.seed, number, 2))
        rate = self._schedule(number)
        steps = paths(
            self.supernet.space,
            self.settings.sampling,
            seed=stream(self.seed, number, 5),
            cost_violation=self.cost_violation,
            cost=self.cost,
            ends=self.ends,
        )
        losses: list[Tensor] = []
        self.supernet.train()
        self.batches.epoch = number
        for batch in self.batches:
            if self.is_late:
                return None
            losses.append(self.step(batch, next(steps)))
        return {
            "epoch": number + 1,
            "loss": mean_loss(losses, "loss", number),
            "lr": rate,
            "seconds": time.monotonic() - began,
        }

    def _schedule(self, number: int) -> float:
        """Set the learning rate, constant within an epoch, and return it."""
        s, done = self.settings, number / self.epochs
        left = {"linear": 1 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done)), "constant": 1.0}
        rate = s.lr_min + (s.lr - s.lr_min) * left[s.schedule]
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def step(self, batch: Any, genotypes: Sequence[Genotypes]) -> Tensor:
        """Add up the gradients of some paths on a batch, and move the weights once.

        Parameters
        ----------
        batch : object
            One of the task's.
        genotypes : sequence of ndarray of int32, shape (d,)
            The paths; by the sandwich rule the first one teaches the others.

        Returns
        -------
        Tensor, shape ()
            Mean of their losses, before.
        """
        self.optimizer.zero_grad(set_to_none=True)
        losses = []
        for value in self._losses(batch, genotypes):
            self.scaler.scale(value).backward()  # type: ignore[no-untyped-call]  # untyped in older torch
            losses.append(value.detach())
        if self.settings.grad_clip is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.weights, self.settings.grad_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return torch.stack(losses).mean()

    def _losses(self, batch: Any, genotypes: Sequence[Genotypes]) -> Iterator[Tensor]:
        """Give the loss of one path after the other, each while the supernet computes it."""
        if self.settings.sampling == "sandwich":
            yield from sandwich_losses(self.supernet, self._loss, batch, genotypes)
            return
        for genotype in genotypes:
            with self.supernet.path(self.supernet.space.architecture(genotype)):
                yield self._loss(batch)[0]

    def _loss(self, batch: Any) -> tuple[Tensor, Tensor]:
        with torch.autocast(self.device.type, torch.float16, enabled=self.mixed):
            return self.task.loss(self.supernet, batch)

    def state(self) -> dict[str, Any]:
        """Give everything that the next epoch depends on, besides its number."""
        return {"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict()}

    def load_state(self, state: dict[str, Any], epochs: int) -> None:
        """Be as after so many epochs, when `state` gave this."""
        self.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"] and self.mixed:  # a run may go on on another device
            self.scaler.load_state_dict(state["scaler"])
