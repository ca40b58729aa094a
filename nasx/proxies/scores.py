"""`score`: the proxies of one network, each with the time that it took."""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from nasx._arguments import unsigned
from nasx.architecture import Architecture
from nasx.errors import EvaluationError, require
from nasx.proxies.kinds import ALWAYS, PROXIES, check_names, check_needs

if TYPE_CHECKING:
    from torch import Tensor, nn

    from nasx.tasks.base import TaskSpec

__all__ = ["Scores", "compute", "score"]


class Scores(Mapping[str, float]):
    """Proxies of one network: a mapping from their names to numbers, parameters and FLOPs first.

    Parameters
    ----------
    values, seconds : dict of str to float
        The scores, higher is better, and how long each took, with the copy of the network that it works on.
    asked : tuple of str
        Those that were asked for.
    """

    def __init__(self, values: dict[str, float], seconds: dict[str, float], asked: tuple[str, ...]) -> None:
        self._values, self.seconds, self.asked = values, seconds, asked

    def __getitem__(self, name: str) -> float:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        parts = [f"{name} {value:.6g} ({self.seconds[name]:.3f} s)" for name, value in self.items()]
        return f"<{', '.join(parts)}>"


def score(
    network: nn.Module | Architecture,
    batch: Any,
    proxies: str | Iterable[str],
    *,
    spec: TaskSpec | None = None,
    loss: Callable[[Any, Any], Any] | None = None,
    seed: int = 0,
    device: str | None = None,
) -> Scores:
    """Score a network without training it.

    Every proxy works on a copy, so that the network stays exactly as it is, and begins from the same seed,
    so that scores depend neither on each other nor on their order. Batch normalisations work by the
    statistics of the batch, as in a network that was never trained; dropout and all else is in evaluation
    mode.

    Parameters
    ----------
    network : torch.nn.Module or Architecture
        A module with convolutions or linear layers; or an architecture, which is built with the seed.
    batch : array_like, or tuple of array_like
        Inputs ``(n, ...)``, or inputs and labels ``(n,)``, which "snip", "grad_norm" and "fisher" need; of
        tokens ``(n, t)``, also labels ``(n, t)``, where networks give outputs for each.
    proxies : str or iterable of str
        Names of `available`; see the notes. "params" and "flops" are always given too.
    spec : TaskSpec, optional
        What an architecture's network is for; by default what a search bound to it.
    loss : callable, optional
        ``loss(outputs, labels)`` gives a scalar; by default the cross entropy, for integer labels.
    seed : int, default 0
        Of an architecture's weights, and of what "zen" and AZ-NAS draw. Same seed, same scores on the same
        machine with as many threads.
    device : str, optional
        Where to compute; by default where the module's parameters are, or the CPU.

    Returns
    -------
    Scores
        A mapping from names to floats; ``scores.seconds`` says how long each took.

    Raises
    ------
    ValueError
        If a name is unknown, or the batch has not what a proxy needs.
    TypeError
        If `network` is neither a module nor an architecture.
    nasx.errors.EvaluationError
        If a score is not defined for this network, or not finite; the message names it and says why.
    nasx.errors.MissingDependencyError
        If torch is not installed.

    Notes
    -----
    - **l2_norm**, **snip** [1]_, **grad_norm**, **fisher** [2]_: sums over convolutions and linear layers, as
      compared in [3]_.
    - **synflow** [4]_: an input of ones through absolute weights without normalisations, in double precision;
      the logarithm of the sum of weights times their gradients.
    - **naswot** [5]_: the log-determinant of a matrix that counts, for each two inputs, the activations (of
      ReLU and its relatives) that are both on or both off. Activations on which the output does not depend do
      not count.
    - **jacob_cov** [3]_: the spectrum of the correlations between gradients of the outputs by each input.
    - **zen** [6]_: weights and inputs are random normal; the logarithm of the change of the features before
      global pooling when 1 % of noise is added, with the scales that batch normalisations took away. The mean
      of four. Published without residual connections; here the network is taken as it is.
    - **az_expressivity**, **az_progressivity**, **az_trainability**, **az_complexity** [7]_: over the outputs
      of blocks, with He initialisation. Blocks are the composite modules that stand in a `Sequential` or
      `ModuleList`; where there are none, all convolutions and linear layers.

    Convolutions and linear layers count by their modules, attention by `torch.nn.MultiheadAttention`; what
    else has parameters is left out of the sums, but for "params".

    References
    ----------
    .. [1] N. Lee, T. Ajanthan and P. Torr, "SNIP: Single-shot network pruning based on connection
       sensitivity", ICLR 2019.
    .. [2] J. Turner et al., "BlockSwap: Fisher-guided block substitution for network compression on a
       budget", ICLR 2020.
    .. [3] M. S. Abdelfattah et al., "Zero-Cost Proxies for Lightweight NAS", ICLR 2021.
    .. [4] H. Tanaka et al., "Pruning neural networks without any data by iteratively conserving synaptic
       flow", NeurIPS 2020.
    .. [5] J. Mellor et al., "Neural Architecture Search without Training", ICML 2021.
    .. [6] M. Lin et al., "Zen-NAS: A Zero-Shot NAS for High-Performance Image Recognition", ICCV 2021.
    .. [7] J. Lee and B. Ham, "AZ-NAS: Assembling Zero-Cost Proxies for Network Architecture Search", CVPR
       2024.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
    >>> scores = score(network, torch.rand(8, 1, 8, 8), ["synflow", "naswot"])
    >>> list(scores), scores["params"], scores["flops"]
    (['params', 'flops', 'synflow', 'naswot'], 1490.0, 5472.0)
    """
    asked = check_names(proxies)
    torch = require("torch", "nasx.proxies.score", "torch")
    from nasx.proxies.subject import check_batch

    if not isinstance(network, torch.nn.Module | Architecture):
        raise TypeError(f"network must be a torch.nn.Module or an Architecture; got {network!r}")
    inputs, labels = check_batch(batch)
    for name in asked:
        check_needs(name, inputs, labels, loss)
    names = tuple(dict.fromkeys((*ALWAYS, *asked)))
    values, seconds = compute(
        network, inputs, labels, names, spec=spec, loss=loss, seed=unsigned(seed, "seed"), device=device
    )
    return Scores(values, seconds, asked)


