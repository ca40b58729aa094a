"""`SharedWeights`: architectures scored with the weights that they share in a supernet."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from nasx._arguments import count
from nasx.architecture import Architecture
from nasx.nn.recalibration import kept_modes, recalibrated
from nasx.tasks.base import Direction, Report, Task, TaskSpec
from nasx.tasks.batches import stream
from nasx.tasks.training import random_state

if TYPE_CHECKING:
    from nasx.nn.supernet import Supernet

__all__ = ["SharedWeights"]


class SharedWeights(Task):
    """Score architectures by the weights of a trained supernet; nothing is trained.

    For each architecture the batch normalisations that it computes are measured anew over training batches,
    the plain mean over all of them, since those that training has left are of all paths together [1]_. Then
    the task scores it. The supernet is left as it was; only those statistics are copied meanwhile.

    Parameters
    ----------
    supernet : nasx.nn.Supernet
        A trained one. Scores are remembered: make a new object once it is trained further.
    task : Task
        One that serves supernets, see `SupernetTask`, such as `ImageClassification`.
    seed : int, default 0
        Seed of the training batches.
    batches : int, default 20
        How many training batches; they are read once and stay in memory. 0 leaves the statistics as they are.
    batch_size : int, optional
        Examples in such a batch; by default the task's.
    split : str, default "valid"
        What is scored.

    Raises
    ------
    ValueError
        If a number is out of range.

    Notes
    -----
    A score depends on the architecture alone, not on the seed that `evaluate` is given, nor on what was
    scored before.

    References
    ----------
    .. [1] Z. Guo et al., "Single Path One-Shot Neural Architecture Search with Uniform Sampling", ECCV 2020.

    Examples
    --------
    >>> import nasx
    >>> data = nasx.tasks.datasets.load("digits")
    >>> task = nasx.tasks.ImageClassification(data["train"], data["valid"], device="cpu")
    >>> space = nasx.spaces.NASBench201(cells=1, channels=4)
    >>> shared = SharedWeights(space.supernet(task.spec), task, batches=2)
    >>> sorted(shared.evaluate(space.decode([3, 3, 3, 3, 3, 3])))
    ['accuracy', 'error', 'loss']
    """

    def __init__(
        self,
        supernet: Supernet,
        task: Any,
        *,
        seed: int = 0,
        batches: int = 20,
        batch_size: int | None = None,
        split: str = "valid",
    ) -> None:
        self.supernet, self.task, self.split, self.seed = supernet, task, split, seed
        self.batches, self.batch_size = count(batches, "batches", 0), batch_size
        self.device: torch.device = next(supernet.parameters()).device
        self._cached: list[Any] | None = None
        self._known: dict[bytes, dict[str, float]] = {}

    @property
    def spec(self) -> TaskSpec | None:
        """That of the task."""
        spec: TaskSpec | None = self.task.spec
        return spec

    @property
    def settings(self) -> Mapping[str, Any]:
        """The task's settings, and how its scores come about; the supernet's weights are not part of them."""
        return {
            "name": "SharedWeights",
            "task": dict(self.task.settings),
            "seed": self.seed,
            "batches": self.batches,
            "batch_size": self.batch_size,
            "split": self.split,
        }

    @property
    def objectives(self) -> Mapping[str, Direction]:
        """Those of the task."""
        objectives: Mapping[str, Direction] = self.task.objectives
        return objectives

    def evaluate(
        self,
        architecture: Architecture,
        *,
        seed: int = 0,
        device: str | None = None,
        budget: int | None = None,
        report: Report | None = None,
    ) -> dict[str, float]:
        """Score one architecture, or remember its score.

        Parameters
        ----------
        architecture : Architecture
            One of the supernet's space.
        seed : int, default 0
            Makes no difference.
        device : str, optional
            Where the supernet is; no other is possible.
        budget, report
            Not used: nothing is trained.

        Returns
        -------
        dict of str to float
            What the task's ``score`` gives.

        Raises
        ------
        ValueError
            If the supernet is on another device, or there are no training batches.
        """
        if device is not None and torch.device(device).type != self.device.type:
            raise ValueError(f"device must be where the supernet is, {self.device}; got {device!r}")
        key = architecture.genotype.tobytes()
        if key not in self._known:
            self._known[key] = self._measured(architecture)
        return dict(self._known[key])

    def evaluate_many(self, genotypes: npt.ArrayLike, *, seed: int = 0) -> dict[str, npt.NDArray[np.float64]]:
        """Score a batch of architectures, each with statistics of its own over the same training batches.

        It lets any strategy search a trained supernet by ``nasx.search(..., vectorized=True)``.

        Parameters
        ----------
        genotypes : array_like of int, shape (n, d)
            Architectures of the supernet's space.
        seed : int, default 0
            Makes no difference.

        Returns
        -------
        dict of str to ndarray of float64, shape (n,)
            What the task's ``score`` gives; without architectures, the objectives alone.

        Raises
        ------
        ValueError
            If a row is no genotype of the space, or there are no training batches.
        """
        space = self.supernet.space
        scores = [self.evaluate(space.architecture(row)) for row in space.check(genotypes)]
        names = scores[0] if scores else self.objectives
        return {name: np.array([score[name] for score in scores], np.float64) for name in names}

    def _measured(self, architecture: Architecture) -> dict[str, float]:
        supernet, place = self.supernet, str(self.device)
        with random_state(self.device, stream(self.seed, 0, 4)), supernet.path(architecture):
            if not self.batches:
                with kept_modes(supernet):
                    return dict(self.task.score(supernet, self.split, device=place))
            if self._cached is None:
                loader = self.task.loaders(
                    "train", self.seed, training=True, device=place, batch_size=self.batch_size
                )
                self._cached = list(itertools.islice(loader, self.batches))
            with recalibrated(supernet, self._cached, lambda batch: self.task.loss(supernet, batch)):
                return dict(self.task.score(supernet, self.split, device=place))
