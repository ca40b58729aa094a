"""`ProxylessNAS`: architectures by gradients through two paths, or by rewards of single ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from nasx.strategies.hardware_aware.base import HardwareAware

if TYPE_CHECKING:
    from nasx.nn.supernet import Supernet
    from nasx.strategies.hardware_aware.training import CostAwareTraining
    from nasx.strategies.limits import CostLimits
    from nasx.tasks.base import SupernetTask

__all__ = ["ProxylessNAS"]


@dataclasses.dataclass(kw_only=True, eq=False)
class ProxylessNAS(HardwareAware):
    """Learn an architecture for a device in a supernet of which one or two paths are computed at a time [1]_.

    Weights learn on single paths drawn by the architecture parameters, in turns with these. They learn from
    their own part of the training images: in the form "gradient" two operations of each layer are drawn, one
    of them is computed, and what the other would give says which should be likelier; how likely the others
    are stays as it is. In the form "reinforce" some paths are drawn and rewarded. A step takes the time and
    memory of a path, or of two. At the end the likeliest operations are taken, within the limits.

    Costs with targets take part in the loss ``L`` by their expected values ``E``: as
    ``L + w (E - T) / T`` or ``L w (log E / log T)^b`` in the form "gradient", and the reward is
    ``accuracy * (T / cost)^r`` in the other.

    Parameters
    ----------
    form : {"gradient", "reinforce"}, default "gradient"
        How architecture parameters learn.
    epochs : int, default 160
        Passes over the images that weights learn from.
    warmup_epochs : int, optional
        Epochs at the beginning in which only weights learn, on a cosine of their own; by default a quarter,
        the released code's 40 before 120.
    warmup_lr : float, default 0.05
        Learning rate with which they begin.
    batch_size : int, default 256
        Images in a batch, of both parts, where the data are not loaders.
    architecture_data : float or "valid", default 0.1
        Share of the training images that architecture parameters learn from; or the task's validation images,
        on which the score of what is found is then too good.
    lr, lr_min : float, default 0.025 and 0
        Learning rate of the weights after that, which falls along a cosine.
    momentum : float, default 0.9
        Of the weights' SGD, in Nesterov's form.
    weight_decay : float, default 4e-5
        Of the weights on a path; the others stay as they are.
    grad_clip : float or None, default 5
        Largest norm of the weights' gradient.
    architecture_lr : float, default 0.001
        Learning rate of the architecture parameters' Adam, whose first momentum is 0: else operations that
        were not drawn would move.
    architecture_every : int, default 1
        Steps of the weights for each of the architecture's; the released code makes 5.
    cost_form : {"add", "multiply"}, default "add"
        How expected costs enter the loss.
    cost_weight, cost_exponent : float, optional
        ``w`` and ``b``; by default 0.1 where costs are added, 0.2 and 0.3 where they multiply.
    reward : {"accuracy", "likelihood"}, default "accuracy"
        What paths are rewarded by: the share of right labels, or ``exp(-loss)``.
    reward_exponent : float, default 0.1
        ``r``.
    samples : int, default 10
        Paths that are rewarded in a step of "reinforce", all on the same batch.
    baseline_decay : float, default 0.99
        Of the moving average of rewards that is taken off them.
    targets : mapping of str to float, optional
        Costs that take part, and what to aim for from both sides, as published. By default those with limits,
        and the limits, below which costs make no difference.

    Raises
    ------
    ValueError
        If a setting is out of range.

    References
    ----------
    .. [1] H. Cai, L. Zhu and S. Han, "ProxylessNAS: Direct Neural Architecture Search on Target Task and
       Hardware", ICLR 2019.

    Examples
    --------
    >>> import nasx
    >>> data = nasx.tasks.datasets.load("digits")
    >>> task = nasx.tasks.ImageClassification(data["train"], data["valid"], device="cpu")
    >>> space = nasx.spaces.ProxylessMobile(
    ...     channels=(8, 16), repeats=(1, 2), strides=(1, 2), stem=8, stem_stride=1, first=8, head=32
    ... )
    >>> result = nasx.search(
    ...     space, task, strategy=ProxylessNAS(epochs=2), costs=["flops"], limits={"flops": 400_000}
    ... )
    >>> len(result.history), result.best.metrics["flops"] <= 400_000
    (2, True)
    """

    _warmup: ClassVar[float] = 1 / 4
    architecture_betas: ClassVar[tuple[float, float]] = (0.0, 0.999)
    architecture_weight_decay: ClassVar[float] = 0.0

    form: Literal["gradient", "reinforce"] = "gradient"
    epochs: int = 160
    warmup_epochs: int | None = None
    warmup_lr: float = 0.05
    batch_size: int = 256
    architecture_data: float | str = 0.1
    lr: float = 0.025
    lr_min: float = 0.0
    momentum: float = 0.9
    weight_decay: float = 4e-5
    grad_clip: float | None = 5.0
    architecture_lr: float = 0.001
    architecture_every: int = 1
    cost_form: Literal["add", "multiply"] = "add"
    cost_weight: float | None = None
    cost_exponent: float | None = None
    reward: Literal["accuracy", "likelihood"] = "accuracy"
    reward_exponent: float = 0.1
    samples: int = 10
    baseline_decay: float = 0.99
    targets: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_words("form", "gradient", "reinforce")
        self._check_words("cost_form", "add", "multiply")
        self._check_words("reward", "accuracy", "likelihood")
        self._check_integers(architecture_every=1, samples=1)
        self._check_numbers(warmup_lr=None, reward_exponent=0, baseline_decay=0)
        for name in ("cost_weight", "cost_exponent"):
            if getattr(self, name) is not None:
                self._check_numbers(**{name: None})
        if self.baseline_decay >= 1:
            raise ValueError(f"baseline_decay must be less than 1; got {self.baseline_decay!r}")

    def _training(
        self, supernet: Supernet, task: SupernetTask, cost_limits: CostLimits | None, **where: Any
    ) -> CostAwareTraining:
        from nasx.strategies.hardware_aware.proxyless_training import ProxylessTraining
        from nasx.strategies.hardware_aware.rewarded_training import RewardedTraining

        made = ProxylessTraining if self.form == "gradient" else RewardedTraining
        return made(
            self,
            supernet,
            task,
            cost_limits,
            form=self.cost_form,
            weight=self.cost_weight,
            exponent=self.cost_exponent,
            **where,
        )
