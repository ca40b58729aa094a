"""`Proxy`: a score without training as a cost of a search, and for ``prescreen=``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from nasx._arguments import count, unsigned
from nasx._fingerprint import fingerprint
from nasx.errors import require
from nasx.hardware.costs import NetworkCost
from nasx.proxies.kinds import PROXIES, check_names, check_needs
from nasx.proxies.scores import compute
from nasx.tasks.base import TaskSpec

if TYPE_CHECKING:
    from nasx.architecture import Architecture
    from nasx.space import Space

__all__ = ["Proxy"]


class Proxy(NetworkCost):
    """A proxy as a metric that is known without training: an objective to maximise, or what prescreens.

    Each architecture is built with the same seed and scored once. Where a proxy is not defined, the error
    says so: as a cost of a search it makes a failed trial, in ``prescreen=`` a candidate that comes last.

    Parameters
    ----------
    name : str
        One of `nasx.proxies.available`.
    batch : int, array_like, or tuple of array_like, default 64
        Inputs, or inputs and labels, as for `nasx.proxies.score`; so many random ones for a number, normal
        inputs or tokens, and random labels. Real data are what most proxies are published with.
    spec : TaskSpec or mapping of its fields, optional
        What the networks are for; by default the task's of the search.
    loss : callable, optional
        As for `nasx.proxies.score`.
    seed : int, default 0
        Of the networks' weights and of random inputs.
    device : str, optional
        Where to compute; by default the CPU.

    Raises
    ------
    ValueError
        If there is no such proxy, or the batch has not what it needs.
    nasx.errors.MissingDependencyError
        If torch is not installed.

    Examples
    --------
    >>> import nasx
    >>> space = nasx.spaces.ConvNet(depths=[1, 2], widths=[8, 16])
    >>> spec = nasx.TaskSpec((1, 8, 8), 10, "image_classification")
    >>> synflow = Proxy("synflow", spec=spec)
    >>> found = nasx.search(
    ...     space,
    ...     lambda architecture: None,
    ...     objectives={"synflow": "maximize"},
    ...     costs={"synflow": synflow},
    ...     evaluations=8,
    ... )
    >>> len(found.trials)
    8
    """

    unit = "score"
    maximize = True

    def __init__(
        self,
        name: str,
        batch: Any = 64,
        *,
        spec: TaskSpec | Mapping[str, Any] | None = None,
        loss: Callable[[Any, Any], Any] | None = None,
        seed: int = 0,
        device: str | None = None,
    ) -> None:
        if not isinstance(name, str):
            raise ValueError(f"name must be one of nasx.proxies.available(); got {name!r}")
        (proxy,) = check_names(name, "name")
        require("torch", "nasx.proxies.Proxy", "torch")
        self.name = proxy  # type: ignore[misc]  # as for other costs, but one class has many
        if loss is not None and not callable(loss):
            raise ValueError(f"loss must be a function of outputs and labels; got {loss!r}: give it again")
        self._own_spec = TaskSpec(**spec) if isinstance(spec, Mapping) else spec
        self._loss, self._device = loss, device
        self._seed = unsigned(seed, "seed")
        self._batch: Any = None
        if isinstance(batch, dict):
            raise ValueError(f"batch: data stay out of settings, which hold {batch}; give the batch again")
        if isinstance(batch, int):
            self._drawn = count(batch, "batch", PROXIES[proxy].least)
        else:
            from nasx.proxies.subject import check_batch

            self._drawn = 0
            self._batch = check_batch(batch)
            inputs, labels = self._batch
            check_needs(proxy, inputs, labels, loss)

    @property
    def settings(self) -> dict[str, Any]:
        """What it is made of, as JSON types; data by their shape and digest."""
        batch: Any = self._drawn or {
            "shape": list(self._batch[0].shape),
            "blake2b": fingerprint(part for part in self._batch if part is not None),
        }
        settings = {"name": self.name, "batch": batch, "seed": self._seed}
        if self._own_spec is not None:
            settings["spec"] = dataclasses.asdict(self._own_spec)
        if self._loss is not None:
            settings["loss"] = getattr(self._loss, "__qualname__", type(self._loss).__qualname__)
        return settings

    @property
    def needs_spec(self) -> bool:  # type: ignore[override]  # a class variable of others
        """Whether a search has to say what the networks are for."""
        return self._own_spec is None

    def bind(self, space: Space, spec: TaskSpec | None) -> Self:
        """Say whose architectures will be built and what for.

        Parameters
        ----------
        space : Space
            A space that can build networks.
        spec : TaskSpec or None
            Shape of one input and number of outputs; not needed if the proxy has one.

        Returns
        -------
        Proxy
            A bound copy, which has scored nothing yet.

        Raises
        ------
        TypeError
            If the space cannot build networks.
        ValueError
            If there is no spec, or the proxy is not defined for tokens, which the networks take.
        """
        if self._own_spec is None and spec is None:
            raise ValueError(
                f"proxy {self.name!r} builds networks, and nothing says what for: give Proxy(..., "
                "spec=nasx.TaskSpec(input_shape, num_outputs, kind)), or search on a task that has one"
            )
        bound = super().bind(space, self._own_spec or spec)
        if bound._drawn:
            assert bound._spec is not None
            inputs, labels = bound._batch = _random_batch(bound._drawn, bound._spec, bound._seed)
            check_needs(self.name, inputs, labels, self._loss)
        return bound

    def _measure(self, architecture: Architecture, spec: TaskSpec) -> float:
        inputs, labels = self._batch
        values, _ = compute(
            architecture,
            inputs,
            labels,
            (self.name,),
            spec=spec,
            loss=self._loss,
            seed=self._seed,
            device=self._device,
        )
        return values[self.name]


def _random_batch(n: int, spec: TaskSpec, seed: int) -> tuple[Any, Any]:
    """Draw normal inputs, or uniform tokens, and uniform labels."""
    import torch

    generator = np.random.default_rng([seed, n])
    shape = (n, *spec.input_shape)
    if spec.takes_tokens:
        tokens, labels = generator.integers(spec.num_outputs, size=(2, *shape))
        return torch.from_numpy(tokens), torch.from_numpy(labels)
    inputs = generator.standard_normal(shape, np.float32)
    return torch.from_numpy(inputs), torch.from_numpy(generator.integers(spec.num_outputs, size=n))
