"""The training of a supernet whose weights and architecture parameters learn in turns."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from nasx.errors import EvaluationError
from nasx.nn.supernet import Supernet
from nasx.space import Genotypes
from nasx.strategies.differentiable.cost_models import CostModels
from nasx.strategies.differentiable.discretize import best_within
from nasx.strategies.differentiable.expected_cost import ExpectedCosts
from nasx.strategies.differentiable.gradients import dominant_eigenvalue, second_order_gradient
from nasx.strategies.epochs import EpochTraining, mean_loss
from nasx.strategies.supernet import Epoch
from nasx.tasks.batches import stream

if TYPE_CHECKING:
    from nasx.strategies.differentiable.darts import DARTS
    from nasx.strategies.limits import CostLimits
    from nasx.tasks.base import SupernetTask

__all__ = ["Training", "describe"]


class Training(EpochTraining):
    """A supernet, its two optimisers and its two parts of the data.

    Parameters
    ----------
    settings : DARTS
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
    cost_limits : CostLimits, optional
        Costs and limits: expected costs take part in the architecture's loss, and what is derived is within
        the limits.

    Raises
    ------
    TypeError
        If there are limits, and the supernet does not say what its parts are.
    """

    def __init__(
        self,
        settings: DARTS,
        supernet: Supernet,
        task: SupernetTask,
        *,
        seed: int,
        device: str | None,
        deadline: float | None,
        cost_limits: CostLimits | None = None,
    ) -> None:
        super().__init__(
            supernet, task, batch_size=settings.batch_size, seed=seed, device=device, deadline=deadline
        )
        self.settings, self.logits = settings, supernet.architecture_parameters()
        self.weight_optimizer = torch.optim.SGD(
            self.weights, settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay
        )
        self.architecture_optimizer = torch.optim.Adam(
            self.logits,
            settings.architecture_lr,
            betas=settings.architecture_betas,
            weight_decay=settings.architecture_weight_decay,
        )
        self.mixed = settings.mixed_precision and self.device.type == "cuda"
        # One each: gradients of a mixture's weights are sums over whole layers and overflow first.
        self.weight_scaler, self.architecture_scaler = (
            torch.amp.GradScaler(self.device.type, enabled=self.mixed) for _ in range(2)
        )
        part = settings.architecture_data
        if isinstance(part, str):
            self.batches, self.held_out = self.loader("train"), self.loader(part)
        else:
            self.batches = self.loader("train", (0.0, 1 - part))
            self.held_out = self.loader("train", (1 - part, 1.0))
        self.passes = 0  # over the held-out part
        self.cost_limits = cost_limits
        self.models: CostModels | None = None
        self.expected: ExpectedCosts | None = None
        if cost_limits is not None and cost_limits.limits:
            self.models = CostModels(supernet, cost_limits, seed=seed)
            self.expected = ExpectedCosts(
                self.models,
                form=settings.cost_form or "add",
                weight=settings.cost_weight,
                exponent=settings.cost_exponent,
            )

    # -- one epoch -------------------------------------------------------------------------------------------

    def epoch(self, number: int) -> Epoch | None:
        """Train for an epoch; see `EpochTraining.epoch`."""
        began = time.monotonic()
        torch.manual_seed(stream(self.seed, number, 2))
        rate = self._schedule(number)
        learns = number >= self.settings.warmup_epochs
        losses: list[Tensor] = []
        held_out_losses: list[Tensor] = []
        others = self._others()
        self.supernet.train()
        self.batches.epoch = number
        for batch in self.batches:
            if self.is_late:
                return None
            # The architecture moves first, on the weights as they are.
            if learns:
                held_out_losses.append(self.architecture_step(batch, next(others)))
            losses.append(self.weight_step(batch))
        entry: Epoch = {
            "epoch": number + 1,
            "loss": mean_loss(losses, "loss", number),
            "architecture_loss": mean_loss(held_out_losses, "architecture loss", number) if learns else None,
            "lr": rate,
            "temperature": self.supernet.temperature,
            **self._describe(),
        }
        if self.settings.early_stop == "eigenvalue" and learns:
            passes = self.passes
            entry["eigenvalue"] = dominant_eigenvalue(
                self.supernet,
                self._exact_loss,
                next(others),
                self.logits,
                generator=torch.Generator().manual_seed(stream(self.seed, number, 3)),
            )
            self.passes = passes  # a pass that only this began would change the epochs to come
        entry["seconds"] = time.monotonic() - began
        return entry

    def _schedule(self, number: int) -> float:
        """Set temperature and learning rate, both constant within an epoch; returns the rate."""
        s = self.settings
        done = number / max(s.epochs - 1, 1)
        self.supernet.temperature = s.temperature * (s.final_temperature / s.temperature) ** done
        rate = s.lr_min + 0.5 * (s.lr - s.lr_min) * (1 + math.cos(math.pi * number / s.epochs))
        for group in self.weight_optimizer.param_groups:
            group["lr"] = rate
        return rate

    def _others(self) -> Iterator[Any]:
        """Give batches of the held-out part without end; an epoch begins with a new pass over it."""
        while True:
            self.held_out.epoch = self.passes
            self.passes += 1
            empty = True
            for batch in self.held_out:
                empty = False
                yield batch
            if empty:
                raise EvaluationError("the architecture parameters have no images to learn from")

    def architecture_step(self, batch: Any, held_out: Any) -> Tensor:
        """Move the architecture parameters; a look ahead steps on `batch`. Returns the held-out loss."""
        if self.settings.order == 2:
            value = second_order_gradient(
                self.supernet,
                self._loss,
                batch,
                held_out,
                weights=self.weights,
                logits=self.logits,
                optimizer=self.weight_optimizer,
                objective=self._with_costs,
            )
        else:
            value = self._loss(held_out)
            self._backward(self._with_costs(value), self.logits, self.architecture_scaler)
        self.architecture_scaler.step(self.architecture_optimizer)
        self.architecture_scaler.update()
        return value.detach()

    def weight_step(self, batch: Any) -> Tensor:
        """Move the weights down the loss on a batch; returns the loss before."""
        value = self._loss(batch)
        self._backward(value, self.weights, self.weight_scaler)
        if self.settings.grad_clip is not None:
            self.weight_scaler.unscale_(self.weight_optimizer)
            nn.utils.clip_grad_norm_(self.weights, self.settings.grad_clip)
        self.weight_scaler.step(self.weight_optimizer)
        self.weight_scaler.update()
        return value.detach()

    def _loss(self, batch: Any) -> Tensor:
        with torch.autocast(self.device.type, torch.float16, enabled=self.mixed):
            return self._exact_loss(batch)

    def _exact_loss(self, batch: Any) -> Tensor:
        return self.task.loss(self.supernet, batch)[0]

    def _with_costs(self, value: Tensor) -> Tensor:
        """Put the expected costs into the architecture's loss, if there are limits on costs."""
        if self.expected is None or self.settings.cost_form is None:
            return value
        return self.expected.loss(value, self._expected_costs(self.expected))

    def _expected_costs(self, expected: ExpectedCosts) -> dict[str, Tensor]:
        return expected(self.supernet.probabilities(), self.supernet.edge_probabilities())

    def derive(self) -> Genotypes | None:
        """Find the architecture that the parameters say is best within the limits; None if there is none."""
        return best_within(self.supernet, self.cost_limits, models=self.models, seed=self.seed)

    def _backward(self, value: Tensor, parameters: list[nn.Parameter], scaler: torch.amp.GradScaler) -> None:
        """Set these parameters' gradients, and spend nothing on those of the others."""
        for parameter in parameters:
            parameter.grad = None
        scaler.scale(value).backward(inputs=parameters)  # type: ignore[no-untyped-call]

    def _describe(self) -> Epoch:
        found = describe(self.supernet, self.derive())
        if self.expected is not None:
            with torch.no_grad():
                costs = self._expected_costs(self.expected)
            found["expected_costs"] = {name: cost.item() for name, cost in costs.items()}
        return found

    # -- between two runs ------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Give everything that the next epoch depends on, besides its number."""
        return {
            "weight_optimizer": self.weight_optimizer.state_dict(),
            "architecture_optimizer": self.architecture_optimizer.state_dict(),
            # Empty without mixed precision.
            "weight_scaler": self.weight_scaler.state_dict(),
            "architecture_scaler": self.architecture_scaler.state_dict(),
            "passes": self.passes,
        }

    def load_state(self, state: dict[str, Any], epochs: int) -> None:
        """Be as after so many epochs, when `state` gave this."""
        self.weight_optimizer.load_state_dict(state["weight_optimizer"])
        self.architecture_optimizer.load_state_dict(state["architecture_optimizer"])
        for name in ("weight_scaler", "architecture_scaler"):
            if state[name] and self.mixed:  # a run may go on on another device
                getattr(self, name).load_state_dict(state[name])
        self.passes = int(state["passes"])
        if epochs:
            self._schedule(epochs - 1)


def describe(supernet: Supernet, genotype: Genotypes | None) -> Epoch:
    """Say what a supernet's architecture parameters stand for.

    Parameters
    ----------
    supernet : Supernet
        As it is.
    genotype : ndarray of int32, shape (d,), or None
        What is derived from it; None: nothing is within the limits.

    Returns
    -------
    dict
        What `Result.history` holds of it: "genotype", "skips", "operations", "columns", "probabilities" and
        "edge_probabilities".
    """
    shown = supernet.derive() if genotype is None else genotype
    with torch.no_grad():
        found: Epoch = {name: rows.tolist() for name, rows in supernet.probabilities().items()}
        edges = {name: row.tolist() for name, row in supernet.edge_probabilities().items()}
    skips, operations = supernet.skips(supernet.space.architecture(shown))
    return {
        "genotype": None if genotype is None else genotype.tolist(),
        "skips": skips,
        "operations": operations,
        "columns": {name: list(names) for name, names in supernet.columns.items()},
        "probabilities": found,
        "edge_probabilities": edges,
    }