def compute(
    network: nn.Module | Architecture,
    inputs: Tensor,
    labels: Tensor | None,
    names: tuple[str, ...],
    *,
    spec: TaskSpec | None,
    loss: Callable[[Any, Any], Any] | None,
    seed: int,
    device: str | None,
) -> tuple[dict[str, float], dict[str, float]]:
    """Score by these proxies and no others; arguments are as for `score`, and checked.

    Parameters
    ----------
    network, inputs, labels, names, spec, loss, seed, device
        As for `score`.

    Returns
    -------
    values, seconds : dict of str to float
        Scores, and how long they took.

    Raises
    ------
    nasx.errors.EvaluationError
        If a score is not defined for this network, or not finite.
    """
    import torch

    from nasx.proxies.subject import Subject, place_of
    from nasx.tasks.trained import device_of
    from nasx.tasks.training import random_state

    place = device_of(device) if device is not None else place_of(network)
    if isinstance(network, Architecture):
        with random_state(place, seed):
            network = network.build(spec)
    # Imports count for no proxy: of their modules, and of what torch puts off until it first counts.
    modules = [importlib.import_module(f"nasx.proxies.{PROXIES[name].module}") for name in names]
    if not {"flops", "az_complexity"}.isdisjoint(names):
        importlib.import_module("torch._dynamo")
    values, seconds = {}, {}
    for name, module in zip(names, modules, strict=True):
        function = getattr(module, name)
        start = time.perf_counter()
        with random_state(place, seed), torch.inference_mode(False), torch.enable_grad():
            try:
                value = float(function(Subject(network, inputs, labels, loss, place)))
            except EvaluationError as error:
                raise EvaluationError(f"proxy {name!r}: {error}") from None
            except Exception as error:
                raise EvaluationError(
                    f"proxy {name!r} cannot be computed on {type(network).__name__}: "
                    f"{type(error).__name__}: {error}"
                ) from error
        seconds[name] = time.perf_counter() - start
        if not math.isfinite(value):
            raise EvaluationError(f"proxy {name!r} is {value} for this {type(network).__name__}")
        values[name] = value
    return values, seconds
