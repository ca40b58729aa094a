"""`ImageClassification`: train one network on labelled images and measure its validation error."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nasx._arguments import count as _count
from nasx.errors import EvaluationError, unknown
from nasx.tasks.base import TaskSpec
from nasx.tasks.batches import Augment, Batches, stream
from nasx.tasks.splits import Batch, Held, Joined, Split, Summary, as_split, part_of
from nasx.tasks.trained import TrainedNetwork, TrainedTask, device_of
from nasx.tasks.training import Recipe

__all__ = ["ImageClassification", "TrainedNetwork"]


class ImageClassification(TrainedTask):
    """Classify images: every architecture is trained from scratch and judged by its validation error.

    Each of `train`, `valid` and `test` is a pair ``(images, labels)`` of arrays or tensors, a torch
    ``Dataset``, or a ``DataLoader`` (or a list of batches). Images are ``(N, H, W)`` or ``(N, C, H, W)``,
    floating point or uint8, which is scaled to 0..1; labels are class numbers from 0. Arrays and data sets
    up to 1 GiB are held in memory and batched there; a data set is read once, so random transforms in it
    are drawn once: use `augment` or a loader for those. Loaders are iterated as they are, and read once
    more at the start, to check them.

    Parameters
    ----------
    train, valid : data
        What networks are trained on and compared on.
    test : data, optional
        What only `retrain` scores.
    epochs : int, default 20
        Passes over the training images.
    batch_size : int, default 96
        Images in a training batch, where the data are not loaders.
    optimizer : {"sgd", "adamw"}, default "sgd"
        Nesterov's momentum method, or Adam with decoupled weight decay.
    lr : float, optional
        Peak learning rate; by default 0.1 for "sgd" and 0.003 for "adamw".
    momentum : float, default 0.9
        Momentum of "sgd".
    weight_decay : float, default 5e-4
        Weight decay, on all parameters.
    schedule : {"cosine", "constant"}, default "cosine"
        How the learning rate goes on after the warm-up; "cosine" falls to 0 at the last epoch [1]_.
    warmup : float, default 1
        Epochs of linear increase to `lr`.
    label_smoothing : float, default 0
        Share of the target spread over all classes, in training only.
    augment : "standard" or callable, optional
        Changes training images, before normalisation. "standard" shifts each by up to an eighth of its size.
        A callable maps a float32 batch to a batch of the same shape and draws from torch's global generator.
    flip : bool, default False
        Whether "standard" also flips images left to right, at random.
    cutout : int, optional
        Side in pixels of a square that "standard" also blanks out in each training image [2]_. Its centre is
        uniform over the image, and it is clipped at the border. Its pixels are 0 after normalisation, which
        is the mean of the training images; with ``normalize=False`` they are 0 themselves.
    normalize : bool, default True
        Shift and scale each channel to mean 0 and deviation 1 over the training images.
    patience : int, optional
        Stop after so many epochs without a lower validation error, and keep the network of the best epoch.
    grad_clip : float, optional
        Largest norm of the gradient.
    auxiliary_weight : float, default 0.4
        Weight of a second classifier's loss, where a network in training mode returns a pair
        ``(outputs, auxiliary_outputs)``; idle for all others. See `loss`.
    drop_path : float, default 0
        Rate towards which that of every `nasx.nn.DropPath` module of a network rises, linearly from epoch to
        epoch: in epoch e of E, counted from 1, it is ``drop_path * (e - 1) / E``, as in the released code of
        [3]_. At 0 the modules keep the rates that they were made with.
    num_classes : int, optional
        By default one more than the largest label.
    device : str, optional
        Where to train; by default "cuda" if there is one, else "cpu".
    threads : int, optional
        Threads of torch while it trains, which decide the last bits of a result on the CPU; by default the
        number that torch is set to. Small networks gain little from a second one.

    Raises
    ------
    ValueError
        If a setting is out of range, or data are empty, not finite, of the wrong shape or type, or labelled
        outside the classes; the message names the split.
    TypeError
        If a split is none of the three kinds.

    Warns
    -----
    UserWarning
        If a class has no training image.

    References
    ----------
    .. [1] I. Loshchilov and F. Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017.
    .. [2] T. DeVries and G. W. Taylor, "Improved Regularization of Convolutional Neural Networks with
       Cutout", arXiv:1708.04552, 2017.
    .. [3] H. Liu, K. Simonyan and Y. Yang, "DARTS: Differentiable Architecture Search", ICLR 2019.

    Examples
    --------
    >>> from nasx.spaces import ConvNet
    >>> from nasx.tasks.datasets import load
    >>> data = load("digits")
    >>> task = ImageClassification(data["train"], data["valid"], epochs=4, device="cpu")
    >>> space = ConvNet(depths=[1], widths=[8])
    >>> metrics = task.evaluate(space.decode(space.sample(1)[0]), seed=0)
    >>> sorted(metrics), metrics["error"] < 0.8
    (['accuracy', 'epochs', 'error', 'loss'], True)
    """

    scores = ("error", "accuracy", "loss")
    watched = "error"

    def __init__(
        self,
        train: Any,
        valid: Any,
        test: Any = None,
        *,
        epochs: int = 20,
        batch_size: int = 96,
        optimizer: str = "sgd",
        lr: float | None = None,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        schedule: str = "cosine",
        warmup: float = 1.0,
        label_smoothing: float = 0.0,
        augment: str | Augment | None = None,
        flip: bool = False,
        cutout: int | None = None,
        normalize: bool = True,
        patience: int | None = None,
        grad_clip: float | None = None,
        auxiliary_weight: float = 0.4,
        drop_path: float = 0.0,
        num_classes: int | None = None,
        device: str | None = None,
        threads: int | None = None,
    ) -> None:
        self._recipe = Recipe(
            epochs=epochs,
            batch_size=batch_size,
            lr=lr,
            optimizer=optimizer,
            momentum=momentum,
            weight_decay=weight_decay,
            schedule=schedule,
            warmup=warmup,
            label_smoothing=label_smoothing,
            patience=patience,
            grad_clip=grad_clip,
            auxiliary_weight=auxiliary_weight,
            drop_path=drop_path,
        )
        if not (augment is None or augment == "standard" or callable(augment)):
            raise ValueError(f"augment must be None, 'standard' or a callable; got {augment!r}")
        if flip and augment != "standard":
            raise ValueError("flip=True is part of augment='standard'; set that too")
        if cutout is not None and _count(cutout, "cutout") and augment != "standard":
            raise ValueError(f"cutout={cutout} is part of augment='standard'; set that too")
        if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
            raise ValueError(f"threads must be a positive integer; got {threads!r}")
        self._augment, self._flip, self._cutout, self._normalize = augment, flip, cutout, normalize
        self._device, self._threads = device, threads
        device_of(device)
        given = {"train": train, "valid": valid, "test": test}
        self._splits = {n: as_split(n, data, batch_size) for n, data in given.items() if data is not None}
        # Loaders may draw random numbers; nobody else's are disturbed.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self._summaries = {name: Summary.of(name, split) for name, split in self._splits.items()}
        self._spec = TaskSpec(*_describe(self._summaries, num_classes), kind="image_classification")
        if cutout is not None and cutout > max(self._spec.input_shape[1:]):
            raise ValueError(
                f"cutout must be at most the longer side of the images, {max(self._spec.input_shape[1:])}; "
                f"got {cutout}"
            )

    @property
    def spec(self) -> TaskSpec:
        """Shape of an image, number of classes, and "image_classification"."""
        return self._spec

    @property
    def settings(self) -> dict[str, Any]:
        """The training settings and what identifies the data, as JSON types.

        The device is left out: a search may be resumed on another one.
        """
        augment = self._augment
        if callable(augment):
            augment = getattr(augment, "__qualname__", type(augment).__qualname__)
        return {
            "name": "ImageClassification",
            **dataclasses.asdict(self._recipe),
            "augment": augment,
            "flip": self._flip,
            "cutout": self._cutout,
            "normalize": self._normalize,
            "threads": self._threads,
            "num_classes": self._spec.num_outputs,
            "data": {name: self._identity(name, split) for name, split in self._splits.items()},
        }

    @property
    def normalization(self) -> dict[str, list[float]] | None:
        """What images go through before the network: ``(x - mean) / std`` per channel, x in 0..1 if uint8.

        None if `normalize` is off. Whoever uses a trained network elsewhere needs it.
        """
        if not self._normalize:
            return None
        summary = self._summaries["train"]
        return {"mean": summary.mean.flatten().tolist(), "std": summary.std.flatten().tolist()}

    @property
    def input_format(self) -> dict[str, Any]:
        """The `normalization`, for whoever uses a trained network elsewhere."""
        return {"normalization": self.normalization}

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits that the task has."""
        return tuple(self._splits)

    def _examples(self, split: str) -> int:
        return self._summaries[split].images

    def _identity(self, name: str, split: Split) -> dict[str, Any]:
        summary = self._summaries[name]
        identity: dict[str, Any] = {"images": summary.images, "shape": list(summary.shape)}
        if isinstance(split, Held):
            return {**identity, "fingerprint": split.fingerprint()}
        return {**identity, "class_counts": list(summary.class_counts)}

    def loaders(
        self,
        split: str | Sequence[str],
        seed: int = 0,
        *,
        training: bool | None = None,
        device: str | None = None,
        batch_size: int | None = None,
        part: tuple[float, float] | None = None,
    ) -> Batches:
        """Batches of a split, on the device, normalised; every pass is the next epoch.

        Parameters
        ----------
        split : str or sequence of str
            "train", "valid" or "test", or several of them, taken together.
        seed : int, default 0
            Seed of the order and of the augmentation; each epoch differs.
        training : bool, optional
            Shuffle and augment; by default for "train" and for several splits.
        device : str, optional
            By default the task's.
        batch_size : int, optional
            Images in a batch, where the data are not loaders; by default the task's when training, and at
            least 256 else.
        part : tuple of float, optional
            Fractions ``(low, high)``, ``0 <= low < high <= 1``: take this range of an order of the images
            that follows from `seed` and is the same in every epoch. With one seed, the parts ``(0, 0.5)``
            and ``(0.5, 1)`` share no image and leave none out. By default everything.

        Returns
        -------
        Batches
            An iterable of ``(images, labels)``: float32 ``(B, C, H, W)`` and int64 ``(B,)``.

        Raises
        ------
        ValueError
            If the task has no such split, `batch_size` is less than 2 (less than 1 if not training), or
            `part` is no such pair, holds no image (fewer than two if training), or is asked of a loader,
            whose images cannot be divided.

        Examples
        --------
        >>> from nasx.tasks.datasets import load
        >>> task = ImageClassification(**load("digits"), device="cpu")
        >>> weights, architectures = (task.loaders("train", 0, part=part) for part in ((0, 0.5), (0.5, 1)))
        >>> [sum(len(labels) for _, labels in batches) for batches in (weights, architectures)]
        [540, 539]
        """
        names = (split,) if isinstance(split, str) else tuple(split)
        for name in names:
            if name not in self._splits:
                raise ValueError(unknown("split", name, self._splits))
        if training is None:
            training = names != ("valid",) and names != ("test",)
        least = 2 if training else 1  # as many as batch normalisation needs
        if batch_size is None:
            batch_size = self._recipe.batch_size if training else max(self._recipe.batch_size, 256)
        joined = Joined.of([self._splits[name] for name in names])
        if part is not None:
            order = torch.Generator().manual_seed(stream(seed, 0, 2))
            joined = part_of(" and ".join(names), joined, part, order, least=least)
        summary = self._summaries["train"]
        return Batches(
            joined,
            batch_size=_count(batch_size, "batch_size", least),
            seed=seed,
            training=training,
            augment=self._augment,
            flip=self._flip,
            cutout=self._cutout,
            normalization=(summary.mean, summary.std) if self._normalize else None,
            device=device_of(device or self._device),
        )

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Cross-entropy of a network on a batch; with label smoothing if the network is in training mode.

        A network in training mode may return a pair ``(outputs, auxiliary_outputs)``, the scores of its
        classifier and of a second one further down, as torchvision's Inception v3 does. `auxiliary_weight`
        times the cross-entropy of the second is then added [1]_.

        Parameters
        ----------
        model : torch.nn.Module
            A network for `spec`.
        batch : tuple of Tensor
            Images ``(B, C, H, W)`` and labels ``(B,)``, as `loaders` gives them.

        Returns
        -------
        loss : Tensor
            Mean over the batch, a scalar.
        outputs : Tensor, shape (B, num_outputs)
            The network's scores, those of its first classifier.

        Raises
        ------
        nasx.errors.EvaluationError
            If the network's outputs, or its auxiliary ones, have another shape, or it returns a pair in
            evaluation mode.

        References
        ----------
        .. [1] C. Szegedy et al., "Going Deeper with Convolutions", CVPR 2015.
        """
        images, labels = batch
        outputs: Any = model(images)
        auxiliary: Any = None
        paired = isinstance(outputs, tuple) and len(outputs) == 2
        if paired:
            if not model.training:
                raise EvaluationError(
                    "the network returned a pair in evaluation mode; let it return (outputs, "
                    "auxiliary_outputs) in training mode only, and its outputs alone in evaluation mode"
                )
            outputs, auxiliary = outputs
        expected = (len(labels), self._spec.num_outputs)
        _check_outputs("outputs", outputs, expected)
        smoothing = self._recipe.label_smoothing if model.training else 0.0
        loss = F.cross_entropy(outputs, labels, label_smoothing=smoothing)
        if paired:
            _check_outputs("auxiliary outputs", auxiliary, expected)
            second = F.cross_entropy(auxiliary, labels, label_smoothing=smoothing)
            loss = loss + self._recipe.auxiliary_weight * second
        return loss, outputs

    @torch.inference_mode()
    def _score(self, model: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
        model.eval()
        wrong = total = torch.zeros(())
        count = 0
        for batch in batches:
            value, outputs = self.loss(model, batch)
            wrong = wrong.to(value.device) + (outputs.argmax(1) != batch[1]).sum()
            total = total.to(value.device) + value * len(batch[1])
            count += len(batch[1])
        error = float(wrong) / count
        return {"error": error, "accuracy": 1 - error, "loss": float(total) / count}


def _check_outputs(what: str, outputs: Any, expected: tuple[int, ...]) -> None:
    if not isinstance(outputs, Tensor) or outputs.shape != expected:
        came = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise EvaluationError(f"the network must return {what} of shape {expected}; it returned {came}")


def _describe(summaries: dict[str, Summary], num_classes: int | None) -> tuple[tuple[int, ...], int]:
    """Shape of an image and number of classes, after checking that the splits agree."""
    train = summaries["train"]
    if train.images < 2:
        raise ValueError(f"train must hold at least two images; got {train.images}")
    largest = max(len(summary.class_counts) for summary in summaries.values())
    classes = largest if num_classes is None else num_classes
    if isinstance(classes, bool) or not isinstance(classes, int) or classes < 1:
        raise ValueError(f"num_classes must be a positive integer; got {num_classes!r}")
    for name, summary in summaries.items():
        if summary.shape != train.shape:
            raise ValueError(
                f"{name}: images must have the shape of train's, {train.shape}; got {summary.shape}"
            )
        if len(summary.class_counts) > classes:
            raise ValueError(
                f"{name}: labels must be in 0..{classes - 1}, for num_classes is {classes}; "
                f"got {len(summary.class_counts) - 1}"
            )
    counts = [*train.class_counts, *[0] * (classes - len(train.class_counts))]
    absent = [label for label, count in enumerate(counts) if not count]
    if absent:
        warnings.warn(f"train holds no image of class {', '.join(map(str, absent))}", stacklevel=3)
    return train.shape, classes
