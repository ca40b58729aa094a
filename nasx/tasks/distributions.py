"""Distributions of tasks, and `TaskSequence`: some tasks, of which any is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from nasx.tasks.base import Direction, Report, SupernetTask, Task, TaskSpec

if TYPE_CHECKING:
    import torch

    from nasx.architecture import Architecture

__all__ = ["TaskDistribution", "TaskSequence"]


@runtime_checkable
class TaskDistribution(Protocol):
    """What meta-learning learns from: tasks by number, all of one spec.

    ``isinstance(task, TaskDistribution)`` says whether these names are there, not what methods take.

    Examples
    --------
    >>> from nasx.tasks import ImageClassification
    >>> hasattr(TaskSequence, "episode"), hasattr(ImageClassification, "episode")
    (True, False)
    """

    @property
    def spec(self) -> TaskSpec | None:
        """That of every task."""

    @property
    def device(self) -> torch.device:
        """Where networks are trained unless a call says otherwise."""

    def episode(self, index: int, split: str = "train") -> SupernetTask:
        """Give a task.

        Parameters
        ----------
        index : int
            0 or more; same index, same task.
        split : {"train", "valid", "test"}, default "train"
            Which tasks: those to learn from, to compare on, or to judge by at the end.

        Returns
        -------
        SupernetTask
            Its "train" split is what is adapted to, its "valid" split what that is worth.

        Raises
        ------
        ValueError
            If there are no such tasks.
        """


class TaskSequence(Task):
    """A distribution of a few tasks: each is as likely as the others, and those judged by are the same.

    `nasx.search` makes one of a list of tasks.

    Parameters
    ----------
    tasks : sequence of Task
        At least one; all can train supernets (see `SupernetTask`) and have one spec.

    Attributes
    ----------
    tasks : tuple of Task
        They.

    Raises
    ------
    ValueError
        If there are none, or their specs or objectives differ.
    TypeError
        If one cannot train supernets.

    Examples
    --------
    >>> import nasx
    >>> data = nasx.tasks.datasets.load("digits")
    >>> task = nasx.tasks.ImageClassification(data["train"], data["valid"], device="cpu")
    >>> tasks = TaskSequence([task, task])
    >>> tasks.episode(5) is task, tasks.spec.num_outputs
    (True, 10)
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        if not isinstance(tasks, list | tuple) or not tasks:
            raise ValueError(f"tasks must be a list of at least one task; got {tasks!r}")
        for number, task in enumerate(tasks):
            if not isinstance(task, Task) or not isinstance(task, SupernetTask):
                raise TypeError(
                    f"tasks[{number}] must be a task with a spec, loaders, loss and score, such as "
                    f"nasx.tasks.ImageClassification; got {type(task).__name__}"
                )
            for what in ("spec", "objectives"):
                first, own = getattr(tasks[0], what), getattr(task, what)
                if own != first:
                    raise ValueError(
                        f"tasks must have one {what}, since they share one supernet; tasks[0] has {first}, "
                        f"tasks[{number}] has {own}"
                    )
        self.tasks: tuple[Any, ...] = tuple(tasks)

    @property
    def spec(self) -> TaskSpec | None:
        """That of every task."""
        spec: TaskSpec | None = self.tasks[0].spec
        return spec

    @property
    def settings(self) -> Mapping[str, Any]:
        """Names and settings of the tasks."""
        return {
            "name": "TaskSequence",
            "tasks": [{"name": type(task).__name__, "settings": dict(task.settings)} for task in self.tasks],
        }

    @property
    def objectives(self) -> Mapping[str, Direction]:
        """Those of every task."""
        objectives: Mapping[str, Direction] = self.tasks[0].objectives
        return objectives

    @property
    def device(self) -> torch.device:
        """That of the first task."""
        device: torch.device = self.tasks[0].device
        return device

    @property
    def threads(self) -> int | None:
        """Threads of torch that the first task asks for; None for as many as torch is set to."""
        threads: int | None = getattr(self.tasks[0], "threads", None)
        return threads

    def episode(self, index: int, split: str = "train") -> SupernetTask:
        """Give the task of this number, counted round and round; `split` makes no difference."""
        task: SupernetTask = self.tasks[index % len(self.tasks)]
        return task

    def evaluate(
        self,
        architecture: Architecture,
        *,
        seed: int,
        device: str | None = None,
        budget: int | None = None,
        report: Report | None = None,
    ) -> dict[str, float]:
        """Score an architecture on each task from scratch, and give the means of the metrics.

        Parameters
        ----------
        architecture, seed, device, budget
            As for `Task.evaluate`.
        report : callable, optional
            Not used: there is no one training to end early.

        Returns
        -------
        dict of str to float
            The means.
        """
        return mean_metrics(
            [task.evaluate(architecture, seed=seed, device=device, budget=budget) for task in self.tasks]
        )


def mean_metrics(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Average metrics of several evaluations.

    Parameters
    ----------
    found : sequence of mapping of str to float
        At least one; all with the same names.

    Returns
    -------
    dict of str to float
        The means.
    """
    return {name: sum(one[name] for one in found) / len(found) for name in found[0]}
