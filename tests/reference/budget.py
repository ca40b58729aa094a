"""Search under limits by looking at every architecture."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

Rows = Sequence[Sequence[float]]  # for each decision, a number for each choice


def everything(rows: Rows) -> np.ndarray:
    """All genotypes, shape (n, d)."""
    return np.array(list(itertools.product(*(range(len(row)) for row in rows))), np.int32)


def sums(genotypes: np.ndarray, rows: Rows, intercept: float = 0.0) -> np.ndarray:
    """The intercept, then the entries in the order of the decisions."""
    total = np.full(len(genotypes), float(intercept))
    for j, row in enumerate(rows):
        total = total + np.asarray(row, np.float64)[genotypes[:, j]]
    return total


def best_score(scores: Rows, tables: Sequence[Rows], limits: Sequence[float]) -> float | None:
    """The largest score within all limits; None if nothing is."""
    genotypes = everything(scores)
    within = np.ones(len(genotypes), bool)
    for table, limit in zip(tables, limits, strict=True):
        within &= sums(genotypes, table) <= limit
    return float(sums(genotypes, scores)[within].max()) if within.any() else None


def front(tables: Sequence[Rows]) -> np.ndarray:
    """The costs that no other architecture's costs cover, each once, ascending."""
    genotypes = everything(tables[0])
    costs = np.unique(np.stack([sums(genotypes, table) for table in tables], axis=1), axis=0)
    # In ascending order what covers a row comes before it.
    covered = [bool((costs[:i] <= row).all(axis=1).any()) for i, row in enumerate(costs)]
    return costs[~np.array(covered)]
