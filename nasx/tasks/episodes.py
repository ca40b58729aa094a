"""`FewShotEpisodes`: tasks of a few images each, drawn from the classes of larger data sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nasx._arguments import count, unsigned
from nasx.architecture import Architecture
from nasx.errors import unknown
from nasx.tasks.base import Report, Task, TaskSpec
from nasx.tasks.batches import stream
from nasx.tasks.classification import ImageClassification
from nasx.tasks.distributions import mean_metrics
from nasx.tasks.image_classes import ImageClasses, split_classes
from nasx.tasks.splits import Batch
from nasx.tasks.trained import device_of

__all__ = ["Episode", "FewShotEpisodes"]

_SPLITS = ("train", "valid", "test")
# Images of each training class from which mean and deviation are taken.
_MEASURED = 64


class Episode(ImageClassification):
    """One few-shot task: support images to adapt to, and queries to be judged by.

    An `ImageClassification` whose "train" split is the support and whose "valid" split are the queries. All
    queries are one batch: whoever normalises by the batch's statistics has those of all of them.

    Parameters
    ----------
    support, queries : pair of Tensor
        Images ``(N, C, H, W)``, float32, and labels ``(N,)``, from 0 to ``ways - 1``.
    classes : tuple of int
        The episode's classes in the order of their labels, by their numbers in the `FewShotEpisodes`.
    **options
        As for `ImageClassification`.
    """

    def __init__(self, support: Batch, queries: Batch, *, classes: Sequence[int], **options: Any) -> None:
        size = max(len(support[1]), len(queries[1]))
        super().__init__(
            support, queries, batch_size=size, normalize=False, num_classes=len(classes), **options
        )
        self.classes = tuple(classes)


class FewShotEpisodes(Task):
    """A distribution of tasks: tell apart `ways` classes by `shots` images of each.

    The classes of the data sets are divided into those to learn from, to compare on and to test on; no class
    is in two of these, and rotated classes go with the one that they are made of. An episode draws its
    classes, numbers them at random, and draws support images and queries of each.

    Parameters
    ----------
    dataset : data, mapping or list
        A pair ``(images, labels)``, or a torch ``Dataset`` that fits into memory, as for
        `ImageClassification`. A mapping of such, as `nasx.tasks.datasets.load` gives, is taken together: it
        is the classes that are divided here. A list is of several data sets, with classes of their own.
    ways : int
        Classes in an episode, at least 2.
    shots : int
        Support images of each class.
    queries : int, default 15
        Images of each class that an adapted network is scored on.
    train_shots : int, optional
        Support images in the episodes to learn from, where more than in those to be judged by help [1]_. By
        default `shots`.
    rotations : bool, default False
        Whether each class, rotated by 90, 180 and 270 degrees, is three classes more.
    size : int or tuple of int, optional
        Height and width to which all images are scaled; by default the largest of the data sets'.
    valid, test : float or sequence of int, default 0.2
        Share of the classes to compare on, and to test on; or their numbers, before rotation: classes are
        numbered from 0 through all data sets, in each by their labels. What is left is learned from.
    normalize : bool, default True
        Shift and scale each channel to mean 0 and deviation 1 over training classes.
    epochs : int, default 20
        Passes over the support when a network is trained from scratch, by `evaluate`.
    episodes : int, default 20
        How many validation episodes `evaluate` averages over.
    seed : int, default 0
        Same seed, same classes in each split, and same episodes.
    device : str, optional
        Where to train; by default "cuda" if there is one, else "cpu".
    threads : int, optional
        Threads of torch while it trains; by default the number that torch is set to.

    Attributes
    ----------
    classes : dict of str to tuple of int
        The classes of "train", "valid" and "test". Class ``4 * c + r`` is c rotated by ``90 * r`` degrees
        if there are rotations.

    Raises
    ------
    ValueError
        If a number is out of range, a split has fewer classes than `ways`, or a class fewer images than
        support and queries need; the message names it.
    TypeError
        If a data set is of none of these kinds.

    References
    ----------
    .. [1] A. Nichol, J. Achiam and J. Schulman, "On First-Order Meta-Learning Algorithms", arXiv:1803.02999,
       2018.

    Examples
    --------
    >>> import nasx
    >>> digits = nasx.tasks.datasets.load("digits")
    >>> tasks = FewShotEpisodes(digits, ways=3, shots=2, rotations=True, device="cpu")
    >>> {split: len(classes) for split, classes in tasks.classes.items()}
    {'train': 24, 'valid': 8, 'test': 8}
    >>> episode = tasks.episode(0)
    >>> [tuple(images.shape) for images, _ in episode.loaders("train")], len(episode.classes)
    ([(6, 1, 8, 8)], 3)
    """

    def __init__(
        self,
        dataset: Any,
        ways: int,
        shots: int,
        *,
        queries: int = 15,
        train_shots: int | None = None,
        rotations: bool = False,
        size: int | tuple[int, int] | None = None,
        valid: float | Sequence[int] = 0.2,
        test: float | Sequence[int] = 0.2,
        normalize: bool = True,
        epochs: int = 20,
        episodes: int = 20,
        seed: int = 0,
        device: str | None = None,
        threads: int | None = None,
    ) -> None:
        self._ways, self._shots, self._queries = count(ways, "ways", 2), count(shots, "shots"), queries
        self._train_shots = shots if train_shots is None else count(train_shots, "train_shots")
        count(queries, "queries")
        self._epochs, self._episodes = count(epochs, "epochs"), count(episodes, "episodes")
        for name, value in (("rotations", rotations), ("normalize", normalize)):
            if not isinstance(value, bool):
                raise ValueError(f"{name} must be True or False; got {value!r}")
        self._seed, self._device, self.threads = unsigned(seed, "seed"), device, threads
        device_of(device)
        if threads is not None:
            count(threads, "threads")
        self._images = ImageClasses(dataset, size=size, least=max(self._shots, self._train_shots) + queries)
        self._rotations = 4 if rotations else 1
        if rotations and self._images.size[0] != self._images.size[1]:
            raise ValueError(
                f"rotations=True needs square images; these are {self._images.size}: give a size"
            )
        base = split_classes(len(self._images), valid, test, stream(self._seed, 0, 6))
        self.classes = {
            split: tuple(self._rotations * one + turn for one in some for turn in range(self._rotations))
            for split, some in base.items()
        }
        for split, some in self.classes.items():
            if len(some) < self._ways and (some or split == "train"):
                raise ValueError(
                    f"{split} has {len(some)} of {len(self._images) * self._rotations} classes, fewer than "
                    f"ways, {self._ways}: give more classes, rotations=True, another share, or fewer ways"
                )
        channels = self._images.channels
        self._mean, self._std = torch.zeros(1, channels, 1, 1), torch.ones(1, channels, 1, 1)
        if normalize:
            self._mean, self._std = self._images.moments(base["train"], _MEASURED)
        self._normalize = normalize
        self._valid, self._test = (
            [float(x)] if isinstance(x, int | float) else list(x) for x in (valid, test)
        )

    @property
    def spec(self) -> TaskSpec:
        """Shape of an image, as many outputs as `ways`, and "image_classification"."""
        return TaskSpec((self._images.channels, *self._images.size), self._ways, "image_classification")

    @property
    def settings(self) -> dict[str, Any]:
        """The settings and what identifies the data, as JSON types; the device is left out."""
        return {
            "name": "FewShotEpisodes",
            "ways": self._ways,
            "shots": self._shots,
            "queries": self._queries,
            "train_shots": self._train_shots,
            "rotations": self._rotations > 1,
            "size": list(self._images.size),
            "valid": self._valid,
            "test": self._test,
            "normalize": self._normalize,
            "epochs": self._epochs,
            "episodes": self._episodes,
            "seed": self._seed,
            "threads": self.threads,
            "data": self._images.fingerprints(),
        }

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that `evaluate` and episodes' ``score`` return."""
        return ("error", "accuracy", "loss")

    @property
    def device(self) -> torch.device:
        """Where networks are trained unless a call says otherwise."""
        return device_of(self._device)

    @property
    def normalization(self) -> dict[str, list[float]] | None:
        """What images go through before the network: ``(x - mean) / std`` per channel, x in 0..1 if uint8."""
        if not self._normalize:
            return None
        return {"mean": self._mean.flatten().tolist(), "std": self._std.flatten().tolist()}

    def episode(self, index: int, split: str = "train") -> Episode:
        """Give a task; it follows from the seed, the split and the index alone.

        Parameters
        ----------
        index : int
            0 or more.
        split : {"train", "valid", "test"}, default "train"
            Whose classes it is of.

        Returns
        -------
        Episode
            Images are on the CPU until ``loaders`` moves them to the device.

        Raises
        ------
        ValueError
            If there is no such split, it has no classes, or `index` is negative.
        """
        if split not in _SPLITS:
            raise ValueError(unknown("split", split, _SPLITS))
        classes = self.classes[split]
        if not classes:
            raise ValueError(f"split {split!r} has no classes: its share of them is 0")
        path = (_SPLITS.index(split), unsigned(index, "index"), 7)
        generator = torch.Generator().manual_seed(stream(self._seed, *path))
        chosen = torch.randperm(len(classes), generator=generator)[: self._ways].tolist()
        shots = self._train_shots if split == "train" else self._shots
        support, queries = list[Tensor](), list[Tensor]()
        for number in chosen:
            base, turns = divmod(classes[number], self._rotations)
            rows = torch.randperm(self._images.counts[base], generator=generator)[: shots + self._queries]
            images = (self._images.of(base, rows) - self._mean) / self._std
            images = torch.rot90(images, turns, (2, 3)).contiguous()
            support.append(images[:shots])
            queries.append(images[shots:])
        labels = torch.arange(self._ways)
        return Episode(
            (torch.cat(support), labels.repeat_interleave(shots)),
            (torch.cat(queries), labels.repeat_interleave(self._queries)),
            classes=[classes[number] for number in chosen],
            epochs=self._epochs,
            device=self._device,
            threads=self.threads,
        )

    def evaluate(
        self,
        architecture: Architecture,
        *,
        seed: int,
        device: str | None = None,
        budget: int | None = None,
        report: Report | None = None,
    ) -> dict[str, float]:
        """Train a network from scratch on the support of each validation episode, and average the metrics.

        Parameters
        ----------
        architecture, seed, device
            As for `Task.evaluate`.
        budget : int, optional
            Epochs, instead of the task's.
        report : callable, optional
            Not used: there is no one training to end early.

        Returns
        -------
        dict of str to float
            Means of "error", "accuracy" and "loss" over the queries.
        """
        tasks = [self.episode(index, "valid") for index in range(self._episodes)]
        found = [task.evaluate(architecture, seed=seed, device=device, budget=budget) for task in tasks]
        return mean_metrics([{name: one[name] for name in self.metrics} for one in found])
