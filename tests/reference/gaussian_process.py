"""Gaussian processes over genotypes by the textbook, with whole matrices, and acquisition functions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def positions(column: np.ndarray, choices: int) -> np.ndarray:
    """Ranks from 0 to 1 on a line; inactive beside its middle."""
    span = max(choices - 1, 1)
    return np.array([(0.5, 1.0) if choice < 0 else (choice / span, 0.0) for choice in column.tolist()])


class Model:
    """With parameters as they are: logarithms of lengths, output scale and noise."""

    def __init__(
        self,
        cardinalities: Sequence[int],
        ordered: Sequence[bool],
        kernel: str,
        parameters: np.ndarray,
        rows: np.ndarray,
        targets: np.ndarray,
    ) -> None:
        self.cardinalities, self.ordered, self.kernel = cardinalities, ordered, kernel
        self.lengths = np.exp(parameters[:-2])
        self.scale, self.noise = np.exp(parameters[-2]), np.exp(parameters[-1])
        self.rows, self.targets = rows, targets
        self.matrix = self.covariance(rows, rows) + self.noise * np.eye(len(rows))

    def covariance(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        product = np.full((len(a), len(b)), self.scale)
        for j, length in enumerate(self.lengths):
            if not self.ordered[j]:
                product *= np.where(a[:, None, j] == b[None, :, j], 1.0, np.exp(-1 / length))
                continue
            x, y = (positions(rows[:, j], self.cardinalities[j]) for rows in (a, b))
            distance = np.linalg.norm(x[:, None] - y[None], axis=2) / length
            if self.kernel == "rbf":
                product *= np.exp(-(distance**2) / 2)
            else:
                s = math.sqrt(5) * distance
                product *= (1 + s + s**2 / 3) * np.exp(-s)
        return product

    def predict(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        cross = self.covariance(rows, self.rows)
        mean = cross @ np.linalg.solve(self.matrix, self.targets)
        return mean, self.posterior_covariance(rows).diagonal()

    def posterior_covariance(self, rows: np.ndarray) -> np.ndarray:
        cross = self.covariance(rows, self.rows)
        return self.covariance(rows, rows) - cross @ np.linalg.solve(self.matrix, cross.T)

    def log_likelihood(self) -> float:
        n, m = self.targets.shape
        fit = np.sum(self.targets * np.linalg.solve(self.matrix, self.targets))
        return float(-0.5 * (fit + m * np.linalg.slogdet(self.matrix)[1] + m * n * math.log(2 * math.pi)))


def log_prior(parameters: np.ndarray, ordered: Sequence[bool]) -> float:
    """Up to a constant."""
    d = len(ordered)
    centres = [0.5 * math.log(d) if is_ordered else math.log(0.5 * d) for is_ordered in ordered]
    z = (parameters - np.array([*centres, 0.0, math.log(0.01)])) / np.array([*[1.0] * d, 1.0, 1.5])
    return float(-0.5 * np.sum(z**2))


def expected_improvement(mean: float, deviation: float, best: float) -> float:
    z = (best - mean) / deviation
    density = math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    return deviation * (density + z * 0.5 * math.erfc(-z / math.sqrt(2)))


def expected_area(
    means: np.ndarray, deviation: float, points: np.ndarray, reference: np.ndarray, cells: int = 2000
) -> float:
    """A place is newly dominated if it was not before and both losses come out below it: a sum over places."""
    low = np.minimum(np.min([means, *points], axis=0), reference) - 9 * deviation
    edges = [np.linspace(low[k], reference[k], cells + 1) for k in (0, 1)]
    x, y = ((edge[1:] + edge[:-1]) / 2 for edge in edges)
    free = np.ones((cells, cells), bool)
    for point in points:
        free &= ~((x[:, None] >= point[0]) & (y[None] >= point[1]))
    below = [
        np.array([0.5 * math.erfc(-(at - mean) / deviation / math.sqrt(2)) for at in axis])
        for axis, mean in zip((x, y), means, strict=True)
    ]
    size = np.prod((reference - low) / cells)
    return float(size * np.sum(free * np.outer(*below)))
