"""`ENAS`: a controller and the weights that all its architectures share."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import numpy as np

from nasx.errors import require
from nasx.strategies.baseline.random_search import RandomSearch
from nasx.strategies.supernet import Epoch, Fitted, SupernetStrategy

if TYPE_CHECKING:
    from nasx.checkpoint import Checkpoint
    from nasx.nn.supernet import Supernet
    from nasx.strategies.limits import CostLimits
    from nasx.tasks.base import SupernetTask

__all__ = ["ENAS"]


@dataclasses.dataclass(kw_only=True, eq=False)
class ENAS(SupernetStrategy):
    """Learn which architectures are good with an LSTM, in turns with the weights that they share [1]_.

    In each epoch the weights learn from one part of the training images, every batch on the path of an
    architecture that the controller draws. Then the controller learns from the other part: what its
    architectures reach there, with the weights as they are, is their reward. At the end many are drawn, and
    the best on all images of that part is taken. Batch normalisations use the statistics of each batch
    whenever architectures are compared, for the running ones are of all paths together. Limits on costs, but
    for measured ones, hold for all that is drawn.

    Parameters
    ----------
    epochs : int, default 150
        Passes over the images that weights learn from, and phases of the controller.
    batch_size : int, default 64
        Images in a batch, of both parts, where the data are not loaders.
    architecture_data : float or "valid", default 0.1
        Share of the training images that the controller learns from; or the task's validation images, on
        which the score of what is found is then too good.
    reward : {"accuracy", "likelihood"}, default "accuracy"
        What architectures are rewarded by: the share of right labels, or ``exp(-loss)``, which is there for
        every task.
    lr, lr_min : float, default 0.05 and 0.0005
        Learning rate of the weights, which falls along a cosine.
    restart_epochs : int or None, default 10
        Epochs after which it starts again [2]_; None: it falls once over all epochs.
    restart_factor : int, default 2
        How much longer it takes after each restart.
    momentum : float, default 0.9
        Of the weights' SGD, in Nesterov's form.
    weight_decay : float, default 1e-4
        Of the weights on the path; the others stay as they are.
    grad_clip : float or None, default 5
        Largest norm of the weights' gradient.
    controller_steps : int, default 30
        Steps of the controller in each of its phases.
    controller_samples : int, default 10
        Architectures in each step, all rewarded on the same batch.
    controller_lr : float, default 0.0035
        Learning rate of the controller's Adam.
    temperature, tanh_constant : float, default 5 and 2.5
        Logits are ``tanh_constant * tanh(logits / temperature)``, so that it cannot be too sure; the released
        code has 1.1 and 1.5 for `tanh_constant` too.
    entropy_weight : float, default 1e-4
        Part of the controller's entropy that is added to the reward, as a number without a gradient.
    baseline_decay : float, default 0.99
        Of the moving average of rewards that is the baseline.
    skip_weight, skip_target : float, default 0.8 and 0.4
        For spaces with Boolean decisions, such as the skips of `nasx.spaces.ENASMacro`: weight of the
        divergence between their probabilities and this one, summed over them and divided by the number of the
        other decisions, the layers.
    final_samples : int, default 100
        Architectures that are drawn at the end.
    baseline : int, default 20
        How many random architectures are scored beside the one that is found, ``result.baseline``: what the
        controller is worth is what it finds above them.

    Raises
    ------
    ValueError
        If a setting is out of range.

    References
    ----------
    .. [1] H. Pham, M. Guan, B. Zoph, Q. Le and J. Dean, "Efficient Neural Architecture Search via Parameter
       Sharing", ICML 2018.
    .. [2] I. Loshchilov and F. Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017.

    Examples
    --------
    >>> import nasx
    >>> data = nasx.tasks.datasets.load("digits")
    >>> task = nasx.tasks.ImageClassification(data["train"], data["valid"], device="cpu")
    >>> space = nasx.spaces.NASBench201(cells=1, channels=4)
    >>> strategy = ENAS(epochs=2, controller_steps=2, final_samples=4, baseline=2)
    >>> result = nasx.search(space, task, strategy=strategy)
    >>> len(result.history), len(result.best.architecture)
    (2, 6)
    """

    keeps_limits = True

    epochs: int = 150
    batch_size: int = 64
    architecture_data: float | str = 0.1
    reward: Literal["accuracy", "likelihood"] = "accuracy"
    lr: float = 0.05
    lr_min: float = 0.0005
    restart_epochs: int | None = 10
    restart_factor: int = 2
    momentum: float = 0.9
    weight_decay: float = 1e-4
    grad_clip: float | None = 5.0
    controller_steps: int = 30
    controller_samples: int = 10
    controller_lr: float = 0.0035
    temperature: float = 5.0
    tanh_constant: float = 2.5
    entropy_weight: float = 1e-4
    baseline_decay: float = 0.99
    skip_weight: float = 0.8
    skip_target: float = 0.4
    final_samples: int = 100
    baseline: int = 20

    def __post_init__(self) -> None:
        self._check_integers(
            epochs=1,
            batch_size=2,
            baseline=0,
            restart_factor=1,
            controller_steps=1,
            controller_samples=1,
            final_samples=1,
        )
        if self.restart_epochs is not None:
            self._check_integers(restart_epochs=1)
        self._check_words("reward", "accuracy", "likelihood")
        self._check_numbers(lr=None, controller_lr=None, temperature=None, tanh_constant=None)
        self._check_numbers(
            lr_min=0, momentum=0, weight_decay=0, entropy_weight=0, baseline_decay=0, skip_weight=0
        )
        self._check_numbers(skip_target=None)
        if self.grad_clip is not None:
            self._check_numbers(grad_clip=None)
        for name in ("momentum", "baseline_decay", "skip_target"):
            if getattr(self, name) >= 1:
                raise ValueError(f"{name} must be less than 1; got {getattr(self, name)!r}")
        part = self.architecture_data
        share = isinstance(part, int | float) and not isinstance(part, bool) and 0 < part < 1
        if part != "valid" and not share:
            raise ValueError(f'architecture_data must be "valid" or a share between 0 and 1; got {part!r}')

    @property
    def total_epochs(self) -> int:
        """How many epochs `fit` trains."""
        return self.epochs

    def rate(self, epoch: int) -> float:
        """Learning rate of the weights.

        Parameters
        ----------
        epoch : int
            From 0.

        Returns
        -------
        float
            Constant within the epoch.

        Examples
        --------
        >>> strategy = ENAS(lr=1.0, lr_min=0.0, restart_epochs=2)
        >>> [round(strategy.rate(epoch), 3) for epoch in range(7)]
        [1.0, 0.5, 1.0, 0.854, 0.5, 0.146, 1.0]
        """
        at, period = epoch, self.restart_epochs or self.epochs
        while self.restart_epochs is not None and at >= period:
            at -= period
            period *= self.restart_factor
        return self.lr_min + 0.5 * (self.lr - self.lr_min) * (1 + math.cos(math.pi * at / period))

    def finds_any(self, supernet: Supernet, cost_limits: CostLimits, *, seed: int = 0) -> bool:
        """Look among random architectures, as the controller draws them; see `SupernetStrategy.finds_any`."""
        search = RandomSearch().setup(supernet.space, seed=seed, cost_violation=cost_limits.violation)
        return len(search.ask(1)) > 0

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
        supernet, task, seed, device, checkpoint, history, report, deadline
            As for `SupernetStrategy.fit`. The last entry of the history says under "final" what the chosen
            architecture reached on the held-out images, and the mean over all that were drawn.
        cost_limits : CostLimits, optional
            Limits on costs: architectures over them are neither trained nor rewarded nor chosen.

        Returns
        -------
        Fitted
            The architecture, and whether training came to its end.
        """
        require("torch", "nasx.ENAS", "torch")
        from nasx.strategies.one_shot.enas_training import ENASTraining

        training = ENASTraining(
            self,
            supernet,
            task,
            seed=seed,
            device=device,
            deadline=deadline,
            cost_violation=None if cost_limits is None else cost_limits.violation,
        )
        history = [] if history is None else history
        in_time = training.run(self.epochs, checkpoint=checkpoint, history=history, report=report)
        if in_time:
            genotype, complete = training.choose(history, checkpoint)
            return Fitted(genotype, "epochs" if complete else "seconds")
        if history:
            return Fitted(np.array(history[-1]["genotype"], np.int32), "seconds")
        return Fitted(training.propose(), "seconds")
