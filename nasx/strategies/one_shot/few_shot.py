"""`FewShot`: a supernet split into a few, each for some choices of one decision."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nasx._fingerprint import fingerprint
from nasx.errors import require
from nasx.strategies.one_shot.spos import SPOS
from nasx.strategies.supernet import Epoch, Fitted

if TYPE_CHECKING:
    from nasx.checkpoint import Checkpoint
    from nasx.nn.supernet import Supernet
    from nasx.space import Space
    from nasx.strategies.limits import CostLimits
    from nasx.tasks.base import SupernetTask, TaskSpec

__all__ = ["FewShot"]


@dataclasses.dataclass(kw_only=True, eq=False)
class FewShot(SPOS):
    """Train a supernet as `SPOS` does, split it by one decision, train the parts on, then search [1]_.

    Each part begins with all weights, those of the split decision's operations included, and with a fresh
    optimiser; it trains and scores only the architectures that it holds. So fewer share a weight, which
    get in each other's way less.

    Parameters
    ----------
    child_epochs : int, default 10
        Passes over the training images, of every part.
    split : str, default "gradient"
        The name of the decision to split by; or "gradient": the one whose choices disagree most in what they
        ask of the weights that they share, seen in the cosines between their gradients [2]_.
    groups : {None, 2}, default None
        None: a part for each choice [1]_. 2: two parts, of choices that agree [2]_.
    matching_batches : int, default 4
        Batches over which gradients are compared.
    parent : nasx.nn.Supernet, optional
        A supernet of the same space that is trained already, such as ``result.supernet`` of `nasx.SPOS` or
        `nasx.DARTS`: a copy of it is split, instead of one that is trained for `epochs` first.
    **settings
        All of `SPOS`. The learning rate begins and falls anew for the parts.

    Raises
    ------
    ValueError
        If a setting is out of range.

    References
    ----------
    .. [1] Y. Zhao et al., "Few-Shot Neural Architecture Search", ICML 2021.
    .. [2] S. Hu et al., "Generalizing Few-Shot NAS with Gradient Matching", ICLR 2022.

    Examples
    --------
    >>> import nasx
    >>> data = nasx.tasks.datasets.load("digits")
    >>> task = nasx.tasks.ImageClassification(data["train"], data["valid"], device="cpu")
    >>> space = nasx.spaces.NASBench201(cells=1, channels=4)
    >>> strategy = FewShot(epochs=1, child_epochs=1, split=space.names[0], groups=2, baseline=1)
    >>> result = nasx.search(space, task, strategy=strategy, evaluations=2)
    >>> result.supernet.decision == space.names[0], len(result.supernet.members)
    (True, 2)

    On top of a supernet that there is:

    >>> trained = nasx.search(space, task, strategy=nasx.SPOS(epochs=1, baseline=1), evaluations=2)
    >>> strategy = FewShot(parent=trained.supernet, child_epochs=1, split=space.names[0], baseline=1)
    >>> [entry["epoch"] for entry in nasx.search(space, task, strategy=strategy, evaluations=2).history]
    [1]
    """

    child_epochs: int = 10
    split: str = "gradient"
    groups: int | None = None
    matching_batches: int = 4
    parent: Supernet | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.parent is not None:
            self._check_parent(self.parent)
        self._check_integers(child_epochs=1, matching_batches=1)
        self._check_words("groups", None, 2)
        if not isinstance(self.split, str) or not self.split:
            raise ValueError(f'split must be a decision\'s name, or "gradient"; got {self.split!r}')

    @staticmethod
    def _check_parent(parent: object) -> None:
        require("torch", "parent=", "torch")
        from nasx.nn.few_shot import FewShotSupernet
        from nasx.nn.supernet import Supernet

        if not isinstance(parent, Supernet) or isinstance(parent, FewShotSupernet):
            raise ValueError(
                "parent must be a nasx.nn.Supernet that is in one piece, such as result.supernet of "
                f"nasx.SPOS; got {type(parent).__name__}"
            )

    @property
    def settings(self) -> dict[str, Any]:
        """The settings as JSON types; of a parent, a hash of its weights."""
        if self.parent is None:
            return super().settings
        return super().settings | {"parent": fingerprint(self.parent.state_dict().values())}

    @property
    def whole_epochs(self) -> int:
        """How many epochs `fit` trains the whole: none where there is a parent."""
        return self.epochs if self.parent is None else 0

    @property
    def total_epochs(self) -> int:
        """How many epochs `fit` trains: those of the whole, and those of its parts, side by side."""
        return self.whole_epochs + self.child_epochs

    def make_supernet(self, space: Space, spec: TaskSpec) -> Supernet:
        """Make the supernet, ready to be split; see `SupernetStrategy.make_supernet`.

        Raises
        ------
        ValueError
            If the parent is one of another space.
        """
        from nasx.nn.few_shot import FewShotSupernet

        if self.parent is None:
            return FewShotSupernet(super().make_supernet(space, spec))
        theirs = self.parent.space
        if theirs != space or theirs.settings != space.settings:
            raise ValueError(
                f"parent must be a supernet of {space!r}, which is searched; it is one of {theirs!r}"
            )
        return FewShotSupernet(copy.deepcopy(self.parent))

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
        """Train a `nasx.nn.few_shot.FewShotSupernet` in place, and split it; see `OneShotStrategy.fit`.

        Raises
        ------
        ValueError
            If `split` is no decision of the space.
        TypeError
            If it is another supernet.
        """
        require("torch", "nasx.FewShot", "torch")
        from nasx.nn.few_shot import FewShotSupernet
        from nasx.strategies.one_shot.few_shot_training import FewShotTraining

        if not isinstance(supernet, FewShotSupernet):
            raise TypeError(
                "supernet must be a nasx.nn.few_shot.FewShotSupernet, as make_supernet makes; got "
                f"{type(supernet).__name__}"
            )
        if self.split != "gradient" and self.split not in supernet.space.decisions:
            raise ValueError(
                f'split must be "gradient" or one of {", ".join(supernet.space.names)}; got {self.split!r}'
            )
        training = FewShotTraining(
            self,
            supernet,
            task,
            seed=seed,
            device=device,
            deadline=deadline,
            cost_violation=None if cost_limits is None else cost_limits.violation,
        )
        history = [] if history is None else history
        in_time = training.run(self.total_epochs, checkpoint=checkpoint, history=history, report=report)
        return Fitted(None, "epochs" if in_time else "seconds")
