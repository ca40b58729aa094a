"""`FBNet`: architectures by gradients through Gumbel softmax samples, with what they cost in the loss."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from nasx.strategies.hardware_aware.base import HardwareAware

if TYPE_CHECKING:
    from nasx.nn.supernet import Supernet
    from nasx.strategies.hardware_aware.training import CostAwareTraining
    from nasx.strategies.limits import CostLimits
    from nasx.tasks.base import SupernetTask

__all__ = ["FBNet"]

_PUBLISHED_FALL = 90 * 0.045  # of the temperature's logarithm, from the first epoch to the last


@dataclasses.dataclass(kw_only=True, eq=False)
class FBNet(HardwareAware):
    """Learn an architecture for a device by gradients in a supernet of random mixtures [1]_.

    In each step the operations of every layer are summed with weights drawn from a Gumbel softmax, which grow
    sharper as the temperature falls. In an epoch the weights learn from one part of the training images, then
    the architecture parameters from the other, with the loss ``L a log(E)^b``: ``E`` is the cost of the very
    mixture that gave the loss ``L``. At the end the best architecture within the limits is taken.

    Without targets, and without limits on costs, the loss is ``L`` alone. A measured latency is a target as
    a table: ``costs={"latency_ms": table}, limits={"latency_ms": 5.0}``.

    Parameters
    ----------
    epochs : int, default 90
        Passes over the images that weights learn from.
    warmup_epochs : int, optional
        Epochs at the beginning in which only weights learn; by default a ninth, the published 10 of 90.
    batch_size : int, default 192
        Images in a batch, of both parts, where the data are not loaders.
    architecture_data : float or "valid", default 0.2
        Share of the training images that architecture parameters learn from; or the task's validation images,
        on which the score of what is found is then too good.
    lr, lr_min : float, default 0.1 and 0
        Learning rate of the weights, which falls along a cosine.
    momentum : float, default 0.9
        Of the weights' SGD.
    weight_decay : float, default 1e-4
        Of the weights.
    grad_clip : float or None, default 5
        Largest norm of the weights' gradient.
    architecture_lr : float, default 0.01
        Learning rate of the architecture parameters' Adam.
    architecture_weight_decay : float, default 5e-4
        Its weight decay.
    temperature : float, default 5
        Of the Gumbel softmax in the first epoch.
    annealing : float, optional
        It is multiplied by ``exp(-annealing)`` after each epoch; by default it ends where the published
        0.045 ends in 90 epochs. Where it stays high, what is computed is a mixture up to the end, and the
        architecture that is taken was never seen.
    cost_weight, cost_exponent : float, default 0.2 and 0.6
        ``a`` and ``b``.
    targets : mapping of str to float, optional
        Costs that take part in the loss as published: the lower the better, whatever the numbers here are. By
        default those with limits, down to these: a network far below its limit is only a worse one.

    Raises
    ------
    ValueError
        If a setting is out of range.

    References
    ----------
    .. [1] B. Wu et al., "FBNet: Hardware-Aware Efficient ConvNet Design via Differentiable Neural
       Architecture Search", CVPR 2019.

    Examples
    --------
    >>> import nasx
    >>> data = nasx.tasks.datasets.load("digits")
    >>> task = nasx.tasks.ImageClassification(data["train"], data["valid"], device="cpu")
    >>> space = nasx.spaces.FBNet(
    ...     channels=(8, 16), repeats=(1, 2), strides=(1, 2), stem=8, stem_stride=1, head=32
    ... )
    >>> result = nasx.search(
    ...     space, task, strategy=FBNet(epochs=2), costs=["flops"], limits={"flops": 400_000}
    ... )
    >>> len(result.history), result.best.metrics["flops"] <= 400_000
    (2, True)
    """

    _warmup: ClassVar[float] = 1 / 9

    epochs: int = 90
    warmup_epochs: int | None = None
    batch_size: int = 192
    architecture_data: float | str = 0.2
    lr: float = 0.1
    lr_min: float = 0.0
    momentum: float = 0.9
    weight_decay: float = 1e-4
    grad_clip: float | None = 5.0
    architecture_lr: float = 0.01
    architecture_weight_decay: float = 5e-4
    temperature: float = 5.0
    annealing: float | None = None
    cost_weight: float = 0.2
    cost_exponent: float = 0.6
    targets: Mapping[str, float] | None = None
    architecture_betas: ClassVar[tuple[float, float]] = (0.9, 0.999)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.annealing is None:
            self.annealing = _PUBLISHED_FALL / self.epochs
        self._check_numbers(temperature=None, cost_weight=None, cost_exponent=None)
        self._check_numbers(architecture_weight_decay=0, annealing=0)

    def _training(
        self, supernet: Supernet, task: SupernetTask, cost_limits: CostLimits | None, **where: Any
    ) -> CostAwareTraining:
        from nasx.strategies.hardware_aware.fbnet_training import FBNetTraining

        return FBNetTraining(
            self,
            supernet,
            task,
            cost_limits,
            form="fbnet",
            weight=self.cost_weight,
            exponent=self.cost_exponent,
            **where,
        )
