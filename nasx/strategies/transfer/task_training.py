"""A supernet that learns one task after another, each in a few steps."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from nasx.architecture import Architecture
from nasx.errors import EvaluationError
from nasx.nn.recalibration import frozen_statistics
from nasx.nn.supernet import Supernet
from nasx.space import Genotypes
from nasx.strategies.differentiable.discretize import best_within

if TYPE_CHECKING:
    from nasx.strategies.differentiable.cost_models import CostModels
    from nasx.strategies.transfer.meta_nas import MetaNAS
    from nasx.tasks.base import Passes, SupernetTask

__all__ = ["Losses", "TaskTraining"]

# Without a mean of gradients: a task takes only a few steps, and the next one's gradients are others.
_BETAS = (0.0, 0.999)


class Losses(NamedTuple):
    """Losses of a task's steps, each before it, by weights and by architecture parameters."""

    weights: list[Tensor]
    architectures: list[Tensor]


class TaskTraining:
    """A supernet and its two optimisers, which go on from task to task.

    Parameters
    ----------
    settings : MetaNAS
        How to train.
    supernet : Supernet
        What to train, in place.
    models : CostModels, optional
        Costs and limits: only architectures within them are derived.
    """

    def __init__(self, settings: MetaNAS, supernet: Supernet, models: CostModels | None = None) -> None:
        self.settings, self.supernet, self.models = settings, supernet, models
        self.weights, self.logits = supernet.weight_parameters(), supernet.architecture_parameters()
        self.weight_optimizer = torch.optim.Adam(
            self.weights, settings.lr, betas=_BETAS, weight_decay=settings.weight_decay
        )
        self.architecture_optimizer = torch.optim.Adam(
            self.logits,
            settings.architecture_lr,
            betas=_BETAS,
            weight_decay=settings.architecture_weight_decay,
        )

    @property
    def learned(self) -> list[nn.Parameter]:
        """Everything that a task moves: weights, then architecture parameters."""
        return [*self.weights, *self.logits]

    def derive(self) -> Genotypes:
        """Find the strongest architecture within the limits, as the parameters are now.

        Returns
        -------
        ndarray of int32, shape (d,)
            A genotype.

        Raises
        ------
        nasx.errors.EvaluationError
            If none is found.
        """
        limits = None if self.models is None else self.models.cost_limits
        genotype = best_within(self.supernet, limits, models=self.models)
        if genotype is None:
            raise EvaluationError("no architecture within the limits was found")
        return genotype

    def run(
        self,
        task: SupernetTask,
        *,
        steps: int,
        seed: int,
        device: torch.device,
        learns: bool,
        soft: int | None = None,
        is_late: Callable[[], bool] = lambda: False,
    ) -> Losses | None:
        """Adapt to a task.

        In every step the architecture parameters move first, then the weights, on the same batch. The
        temperature of the softmax falls from step to step, to its last value in the last of these. Then the
        weights of the strongest operations take the rest of the steps, without the others.

        Parameters
        ----------
        task : SupernetTask
            Its "train" split is learned from.
        steps : int
            Batches, at least 1; the split is passed over as often as that takes.
        seed : int
            Of the batches' order.
        device : torch.device
            Where the supernet is.
        learns : bool
            Whether architecture parameters learn. If not, the temperature stays at its first value.
        soft : int, optional
            After how many steps the strongest operations take the rest alone, if architecture parameters
            learn; by default that is never.
        is_late : callable, optional
            Asked before each step whether to give up.

        Returns
        -------
        Losses or None
            None if it gave up, somewhere between two steps.

        Raises
        ------
        nasx.errors.EvaluationError
            If the task has no images to learn from.
        """
        settings, supernet = self.settings, self.supernet
        loader = task.loaders(
            "train", seed, training=True, device=str(device), batch_size=settings.batch_size
        )
        batches = _endless(loader)
        losses = Losses([], [])
        soft = steps if soft is None or not learns else min(steps, soft)
        path = settings.fixed(supernet.space)
        supernet.train()
        with frozen_statistics(supernet):
            for step in range(steps):
                if is_late():
                    return None
                supernet.temperature = settings.temperature_at(step, soft) if learns else settings.temperature
                if step == soft:
                    path = supernet.space.architecture(self.derive())
                batch = next(batches)
                with path_of(supernet, path):
                    if learns and step < soft:
                        losses.architectures.append(self._step(task, batch, self.logits))
                    losses.weights.append(self._step(task, batch, self.weights))
        return losses

    def _step(self, task: SupernetTask, batch: Any, parameters: list[nn.Parameter]) -> Tensor:
        """Move some of the parameters down the loss, and spend nothing on the gradients of the others."""
        value = task.loss(self.supernet, batch)[0]
        for parameter in parameters:
            parameter.grad = None
        value.backward(inputs=parameters)  # type: ignore[no-untyped-call]
        of_weights = parameters is self.weights
        if of_weights and self.settings.grad_clip is not None:
            nn.utils.clip_grad_norm_(parameters, self.settings.grad_clip)
        (self.weight_optimizer if of_weights else self.architecture_optimizer).step()
        return value.detach()

    def state(self) -> dict[str, Any]:
        """Give the optimisers' states, which the next task begins with."""
        return {
            "weight_optimizer": self.weight_optimizer.state_dict(),
            "architecture_optimizer": self.architecture_optimizer.state_dict(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave, as a copy."""
        # Optimisers keep the tensors that they are given, and change them.
        self.weight_optimizer.load_state_dict(copy.deepcopy(state["weight_optimizer"]))
        self.architecture_optimizer.load_state_dict(copy.deepcopy(state["architecture_optimizer"]))


@contextlib.contextmanager
def path_of(supernet: Supernet, architecture: Architecture | None) -> Iterator[None]:
    """Compute only one architecture while the context lasts; all of them together if it is None.

    Parameters
    ----------
    supernet : Supernet
        Whose path.
    architecture : Architecture, optional
        One of its space.
    """
    if architecture is None:
        yield
        return
    with supernet.path(architecture):
        yield


def _endless(loader: Passes) -> Iterator[Any]:
    while True:
        empty = True
        for batch in loader:
            empty = False
            yield batch
        if empty:
            raise EvaluationError("the task has no images to adapt to")
