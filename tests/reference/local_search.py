"""Hill climbing with restarts, one evaluation after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
