"""`MetaLearner` on disk: numbers as safetensors, what they are as JSON; reading them runs no code."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nasx.errors import require
from nasx.nn.saved import safetensors_error
from nasx.nn.supernet import Supernet
from nasx.space import Space
from nasx.strategies.transfer.task_training import TaskTraining
from nasx.tasks.base import TaskSpec

if TYPE_CHECKING:
    from nasx.strategies.transfer.meta_nas import MetaNAS

__all__ = ["load", "save"]

_FORMAT = "nasx meta-learner 1"
_OPTIMIZERS = ("weight_optimizer", "architecture_optimizer")
# What Adam keeps of a parameter; the mean of its gradients is the last one, which is not used again.
_KEPT = ("step", "exp_avg_sq")


def save(
    path: str | os.PathLike[str],
    strategy: MetaNAS,
    supernet: Supernet,
    state: Mapping[str, Any],
    spec: TaskSpec | None,
) -> None:
    """Write what a `MetaLearner` is made of; see `MetaLearner.save`."""
    safetensors = require("safetensors.torch", "MetaLearner.save", "torch")
    tensors = {f"supernet.{name}": value for name, value in supernet.state_dict().items()}
    for optimizer in _OPTIMIZERS:
        for number, kept in state[optimizer]["state"].items():
            tensors |= {f"{optimizer}.{number}.{name}": kept[name] for name in _KEPT}
    document = {
        "format": _FORMAT,
        "space": supernet.space.to_dict(),
        "spec": None if spec is None else dataclasses.asdict(spec),
        "strategy": strategy.settings,
    }
    stem = _stem(path)
    copies = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    safetensors.save_file(copies, f"{stem}.safetensors")
    Path(f"{stem}.json").write_text(json.dumps(document, indent=1, allow_nan=False))


def load(
    path: str | os.PathLike[str], space: Space | None
) -> tuple[MetaNAS, Supernet, dict[str, Any], TaskSpec | None]:
    """Read what `save` wrote; see `MetaLearner.load`."""
    from nasx.strategies.transfer.meta_nas import MetaNAS

    safetensors = require("safetensors.torch", "MetaLearner.load", "torch")
    stem = _stem(path)
    try:
        document = json.loads(Path(f"{stem}.json").read_text())
        if document["format"] != _FORMAT:
            raise ValueError(f"its format is {document['format']!r}; this nasx reads {_FORMAT!r}")
        tensors = safetensors.load_file(f"{stem}.safetensors")
        strategy = MetaNAS(**document["strategy"])
        spec = None if document["spec"] is None else TaskSpec(**document["spec"])
        written = Space.from_dict(document["space"])
        if space is None and not written.can_build:
            raise _NeedsSpace(
                f"{stem}.json is of a space that cannot make networks by itself: give space=, the one that "
                "was searched"
            )
        if space is not None and space != written:
            raise _NeedsSpace(f"{stem}.json is of another space than the one given: {written!r}")
        weights = {
            name.removeprefix("supernet."): value
            for name, value in tensors.items()
            if name.startswith("supernet.")
        }
        if space is None:
            _check_sizes(strategy, written, spec, weights)
        supernet = _supernet(strategy, space or written, spec, weights)
        return strategy, supernet, _state(TaskTraining(strategy, supernet), tensors), spec
    except (FileNotFoundError, _NeedsSpace):
        raise
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, RecursionError) as error:
        raise ValueError(
            f"{stem}.json and {stem}.safetensors are damaged or no meta-learner: {error}"
        ) from None
    except safetensors_error() as error:
        raise ValueError(f"{stem}.safetensors is damaged: {error}") from None


class _NeedsSpace(ValueError):
    """What is wrong is not in the file."""


def _check_sizes(
    strategy: MetaNAS, space: Space, spec: TaskSpec | None, weights: Mapping[str, Tensor]
) -> None:
    """Refuse a supernet of other sizes than the file's weights, before it is made."""
    with torch.device("meta"):  # a short file must not claim much memory
        outline = strategy.make_supernet(space, spec)  # type: ignore[arg-type]  # spaces of modules need none
    wanted = {name: value.shape for name, value in outline.state_dict().items()}
    found = {name: value.shape for name, value in weights.items()}
    if wanted != found:
        differing = sorted(
            name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)
        )
        raise ValueError(f"its tensors are not those of such a supernet: {differing[0]} differs")


def _supernet(
    strategy: MetaNAS, space: Space, spec: TaskSpec | None, weights: Mapping[str, Tensor]
) -> Supernet:
    """Make a supernet with these weights."""
    with torch.random.fork_rng(devices=[]):
        supernet = strategy.make_supernet(space, spec)  # type: ignore[arg-type]
    supernet.load_state_dict(weights)
    supernet.temperature = strategy.final_temperature
    return supernet


def _state(training: TaskTraining, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Give the optimisers' states back."""
    state = training.state()
    for optimizer, parameters in zip(_OPTIMIZERS, (training.weights, training.logits), strict=True):
        for number, parameter in enumerate(parameters):
            kept = {name: tensors.get(f"{optimizer}.{number}.{name}") for name in _KEPT}
            if kept["exp_avg_sq"] is None:
                continue
            if kept["step"] is None or kept["exp_avg_sq"].shape != parameter.shape:
                raise ValueError(f"{optimizer}.{number} does not fit its parameter")
            state[optimizer]["state"][number] = {**kept, "exp_avg": torch.zeros_like(parameter)}
    return state


def _stem(path: str | os.PathLike[str]) -> str:
    return os.fspath(path).removesuffix(".json").removesuffix(".safetensors")
