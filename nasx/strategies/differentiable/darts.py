"""`DARTS`: architectures by gradients."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from nasx.errors import require
from nasx.space import Genotypes
from nasx.strategies.limits import COST_FORMS
from nasx.strategies.supernet import Epoch, Fitted, SupernetStrategy

if TYPE_CHECKING:
    from nasx.checkpoint import Checkpoint
    from nasx.nn.supernet import Supernet
    from nasx.strategies.differentiable.training import Training
    from nasx.strategies.limits import CostLimits
    from nasx.tasks.base import SupernetTask

__all__ = ["DARTS"]

# Skip connections "dominate" from this share of a cell's operations on.
_COLLAPSED = 0.5
# Robust DARTS: a smoothed eigenvalue this much larger than so many epochs before ends the search.
_WINDOW, _LOOK_BACK, _RATIO = 5, 5, 0.75


@dataclasses.dataclass(kw_only=True, eq=False)
class DARTS(SupernetStrategy):
    """Learn architecture parameters by gradients, in turns with the weights of a supernet [1]_.

    Every edge's operations are computed and summed with the softmax of their architecture parameters. In
    each step these descend the loss on one part of the training images, then the weights that on the other
    part. At the end the strongest operations are kept.

    Parameters
    ----------
    epochs : int, default 50
        Passes over the images that weights learn from.
    order : {1, 2}, default 1
        2: the architecture's gradient looks one step of the weights ahead, which takes more than twice as
        long. 1: weights are taken as they are.
    batch_size : int, default 64
        Images in a batch, of both parts, where the data are not loaders.
    architecture_data : float or "valid", default 0.5
        Share of the training images that architecture parameters learn from; or the task's validation images,
        on which the score of what is found is then too good.
    lr, lr_min : float, default 0.025 and 0.001
        Learning rate of the weights, which falls along a cosine.
    momentum : float, default 0.9
        Of the weights' SGD.
    weight_decay : float, default 3e-4
        Of the weights.
    grad_clip : float or None, default 5
        Largest norm of the weights' gradient.
    architecture_lr : float, default 3e-4
        Learning rate of the architecture parameters' Adam.
    architecture_betas : tuple of float, default (0.5, 0.999)
        Its momenta.
    architecture_weight_decay : float, default 1e-3
        Its weight decay.
    warmup_epochs : int, default 0
        Epochs at the beginning in which only weights learn.
    temperature, final_temperature : float, default 1
        Architecture parameters are divided by it before the softmax; it moves geometrically from one to the
        other.
    early_stop : {None, "skips", "eigenvalue"}, default None
        A cure for searches that collapse to skip connections. "skips" ends when the normal cell has more
        than `max_skips` of them [2]_; "eigenvalue" when the loss grows sharp in the architecture parameters,
        seen in its Hessian's dominant eigenvalue [3]_. The architecture before that is taken.
    max_skips : int, default 2
        For ``early_stop="skips"``.
    mixed_precision : bool, default False
        On a GPU, compute in float16 where that is safe.
    recompute : bool, default False
        Keep no more of a mixed operation than its input, and compute it again in the backward pass: a
        fraction of the memory, for about a third more time.
    cost_form : {"add", "multiply", "fbnet", None}, default "add"
        How limits on costs enter the loss of the architecture parameters: with the expected cost ``E`` and
        its limit ``T``, the loss ``L`` becomes ``L + w (E - T) / T`` [4]_, ``L w (log E / log T)^b`` [4]_, or
        ``L w (log E)^b`` [5]_, where an ``E`` below ``T`` counts as ``T``. None: they do not.
    cost_weight : float, optional
        ``w``; by default 0.1, or 0.2 where it multiplies.
    cost_exponent : float, optional
        ``b``; by default 0.3, or 0.6 for "fbnet".

    Raises
    ------
    ValueError
        If a setting is out of range.

    Warns
    -----
    UserWarning
        If half of the operations of the architecture, or more, are skip connections.

    Notes
    -----
    Under limits on costs the architecture at the end is the one of largest weight among those that are within
    all of them, by their costs as they are: `nasx.strategies.differentiable.discretize.best_within`.

    References
    ----------
    .. [1] H. Liu, K. Simonyan and Y. Yang, "DARTS: Differentiable Architecture Search", ICLR 2019.
    .. [2] H. Liang et al., "DARTS+: Improved Differentiable Architecture Search with Early Stopping", 2019.
    .. [3] A. Zela et al., "Understanding and Robustifying Differentiable Architecture Search", ICLR 2020.

    Examples
    --------
    >>> import nasx
    >>> data = nasx.tasks.datasets.load("digits")
    >>> task = nasx.tasks.ImageClassification(data["train"], data["valid"], device="cpu")
    >>> space = nasx.spaces.NASBench201(cells=1, channels=4)
    >>> result = nasx.search(space, task, strategy=DARTS(epochs=2))
    >>> len(result.history), len(result.best.architecture)
    (2, 6)
    """

    keeps_limits = True

    epochs: int = 50
    order: int = 1
    batch_size: int = 64
    architecture_data: float | str = 0.5
    lr: float = 0.025
    lr_min: float = 0.001
    momentum: float = 0.9
    weight_decay: float = 3e-4
    grad_clip: float | None = 5.0
    architecture_lr: float = 3e-4
    architecture_betas: tuple[float, float] = (0.5, 0.999)
    architecture_weight_decay: float = 1e-3
    warmup_epochs: int = 0
    temperature: float = 1.0
    final_temperature: float = 1.0
    early_stop: str | None = None
    max_skips: int = 2
    mixed_precision: bool = False
    recompute: bool = False
    cost_form: str | None = "add"
    cost_weight: float | None = None
    cost_exponent: float | None = None

    def __post_init__(self) -> None:
        self._check_integers(epochs=1, order=1, batch_size=2, warmup_epochs=0, max_skips=0)
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs must be less than epochs, {self.epochs}, or no architecture is learned; "
                f"got {self.warmup_epochs}"
            )
        self._check_words("order", 1, 2)
        self._check_words("early_stop", None, "skips", "eigenvalue")
        self._check_words("cost_form", None, *COST_FORMS)
        for name in ("cost_weight", "cost_exponent"):
            if getattr(self, name) is not None:
                self._check_numbers(**{name: None})
        self._check_flags("mixed_precision", "recompute")
        part = self.architecture_data
        share = isinstance(part, int | float) and not isinstance(part, bool) and 0 < part < 1
        if part != "valid" and not share:
            raise ValueError(f'architecture_data must be "valid" or a share between 0 and 1; got {part!r}')
        self._check_numbers(lr=None, architecture_lr=None, temperature=None, final_temperature=None)
        if self.grad_clip is not None:
            self._check_numbers(grad_clip=None)
        self._check_numbers(lr_min=0, momentum=0, weight_decay=0, architecture_weight_decay=0)
        if self.momentum >= 1:
            raise ValueError(f"momentum must be less than 1; got {self.momentum!r}")
        if self.mixed_precision and self.order == 2:
            raise ValueError("mixed_precision=True needs order=1: differences of gradients drown in float16")
        betas = self.architecture_betas
        pair = isinstance(betas, tuple | list) and len(betas) == 2
        if not pair or not all(type(b) in (int, float) and 0 <= b < 1 for b in betas):
            raise ValueError(f"architecture_betas must be two numbers in [0, 1); got {betas!r}")
        self.architecture_betas = (float(betas[0]), float(betas[1]))  # a list, from a file

    @property
    def settings(self) -> dict[str, Any]:
        """The settings as JSON types, enough to make an equal strategy."""
        return super().settings | {"architecture_betas": list(self.architecture_betas)}

    @property
    def total_epochs(self) -> int:
        """How many epochs `fit` trains at most."""
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
        """Train a supernet in place and choose an architecture; see `SupernetStrategy.fit`."""
        require("torch", "nasx.DARTS", "torch")
        from nasx.nn.mixed import recompute_operations
        from nasx.strategies.differentiable.training import Training

        recompute_operations(supernet, self.recompute)
        training = Training(
            self, supernet, task, seed=seed, device=device, deadline=deadline, cost_limits=cost_limits
        )
        history = [] if history is None else history
        in_time = training.run(
            self.epochs,
            checkpoint=checkpoint,
            history=history,
            report=report,
            ends=lambda: self._ends(history),
        )
        genotype = self._chosen(training, history)
        if genotype is None:
            return Fitted(None, "exhausted")
        if not in_time:
            return Fitted(genotype, "seconds")
        self._warn_of_collapse(supernet, genotype)
        return Fitted(genotype, "early_stop" if self._ends(history) else "epochs")

    # -- when to stop, and what to take ----------------------------------------------------------------------

    def _ends(self, history: list[Epoch]) -> bool:
        """Whether an early stop ends the search; not before architectures learn."""
        learned = history[self.warmup_epochs :]
        if not learned or self.early_stop is None:
            return False
        if self.early_stop == "skips":
            return bool(learned[-1]["skips"] > self.max_skips)
        return _sharper([entry["eigenvalue"] for entry in learned])

    def _chosen(self, training: Training, history: list[Epoch]) -> Genotypes | None:
        """Genotype of the last epoch, or of the one before what an early stop ended; None: none is within."""
        if not self._ends(history):
            return training.derive()
        back = 1 if self.early_stop == "skips" else _LOOK_BACK
        # Where the first epoch that learns is too much already, there is none before it.
        before = max(len(history) - 1 - back, self.warmup_epochs)
        genotype = history[before]["genotype"]
        return None if genotype is None else np.array(genotype, np.int32)

    def _warn_of_collapse(self, supernet: Supernet, genotype: Genotypes) -> None:
        skips, operations = supernet.skips(supernet.space.architecture(genotype))
        if operations and skips / operations >= _COLLAPSED:
            warnings.warn(
                f"{skips} of {operations} operations are skip connections: the search has probably collapsed "
                'to them, as DARTS is known to do; try early_stop="skips" or "eigenvalue", fewer epochs, or '
                "PCDARTS",
                stacklevel=6,  # who called nasx.search
            )


def _sharper(eigenvalues: list[float]) -> bool:
    """Whether the eigenvalue, smoothed over some epochs, has grown too fast."""
    if len(eigenvalues) < _WINDOW + _LOOK_BACK:
        return False
    smooth = np.convolve(eigenvalues, np.full(_WINDOW, 1 / _WINDOW), "valid")
    return bool(smooth[-1] > 0 and smooth[-1 - _LOOK_BACK] / smooth[-1] < _RATIO)
