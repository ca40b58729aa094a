"""`MetaNAS`: weights and architecture parameters that adapt to a new task in a few steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from nasx.errors import require
from nasx.strategies.supernet import Epoch, Fitted, SupernetStrategy

if TYPE_CHECKING:
    from nasx.architecture import Architecture
    from nasx.checkpoint import Checkpoint
    from nasx.nn.supernet import Supernet
    from nasx.space import Space
    from nasx.strategies.limits import CostLimits
    from nasx.strategies.transfer.learner import MetaLearner
    from nasx.tasks.base import SupernetTask, TaskSpec

__all__ = ["MetaNAS"]


@dataclasses.dataclass(kw_only=True, eq=False)
class MetaNAS(SupernetStrategy):
    """Learn where to begin, in weights and in architecture parameters, so that few steps suffice for a task.

    Reptile [2]_ over a supernet [1]_: in every update some tasks are drawn; for each, weights and
    architecture parameters take some first-order steps of DARTS from the same beginning, while the
    temperature of the softmax falls, so that at the end each edge has all but decided for one operation. Then
    the beginning moves towards the mean of where the tasks came to. What comes out adapts to a new task by
    the same steps, and its strongest operations, with the weights that they have, are the task's network:
    nothing is trained again. In `nasx.spaces.DARTS`, whose nodes keep two edges, a softmax over pairs of
    edges decides for those in the same way.

    The search's trial is the architecture that the parameters stand for before they are adapted; its metrics
    are the means, over validation tasks, of what the networks that come of adapting to them score.

    Parameters
    ----------
    epochs : int, default 100
        Each is `updates_per_epoch` updates, after which a checkpoint is written.
    updates_per_epoch : int, default 10
        Updates of the beginning; the paper makes 30,000 in all.
    tasks_per_update : int, default 10
        Tasks whose ends are averaged.
    task_steps : int, default 10
        Steps of a task, each on one batch, while it is learned where to begin.
    adapt_steps : int, default 50
        Steps on a new task.
    batch_size : int, default 20
        Most images in a batch of a task.
    lr, architecture_lr : float, default 1e-3 and 0.01
        Rates of the weights and of the architecture parameters within a task, by Adam without a mean of
        gradients; its mean squares go on from task to task, and begin a new one. The paper takes 1e-3 for
        both, and 15,000 updates in which architectures learn. With so few as here they would not decide: what
        a task can move them by, about the rate times its steps, should be a few times `final_temperature`.
    weight_decay, architecture_weight_decay : float, default 0
        Their weight decays.
    grad_clip : float or None, default 5
        Largest norm of the weights' gradient.
    meta_lr, architecture_meta_lr : float, default 1.0 and 0.6
        What share of the way to the tasks' ends the beginning's weights and architecture parameters go.
    meta_decay : bool, default True
        Whether both shares fall linearly towards 0: that of the architecture parameters while they learn, and
        that of the weights from then on, or from the beginning where no epochs come after.
    warmup_epochs : int, optional
        Epochs at the beginning in which only weights learn; by default a quarter of them. The paper takes
        half.
    architecture_epochs : int, optional
        Epochs after those in which the architecture parameters' beginning learns; by default up to the middle
        of all. Afterwards it stands, and weights learn what its architecture needs. The paper takes all that
        are left.
    temperature, final_temperature : float, default 1.0 and 0.1
        Architecture parameters are divided by it before the softmax; it falls linearly from the first to the
        second within every task.
    pruned_share : float, default 0.9
        Share of a task's steps, its last ones, in which only the strongest operations are computed and their
        weights learn alone: where the temperature would fall to 0. They cost what one network does. It rises
        from none to this while architectures learn. An adaptation has as many steps before those as tasks
        have at the end, and all others after them. The paper has none, and 15,000 updates after which
        softmaxes have decided by themselves; with few updates they have not: what is left out is missed, and
        weights that never stood alone are no good beginning for those that do.
    batch_norm : {"transductive", "support"}, default "transductive"
        What networks that are adapted normalise by when they are scored. Their own batch: all queries of an
        episode together, which tell each other about the task, as published. Or the mean and variance over
        the support: then each image is judged alone. While they learn, it is always the batch.
    score_tasks : int, default 20
        Validation tasks that the search's trial is scored on.
    architecture : mapping, optional
        Choices of one architecture: then only that is computed, and only its weights learn, which is Reptile
        itself.

    Raises
    ------
    ValueError
        If a setting is out of range.

    Notes
    -----
    Under limits on costs every task's architecture is the strongest among those that are within them, also
    when a learner adapts later. Limits are functions, which `MetaLearner.save` cannot write.

    References
    ----------
    .. [1] T. Elsken, B. Staffler, J. H. Metzen and F. Hutter, "Meta-Learning of Neural Architectures for
       Few-Shot Learning", CVPR 2020.
    .. [2] A. Nichol, J. Achiam and J. Schulman, "On First-Order Meta-Learning Algorithms", arXiv:1803.02999,
       2018.

    Examples
    --------
    >>> import nasx
    >>> digits = nasx.tasks.datasets.load("digits")
    >>> tasks = nasx.tasks.FewShotEpisodes(digits, ways=2, shots=5, device="cpu")
    >>> few = {"updates_per_epoch": 1, "tasks_per_update": 2, "task_steps": 2, "score_tasks": 1}
    >>> space = nasx.spaces.NASBench201(cells=1, channels=4)
    >>> meta = nasx.search(space, tasks, strategy=MetaNAS(epochs=2, adapt_steps=2, **few))
    >>> adapted = meta.adapt(tasks.episode(0, "test"))
    >>> len(adapted.architecture), sorted(adapted.score())
    (6, ['accuracy', 'error', 'loss'])
    """

    keeps_limits = True
    needs: ClassVar[str] = (
        "learns from many tasks: it needs a distribution of them, such as nasx.tasks.FewShotEpisodes, or a "
        "list of tasks that can train supernets, such as nasx.tasks.ImageClassification"
    )

    epochs: int = 100
    updates_per_epoch: int = 10
    tasks_per_update: int = 10
    task_steps: int = 10
    adapt_steps: int = 50
    batch_size: int = 20
    lr: float = 1e-3
    architecture_lr: float = 0.01
    weight_decay: float = 0.0
    architecture_weight_decay: float = 0.0
    grad_clip: float | None = 5.0
    meta_lr: float = 1.0
    architecture_meta_lr: float = 0.6
    meta_decay: bool = True
    warmup_epochs: int | None = None
    architecture_epochs: int | None = None
    temperature: float = 1.0
    final_temperature: float = 0.1
    pruned_share: float = 0.9
    batch_norm: str = "transductive"
    score_tasks: int = 20
    architecture: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        self._check_integers(epochs=1, updates_per_epoch=1, tasks_per_update=1, task_steps=1, adapt_steps=0)
        self._check_integers(batch_size=2, score_tasks=1)
        if self.warmup_epochs is None:
            self.warmup_epochs = self.epochs // 4
        self._check_integers(warmup_epochs=0)
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs must be less than epochs, {self.epochs}, or no architecture is learned; "
                f"got {self.warmup_epochs}"
            )
        if self.architecture_epochs is None:
            self.architecture_epochs = max(self.epochs // 2 - self.warmup_epochs, 1)
        self._check_integers(architecture_epochs=1)
        most = self.epochs - self.warmup_epochs
        if self.architecture_epochs > most:
            raise ValueError(
                f"architecture_epochs must be at most the {most} epochs after those of warm-up; got "
                f"{self.architecture_epochs}"
            )
        self._check_numbers(lr=None, architecture_lr=None, temperature=None, final_temperature=None)
        self._check_numbers(weight_decay=0, architecture_weight_decay=0, meta_lr=None, architecture_meta_lr=0)
        if self.grad_clip is not None:
            self._check_numbers(grad_clip=None)
        for name in ("meta_lr", "architecture_meta_lr"):
            if getattr(self, name) > 1:
                raise ValueError(f"{name} must be at most 1, all of the way; got {getattr(self, name)!r}")
        if self.final_temperature > self.temperature:
            raise ValueError(
                f"final_temperature must be at most temperature, {self.temperature:g}, since it falls; "
                f"got {self.final_temperature:g}"
            )
        self._check_numbers(pruned_share=0)
        if self.pruned_share >= 1:
            raise ValueError(
                f"pruned_share must be less than 1, or no architecture is learned; got {self.pruned_share!r}"
            )
        self._check_flags("meta_decay")
        self._check_words("batch_norm", "transductive", "support")
        if self.architecture is not None:
            if not isinstance(self.architecture, Mapping):
                raise ValueError(
                    f"architecture must map decisions to choices, or be None; got {self.architecture!r}"
                )
            self.architecture = dict(self.architecture)
        self._learner: MetaLearner | None = None

    @property
    def total_epochs(self) -> int:
        """How many epochs `fit` trains at most."""
        return self.epochs

    # -- schedules -------------------------------------------------------------------------------------------

    @property
    def first_learning_epoch(self) -> int:
        """The epoch, from 0, from which on architecture parameters learn; none, if one is fixed."""
        assert self.warmup_epochs is not None  # once it is made
        return self.epochs if self.architecture is not None else self.warmup_epochs

    def learned_at(self, epoch: float) -> float:
        """Give the share of the epochs in which architectures learn that is over.

        Parameters
        ----------
        epoch : float
            From 0.

        Returns
        -------
        float
            From 0 to 1; 0 too where one architecture is fixed.
        """
        if self.architecture is not None:
            return 0.0
        assert self.architecture_epochs is not None  # once it is made
        return min(max((epoch - self.first_learning_epoch) / self.architecture_epochs, 0.0), 1.0)

    def soft_at(self, epoch: int) -> int:
        """Give the number of a task's first steps in which all operations are computed.

        Parameters
        ----------
        epoch : int
            From 0; those after it are of the strongest operations alone.

        Returns
        -------
        int
            From 1 to `task_steps`.
        """
        pruned = round(self.pruned_share * self.learned_at(epoch) * self.task_steps)
        return max(1, self.task_steps - pruned)

    def temperature_at(self, step: int, steps: int) -> float:
        """Give the temperature in a step of a task.

        Parameters
        ----------
        step : int
            From 0.
        steps : int
            Of the task in which architecture parameters learn.

        Returns
        -------
        float
            From `temperature` in the first one to `final_temperature` in the last one and after it.
        """
        done = min(step / (steps - 1), 1.0) if steps > 1 else 1.0
        return self.temperature + (self.final_temperature - self.temperature) * done

    def meta_rates(self, update: int) -> tuple[float, float]:
        """Give the shares of the way that an update goes, of weights and of architecture parameters.

        Parameters
        ----------
        update : int
            From 0, through all epochs.

        Returns
        -------
        tuple of float
            `meta_lr` and `architecture_meta_lr`, or what is left of them.
        """
        epoch = update / self.updates_per_epoch
        left = 1 - self.learned_at(epoch)
        stands = self._stands if self._stands < self.epochs else 0
        if not self.meta_decay:
            return self.meta_lr, self.architecture_meta_lr * (left > 0)
        of_weights = min((self.epochs - epoch) / (self.epochs - stands), 1.0)
        return self.meta_lr * of_weights, self.architecture_meta_lr * left

    @property
    def _stands(self) -> int:
        """The epoch, from 0, from which on architectures stand."""
        assert self.architecture_epochs is not None  # once it is made
        return 0 if self.architecture is not None else self.first_learning_epoch + self.architecture_epochs

    def fixed(self, space: Space) -> Architecture | None:
        """Give the architecture that is never left, if there is one.

        Parameters
        ----------
        space : Space
            Whose architecture it is.

        Returns
        -------
        Architecture or None
            That of the setting.

        Raises
        ------
        ValueError
            If it is none of the space.
        """
        return None if self.architecture is None else space.architecture(space.encode(self.architecture))

    def make_supernet(self, space: Space, spec: TaskSpec) -> Supernet:
        """Make the supernet; where architectures keep two edges into each node, pairs of them are weighed.

        So leaving the others out is as gradual as leaving operations out.
        """
        kept = getattr(space, "edges_kept", 1)
        supernet = (
            super().make_supernet(space, spec) if kept < 2 else space.supernet(spec, edge_normalization=True)
        )
        supernet.edges_kept = kept
        return supernet

    # -- the method ------------------------------------------------------------------------------------------

    def takes(self, task: Any) -> bool:
        """Whether a task is a distribution of tasks."""
        from nasx.tasks.base import Task
        from nasx.tasks.distributions import TaskDistribution

        return isinstance(task, Task) and isinstance(task, TaskDistribution)

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
        """Learn where to begin; see `SupernetStrategy.fit`. The task is a `TaskDistribution`."""
        require("torch", "nasx.MetaNAS", "torch")
        from nasx.strategies.transfer.learner import MetaLearner
        from nasx.strategies.transfer.meta_training import MetaTraining

        tasks: Any = task
        fixed = self.fixed(supernet.space)
        tasks.episode(0, "valid")  # what is found could not be scored without: better now than at the end
        training = MetaTraining(
            self, supernet, tasks, seed=seed, device=device, deadline=deadline, cost_limits=cost_limits
        )
        in_time = training.run(
            self.epochs, checkpoint=checkpoint, history=[] if history is None else history, report=report
        )
        supernet.temperature = self.final_temperature
        adapting = training.training
        self._learner = MetaLearner(self, supernet, training.state(), spec=tasks.spec, models=adapting.models)
        genotype = adapting.derive() if fixed is None else fixed.genotype
        return Fitted(genotype, "epochs" if in_time else "seconds")

    @property
    def learner(self) -> MetaLearner | None:
        """What `fit` has learned; None before."""
        return self._learner

    def scorer(self, supernet: Supernet, task: Any, *, seed: int) -> Any:
        """Say what scores the architecture that was found: adaptations to validation tasks."""
        from nasx.strategies.transfer.learner import MetaScore

        assert self._learner is not None  # since `fit`
        return MetaScore(self._learner, task, self.score_tasks, seed=seed)
