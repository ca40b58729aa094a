"""One network's training: optimiser, learning-rate schedule, early stop and divergence."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from nasx.errors import EvaluationError, unknown
from nasx.nn.drop_path import DropPath
from nasx.tasks.base import Report
from nasx.tasks.batches import stream
from nasx.tasks.splits import Batch

__all__ = ["NO_BATCH", "Recipe", "fit", "random_state", "torch_threads"]

NO_BATCH = "no batch of two or more examples to train on; give the training data a batch_size of at least 2"

_LEARNING_RATES = {"sgd": 0.1, "adamw": 3e-3}
_SCHEDULES = ("constant", "cosine")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How networks are trained; the settings are those of `ImageClassification`."""

    epochs: int
    batch_size: int
    lr: float | None
    optimizer: str
    momentum: float
    weight_decay: float
    schedule: str
    warmup: float
    label_smoothing: float
    patience: int | None
    grad_clip: float | None
    auxiliary_weight: float
    drop_path: float

    def __post_init__(self) -> None:
        if self.optimizer not in _LEARNING_RATES:
            raise ValueError(unknown("optimizer", self.optimizer, _LEARNING_RATES))
        if self.schedule not in _SCHEDULES:
            raise ValueError(unknown("schedule", self.schedule, _SCHEDULES))
        if self.lr is None:
            object.__setattr__(self, "lr", _LEARNING_RATES[self.optimizer])
        for name, least in (("epochs", 1), ("batch_size", 2), ("patience", 1)):
            value = getattr(self, name)
            if value is None and name == "patience":
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be an integer of at least {least}; got {value!r}")
        for name, low, high, open_low in (
            ("lr", 0.0, math.inf, True),
            ("momentum", 0.0, 1.0, False),
            ("weight_decay", 0.0, math.inf, False),
            ("warmup", 0.0, math.inf, False),
            ("label_smoothing", 0.0, 1.0, False),
            ("grad_clip", 0.0, math.inf, True),
            ("auxiliary_weight", 0.0, math.inf, False),
            ("drop_path", 0.0, 1.0, False),
        ):
            value = getattr(self, name)
            if value is None and name == "grad_clip":
                continue
            if not isinstance(value, int | float) or not low <= value < high or (open_low and value == low):
                bounds = f"{'more than' if open_low else 'at least'} {low:g}"
                if high < math.inf:
                    bounds += f" and less than {high:g}"
                raise ValueError(f"{name} must be a number of {bounds}; got {value!r}")

    def make_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """Make the optimiser of all trainable parameters."""
        parameters = [p for p in model.parameters() if p.requires_grad]
        rate: Any = self.lr
        if self.optimizer == "adamw":
            return torch.optim.AdamW(parameters, lr=rate, weight_decay=self.weight_decay)
        return torch.optim.SGD(
            parameters,
            lr=rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            nesterov=self.momentum > 0,
        )

    def rate(self, epoch: float, epochs: int) -> float:
        """Learning rate after so many of the epochs."""
        assert self.lr is not None
        if epoch < self.warmup:
            return self.lr * epoch / self.warmup
        if self.schedule == "constant":
            return self.lr
        done = (epoch - self.warmup) / max(epochs - self.warmup, 1e-9)
        return self.lr * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))

    def drop_path_rate(self, epoch: int, epochs: int) -> float:
        """Rate of `DropPath` in an epoch, counted from 1: none in the first, all but reached in the last."""
        return self.drop_path * (epoch - 1) / max(epochs, 1)


def fit(
    model: nn.Module,
    batches: Iterable[Batch],
    recipe: Recipe,
    *,
    epochs: int,
    images: int,
    seed: int,
    loss: Callable[[nn.Module, Batch], tuple[Tensor, Tensor]],
    validate: Callable[[nn.Module], dict[str, float]] | None,
    report: Report | None,
    watched: str = "error",
) -> list[dict[str, float]]:
    """Train a network in place; each epoch reads `batches` once, some `images` in all.

    `DropPath` modules are given the recipe's rate of each epoch; at a rate of 0 they are left as they are.

    Returns the history, one entry an epoch. `validate` is run after every epoch if there is a patience or
    a `report`, otherwise after the last one only. With a patience the weights of the best epoch are kept, the
    one in which the metric `watched` was lowest.
    """
    optimizer = recipe.make_optimizer(model)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    branches = [module for module in model.modules() if isinstance(module, DropPath)]
    patience = recipe.patience if validate else None
    history: list[dict[str, float]] = []
    best: tuple[float, int, dict[str, Any]] | None = None
    for epoch in range(1, epochs + 1):
        # Dropout, loaders and callables that augment draw from the global generator.
        torch.manual_seed(stream(seed, epoch, 1))
        model.train()
        if recipe.drop_path:
            for branch in branches:
                branch.rate = recipe.drop_path_rate(epoch, epochs)
        seen, total = 0, torch.zeros(())
        for batch in batches:
            # The rate at the middle of the batch: neither the first step nor the last one is of size zero.
            rate = recipe.rate(epoch - 1 + min((seen + len(batch[1]) / 2) / images, 1.0), epochs)
            for group in optimizer.param_groups:
                group["lr"] = rate
            value, _ = loss(model, batch)
            optimizer.zero_grad()
            value.backward()  # type: ignore[no-untyped-call]  # untyped in older torch
            if recipe.grad_clip is not None:
                nn.utils.clip_grad_norm_(parameters, recipe.grad_clip)
            optimizer.step()
            seen += len(batch[1])
            total = total.to(value.device) + value.detach() * len(batch[1])
        if not seen:
            raise EvaluationError(f"there is {NO_BATCH}")
        train_loss = float(total) / seen
        entry = {"epoch": float(epoch), "train_loss": _finite(train_loss, "loss", epoch, epochs, recipe)}
        history.append(entry)
        if validate and (patience or report or epoch == epochs):
            entry.update(validate(model))
            _finite(entry["loss"], "validation loss", epoch, epochs, recipe)
        if patience and (best is None or entry[watched] < best[0]):
            best = (entry[watched], epoch, copy.deepcopy(model.state_dict()))
        if (report and report(epoch, dict(entry))) or (best and epoch - best[1] >= (patience or 0)):
            break
    if best:
        model.load_state_dict(best[2])
    return history


def _finite(value: float, what: str, epoch: int, epochs: int, recipe: Recipe) -> float:
    if math.isfinite(value):
        return value
    became = "NaN" if math.isnan(value) else "infinite"
    raise EvaluationError(
        f"training diverged: the {what} became {became} in epoch {epoch} of {epochs}; "
        f"lower lr (it is {recipe.lr:g}) or set grad_clip"
    )


@contextlib.contextmanager
def torch_threads(number: int | None) -> Iterator[None]:
    """Let torch use so many threads, and what it used before at the end.

    Parameters
    ----------
    number : int, optional
        By default nothing changes.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def random_state(place: torch.device, seed: int) -> Iterator[None]:
    """Seed torch's generators, and give the caller's state back at the end.

    Parameters
    ----------
    place : torch.device
        Where networks are.
    seed : int
        In 0..2**63-1.
    """
    with torch.random.fork_rng(devices=[place] if place.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
