"""Sums of a latency table, one number after another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np


def sums(
    rows: Iterable[Sequence[int]],
    entries: Sequence[np.ndarray],
    pairs: Sequence[np.ndarray] | None,
    intercept: float,
) -> np.ndarray:
    """Each row's intercept, then its entries, then those of its neighbouring pairs, added up in this order."""
    found = []
    for row in rows:
        total = intercept
        for values, choice in zip(entries, row, strict=True):
            total += values[choice] if choice >= 0 else 0
        for matrix, here, after in zip(pairs or (), row[:-1], row[1:], strict=bool(pairs)):
            total += matrix[here, after] if here >= 0 and after >= 0 else 0
        found.append(total)
    return np.array(found, np.float64)
