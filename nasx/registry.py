"""The names of the strategies."""

from __future__ import annotations

import importlib
from typing import Any

from nasx.errors import unknown
from nasx.strategies.base import Strategy

__all__ = ["available_strategies", "get_strategy", "register_strategy", "strategy_class", "strategy_name"]

# Name -> module and class; imported on first use, since some strategies need torch.
_STRATEGIES: dict[str, str | type[Strategy]] = {
    "asha": "nasx.strategies.multi_fidelity.asha:ASHA",
    "darts": "nasx.strategies.differentiable.darts:DARTS",
    "enas": "nasx.strategies.one_shot.enas:ENAS",
    "fbnet": "nasx.strategies.hardware_aware.fbnet:FBNet",
    "few_shot": "nasx.strategies.one_shot.few_shot:FewShot",
    "few_shot_transfer": "nasx.strategies.transfer.warm_start:FewShotTransfer",
    "hyperband": "nasx.strategies.multi_fidelity.hyperband:Hyperband",
    "gaussian_process": "nasx.strategies.bayesian.gaussian_process:GaussianProcess",
    "genetic_algorithm": "nasx.strategies.evolutionary.genetic:GeneticAlgorithm",
    "meta_nas": "nasx.strategies.transfer.meta_nas:MetaNAS",
    "local_search": "nasx.strategies.baseline.local_search:LocalSearch",
    "neat": "nasx.strategies.evolutionary.neat:NEAT",
    "nsga2": "nasx.strategies.multi_objective.nsga2:NSGA2",
    "pareto_search": "nasx.strategies.multi_objective.pareto_search:ParetoSearch",
    "pc_darts": "nasx.strategies.differentiable.pc_darts:PCDARTS",
    "ppo": "nasx.strategies.reinforcement.ppo:PPO",
    "proxyless_nas": "nasx.strategies.hardware_aware.proxyless:ProxylessNAS",
    "random_search": "nasx.strategies.baseline.random_search:RandomSearch",
    "reinforce": "nasx.strategies.reinforcement.reinforce:REINFORCE",
    "regularized_evolution": "nasx.strategies.evolutionary.regularized:RegularizedEvolution",
    "spos": "nasx.strategies.one_shot.spos:SPOS",
    "tpe": "nasx.strategies.bayesian.tpe:TPE",
}


def available_strategies() -> tuple[str, ...]:
    """Return the names that ``strategy="..."`` takes.

    Returns
    -------
    tuple of str
        Sorted names.

    Examples
    --------
    >>> "nsga2" in available_strategies()
    True
    """
    return tuple(sorted(_STRATEGIES))


def register_strategy(name: str, cls: type[Strategy]) -> None:
    """Give a strategy of your own a name.

    Parameters
    ----------
    name : str
        The name for ``strategy="..."`` and for configuration files.
    cls : type
        A subclass of `Strategy` whose settings all have defaults.

    Raises
    ------
    ValueError
        If the name is taken by another class.
    TypeError
        If `cls` is no strategy class.

    Examples
    --------
    >>> from nasx import RandomSearch
    >>> class Mine(RandomSearch):
    ...     "My own method."
    >>> register_strategy("mine", Mine)
    >>> _ = _STRATEGIES.pop("mine")
    """
    if not (isinstance(cls, type) and issubclass(cls, Strategy)):
        raise TypeError(f"cls must be a subclass of nasx.Strategy; got {cls!r}")
    if name in _STRATEGIES and strategy_class(name) is not cls:
        raise ValueError(f"name {name!r} is taken by {strategy_class(name).__qualname__}; choose another")
    _STRATEGIES[name] = cls


def strategy_class(name: str) -> type[Strategy]:
    """Find the class of a strategy's name.

    Parameters
    ----------
    name : str
        One of `available_strategies`.

    Returns
    -------
    type
        The class.

    Raises
    ------
    ValueError
        If the name is unknown; the nearest and all known names are listed.
    """
    try:
        found = _STRATEGIES[name]
    except (KeyError, TypeError):
        raise ValueError(unknown("strategy", name, _STRATEGIES)) from None
    if isinstance(found, str):
        module, _, attribute = found.partition(":")
        found = getattr(importlib.import_module(module), attribute)
    return found


def strategy_name(strategy: Strategy) -> str:
    """Name a strategy as the registry does.

    Parameters
    ----------
    strategy : Strategy
        Any strategy.

    Returns
    -------
    str
        Its registered name, or its class's name if it has none.
    """
    cls = type(strategy)
    for name, found in _STRATEGIES.items():
        if found is cls or found == f"{cls.__module__}:{cls.__qualname__}":
            return name
    return cls.__qualname__


def get_strategy(strategy: str | Strategy | type[Strategy], **settings: Any) -> Strategy:
    """Make a strategy that has seen nothing.

    Parameters
    ----------
    strategy : str, Strategy or type
        A name, an instance whose settings are copied, or a class.
    **settings
        Settings for a name or class.

    Returns
    -------
    Strategy
        A new instance.

    Raises
    ------
    ValueError
        If the name is unknown, or a setting is out of range.
    TypeError
        If it is no strategy.

    Examples
    --------
    >>> get_strategy("nsga2", population_size=20).population_size
    20
    """
    if isinstance(strategy, str):
        strategy = strategy_class(strategy)
    if isinstance(strategy, type) and issubclass(strategy, Strategy):
        return strategy(**settings)
    if isinstance(strategy, Strategy):
        return strategy.fresh()
    raise TypeError(f"strategy must be a name, a strategy or a strategy class; got {strategy!r}")
