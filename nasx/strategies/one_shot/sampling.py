"""Which paths of a supernet are trained in a step.

A rule is an endless iterator: for every step it gives the genotypes whose gradients are added up before the
weights move. `paths` finds a rule by its name.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from nasx import population
from nasx.errors import EvaluationError, unknown
from nasx.space import Genotypes, Space
from nasx.strategies.base import CostViolation
from nasx.strategies.limits import CostFunction
from nasx.strategies.one_shot.elastic_sampling import by_cost, extremes, sandwich

__all__ = ["RULES", "ends_within", "fair", "feasible", "paths", "uniform", "within"]

RULES = ("fair", "flops", "sandwich", "uniform")
"""Names of the rules."""

_BLOCK = 64
# So many random architectures over the limits, one after another, and there are practically none within.
_DRAWS = 65_536
# So many times a fair set is drawn anew because a member of it is over a limit.
_REDRAWS = 100


def paths(
    space: Space,
    rule: str,
    *,
    seed: int,
    cost_violation: CostViolation | None = None,
    cost: CostFunction | None = None,
    ends: tuple[Genotypes, Genotypes] | None = None,
) -> Iterator[list[Genotypes]]:
    """Say for every step which genotypes are trained in it.

    Parameters
    ----------
    space : Space
        Whose architectures.
    rule : str
        A name in `RULES`.
    seed : int
        Same seed, same steps.
    cost_violation : callable, optional
        As for `SampledStrategy.setup`: genotypes over the limits are not trained.
    cost : callable, optional
        What "flops" spreads paths over, and what "sandwich" finds the ends by.
    ends : tuple of ndarray of int32, shape (d,), optional
        The largest and the smallest architecture, for "sandwich"; by default what `ends_within` gives.

    Returns
    -------
    iterator of list of ndarray of int32, shape (d,)
        It has no end.

    Raises
    ------
    ValueError
        If the rule is unknown, or lacks a cost that it needs.
    nasx.errors.EvaluationError
        While iterating: if practically no architecture is within the limits and constraints.

    Examples
    --------
    >>> from nasx import Categorical, Space
    >>> space = Space({"a": Categorical("xyz"), "b": Categorical("pq")})
    >>> step = next(paths(space, "fair", seed=0))
    >>> sorted(genotype[0].item() for genotype in step)
    [0, 1, 2]
    >>> [len(step) for step, _ in zip(paths(space, "uniform", seed=0), range(2))]
    [1, 1]
    """
    if rule not in RULES:
        raise ValueError(unknown("sampling", rule, RULES))
    if rule == "sandwich":
        ends = ends or ends_within(space, cost, cost_violation)
        return sandwich(feasible(space, seed, cost_violation), *ends)
    if rule == "flops":
        if cost is None:
            raise ValueError("cost must be given for sampling='flops': it spreads paths evenly over that")
        return by_cost(feasible(space, seed, cost_violation), cost, seed=seed)
    return (fair if rule == "fair" else uniform)(space, seed, cost_violation)


def ends_within(
    space: Space, cost: CostFunction | None, cost_violation: CostViolation | None
) -> tuple[Genotypes, Genotypes]:
    """Find the largest and the smallest architecture that meet the constraints and the limits on costs.

    Parameters
    ----------
    space, cost
        As for `extremes`.
    cost_violation
        As for `paths`.

    Returns
    -------
    largest, smallest : ndarray of int32, shape (d,)
        Their genotypes.
    """
    return extremes(space, cost, allowed=lambda rows: within(space, rows, cost_violation))


def uniform(space: Space, seed: int, cost_violation: CostViolation | None) -> Iterator[list[Genotypes]]:
    """Give one random architecture a step: each active decision is uniform over its choices [1]_.

    Parameters
    ----------
    space, seed, cost_violation
        As for `paths`.

    Yields
    ------
    list of ndarray of int32, shape (d,)
        One genotype.

    References
    ----------
    .. [1] Z. Guo et al., "Single Path One-Shot Neural Architecture Search with Uniform Sampling", ECCV 2020.
    """
    for row in feasible(space, seed, cost_violation):
        yield [row]


def fair(space: Space, seed: int, cost_violation: CostViolation | None) -> Iterator[list[Genotypes]]:
    """Train every choice of every decision once a step, in random company: strict fairness [1]_.

    A step has as many genotypes as the largest decision has choices. A smaller one goes through its choices
    again, in another order, so that in each step they differ by one at most. Decisions that are inactive in a
    genotype miss their turn, and a set with a member over the limits is drawn again; where no other comes, a
    random architecture takes that member's place.

    Parameters
    ----------
    space, seed, cost_violation
        As for `paths`.

    Yields
    ------
    list of ndarray of int32, shape (d,)
        K genotypes, where K is the largest number of choices.

    References
    ----------
    .. [1] X. Chu, B. Zhang and R. Xu, "FairNAS: Rethinking Evaluation Fairness of Weight Sharing Neural
       Architecture Search", ICCV 2021.
    """
    random = np.random.default_rng(seed)
    sizes = space.cardinalities.tolist()
    most = max(sizes)
    spare = feasible(space, seed, cost_violation)
    while True:
        drawn: list[tuple[Genotypes, npt.NDArray[np.bool_]]] = []
        while len(drawn) < _REDRAWS and not (drawn and drawn[-1][1].all()):
            rows = _fair_set(random, space, sizes, most)
            drawn.append((rows, within(space, rows, cost_violation)))
        best, fits = max(drawn, key=lambda one: int(one[1].sum()))
        yield [row if fit else next(spare) for row, fit in zip(best, fits.tolist(), strict=True)]


def _fair_set(random: np.random.Generator, space: Space, sizes: list[int], most: int) -> Genotypes:
    """Draw a column for each decision, of whole permutations of its choices as far as there is room."""
    columns = [
        np.concatenate([random.permutation(size) for _ in range(-(-most // size))])[:most] for size in sizes
    ]
    rows = np.stack(columns, 1).astype(np.int32)
    return population.repair(rows, space.cardinalities, conditions=space.conditions)


def feasible(space: Space, seed: int, cost_violation: CostViolation | None) -> Iterator[Genotypes]:
    """Draw random architectures that meet the constraints and the limits on costs.

    Parameters
    ----------
    space, seed, cost_violation
        As for `paths`.

    Yields
    ------
    ndarray of int32, shape (d,)
        A genotype; they may repeat.

    Raises
    ------
    nasx.errors.EvaluationError
        If practically none does.
    """
    first = since = 0
    while since < _DRAWS:
        rows = space.canonicalize(
            population.sample(
                space.cardinalities, _BLOCK, seed=seed, first=first, conditions=space.conditions
            )
        )
        first += _BLOCK
        rows = rows[within(space, rows, cost_violation)]
        since = 0 if len(rows) else since + _BLOCK
        yield from rows
    raise EvaluationError(
        f"none of {_DRAWS} random architectures is within the limits on costs and the constraints; raise them"
    )


def within(space: Space, genotypes: Genotypes, cost_violation: CostViolation | None) -> npt.NDArray[np.bool_]:
    """Say which architectures meet the constraints and the limits on costs.

    Parameters
    ----------
    space, cost_violation
        As for `paths`.
    genotypes : ndarray of int32, shape (n, d)
        The architectures, canonical or not.

    Returns
    -------
    ndarray of bool, shape (n,)
        True where all of them are met.
    """
    if not space.constraints and cost_violation is None:
        return np.ones(len(genotypes), bool)
    rows = space.canonicalize(genotypes)
    met = space.satisfies(rows)
    if cost_violation is not None:
        met &= cost_violation(rows) <= 0
    return met
