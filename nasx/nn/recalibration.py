"""Batch normalisations brought in line with the network that they stand in."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn

__all__ = ["frozen_statistics", "recalibrate"]


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
        raise ValueError("batches must hold at least one batch, or the statistics are of nothing; got none")


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
