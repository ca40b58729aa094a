"""What methods that train a supernet, one network for all architectures, have in common."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, TypeAlias

from nasx.errors import require
from nasx.space import Genotypes
from nasx.strategies.base import Strategy

if TYPE_CHECKING:
    from nasx.checkpoint import Checkpoint
    from nasx.nn.supernet import Supernet
    from nasx.space import Space
    from nasx.strategies.limits import CostLimits
    from nasx.tasks.base import SupernetTask, TaskSpec

__all__ = ["Epoch", "Fitted", "SupernetStrategy"]

Epoch: TypeAlias = dict[str, Any]
"""What one epoch gave, as JSON types: "epoch" from 1, "loss", "seconds", and what a method adds."""


class Fitted(NamedTuple):
    """What came of a training.

    Parameters
    ----------
    genotype : ndarray of int32, shape (d,), or None
        The architecture that was found; None by methods that only train, and search afterwards.
    stopped : {"epochs", "early_stop", "seconds", "exhausted"}
        Why training ended: all epochs were trained, an early stop was due, or time was over. "exhausted":
        no architecture within the limits was found, and the genotype is None.
    """

    genotype: Genotypes | None
    stopped: Literal["epochs", "early_stop", "seconds", "exhausted"]


@dataclasses.dataclass(kw_only=True, eq=False)
class SupernetStrategy(Strategy, ABC):
    """A method that trains one network which holds all architectures of a space.

    `nasx.search` calls `make_supernet`, then `fit`, and scores the architecture with the weights that it has
    in the supernet.

    Attributes
    ----------
    keeps_limits : bool
        Whether `fit` heeds the limits on costs, and never gives an architecture that is over them.
    needs : str
        What it says of itself to somebody who gives a task that it does not take.
    baseline : int
        How many random architectures are scored beside what it finds, by the same weights; 0 unless it is a
        setting.
    """

    keeps_limits: ClassVar[bool] = False
    needs: ClassVar[str] = (
        "trains a supernet: it needs a task with a spec, loaders, loss and score, such as "
        "nasx.tasks.ImageClassification"
    )
    baseline = 0  # no field: methods that want one make it their setting

    @property
    @abstractmethod
    def total_epochs(self) -> int:
        """How many epochs `fit` trains at most."""

    @property
    def supernet_settings(self) -> dict[str, Any]:
        """What ``space.supernet`` is given besides the task's spec."""
        return {}

    def make_supernet(self, space: Space, spec: TaskSpec) -> Supernet:
        """Make the supernet that `fit` trains: ``space.supernet(spec, **strategy.supernet_settings)``.

        Parameters
        ----------
        space : Space
            Whose networks.
        spec : TaskSpec
            What they are for.

        Returns
        -------
        Supernet
            Freshly initialised.
        """
        return space.supernet(spec, **self.supernet_settings)

    def takes(self, task: Any) -> bool:
        """Whether it can learn from a task."""
        from nasx.tasks.base import SupernetTask, Task

        return isinstance(task, Task) and isinstance(task, SupernetTask)

    def finds_any(self, supernet: Supernet, cost_limits: CostLimits, *, seed: int = 0) -> bool:
        """Look for an architecture within the limits, so that nothing is trained where there is none.

        Parameters
        ----------
        supernet : Supernet
            As the space made it.
        cost_limits : CostLimits
            The limits.
        seed : int, default 0
            Of what is random.

        Returns
        -------
        bool
            Whether one was found: by default as `best_within` derives one from the parameters, however rare
            it is.
        """
        require("torch", f"nasx.{type(self).__name__}", "torch")
        from nasx.strategies.differentiable.discretize import best_within

        return best_within(supernet, cost_limits, seed=seed) is not None

    def scorer(self, supernet: Supernet, task: Any, *, seed: int) -> Any:
        """Say what scores the architecture that was found: something with ``evaluate(architecture)``.

        Parameters
        ----------
        supernet : Supernet
            After `fit`.
        task : Task
            What was learned from.
        seed : int
            The search's.

        Returns
        -------
        SharedWeights
            Scores by the weights in the supernet.
        """
        from nasx.tasks.shared_weights import SharedWeights

        return SharedWeights(supernet, task, seed=seed)

    @abstractmethod
    def fit(
        self,
        supernet: Supernet,
        task: SupernetTask,
        *,
        seed: int = 0,
        device: str | None = None,
        checkpoint: Checkpoint | None = None,
        history: list[Epoch] | None = None,
        report: Callable[[Epoch], None] | None = None,
        deadline: float | None = None,
        cost_limits: CostLimits | None = None,
    ) -> Fitted:
        """Train a supernet in place and choose an architecture.

        Parameters
        ----------
        supernet : Supernet
            As the space made it.
        task : SupernetTask
            Batches and loss.
        seed : int, default 0
            Seed of everything random.
        device : str, optional
            Where to train; by default where the task does.
        checkpoint : Checkpoint, optional
            Where to keep what it takes to go on after an interruption; what is there is gone on from.
        history : list, optional
            Filled with one entry an epoch, those of an earlier run first.
        report : callable, optional
            Called with the entry of every epoch that is trained, after its checkpoint is written.
        deadline : float, optional
            ``time.monotonic()`` from which on no further step is begun.
        cost_limits : CostLimits, optional
            Costs that are known without training, and limits on them. None where there are no costs, or they
            are measured anew for each architecture, which would take too long.

        Returns
        -------
        Fitted
            The architecture, and whether training came to its end.

        Raises
        ------
        nasx.errors.EvaluationError
            If training diverges.
        nasx.errors.JournalError
            If the checkpoint is damaged or of another search.
        """
