"""`Task` and `TaskSpec`: what a network is for, and how one is scored."""

from __future__ import annotations

import dataclasses
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, runtime_checkable

from nasx.errors import unknown

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from nasx.architecture import Architecture

__all__ = ["Direction", "Passes", "Report", "SupernetTask", "Task", "TaskSpec", "check_directions"]

Direction: TypeAlias = Literal["minimize", "maximize"]
"""Whether a metric is better when smaller or when larger."""

Report: TypeAlias = Callable[[int, Mapping[str, float]], bool | None]
"""Called with the epoch (from 1) and its metrics; training stops when it returns True."""

_OF_TOKENS = ("language_modelling", "masked_language_modelling")


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
        Kind of task, for example "image_classification". By "language_modelling", the next token of each, and
        "masked_language_modelling", tokens that were hidden, inputs are tokens: see `takes_tokens`.

    Raises
    ------
    ValueError
        If a size is not a positive integer or `kind` is empty.

    Examples
    --------
    >>> TaskSpec((3, 32, 32), num_outputs=10, kind="image_classification").input_shape
    (3, 32, 32)
    >>> TaskSpec((64,), num_outputs=100, kind="language_modelling").takes_tokens
    True
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

    @property
    def takes_tokens(self) -> bool:
        """Whether inputs are numbers of tokens, int64 from 0 to below `num_outputs`, instead of float32."""
        return self.kind in _OF_TOKENS


def _positive(value: Any) -> int:
    if isinstance(value, bool) or (number := operator.index(value)) < 1:
        raise ValueError
    return number


class Task(ABC):
    """Something to learn: trains one architecture and returns its metrics.

    Subclasses define `spec`, `settings` and `evaluate`, and override `objectives` unless a single
    "error" is to be minimised. Tasks know nothing of strategies.

    To serve strategies that train a supernet, whose weights all architectures share, a task also needs
    ``loaders(split, seed, *, training, device, batch_size, part)``, which gives batches and divides the
    training ones between weights and architectures, ``loss(model, batch)``, which gives what is minimised,
    and ``score(model, split, *, device)``, which measures a network as it is. `SupernetTask` says what they
    take and return; strategies keep optimisers, schedules and epochs to themselves.

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


class Passes(Protocol):
    """Batches that can be read again and again: every pass over them is the next epoch.

    Attributes
    ----------
    epoch : int
        Number of the next pass, from 0, on which order and augmentation depend; set it to go on where an
        earlier run ended.
    """

    epoch: int

    def __iter__(self) -> Iterator[Any]:
        """Begin the next pass and give its batches."""


@runtime_checkable
class SupernetTask(Protocol):
    """What a task must offer so that strategies can train a supernet on it; `Task` need not be its base.

    A *model* is a ``torch.nn.Module`` that maps inputs ``(B, *spec.input_shape)``, float32, to outputs
    ``(B, spec.num_outputs)``; where inputs are tokens, int64 ``(B, T)`` to outputs for each of them,
    ``(B, T, spec.num_outputs)``. A *batch* is what `loaders` gives and `loss` takes; in `ImageClassification`
    it is a pair of images ``(B, C, H, W)``, float32, and labels ``(B,)``, int64.

    ``isinstance(task, SupernetTask)`` says whether these names are there, not what methods take.

    Examples
    --------
    >>> from nasx.tasks import ImageClassification, TabularBenchmark
    >>> hasattr(ImageClassification, "loaders"), hasattr(TabularBenchmark, "loaders")
    (True, False)
    """

    @property
    def spec(self) -> TaskSpec | None:
        """Shape of one input and number of outputs; None if only the task's own model knows."""

    @property
    def device(self) -> torch.device:
        """Where networks are trained unless a call says otherwise."""

    def loaders(
        self,
        split: str | Sequence[str],
        seed: int = 0,
        *,
        training: bool | None = None,
        device: str | None = None,
        batch_size: int | None = None,
        part: tuple[float, float] | None = None,
    ) -> Passes:
        """Give the batches of a split.

        Parameters
        ----------
        split : str or sequence of str
            "train", "valid" or "test", or several of them, taken together.
        seed : int, default 0
            Same seed and epoch, same batches.
        training : bool, optional
            Shuffle and augment; by default for "train" and for several splits.
        device : str, optional
            Where batches are put, by default where the task chooses.
        batch_size : int, optional
            Examples in a batch, B; by default the task's.
        part : tuple of float, optional
            Fractions ``(low, high)``: this range of an order that follows from `seed` alone. With one seed,
            ``(0, 0.5)`` and ``(0.5, 1)`` share nothing and leave nothing out.

        Returns
        -------
        Passes
            An iterable of batches, on the device.

        Raises
        ------
        ValueError
            If there is no such split, or its examples cannot be divided.
        """

    def loss(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        """Run a model on a batch.

        Parameters
        ----------
        model : torch.nn.Module
            In training or in evaluation mode.
        batch : object
            One of `loaders`.

        Returns
        -------
        loss : Tensor, shape ()
            What training minimises, a mean over the batch; with its graph where gradients are on.
        outputs : Tensor, shape (B, num_outputs)
            What the model returned.

        Raises
        ------
        nasx.errors.EvaluationError
            If the model's output has another shape.
        """

    def score(self, model: nn.Module, split: str = "valid", *, device: str | None = None) -> dict[str, float]:
        """Measure a model as it is; nothing is trained.

        Parameters
        ----------
        model : torch.nn.Module
            On the device; it is left in evaluation mode.
        split : str, default "valid"
            What to measure it on.
        device : str, optional
            By default where the task chooses.

        Returns
        -------
        dict of str to float
            The metrics, those among them that the task optimises.

        Raises
        ------
        ValueError
            If there is no such split.
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
