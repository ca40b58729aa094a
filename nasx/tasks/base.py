"""`Task` and `TaskSpec`: what a network is for, and how one is scored."""

from __future__ import annotations

import dataclasses
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from nasx.errors import unknown

if TYPE_CHECKING:
    from nasx.architecture import Architecture

__all__ = ["Direction", "Report", "Task", "TaskSpec", "check_directions"]

Direction: TypeAlias = Literal["minimize", "maximize"]
"""Whether a metric is better when smaller or when larger."""

Report: TypeAlias = Callable[[int, Mapping[str, float]], bool | None]
"""Called with the epoch (from 1) and its metrics; training stops when it returns True."""


@dataclasses.dataclass(frozen=True)
class TaskSpec:
    """What a network is for.

    Parameters
    ----------
    input_shape : tuple of int
        Shape of one input without the batch axis, for example ``(channels, height, width)``.
    num_outputs : int
        Outputs of the network for one input, for example the number of classes.
    kind : str
        Kind of task, for example "image_classification".

    Raises
    ------
    ValueError
        If a size is not a positive integer or `kind` is empty.

    Examples
    --------
    >>> TaskSpec((3, 32, 32), num_outputs=10, kind="image_classification").input_shape
    (3, 32, 32)
    """

    input_shape: tuple[int, ...]
    num_outputs: int
    kind: str

    def __post_init__(self) -> None:
        try:
            shape = tuple(_positive(size) for size in self.input_shape)
        except (TypeError, ValueError):
            shape = ()
        if not shape:
            raise ValueError(
                "input_shape must be a non-empty tuple of positive integers without the batch axis, such as "
                f"(3, 32, 32); got {self.input_shape!r}"
            )
        try:
            outputs = _positive(self.num_outputs)
        except (TypeError, ValueError):
            raise ValueError(f"num_outputs must be a positive integer; got {self.num_outputs!r}") from None
        if not isinstance(self.kind, str) or not self.kind:
            raise ValueError(
                f"kind must be a non-empty string such as 'image_classification'; got {self.kind!r}"
            )
        object.__setattr__(self, "input_shape", shape)
        object.__setattr__(self, "num_outputs", outputs)


def _positive(value: Any) -> int:
    if isinstance(value, bool) or (number := operator.index(value)) < 1:
        raise ValueError
    return number


class Task(ABC):
    """Something to learn: trains one architecture and returns its metrics.

    Subclasses define `spec`, `settings` and `evaluate`, and override `objectives` unless a single
    "error" is to be minimised. Tasks know nothing of strategies.

    Examples
    --------
    >>> class Narrow(Task):
    ...     spec = TaskSpec((1, 8, 8), 10, "image_classification")
    ...     settings = {"name": "Narrow"}
    ...     def evaluate(self, architecture, *, seed, device=None, budget=None, report=None):
    ...         return {"error": architecture["width"] / 64}
    >>> Narrow().evaluate({"width": 16}, seed=0)
    {'error': 0.25}
    """

    @property
    @abstractmethod
    def spec(self) -> TaskSpec | None:
        """What networks for this task are given and have to give; None if it builds none, as a table does."""

    @property
    @abstractmethod
    def settings(self) -> Mapping[str, Any]:
        """The task as JSON types, its data as a fingerprint; kept in journals, to check what is resumed."""

    @property
    def objectives(self) -> Mapping[str, Direction]:
        """The metrics that a search on this task optimises by default, each "minimize" or "maximize"."""
        return {"error": "minimize"}

    @property
    def metrics(self) -> tuple[str, ...] | None:
        """Names of all metrics that `evaluate` returns, to refuse a wrong one early; None if unknown."""
        return None

    @property
    def max_budget(self) -> int | None:
        """What `evaluate` spends by default, in the unit of its `budget`; None if budgets mean nothing."""
        return None

    @abstractmethod
    def evaluate(
        self,
        architecture: Architecture,
        *,
        seed: int,
        device: str | None = None,
        budget: int | None = None,
        report: Report | None = None,
    ) -> dict[str, float]:
        """Score one architecture.

        Parameters
        ----------
        architecture : Architecture
            What to score.
        seed : int
            Same seed, same result.
        device : str, optional
            Where to compute, for example "cuda:1"; by default where the task chooses.
        budget : int, optional
            How much to spend, in the task's own unit; by default all it takes.
        report : callable, optional
            Called as ``report(step, metrics)`` now and then; the evaluation ends early when it returns True.

        Returns
        -------
        dict of str to float
            The metrics, objectives among them.

        Raises
        ------
        nasx.errors.EvaluationError
            If the architecture cannot be scored.
        """


def check_directions(objectives: Mapping[str, Direction]) -> dict[str, Direction]:
    """Check objectives and copy them.

    Parameters
    ----------
    objectives : mapping of str to {"minimize", "maximize"}
        At least one.

    Returns
    -------
    dict
        The same.

    Raises
    ------
    ValueError
        If it is no mapping, is empty, or a direction is neither.
    """
    if not isinstance(objectives, Mapping) or not objectives:
        raise ValueError(
            f'objectives must map metrics to directions, as in {{"error": "minimize"}}; got {objectives!r}'
        )
    for name, direction in objectives.items():
        if direction not in ("minimize", "maximize"):
            raise ValueError(
                f"objectives[{name!r}]: " + unknown("direction", direction, ["minimize", "maximize"])
            )
    return dict(objectives)
