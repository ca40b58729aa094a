"""Ranks by peeling fronts, crowding distances and hypervolumes, by definition."""

from __future__ import annotations

import itertools

import numpy as np


def dominates(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((a <= b).all() and (a < b).any())


def rank(losses: np.ndarray, violations: np.ndarray | None = None) -> np.ndarray:
    n = len(losses)
    ranks = np.full(n, -1, np.int32)
    left = set(range(n)) if violations is None else {i for i in range(n) if violations[i] <= 0}
    infeasible = set(range(n)) - left
    front = 0
    while left:
        members = {i for i in left if not any(dominates(losses[k], losses[i]) for k in left)}
        ranks[list(members)] = front
        left -= members
        front += 1
    for violation in sorted({violations[i] for i in infeasible} if violations is not None else ()):
        ranks[[i for i in infeasible if violations[i] == violation]] = front
        front += 1
    return ranks


def crowding_distance(losses: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    distances = np.zeros(len(losses))
    for r in set(ranks.tolist()):
        members = np.flatnonzero(ranks == r)
        if len(members) < 3:
            distances[members] = np.inf
            continue
        for column in losses[members].T:
            order = np.argsort(column, kind="stable")
            values = column[order]
            if values[0] == values[-1]:
                continue
            finite = values[np.isfinite(values)]
            distances[members[order[[0, -1]]]] = np.inf
            for i in range(1, len(order) - 1):
                before, after = values[i - 1], values[i + 1]
                if before == after:
                    continue
                gap = (
                    np.inf if np.isinf([before, after]).any() else (after - before) / (finite[-1] - finite[0])
                )
                distances[members[order[i]]] += gap
    return distances


def select(
    losses: np.ndarray, violations: np.ndarray | None, n: int, lots: list[int]
) -> tuple[list[int], list[int], list[float]]:
    ranks = rank(losses, violations)
    crowding = crowding_distance(losses, ranks)
    order = sorted(range(len(losses)), key=lambda i: (ranks[i], -crowding[i], lots[i]))[:n]
    return order, ranks[order].tolist(), crowding[order].tolist()


def hypervolume(losses: np.ndarray, reference: np.ndarray) -> float:
    """Inclusion and exclusion over the boxes between each row and the reference."""
    total = 0.0
    for size in range(1, len(losses) + 1):
        for some in itertools.combinations(losses, size):
            sides = reference - np.max(some, axis=0)
            total -= (-1) ** size * np.prod(np.maximum(sides, 0.0))
    return float(total)
