"""`SPOS`: a supernet trained by single paths."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from nasx.errors import require
from nasx.strategies.one_shot.base import OneShotStrategy
from nasx.strategies.one_shot.sampling import RULES
from nasx.strategies.supernet import Epoch, Fitted

if TYPE_CHECKING:
    from nasx.checkpoint import Checkpoint
    from nasx.nn.supernet import Supernet
    from nasx.strategies.limits import CostLimits
    from nasx.tasks.base import SupernetTask

__all__ = ["SPOS"]


@dataclasses.dataclass(kw_only=True, eq=False)
class SPOS(OneShotStrategy):
    """Train a supernet path by path, then search in it [1]_.

    In every step one random architecture is a path through the supernet: nothing else is computed, has
    gradients or moves. Afterwards a sampled strategy searches; an architecture's score is what it reaches on
    the validation images with the supernet's weights, its batch normalisations measured anew.

    Parameters
    ----------
    epochs : int, default 50
        Passes over the training images.
    batch_size : int, default 64
        Images in a batch, where the data are not loaders.
    sampling : str, default "uniform"
        Which paths a step trains, their gradients added up: "uniform", one random architecture; "fair", as
        many as there are choices, so that each choice is trained once [2]_; "sandwich", the largest, which
        learns from labels, and two random ones and the smallest, which learn from its outputs [3]_; "flops",
        one, small, middling and large ones equally often [4]_.
    optimizer : {"sgd", "adamw"}, default "sgd"
        Momentum, as in the paper, or Adam with decoupled weight decay, by which transformers learn faster, at
        rates such as 0.003.
    lr, lr_min : float, default 0.03 and 0
        Learning rate at the beginning, and towards which it falls. The paper's is 0.5 with batches of 1,024.
    schedule : {"linear", "cosine", "constant"}, default "linear"
        How it falls, from epoch to epoch.
    momentum : float, default 0.9
        Of "sgd".
    weight_decay : float, default 4e-5
        Of the weights on the path; the others stay as they are.
    grad_clip : float or None, default 5
        Largest norm of a step's gradient.
    mixed_precision : bool, default False
        On a GPU, compute in float16 where that is safe.
    search_strategy : str or Strategy, default "genetic"
        What searches: a name of `nasx.available_strategies` or an instance; "genetic" is the paper's search
        as far as `nasx.GeneticAlgorithm` goes, or `nasx.NSGA2` with several objectives.
    recalibration_batches : int, default 20
        Training batches over which batch normalisations are measured anew for every architecture; 0: none.
    baseline : int, default 20
        How many random architectures are scored for comparison, ``result.baseline``.

    Raises
    ------
    ValueError
        If a setting is out of range.

    Notes
    -----
    Limits on costs keep paths out of the training too, where the costs of many architectures are looked up at
    once: a `nasx.hardware.LatencyTable`, or what is counted in a space with `neighbouring_blocks`. Label
    smoothing is a setting of the task.

    References
    ----------
    .. [1] Z. Guo et al., "Single Path One-Shot Neural Architecture Search with Uniform Sampling", ECCV 2020.
    .. [2] X. Chu, B. Zhang and R. Xu, "FairNAS: Rethinking Evaluation Fairness of Weight Sharing Neural
       Architecture Search", ICCV 2021.
    .. [3] J. Yu and T. Huang, "Universally Slimmable Networks and Improved Training Techniques", ICCV 2019.
    .. [4] D. Wang et al., "AttentiveNAS: Improving Neural Architecture Search via Attentive Sampling",
       CVPR 2021.

    Examples
    --------
    >>> import nasx
    >>> data = nasx.tasks.datasets.load("digits")
    >>> task = nasx.tasks.ImageClassification(data["train"], data["valid"], device="cpu")
    >>> space = nasx.spaces.NASBench201(cells=1, channels=4)
    >>> strategy = SPOS(epochs=2, recalibration_batches=2, baseline=2)
    >>> result = nasx.search(space, task, strategy=strategy, evaluations=4)
    >>> len(result.history), len(result.trials), len(result.baseline)
    (2, 4, 2)
    """

    epochs: int = 50
    batch_size: int = 64
    sampling: str = "uniform"
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.03
    lr_min: float = 0.0
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    momentum: float = 0.9
    weight_decay: float = 4e-5
    grad_clip: float | None = 5.0
    mixed_precision: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_integers(epochs=1, batch_size=2)
        self._check_words("sampling", *RULES)
        self._check_words("optimizer", "sgd", "adamw")
        self._check_words("schedule", "linear", "cosine", "constant")
        self._check_numbers(lr=None, lr_min=0, momentum=0, weight_decay=0)
        if self.grad_clip is not None:
            self._check_numbers(grad_clip=None)
        if self.momentum >= 1:
            raise ValueError(f"momentum must be less than 1; got {self.momentum!r}")
        self._check_flags("mixed_precision")

    @property
    def total_epochs(self) -> int:
        """How many epochs `fit` trains."""
        return self.epochs

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
        """Train a supernet in place; see `OneShotStrategy.fit`."""
        require("torch", "nasx.SPOS", "torch")
        from nasx.strategies.one_shot.training import PathTraining

        training = PathTraining(
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
        return Fitted(None, "epochs" if in_time else "seconds")
