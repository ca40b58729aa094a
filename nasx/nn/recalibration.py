"""Batch normalisations brought in line with the network that they stand in."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn

__all__ = [
    "batch_statistics",
    "forget_statistics",
    "frozen_statistics",
    "kept_modes",
    "recalibrate",
    "recalibrated",
]

_NO_BATCHES = "batches must hold at least one batch, or the statistics are of nothing; got none"


def _norms(network: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    return [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


@torch.no_grad()
def recalibrate(network: nn.Module, batches: Iterable[Any], run: Callable[[Any], Any]) -> None:
    """Set the running statistics of batch normalisations to the mean over some batches.

    A network with weights from a supernet needs this before it is evaluated: the statistics that the supernet
    has kept are of all its paths together.

    Parameters
    ----------
    network : torch.nn.Module
        Changed in place and left in evaluation mode. Without batch normalisations nothing happens.
    batches : iterable
        Training batches.
    run : callable
        Runs the network on a batch.

    Raises
    ------
    ValueError
        If there are no batches.

    References
    ----------
    Z. Guo et al., "Single Path One-Shot Neural Architecture Search with Uniform Sampling", ECCV 2020.

    Examples
    --------
    >>> norm = nn.BatchNorm1d(1)
    >>> recalibrate(norm, [torch.tensor([[1.0], [3.0]]), torch.tensor([[5.0], [7.0]])], norm)
    >>> norm.running_mean
    tensor([4.])
    """
    norms = [norm for norm in _norms(network) if norm.track_running_stats]
    network.eval()
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all batches
        norm.train()
    empty = True
    try:
        for batch in batches:
            run(batch)
            empty = False
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        network.eval()
    if empty:
        raise ValueError(_NO_BATCHES)


@contextlib.contextmanager
def kept_modes(network: nn.Module) -> Iterator[None]:
    """Put every module back into training or evaluation mode, as it was, at the end.

    Parameters
    ----------
    network : torch.nn.Module
        One that is evaluated for a moment.
    """
    modes = [(module, module.training) for module in network.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextlib.contextmanager
def recalibrated(network: nn.Module, batches: Iterable[Any], run: Callable[[Any], Any]) -> Iterator[None]:
    """As `recalibrate`, for what `run` computes of a network, until the context ends.

    Only batch normalisations that run are touched, and what they held before is put back: nothing is copied
    but their statistics, however large the network is around the part that runs.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode while the context lasts; at the end it is as it was.
    batches : iterable
        Training batches.
    run : callable
        Runs a part of the network on a batch, always the same.

    Raises
    ------
    ValueError
        If there are batch normalisations and no batches.

    Examples
    --------
    >>> norm = nn.BatchNorm1d(1)
    >>> with recalibrated(norm, [torch.tensor([[1.0], [3.0]]), torch.tensor([[5.0], [7.0]])], norm):
    ...     norm.running_mean.tolist()
    [4.0]
    >>> norm.running_mean.tolist(), norm.training
    ([0.0], True)
    """
    waiting: dict[nn.Module, Any] = {}
    met: list[tuple[nn.modules.batchnorm._BatchNorm, list[torch.Tensor], float | None]] = []

    def meet(norm: nn.modules.batchnorm._BatchNorm, inputs: Any) -> None:
        waiting.pop(norm).remove()
        met.append((norm, [buffer.clone() for buffer in norm.buffers(recurse=False)], norm.momentum))
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all batches
        norm.train()

    with kept_modes(network):
        network.eval()
        for norm in _norms(network):
            if norm.track_running_stats:
                waiting[norm] = norm.register_forward_pre_hook(meet)
        empty = bool(waiting)
        try:
            with torch.no_grad():
                for batch in batches if waiting else ():
                    run(batch)
                    empty = False
                    if not met:
                        break
            if empty:
                raise ValueError(_NO_BATCHES)
            for handle in waiting.values():
                handle.remove()
            for norm, _, momentum in met:
                norm.momentum = momentum
                norm.eval()
            yield
        finally:
            for handle in waiting.values():
                handle.remove()
            with torch.no_grad():
                for norm, before, momentum in met:
                    norm.momentum = momentum
                    for buffer, value in zip(norm.buffers(recurse=False), before, strict=True):
                        buffer.copy_(value)


def forget_statistics(network: nn.Module) -> None:
    """Take running statistics away from batch normalisations, for good: they go by each batch, always.

    What `batch_statistics` does for a moment, for a network that is handed on.

    Parameters
    ----------
    network : torch.nn.Module
        Changed in place.

    Examples
    --------
    >>> norm = nn.BatchNorm1d(1).eval()
    >>> forget_statistics(norm)
    >>> norm(torch.tensor([[2.0], [4.0]])).round().flatten().tolist()
    [-1.0, 1.0]
    """
    for norm in _norms(network):
        norm.track_running_stats = False
        norm.running_mean = norm.running_var = norm.num_batches_tracked = None


@contextlib.contextmanager
def frozen_statistics(network: nn.Module) -> Iterator[None]:
    """Leave running statistics as they are while the network runs in training mode.

    Parameters
    ----------
    network : torch.nn.Module
        One whose weights are displaced for a moment.
    """
    norms = [norm for norm in _norms(network) if norm.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


@contextlib.contextmanager
def batch_statistics(network: nn.Module) -> Iterator[None]:
    """Evaluate a network with its batch normalisations by what each batch is, as in training.

    Everything else, such as dropout, is in evaluation mode, and running statistics stay as they are. Networks
    in a supernet are compared like this where its statistics are those of all of them together.

    Parameters
    ----------
    network : torch.nn.Module
        At the end all of its modules are in the modes in which they were.

    Examples
    --------
    >>> norm = nn.BatchNorm1d(1).eval()
    >>> with batch_statistics(norm):
    ...     norm(torch.tensor([[2.0], [4.0]])).round().flatten().tolist()
    [-1.0, 1.0]
    >>> norm.running_mean.tolist(), norm.training
    ([0.0], False)
    """
    modes = [(module, module.training) for module in network.modules()]
    try:
        network.eval()
        for norm in _norms(network):
            norm.train()
        with frozen_statistics(network):
            yield
    finally:
        for module, training in modes:
            module.training = training
