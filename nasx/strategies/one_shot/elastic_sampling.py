"""Which sub-networks of an elastic supernet are trained in a step: the sandwich rule, and bins of a cost.

Both are endless iterators over steps: for each the genotypes whose gradients are added up before the weights
move. What is random in them comes from an iterator of random architectures.
"""

from __future__ import annotations

import functools
import itertools
from collections import deque
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from nasx import population
from nasx._arguments import count, unsigned
from nasx.space import Genotypes, Space
from nasx.strategies.limits import CostFunction

__all__ = ["by_cost", "extremes", "sandwich"]

# Sweeps over all decisions in search of the largest cost; sums over decisions need two.
_SWEEPS = 10


def extremes(
    space: Space,
    cost: CostFunction | None = None,
    *,
    allowed: Callable[[Genotypes], npt.NDArray[np.bool_]] | None = None,
) -> tuple[Genotypes, Genotypes]:
    """Find the largest and the smallest architecture.

    Each decision in turn takes the choice of largest or smallest cost until nothing changes: exact where the
    cost is a sum over decisions or grows with each of them, else a local optimum.

    Parameters
    ----------
    space : Space
        The space; its constraints hold.
    cost : callable, optional
        What they are the largest and smallest by, such as the number of parameters. By default ordered
        decisions take their last and first choices, and all others their first.
    allowed : callable, optional
        Maps genotypes ``(n, d)`` to bool ``(n,)``: which ones may be taken.

    Returns
    -------
    largest, smallest : ndarray of int32, shape (d,)
        Their genotypes.

    Raises
    ------
    ValueError
        If there is no cost and no decision is ordered, a cost is not finite, or none that was tried is
        allowed.

    Notes
    -----
    It takes two or three times the sum of all numbers of choices in evaluations of the cost.

    Examples
    --------
    >>> from nasx import Categorical, Ordinal
    >>> space = Space({
    ...     "depth": Ordinal([1, 2]),
    ...     "width": Ordinal([8, 16, 32], when={"depth": 2}),
    ...     "op": Categorical(["conv", "skip"]),
    ... })
    >>> largest, smallest = extremes(space)
    >>> largest.tolist(), smallest.tolist()
    ([1, 2, 0], [0, -1, 0])
    """
    if cost is None:
        if not space.ordered.any():
            raise ValueError(
                "cost must be given where no decision of the space is ordered: a table of parameters, such "
                "as nasx.hardware.ParamsTable().bind(space, task.spec)"
            )
        cost = functools.partial(_order, space)
    # One choice for every decision, whether it is active or not: so nothing depends on the order of turns.
    low = np.zeros(len(space), np.int32)
    high = np.where(space.ordered, space.cardinalities - 1, 0).astype(np.int32)
    found = []
    for sign, starts in ((1, (high, low)), (-1, (low, high))):
        climbs = (_climb(space, cost, sign, start, allowed) for start in starts)
        best = next((row for row in climbs if row is not None), None)
        if best is None:
            raise ValueError(
                "no architecture that was tried as the largest or smallest is allowed: the constraints of "
                "the space or the limits are too tight to find one from either end; choose both by hand"
            )
        found.append(best)
    return found[0], found[1]


def _order(space: Space, rows: Genotypes) -> npt.NDArray[np.float64]:
    """Add up how far up ordered decisions are, those that are inactive lowest."""
    shares = ((rows + 1) / space.cardinalities)[:, space.ordered]
    return np.asarray(shares.sum(axis=1), np.float64)


def _climb(
    space: Space,
    cost: CostFunction,
    sign: int,
    wish: Genotypes,
    allowed: Callable[[Genotypes], npt.NDArray[np.bool_]] | None,
) -> Genotypes | None:
    """Change one decision after the other for the better; None if nothing allowed is met."""
    best = -np.inf
    for _ in range(_SWEEPS):
        before = best
        for j, choices in enumerate(space.cardinalities.tolist()):
            wishes = np.repeat(wish[None], choices, axis=0)
            wishes[:, j] = np.arange(choices)
            rows = _rows(space, wishes)
            may = space.satisfies(rows)
            if allowed is not None:
                may &= allowed(rows)
            scores = np.full(choices, -np.inf)
            if may.any():
                scores[may] = sign * _costs(cost, rows[may])
            if scores.max() > best:
                best = scores.max()
                wish = wishes[scores.argmax()]
        if best == before:
            break
    if best == -np.inf:
        return None
    taken: Genotypes = _rows(space, wish[None])[0]
    return taken


def _rows(space: Space, wishes: Genotypes) -> Genotypes:
    """Leave out what is inactive."""
    return space.canonicalize(population.repair(wishes, space.cardinalities, conditions=space.conditions))


def _costs(cost: CostFunction, rows: Genotypes) -> npt.NDArray[np.float64]:
    values = np.asarray(cost(rows), np.float64)
    if values.shape != (len(rows),) or not np.isfinite(values).all():
        raise ValueError(
            f"cost must give a finite number for each of {len(rows)} genotypes; got {values.tolist()}"
        )
    return values


