"""Pareto search, one evaluation after another, with everything computed anew from all that is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from reference import pareto
from reference.philox import Stream
from reference.population import Row, Rules, neighbor_rows, repair_row, tournament_winner


def archive(losses: np.ndarray, violations: np.ndarray) -> list[int]:
    """Of the rows with the least violation those that no other dominates, of equal ones the first."""
    least = np.flatnonzero(violations == violations.min())
    front = least[pareto.rank(losses[least]) == 0]
    return [i for i in front.tolist() if not any((losses[i] == losses[k]).all() for k in front if k < i)]


def pareto_search(
    evaluate: Callable[[Row], tuple[list[float], float]],
    cardinalities: Sequence[int],
    rules: Rules,
    *,
    n_init: int,
    tournament_size: int,
    seed: int,
    evaluations: int,
) -> list[Row]:
    """All rows in the order of their evaluation; `evaluate` gives losses and violation."""
    trace: list[Row] = []
    told: list[tuple[list[float], float]] = []
    explored: set[int] = set()
    pool: list[int] = []
    crowding: list[float] = []
    members: list[int] = []
    everywhere = [False] * len(cardinalities)
    proposed = 0

    def crowd(places: list[int]) -> list[float]:
        if not places:
            return []
        return list(
            pareto.crowding_distance(np.array([told[i][0] for i in places]), np.zeros(len(places), int))
        )

    while len(trace) < evaluations:
        row = None
        tries = 0
        while row is None and len(trace) >= n_init:
            if not pool:
                left = [i for i in range(len(told)) if i not in explored]
                if not left:
                    break
                ranks = pareto.rank(
                    np.array([told[i][0] for i in left]), np.array([told[i][1] for i in left])
                )
                pool = [left[k] for k in np.flatnonzero(ranks == 0)]
                crowding = crowd(pool)
            ranks = [0] * len(pool)
            stream = Stream("tournament", seed, tries, proposed)
            k = tournament_winner([-c for c in crowding], None, tournament_size, stream)
            stream = Stream("neighbors", seed, tries, proposed)
            around = neighbor_rows(trace[pool[k]], cardinalities, rules, everywhere, True, stream)
            new = [other for other in around if other not in trace]
            if new:
                row = new[0]
            else:
                explored.add(pool.pop(k))
                crowding.pop(k)
                tries += 1
        if row is None:
            stream = Stream("sample", seed, 0, proposed)
            row = repair_row([-1] * len(cardinalities), cardinalities, rules, stream)
        proposed += 1
        if row in trace:
            continue
        trace.append(row)
        told.append(evaluate(row))
        now = archive(np.array([loss for loss, _ in told]), np.array([over for _, over in told]))
        if now != members:
            members = now
            pool = [i for i in members if i not in explored]
            crowding = crowd(pool)
    return trace
