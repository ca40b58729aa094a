"""The strategy inside another one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nasx.strategies.base import SampledStrategy

__all__ = ["make_inner"]


def make_inner(inner: str | SampledStrategy | Mapping[str, Any], *, why: str) -> SampledStrategy:
    """Make the strategy that a setting ``inner`` describes.

    Parameters
    ----------
    inner : str, SampledStrategy or mapping
        A name, an instance, or a mapping of "name" and settings.
    why : str
        Why it must not allow repeats, for the error.

    Returns
    -------
    SampledStrategy
        One that has seen nothing.

    Raises
    ------
    ValueError
        If it is no sampled strategy, a setting is out of range, or it allows repeats.
    """
    from nasx.registry import get_strategy

    settings = dict(inner) if isinstance(inner, Mapping) else {}
    if isinstance(inner, Mapping) and "name" not in settings:
        raise ValueError(f'inner needs a name, as in {{"name": "nsga2"}}; got {inner!r}')
    strategy = get_strategy(settings.pop("name") if isinstance(inner, Mapping) else inner, **settings)
    if not isinstance(strategy, SampledStrategy):
        raise ValueError(f"inner must be a sampled strategy; got {inner!r}")
    if strategy.allow_repeats:
        raise ValueError(f"inner must not allow repeats: {why}")
    return strategy
