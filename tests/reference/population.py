"""Operations on genotypes, one decision after another, from the plain Philox streams."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reference.philox import Stream

Row = list[int]
Rules = Sequence[Sequence[int]]
WORDS = 2**64 - 1


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
    """Candidates come at the largest rate; one of a smaller rate is kept with the ratio of the two."""
    row = list(row)
    d, largest = len(cardinalities), max(rates, default=0.0)
    gap_below, none = [], 1.0
    for _ in range(d):
        none *= 1 - largest
        gap_below.append(1 - none)
    j = 0
    while j < d:
        chance = stream.uniform()
        j += sum(below <= chance for below in gap_below[: d - j])
        kept = j < d and (rates[j] == largest or stream.bernoulli(rates[j] / largest))
        if kept and row[j] >= 0 and cardinalities[j] > 1:
            others = [choice for choice in range(cardinalities[j]) if choice != row[j]]
            row[j] = others[stream.below(len(others))]
        j += 1
    return repair_row(row, cardinalities, rules, stream)


def mutate_one_row(row: Row, cardinalities: Sequence[int], rules: Rules, stream: Stream) -> Row:
    row = list(row)
    candidates = [j for j, cardinality in enumerate(cardinalities) if row[j] >= 0 and cardinality > 1]
    if candidates:
        j = candidates[stream.below(len(candidates))]
        others = [choice for choice in range(cardinalities[j]) if choice != row[j]]
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


def tournament_winner(
    keys: Sequence[float],
    crowding: Sequence[float] | None,
    size: int,
    stream: Stream,
    candidates: Sequence[int] | None = None,
) -> int:
    candidates = range(len(keys)) if candidates is None else candidates
    drawn = [candidates[stream.below(len(candidates))] for _ in range(size)]
    return min(drawn, key=lambda i: (keys[i], 0 if crowding is None else -crowding[i]))


def neighbor_rows(
    row: Row,
    cardinalities: Sequence[int],
    rules: Rules,
    adjacent: Sequence[bool],
    shuffled: bool,
    stream: Stream,
) -> list[Row]:
    changes = [
        (j, choice)
        for j, cardinality in enumerate(cardinalities)
        for choice in range(cardinality)
        if row[j] != -1 and choice != row[j] and (not adjacent[j] or abs(choice - row[j]) == 1)
    ]
    rows = []
    while changes:
        if shuffled:  # the one drawn and the first change places
            k = stream.below(len(changes))
            changes[0], changes[k] = changes[k], changes[0]
        j, choice = changes.pop(0)
        rows.append(repair_row([*row[:j], choice, *row[j + 1 :]], cardinalities, rules, stream))
    return rows


def child(
    parents: Sequence[Row],
    keys: Sequence[float],
    crowding: Sequence[float] | None,
    size: int,
    cardinalities: Sequence[int],
    rules: Rules,
    kind: str,
    points: int,
    probability: float,
    rates: Sequence[float],
    stream: Stream,
) -> Row:
    mother = father = tournament_winner(keys, crowding, size, stream)
    if len(parents) > 1:
        others = [i for i in range(len(parents)) if i != mother]
        father = tournament_winner(keys, crowding, size, stream, others)
    row = crossover_row(
        parents[mother], parents[father], cardinalities, rules, kind, points, probability, stream
    )
    return mutate_row(row, cardinalities, rules, rates, stream)


def mutant(
    parents: Sequence[Row],
    keys: Sequence[float],
    size: int,
    cardinalities: Sequence[int],
    rules: Rules,
    stream: Stream,
    crowding: Sequence[float] | None = None,
) -> Row:
    winner = tournament_winner(keys, crowding, size, stream)
    return mutate_one_row(parents[winner], cardinalities, rules, stream)


def hash_row(row: Row) -> int:
    """Multiply-and-fold over pairs of words, the odd one out beside a zero.

    Of each whole four words, the second pair goes into a state of its own.
    """

    def fold(a: int, b: int) -> int:
        return (a * b & WORDS) ^ (a * b >> 64)

    words = [choice & 0xFFFFFFFF for choice in row] + [0] * (len(row) % 2)
    states = [0x9E3779B97F4A7C15 ^ len(row), 0xA4093822299F31D1]
    for i in range(0, len(words), 2):
        which = i // 2 % 2 if i < len(row) // 4 * 4 else 0
        pair = words[i + 1] << 32 | words[i]
        states[which] = fold(states[which] ^ pair, 0x243F6A8885A308D3) + 0x13198A2E03707345 & WORDS
    turned = (states[1] << 32 | states[1] >> 32) & WORDS
    return fold(states[0] ^ turned, 0x9E3779B97F4A7C15)


def rows_array(rows: list[Row], d: int) -> np.ndarray:
    return np.array(rows, np.int32).reshape(-1, d)
