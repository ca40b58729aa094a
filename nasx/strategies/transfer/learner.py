"""`MetaLearner`: what `MetaNAS` has learned, which adapts to new tasks."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from nasx._arguments import count
from nasx.architecture import Architecture
from nasx.nn.export import plain
from nasx.nn.recalibration import forget_statistics, recalibrate
from nasx.nn.supernet import Supernet
from nasx.strategies.transfer import learner_files
from nasx.strategies.transfer.task_training import TaskTraining
from nasx.tasks.base import SupernetTask, TaskSpec
from nasx.tasks.batches import stream
from nasx.tasks.distributions import TaskDistribution, mean_metrics
from nasx.tasks.trained import device_of
from nasx.tasks.training import random_state, torch_threads

if TYPE_CHECKING:
    from nasx.space import Space
    from nasx.strategies.differentiable.cost_models import CostModels
    from nasx.strategies.transfer.meta_nas import MetaNAS

__all__ = ["Adapted", "MetaLearner", "MetaScore"]


class Adapted:
    """A network that was adapted to a task.

    Attributes
    ----------
    architecture : Architecture
        The strongest operations after the last step.
    model : torch.nn.Module
        Its network with the weights that they had then: a plain module in evaluation mode, on the device. It
        normalises by the batch that it is given, or by the support; see `MetaNAS`.
    losses : list of float
        Of the mixture of all operations, before each step of the weights.
    supernet : nasx.nn.Supernet
        That mixture after the last step.
    task : SupernetTask
        What it was adapted to.
    """

    def __init__(
        self,
        architecture: Architecture,
        model: nn.Module,
        *,
        losses: list[float],
        supernet: Supernet,
        task: SupernetTask,
        device: torch.device,
    ) -> None:
        self.architecture, self.model, self.losses = architecture, model, losses
        self.supernet, self.task, self._device = supernet, task, device

    def score(self, split: str = "valid", *, task: SupernetTask | None = None) -> dict[str, float]:
        """Measure the network.

        Parameters
        ----------
        split : str, default "valid"
            What to measure it on; of an episode, "valid" are the queries.
        task : SupernetTask, optional
            By default the one that it was adapted to.

        Returns
        -------
        dict of str to float
            The task's metrics.
        """
        return (task or self.task).score(self.model, split, device=str(self._device))

    def accuracy(self, split: str = "valid") -> float:
        """Give the share of right answers, of tasks that have one; see `score`."""
        return self.score(split)["accuracy"]

    @property
    def parameters(self) -> int:
        """How many numbers the network has learned."""
        return sum(parameter.numel() for parameter in self.model.parameters())


class MetaLearner:
    """Weights and architecture parameters from which a new task is a few steps away.

    Made by `nasx.search` with `nasx.MetaNAS`, as ``result.meta``, or by `load`.

    Parameters
    ----------
    strategy : MetaNAS
        How it was learned, and how it adapts.
    supernet : nasx.nn.Supernet
        With the parameters to begin with.
    state : mapping
        Of the optimisers, as `TaskTraining` gives it.
    spec : TaskSpec or None
        That of the tasks.
    models : CostModels, optional
        Costs and limits: architectures are within them.
    """

    def __init__(
        self,
        strategy: MetaNAS,
        supernet: Supernet,
        state: Mapping[str, Any],
        *,
        spec: TaskSpec | None,
        models: CostModels | None = None,
    ) -> None:
        self.strategy, self.supernet, self.spec = strategy, supernet, spec
        self._models = models
        self._state = copy.deepcopy(dict(state))

    @property
    def space(self) -> Space:
        """Whose architectures it adapts."""
        return self.supernet.space

    def adapt(
        self, task: SupernetTask, *, steps: int | None = None, seed: int = 0, device: str | None = None
    ) -> Adapted:
        """Adapt to a task; what was learned stays as it is.

        Parameters
        ----------
        task : SupernetTask
            Such as ``FewShotEpisodes(...).episode(0, "test")``, or an `nasx.tasks.ImageClassification` of the
            same spec. Only its "train" split is looked at.
        steps : int, optional
            Batches to learn from; by default ``adapt_steps`` of the strategy. After 0, the network is that of
            the parameters as they are.
        seed : int, default 0
            Of the batches' order.
        device : str, optional
            By default the task's.

        Returns
        -------
        Adapted
            Weights and architecture, together.

        Raises
        ------
        TypeError
            If it is a distribution of tasks, or cannot train supernets.
        ValueError
            If its spec is another than that of the tasks that were learned from.
        nasx.errors.EvaluationError
            If no architecture within the limits is found.
        """
        if isinstance(task, TaskDistribution) and not isinstance(task, SupernetTask):
            raise TypeError(
                f"task is a whole distribution, {type(task).__name__}; give one of its tasks: "
                'task.episode(0, "test")'
            )
        if not isinstance(task, SupernetTask):
            raise TypeError(
                f"task must have a spec, loaders, loss and score, as nasx.tasks.ImageClassification has; got "
                f"{type(task).__name__}"
            )
        if task.spec != self.spec:
            raise ValueError(f"task must be like those that were learned from, {self.spec}; got {task.spec}")
        steps = self.strategy.adapt_steps if steps is None else count(steps, "steps", 0)
        place = task.device if device is None else device_of(device)
        strategy = self.strategy
        supernet = copy.deepcopy(self.supernet).to(place)
        training = TaskTraining(strategy, supernet, self._models)
        training.load_state(self._state)
        with random_state(place, stream(seed, 0, 8)), torch_threads(getattr(task, "threads", None)):
            losses = training.run(
                task,
                steps=steps,
                seed=seed,
                device=place,
                learns=strategy.architecture is None,
                # As many as tasks had when they were learned from: that is what weights are good for.
                soft=strategy.soft_at(strategy.epochs) if strategy.pruned_share else None,
            )
            assert losses is not None  # there is no deadline
            supernet.temperature = strategy.final_temperature
            supernet.zero_grad(set_to_none=True)
            architecture = strategy.fixed(self.space)
            chosen = training.derive() if architecture is None else architecture.genotype
            architecture = self.space.architecture(chosen, spec=self.spec)
            model = plain(supernet.extract(architecture))
            if strategy.batch_norm == "transductive":
                forget_statistics(model)
            else:
                support = task.loaders("train", seed, training=False, device=str(place))
                recalibrate(model, support, lambda batch: task.loss(model, batch))
        return Adapted(
            architecture,
            model.eval(),
            losses=torch.stack(losses.weights).tolist() if steps else [],
            supernet=supernet,
            task=task,
            device=place,
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it: ``<path>.safetensors`` with all numbers, ``<path>.json`` with what they are.

        Parameters
        ----------
        path : path-like
            The files' common beginning; the ending of one of them is taken off.

        Warns
        -----
        UserWarning
            If there are limits on costs: what is read again does not know them.
        """
        if self._models is not None:
            names = ", ".join(self._models.cost_limits.limits)
            warnings.warn(
                f"the limits on {names} are not saved: what is loaded adapts without them", stacklevel=2
            )
        learner_files.save(path, self.strategy, self.supernet, self._state, self.spec)

    @staticmethod
    def load(path: str | os.PathLike[str], *, space: Space | None = None) -> MetaLearner:
        """Read what `save` wrote; it runs no code that is in a file.

        Parameters
        ----------
        path : path-like
            The files' common beginning, or one of them.
        space : Space, optional
            Needed where the file cannot say how networks are made: for modules of one's own, `nasx.space_of`
            the same module.

        Returns
        -------
        MetaLearner
            One that adapts to the same bits, on the CPU until a task is elsewhere.

        Raises
        ------
        FileNotFoundError
            If a file is not there.
        ValueError
            If they are damaged, do not fit together, or are of another space.
        """
        strategy, supernet, state, spec = learner_files.load(path, space)
        return MetaLearner(strategy, supernet, state, spec=spec)


class MetaScore:
    """Scores what was learned by adapting it to validation tasks.

    Parameters
    ----------
    learner : MetaLearner
        What adapts.
    tasks : TaskDistribution
        Whose tasks.
    number : int
        How many.
    seed : int
        Of the batches' order.
    """

    def __init__(self, learner: MetaLearner, tasks: TaskDistribution, number: int, *, seed: int) -> None:
        self.learner, self.tasks, self.number, self.seed = learner, tasks, number, seed

    def evaluate(self, architecture: Architecture) -> dict[str, float]:
        """Give the mean metrics of adapted networks, whatever architecture they began with.

        Parameters
        ----------
        architecture : Architecture
            The one that was found.

        Returns
        -------
        dict of str to float
            Means over the tasks.
        """
        place = next(self.learner.supernet.parameters()).device
        return mean_metrics(
            [
                self.learner.adapt(
                    self.tasks.episode(index, "valid"), seed=self.seed, device=str(place)
                ).score()
                for index in range(self.number)
            ]
        )
