"""NSGA-II: non-dominated sorting with crowding."""

from __future__ import annotations

import dataclasses

from nasx.strategies.evolutionary.generational import GenerationalStrategy

__all__ = ["NSGA2"]


@dataclasses.dataclass(kw_only=True, eq=False)
class NSGA2(GenerationalStrategy):
    """Evolve a population towards the whole Pareto front.

    Parents are chosen by binary tournaments on (front, crowding distance), crossed and mutated; each time
    that a population's worth of offspring has been told, the best of parents and offspring survive, whole
    fronts first and the last front by crowding distance. Violations come before everything else. `ask` never
    waits: with results still out, it breeds from those that are known.

    Parameters
    ----------
    population_size : int, default 50
        Number of survivors, and of offspring between two selections.
    crossover : {"uniform", "k_point"}, default "uniform"
        Take each decision from either parent, or swap parents at `crossover_points` places.
    crossover_points : int, default 2
        Places of a k-point crossover.
    crossover_probability : float, default 0.9
        Share of the offspring that have two parents; the others are mutated copies of one.
    mutation_rate : float, optional
        Probability that a decision changes to a different choice; by default 1 / (number of decisions).
    allow_repeats : bool, default False
        Propose architectures that were already proposed or told; for noisy objectives.

    Raises
    ------
    ValueError
        If a setting is out of range.

    References
    ----------
    K. Deb, A. Pratap, S. Agarwal and T. Meyarivan, "A fast and elitist multiobjective genetic algorithm:
    NSGA-II", IEEE Transactions on Evolutionary Computation 6(2), 2002.

    Examples
    --------
    >>> from nasx import NSGA2, Integer, Space
    >>> strategy = NSGA2(population_size=10).setup(
    ...     Space({"a": Integer(0, 9), "b": Integer(0, 9)}), objectives=2, seed=0
    ... )
    >>> for _ in range(5):
    ...     x = strategy.ask(10)
    ...     strategy.tell(x, [[a, (9 - a) + b] for a, b in x])
    >>> x.shape
    (10, 2)
    """

    population_size: int = 50

    def _renew(self) -> None:
        self._keep(self._rank())
