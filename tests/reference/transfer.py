"""Ranking-weighted ensembles by definition: pairs counted one by one, results really left out."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from reference.gaussian_process import Model


def ranking_loss(values: Sequence[float], targets: Sequence[float], held_out: bool) -> int:
    """Ordered pairs on whose order values and targets disagree."""
    wrong = 0
    for j in range(len(targets)):
        for k in range(len(targets)):
            if j != k:
                other = targets[k] if held_out else values[k]
                wrong += (values[j] < other) != (targets[j] < targets[k])
    return wrong


def leave_one_out(model: Model) -> tuple[np.ndarray, np.ndarray]:
    """Means and variances of the first target at each row, by a model without it."""
    means, variances = [], []
    for i in range(len(model.rows)):
        rest = Model(
            model.cardinalities,
            model.ordered,
            model.kernel,
            np.log([*model.lengths, model.scale, model.noise]),
            np.delete(model.rows, i, axis=0),
            np.delete(model.targets, i, axis=0),
        )
        mean, variance = rest.predict(model.rows[i : i + 1])
        means.append(mean[0, 0])
        variances.append(variance[0])
    return np.array(means), np.array(variances)


def weights(losses: Sequence[Sequence[int]], prevent_dilution: bool) -> list[Fraction]:
    """Shares of draws in which a model is the best; the last is that of the new task."""
    *sources, target = [list(row) for row in losses]
    draws = len(target)
    kept = []
    for i, row in enumerate(sources):
        middle = np.median(row)
        if not prevent_dilution or middle <= np.percentile(target, 95):
            kept.append(i)
    total = [Fraction(0)] * len(losses)
    for s in range(draws):
        candidates = {i: losses[i][s] for i in [*kept, len(losses) - 1]}
        winners = [i for i, loss in candidates.items() if loss == min(candidates.values())]
        for i in winners:
            total[i] += Fraction(1, len(winners) * draws)
    return total


def mixture(
    models: Sequence[Model], weights: Sequence[float], rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of a weighted sum of independent processes."""
    said = [model.predict(rows) for model in models]
    mean = sum(w * mean for w, (mean, _) in zip(weights, said, strict=True))
    variance = sum(w * w * variance for w, (_, variance) in zip(weights, said, strict=True))
    return np.asarray(mean), np.asarray(variance)
