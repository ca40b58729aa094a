"""Operations on genotypes, one decision after another, from the plain Philox streams."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reference.philox import Stream

Row = list[int]
Rules = Sequence[Sequence[int]]


def active(j: int, row: Row, rules: Rules) -> bool:
    mine = [rule for rule in rules if rule[0] == j]
    return all(any(row[p] == choice for d, p, choice in mine if p == parent) for _, parent, _ in mine)


def repair_row(row: Row, cardinalities: Sequence[int], rules: Rules, stream: Stream) -> Row:
    row = list(row)
    for j, cardinality in enumerate(cardinalities):
        if not active(j, row, rules):
            row[j] = -1
        elif row[j] == -1:
            row[j] = stream.below(cardinality)
    return row


def mutate_row(
    row: Row, cardinalities: Sequence[int], rules: Rules, rates: Sequence[float], stream: Stream
) -> Row:
    row = list(row)
    for j, cardinality in enumerate(cardinalities):
        if row[j] >= 0 and cardinality > 1 and stream.bernoulli(rates[j]):
            others = [choice for choice in range(cardinality) if choice != row[j]]
            row[j] = others[stream.below(len(others))]
    return repair_row(row, cardinalities, rules, stream)


def crossover_row(
    a: Row,
    b: Row,
    cardinalities: Sequence[int],
    rules: Rules,
    kind: str,
    points: int,
    probability: float,
    stream: Stream,
) -> Row:
    d = len(cardinalities)
    child = list(a)
    if stream.bernoulli(probability):
        if kind == "uniform":
            coins = [stream.next_u32() for _ in range((d + 31) // 32)]
            child = [b[j] if coins[j // 32] >> j % 32 & 1 else a[j] for j in range(d)]
        else:
            cuts, sources = min(points, d - 1), [a, b]
            for j in range(d):
                if j > 0 and cuts > 0 and stream.below(d - j) < cuts:
                    cuts -= 1
                    sources.reverse()
                child[j] = sources[0][j]
    return repair_row(child, cardinalities, rules, stream)


def tournament_winner(ranks: Sequence[int], crowding: Sequence[float], size: int, stream: Stream) -> int:
    drawn = [stream.below(len(ranks)) for _ in range(size)]
    return min(drawn, key=lambda i: (ranks[i], -crowding[i]))


def child(
    parents: Sequence[Row],
    ranks: Sequence[int],
    crowding: Sequence[float],
    cardinalities: Sequence[int],
    rules: Rules,
    kind: str,
    points: int,
    probability: float,
    rates: Sequence[float],
    stream: Stream,
) -> Row:
    def winner(candidates: list[int]) -> int:
        drawn = [candidates[stream.below(len(candidates))] for _ in range(2)]
        return min(drawn, key=lambda i: (ranks[i], -crowding[i]))

    everyone = list(range(len(parents)))
    mother = winner(everyone)
    father = winner([i for i in everyone if i != mother]) if len(everyone) > 1 else mother
    row = crossover_row(
        parents[mother], parents[father], cardinalities, rules, kind, points, probability, stream
    )
    return mutate_row(row, cardinalities, rules, rates, stream)


def rows_array(rows: list[Row], d: int) -> np.ndarray:
    return np.array(rows, np.int32).reshape(-1, d)
