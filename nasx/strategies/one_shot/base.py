"""What one-shot methods have in common: a trained supernet in which a sampled strategy searches."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from nasx.strategies.base import SampledStrategy, Strategy
from nasx.strategies.supernet import Epoch, Fitted, SupernetStrategy

if TYPE_CHECKING:
    from nasx.checkpoint import Checkpoint
    from nasx.nn.supernet import Supernet
    from nasx.strategies.limits import CostLimits
    from nasx.tasks.base import SupernetTask

__all__ = ["EVALUATIONS", "OneShotStrategy"]

EVALUATIONS = 1000
"""How many architectures are scored by default, as in the paper of SPOS: 20 generations of 50."""

_GENETIC = "genetic"


@dataclasses.dataclass(kw_only=True, eq=False)
class OneShotStrategy(SupernetStrategy, ABC):
    """A method that trains a supernet, in which a sampled strategy then searches by shared weights.

    `fit` only trains. `nasx.search` scores what the sampled strategy proposes by `nasx.tasks.SharedWeights`,
    and some random architectures too: a search is worth what it finds above them.

    Parameters
    ----------
    search_strategy : str or Strategy, default "genetic"
        What searches: a name of `nasx.available_strategies` or an instance. "genetic" is the search of [1]_
        as far as `nasx.GeneticAlgorithm` goes: populations of 50, of which the 10 best breed and live on,
        half of the offspring with two parents, decisions that mutate with probability 0.1; with several
        objectives it is `nasx.NSGA2` with these numbers.
    recalibration_batches : int, default 20
        Training batches over which batch normalisations are measured anew for every architecture; 0: none.
    baseline : int, default 20
        How many random architectures within the limits are scored for comparison, ``result.baseline``. They
        do not count as evaluations.

    References
    ----------
    .. [1] Z. Guo et al., "Single Path One-Shot Neural Architecture Search with Uniform Sampling", ECCV 2020.
    """

    search_strategy: str | Strategy | Mapping[str, Any] = _GENETIC
    recalibration_batches: int = 20
    baseline: int = 20

    def __post_init__(self) -> None:
        self._check_integers(recalibration_batches=0, baseline=0)
        self.searcher(1)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings as JSON types, enough to make an equal strategy."""
        inner = self.search_strategy
        if isinstance(inner, Strategy):
            from nasx.registry import strategy_name

            inner = {"name": strategy_name(inner), "settings": inner.settings}
        return super().settings | {"search_strategy": inner}

    def searcher(self, objectives: int) -> SampledStrategy:
        """Make the strategy that searches.

        Parameters
        ----------
        objectives : int
            How many there are.

        Returns
        -------
        SampledStrategy
            A fresh one.

        Raises
        ------
        ValueError
            If the name is unknown.
        TypeError
            If it is no sampled strategy.
        """
        from nasx.registry import get_strategy, strategy_name

        inner = self.search_strategy
        if inner == _GENETIC:
            breeding: dict[str, Any] = {"crossover_probability": 0.5, "mutation_rate": 0.1}
            if objectives > 1:
                return _sampled(get_strategy("nsga2", population_size=50, **breeding))
            breeding |= {"selection": "truncation", "truncation": 0.2, "elites": 10}
            return _sampled(get_strategy("genetic_algorithm", population_size=50, **breeding))
        if isinstance(inner, Mapping):
            if set(inner) - {"name", "settings"} or "name" not in inner:
                raise ValueError(f"search_strategy must have a name and settings; got {dict(inner)!r}")
            made = get_strategy(inner["name"], **inner.get("settings", {}))
        else:
            made = get_strategy(inner)
        if not isinstance(made, SampledStrategy):
            raise TypeError(
                "search_strategy must be a sampled strategy, which proposes architectures to score; got "
                f"{strategy_name(made)!r}"
            )
        return made

    @abstractmethod
    def fit(
        self,
        supernet: Supernet,
        task: SupernetTask,
        *,
        seed: int = 0,
        device: str | None = None,
        checkpoint: Checkpoint | None = None,
        history: list[Epoch] | None = None,
        report: Callable[[Epoch], None] | None = None,
        deadline: float | None = None,
        cost_limits: CostLimits | None = None,
    ) -> Fitted:
        """Train a supernet in place.

        Parameters
        ----------
        supernet, task, seed, device, checkpoint, history, report, deadline
            As for `SupernetStrategy.fit`.
        cost_limits : CostLimits, optional
            Limits on costs: paths over them are not trained.

        Returns
        -------
        Fitted
            Without a genotype.
        """


def _sampled(strategy: Strategy) -> SampledStrategy:
    assert isinstance(strategy, SampledStrategy)
    return strategy
