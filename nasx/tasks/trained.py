"""What tasks have in common that train a network from scratch: epochs, seeds, devices, retraining."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from nasx.architecture import Architecture
from nasx.tasks.base import Passes, Report, Task, TaskSpec
from nasx.tasks.batches import stream
from nasx.tasks.training import Recipe, fit, random_state, torch_threads

__all__ = ["TrainedNetwork", "TrainedTask", "device_of"]


class TrainedNetwork(NamedTuple):
    """A trained network, in evaluation mode, and its metrics."""

    model: nn.Module
    metrics: dict[str, float]


class TrainedTask(Task):
    """A task that trains one network on "train" and measures it on "valid"; "test" is for the end.

    Subclasses set ``_spec``, ``_recipe``, ``_device`` and ``_threads``, say which metrics there are, and
    define `loaders`, `loss`, `_score` and `_examples`.

    Attributes
    ----------
    scores : tuple of str
        What `score` gives, "loss" among them.
    watched : str
        Which of these says when training stops, and which epoch was best, where a task has a patience.
    """

    scores: ClassVar[tuple[str, ...]]
    watched: ClassVar[str]
    _spec: TaskSpec
    _recipe: Recipe
    _device: str | None
    _threads: int | None

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that `evaluate` returns."""
        return (*self.scores, "epochs")

    @property
    def max_budget(self) -> int:
        """Epochs that `evaluate` trains by default; its budget is counted in epochs."""
        return self._recipe.epochs

    @property
    def threads(self) -> int | None:
        """Threads of torch while it trains; None for as many as torch is set to."""
        return self._threads

    @property
    def device(self) -> torch.device:
        """Where networks are trained unless a call says otherwise."""
        return device_of(self._device)

    @abstractmethod
    def loaders(
        self,
        split: str | Sequence[str],
        seed: int = 0,
        *,
        training: bool | None = None,
        device: str | None = None,
        batch_size: int | None = None,
        part: tuple[float, float] | None = None,
    ) -> Passes:
        """Give the batches of a split; see `nasx.tasks.SupernetTask`."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        """Run a network on a batch; see `nasx.tasks.SupernetTask`."""

    @abstractmethod
    def _score(self, model: nn.Module, batches: Iterable[Any]) -> dict[str, float]:
        """Measure a network on batches, in evaluation mode."""

    @property
    @abstractmethod
    def splits(self) -> tuple[str, ...]:
        """Names of the splits that the task has."""

    @property
    @abstractmethod
    def input_format(self) -> dict[str, Any]:
        """What is to be known of inputs by whoever uses a trained network elsewhere, as JSON types."""

    @abstractmethod
    def _examples(self, split: str) -> int:
        """Count what a split has of what batches are made of."""

    def score(self, model: nn.Module, split: str = "valid", *, device: str | None = None) -> dict[str, float]:
        """Measure a trained network.

        Parameters
        ----------
        model : torch.nn.Module
            A network for `spec`, on the device; it is left in evaluation mode.
        split : str, default "valid"
            What to measure it on.
        device : str, optional
            By default the task's.

        Returns
        -------
        dict
            The metrics in `scores`.

        Raises
        ------
        ValueError
            If the task has no such split.
        """
        return self._score(model, self.loaders(split, training=False, device=device))

    def train(
        self,
        architecture: Architecture,
        *,
        seed: int = 0,
        device: str | None = None,
        epochs: int | None = None,
        splits: Sequence[str] = ("train",),
        report: Report | None = None,
    ) -> tuple[nn.Module, list[dict[str, float]]]:
        """Build a network and train it.

        Initial weights, order, augmentation and dropout follow from `seed`, through torch's global generator,
        whose state is restored at the end; so two trainings at once belong in two processes. On the CPU the
        same seed and number of threads give the same network.

        Parameters
        ----------
        architecture : Architecture
            One of a space that can build networks.
        seed : int, default 0
            Seed of everything random.
        device : str, optional
            By default the task's.
        epochs : int, optional
            By default the task's; the schedule fits itself to it.
        splits : sequence of str, default ("train",)
            What to train on. Where "valid" is part of it, nothing is validated and `patience` is idle.
        report : callable, optional
            Called as ``report(epoch, metrics)`` after every epoch; training ends when it returns True.

        Returns
        -------
        model : torch.nn.Module
            The trained network, in evaluation mode.
        history : list of dict
            Of every epoch its number, "epoch", the "train_loss", and if measured the validation metrics.

        Raises
        ------
        nasx.errors.EvaluationError
            If the training diverges or the network's output has the wrong shape.
        ValueError
            If `epochs` is less than 1 or a split is unknown.
        """
        epochs = self._recipe.epochs if epochs is None else epochs
        if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
            raise ValueError(f"epochs, or the budget, must be an integer of at least 1; got {epochs!r}")
        place = device_of(device or self._device)
        batches = self.loaders(splits, seed, training=True, device=str(place))
        validation = None if "valid" in splits else self.loaders("valid", device=str(place))
        with (
            random_state(place, stream(seed, 0, 1)),
            torch_threads(self._threads),
        ):
            model = architecture.build(self._spec).to(place)
            history = fit(
                model,
                batches,
                self._recipe,
                epochs=epochs,
                images=sum(map(self._examples, splits)),
                seed=seed,
                loss=self.loss,
                validate=None if validation is None else lambda trained: self._score(trained, validation),
                report=report,
                watched=self.watched,
            )
        return model.eval(), history

    def evaluate(
        self,
        architecture: Architecture,
        *,
        seed: int,
        device: str | None = None,
        budget: int | None = None,
        report: Report | None = None,
    ) -> dict[str, float]:
        """Train a network and return its validation metrics.

        Parameters
        ----------
        architecture : Architecture
            One of a space that can build networks.
        seed : int
            Seed of everything random, see `train`.
        device : str, optional
            By default the task's.
        budget : int, optional
            Epochs, instead of the task's.
        report : callable, optional
            Called as ``report(epoch, metrics)`` after every epoch; training ends when it returns True.

        Returns
        -------
        dict
            The metrics in `scores`, and "epochs" trained.

        Raises
        ------
        nasx.errors.EvaluationError
            If the training diverges or the network's output has the wrong shape.
        """
        _, history = self.train(architecture, seed=seed, device=device, epochs=budget, report=report)
        chosen = min(history, key=lambda entry: entry[self.watched]) if self._recipe.patience else history[-1]
        metrics = {name: chosen[name] for name in self.scores}
        return {**metrics, "epochs": float(len(history))}

    def retrain(
        self,
        architecture: Architecture,
        *,
        epochs: int | None = None,
        seed: int = 0,
        device: str | None = None,
    ) -> TrainedNetwork:
        """Train the chosen network on training and validation data together, and test it.

        Parameters
        ----------
        architecture : Architecture
            One of a space that can build networks.
        epochs : int, optional
            By default the task's.
        seed : int, default 0
            Seed of everything random, see `train`.
        device : str, optional
            By default the task's.

        Returns
        -------
        TrainedNetwork
            ``model`` and ``metrics``: "train_loss", "epochs", and if there are test data the
            metrics in `scores`, each as "test_<name>".

        Raises
        ------
        nasx.errors.EvaluationError
            If the training diverges or the network's output has the wrong shape.
        """
        model, history = self.train(
            architecture, seed=seed, device=device, epochs=epochs, splits=("train", "valid")
        )
        metrics = {"train_loss": history[-1]["train_loss"], "epochs": float(len(history))}
        if "test" in self.splits:
            tested = self.score(model, "test", device=device)
            metrics |= {f"test_{name}": value for name, value in tested.items()}
        return TrainedNetwork(model, metrics)


def device_of(device: str | None) -> torch.device:
    """Say where to train: what was named, else a GPU if there is one.

    Parameters
    ----------
    device : str, optional
        A name.

    Returns
    -------
    torch.device
        The device.

    Raises
    ------
    ValueError
        If torch does not know it, or finds no GPU.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
    except RuntimeError:
        raise ValueError(
            f"device must be a name that torch knows, such as 'cpu' or 'cuda:0'; got {device!r}"
        ) from None
    if place.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {device!r}: torch finds no GPU here; use device='cpu'")
    return place
