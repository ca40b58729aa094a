"""Hill climbing with restarts, and in many directions, one evaluation after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from reference.philox import Stream
from reference.population import Row, Rules, neighbor_rows, repair_row


def local_search(
    evaluate: Callable[[Row], float],
    cardinalities: Sequence[int],
    rules: Rules,
    *,
    n_init: int,
    improvement: str,
    seed: int,
    evaluations: int,
) -> list[Row]:
    """All rows in the order of their evaluation; the space must not run out."""
    trace: list[Row] = []
    losses: list[float] = []
    proposed = neighborhoods = 0
    everywhere = [False] * len(cardinalities)

    def look_at(row: Row) -> float:
        trace.append(row)
        losses.append(evaluate(row))
        return losses[-1]

    while len(trace) < evaluations:
        starts: list[tuple[float, Row]] = []
        while len(starts) < n_init:
            stream = Stream("sample", seed, 0, proposed)
            row = repair_row([-1] * len(cardinalities), cardinalities, rules, stream)
            proposed += 1
            if row not in trace:
                starts.append((look_at(row), row))
        best, current = min(starts, key=lambda start: start[0])
        climbing = True
        while climbing:
            stream = Stream("neighbors", seed, neighborhoods, 0)
            around = neighbor_rows(current, cardinalities, rules, everywhere, True, stream)
            neighborhoods += 1
            climbing = False
            for row in [row for row in around if row not in trace]:
                proposed += 1
                loss = look_at(row)
                if loss < best:
                    best, current, climbing = loss, row, True
                    if improvement == "first":
                        break
    return trace[:evaluations]


def local_search_towards_a_front(
    evaluate: Callable[[Row], list[float]],
    cardinalities: Sequence[int],
    rules: Rules,
    *,
    n_init: int,
    seed: int,
    evaluations: int,
) -> list[Row]:
    """All rows in the order of their evaluation; the first ones that are drawn must be new."""
    trace: list[Row] = []
    losses: list[list[float]] = []
    explored: list[Row] = []
    neighborhoods = 0
    everywhere = [False] * len(cardinalities)
    for first in range(n_init):
        trace.append(
            repair_row([-1] * len(cardinalities), cardinalities, rules, Stream("sample", seed, 0, first))
        )
        losses.append(evaluate(trace[-1]))
    while len(trace) < evaluations:
        values = np.array(losses)
        # Of equal losses the first counts.
        dominated = [
            ((values <= v).all(axis=1) & (values < v).any(axis=1)).any()
            or (values[:i] == v).all(axis=1).any()
            for i, v in enumerate(values)
        ]
        front = values[np.logical_not(dominated)]
        best, worst = front.min(axis=0), front.max(axis=0)
        extent = np.where(worst > best, worst - best, values.max(axis=0) - best)
        weights = np.random.default_rng([seed, len(trace)]).dirichlet(np.ones(values.shape[1]))
        scaled = weights * (values - best) / np.where(extent > 0, extent, 1)
        distances = scaled.max(axis=1) + 0.05 * scaled.sum(axis=1)
        new: list[Row] = []
        while not new:
            # The front first.
            places = [i for i, row in enumerate(trace) if row not in explored]
            place = min(places, key=lambda i: (dominated[i], distances[i]))
            stream = Stream("neighbors", seed, neighborhoods, 0)
            around = neighbor_rows(trace[place], cardinalities, rules, everywhere, True, stream)
            neighborhoods += 1
            new = [row for row in around if row not in trace]
            if not new:
                explored.append(trace[place])
        trace.append(new[0])
        losses.append(evaluate(new[0]))
    return trace
