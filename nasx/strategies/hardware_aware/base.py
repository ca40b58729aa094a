"""What `FBNet` and `ProxylessNAS` have in common as strategies."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from nasx.errors import require
from nasx.strategies.supernet import Epoch, Fitted, SupernetStrategy

if TYPE_CHECKING:
    from nasx.checkpoint import Checkpoint
    from nasx.nn.supernet import Supernet
    from nasx.strategies.hardware_aware.training import CostAwareTraining
    from nasx.strategies.limits import CostLimits
    from nasx.tasks.base import SupernetTask

__all__ = ["HardwareAware"]


@dataclasses.dataclass(kw_only=True, eq=False)
class HardwareAware(SupernetStrategy, ABC):
    """A method whose weights and architecture parameters learn from their own parts of the training images.

    Subclasses set defaults, and define `_training`.

    Parameters
    ----------
    epochs : int
        Passes over the images that weights learn from.
    warmup_epochs : int, optional
        Epochs at the beginning in which only weights learn; by default `_warmup` of all.
    batch_size : int
        Images in a batch, of both parts, where the data are not loaders.
    architecture_data : float or "valid"
        Share of the training images that architecture parameters learn from; or the task's validation images.
    lr, lr_min : float
        Learning rate of the weights, which falls along a cosine.
    momentum, weight_decay : float
        Of the weights' SGD.
    grad_clip : float or None
        Largest norm of the weights' gradient.
    architecture_lr : float
        Learning rate of the architecture parameters' Adam.
    targets : mapping of str to float, optional
        Costs that take part in the loss, and what to aim for; by default those with limits, and the limits.

    Raises
    ------
    ValueError
        If a setting is out of range.
    """

    keeps_limits = True
    # What the training of DARTS has as settings, and these methods have not.
    mixed_precision: ClassVar[bool] = False
    _warmup: ClassVar[float]

    epochs: int
    warmup_epochs: int | None = None
    batch_size: int
    architecture_data: float | str
    lr: float
    lr_min: float = 0.0
    momentum: float = 0.9
    weight_decay: float
    grad_clip: float | None = 5.0
    architecture_lr: float
    targets: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        self._check_integers(epochs=1, batch_size=2)
        if self.warmup_epochs is None:
            self.warmup_epochs = int(self._warmup * self.epochs)
        self._check_integers(warmup_epochs=0)
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs must be less than epochs, {self.epochs}, or no architecture is learned; "
                f"got {self.warmup_epochs}"
            )
        part = self.architecture_data
        share = isinstance(part, int | float) and not isinstance(part, bool) and 0 < part < 1
        if part != "valid" and not share:
            raise ValueError(f'architecture_data must be "valid" or a share between 0 and 1; got {part!r}')
        self._check_numbers(lr=None, architecture_lr=None)
        self._check_numbers(lr_min=0, momentum=0, weight_decay=0)
        if self.grad_clip is not None:
            self._check_numbers(grad_clip=None)
        if self.momentum >= 1:
            raise ValueError(f"momentum must be less than 1; got {self.momentum!r}")
        if self.targets is not None:
            self.targets = _checked_targets(self.targets)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings as JSON types, enough to make an equal strategy."""
        return super().settings | {"targets": None if self.targets is None else dict(self.targets)}

    @property
    def total_epochs(self) -> int:
        """How many epochs `fit` trains."""
        return self.epochs

    @abstractmethod
    def _training(
        self, supernet: Supernet, task: SupernetTask, cost_limits: CostLimits | None, **where: Any
    ) -> CostAwareTraining:
        """Make what trains a supernet."""

    def fit(
        self,
        supernet: Supernet,
        task: SupernetTask,
        *,
        cost_limits: CostLimits | None = None,
        seed: int = 0,
        device: str | None = None,
        checkpoint: Checkpoint | None = None,
        history: list[Epoch] | None = None,
        report: Callable[[Epoch], None] | None = None,
        deadline: float | None = None,
    ) -> Fitted:
        """Train a supernet in place and choose an architecture; see `SupernetStrategy.fit`.

        It is the one that the architecture parameters say is best: among those within the limits, if there
        are any. Nothing is drawn at random.
        """
        require("torch", f"nasx.{type(self).__name__}", "torch")
        training = self._training(supernet, task, cost_limits, seed=seed, device=device, deadline=deadline)
        history = [] if history is None else history
        in_time = training.run(self.epochs, checkpoint=checkpoint, history=history, report=report)
        genotype = training.derive()
        if genotype is None:
            return Fitted(None, "exhausted")
        return Fitted(genotype, "epochs" if in_time else "seconds")


def _checked_targets(targets: Mapping[str, float]) -> dict[str, float]:
    wrong = not isinstance(targets, Mapping) or not all(
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0
        for value in targets.values()
    )
    if wrong or not targets:
        raise ValueError(
            f"targets must map names of costs to numbers of more than 0, or be None; got {targets!r}"
        )
    return {str(name): float(value) for name, value in targets.items()}