def sandwich(
    draws: Iterator[Genotypes], largest: Genotypes, smallest: Genotypes, *, randoms: int = 2
) -> Iterator[list[Genotypes]]:
    """Train the largest and the smallest sub-network and some random ones in every step [1]_.

    The largest comes first: it is the others' teacher, see `nasx.strategies.one_shot.distillation`.

    Parameters
    ----------
    draws : iterator of ndarray of int32, shape (d,)
        Random architectures, without end.
    largest, smallest : ndarray of int32, shape (d,)
        What `extremes` found.
    randoms : int, default 2
        How many random ones there are in a step.

    Yields
    ------
    list of ndarray of int32, shape (d,)
        The largest, the random ones, the smallest.

    Raises
    ------
    ValueError
        If `randoms` is negative.

    References
    ----------
    .. [1] J. Yu and T. Huang, "Universally Slimmable Networks and Improved Training Techniques", ICCV 2019.

    Examples
    --------
    >>> from nasx import Integer
    >>> space = Space({"width": Integer(0, 9)})
    >>> steps = sandwich(itertools.cycle(space.sample(100)), *extremes(space), randoms=1)
    >>> [genotype.tolist() for genotype in next(steps)][::2]
    [[9], [0]]
    """
    count(randoms, "randoms", 0)

    def steps() -> Iterator[list[Genotypes]]:
        while True:
            yield [largest, *itertools.islice(draws, randoms), smallest]

    return steps()


def by_cost(
    draws: Iterator[Genotypes], cost: CostFunction, *, bins: int = 10, batch: int = 256, seed: int = 0
) -> Iterator[list[Genotypes]]:
    """Train small, middling and large architectures alike: uniform over bins of a cost [1]_.

    Random architectures crowd around the middle of a space. Here every step picks one of the bins, between
    which the costs of a first batch of random ones are cut evenly, and takes a random architecture from it.
    A bin that has run out is filled again from another batch; if that has none for it, it gives one of those
    that it has given before. Bins that the first batch leaves empty are not picked.

    Parameters
    ----------
    draws : iterator of ndarray of int32, shape (d,)
        Random architectures, without end.
    cost : callable
        Maps genotypes ``(n, d)`` to costs ``(n,)``, such as floating-point operations.
    bins : int, default 10
        How many.
    batch : int, default 256
        How many random architectures are drawn at once; also how many a bin keeps.
    seed : int, default 0
        Seeds the picks.

    Yields
    ------
    list of ndarray of int32, shape (d,)
        One genotype.

    Raises
    ------
    ValueError
        If `bins` or `batch` is no positive integer; while iterating, if a cost is not finite.

    References
    ----------
    .. [1] D. Wang et al., "AttentiveNAS: Improving Neural Architecture Search via Attentive Sampling",
       CVPR 2021.

    Examples
    --------
    >>> from nasx import Boolean
    >>> space = Space({f"x{i}": Boolean() for i in range(12)})
    >>> steps = by_cost(itertools.cycle(space.sample(5000)), lambda rows: rows.sum(axis=1), bins=3)
    >>> sizes = [int(next(steps)[0].sum()) for _ in range(400)]
    >>> [sum(size in part for size in sizes) > 100 for part in (range(5), range(5, 8), range(8, 13))]
    [True, True, True]
    """
    count(bins, "bins")
    count(batch, "batch")
    random = np.random.default_rng(unsigned(seed, "seed"))

    def steps() -> Iterator[list[Genotypes]]:
        rows, costs = _batch(draws, cost, batch)
        edges = np.linspace(costs.min(), costs.max(), bins + 1)[1:-1]
        fresh: list[deque[Genotypes]] = [deque(maxlen=batch) for _ in range(bins)]
        given: list[deque[Genotypes]] = [deque(maxlen=batch) for _ in range(bins)]
        _fill(fresh, edges, rows, costs)
        live = [i for i, store in enumerate(fresh) if store]
        while True:
            i = live[random.integers(len(live))]
            if not fresh[i]:
                _fill(fresh, edges, *_batch(draws, cost, batch))
            if fresh[i]:
                given[i].append(fresh[i].popleft())
                yield [given[i][-1]]
            else:
                yield [given[i][random.integers(len(given[i]))]]

    return steps()


def _batch(
    draws: Iterator[Genotypes], cost: CostFunction, batch: int
) -> tuple[Genotypes, npt.NDArray[np.float64]]:
    rows: Genotypes = np.stack(list(itertools.islice(draws, batch)))
    return rows, _costs(cost, rows)


def _fill(
    stores: list[deque[Genotypes]],
    edges: npt.NDArray[np.float64],
    rows: Genotypes,
    costs: npt.NDArray[np.float64],
) -> None:
    """Put architectures into their bins; costs beyond the first batch's belong to the outermost ones."""
    for row, place in zip(rows, np.searchsorted(edges, costs, side="right").tolist(), strict=True):
        stores[place].append(row)
