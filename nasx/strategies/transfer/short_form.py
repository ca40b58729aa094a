"""What ``search(warm_start=...)`` means for a strategy."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from nasx.space import Genotypes, Space
from nasx.strategies.base import CostViolation, SampledStrategy
from nasx.strategies.bayesian.gaussian_process import GaussianProcess
from nasx.strategies.multi_fidelity.base import MultiFidelityStrategy
from nasx.strategies.transfer.sources import read_records
from nasx.strategies.transfer.warm_start import FewShotTransfer

__all__ = ["begin_with"]


def begin_with(
    method: SampledStrategy | MultiFidelityStrategy,
    sources: Any,
    space: Space,
    *,
    objectives: Mapping[str, str],
    seed: int,
    cost_violation: CostViolation | None = None,
) -> tuple[SampledStrategy | MultiFidelityStrategy, Genotypes]:
    """Let a strategy begin with what earlier searches found.

    Parameters
    ----------
    method : SampledStrategy or MultiFidelityStrategy
        The strategy, before its `setup`.
    sources : path, Result, or sequence of sources
        As for `FewShotTransfer`.
    space : Space
        Where to search.
    objectives : mapping of str to {"minimize", "maximize"}
        Of the new search.
    seed : int
        The search's.
    cost_violation : callable, optional
        As for `setup`.

    Returns
    -------
    method : SampledStrategy or MultiFidelityStrategy
        `FewShotTransfer` in the place of a `GaussianProcess`, with its settings but for ``n_startup``; with
        more sources, if it was one already; otherwise the strategy itself.
    first : ndarray of int32, shape (n, d)
        What to evaluate before the strategy is asked: the sources' five best, as `FewShotTransfer` would
        begin; nothing, where that is the strategy.

    Raises
    ------
    TypeError, ValueError
        As from `FewShotTransfer`; also if there are no sources, or the space has no decisions.
    """
    if not space.decisions:
        raise ValueError(f"warm_start matches decisions by name, and {type(space).__name__} has none")
    records = read_records(sources, objectives=objectives)
    if not records:
        raise ValueError("warm_start is empty; leave it out, or give a result, a journal or a list of them")
    none = space.join([])
    if isinstance(method, FewShotTransfer):
        return dataclasses.replace(method, sources=[*method.sources, *records]), none
    if type(method) is GaussianProcess and method.acquisition in ("log_ei", "ucb"):
        settings = {name: value for name, value in method.settings.items() if name != "n_startup"}
        return FewShotTransfer(**settings, sources=records), none
    transfer = FewShotTransfer(sources=records).setup(
        space, objectives=len(objectives), seed=seed, cost_violation=cost_violation
    )
    return method, transfer.ask(transfer.n_startup)
