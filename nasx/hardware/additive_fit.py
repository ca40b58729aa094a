"""Robust ridge regression of timings on the choices of architectures."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nasx.space import Genotypes

__all__ = ["AdditiveModel", "errors_of", "fit_additive"]

_Floats = npt.NDArray[np.float64]
_STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
_FOLDS = 5
# Huber's constant: 95 % efficient where the errors are normal.
_TUNING = 1.345
_ROUNDS = 20


class AdditiveModel(NamedTuple):
    """Entries, entries of pairs, and how well they told timings that were left out."""

    entries: list[_Floats]
    pairs: list[_Floats] | None
    intercept: float
    errors: dict[str, float]


def fit_additive(
    rows: Genotypes, timings: _Floats, counts: Genotypes, *, seed: int, prior: _Floats | None = None
) -> AdditiveModel:
    """Fit sums over decisions, with pairs of neighbours where cross-validation finds them better.

    Parameters
    ----------
    rows : ndarray of int32, shape (n, d)
        Genotypes; -1 has no entry.
    timings : ndarray of float64, shape (n,)
        What their sums should be.
    counts : ndarray of int32, shape (d,)
        Number of choices of each decision.
    seed : int
        Of the folds.
    prior : ndarray of float64, shape (n,), optional
        What is expected of each; the sums are of what it leaves, and shrink towards nothing. By default 0.

    Returns
    -------
    AdditiveModel
        Of the strength and kind with the smallest mean absolute error on what was left out.
    """
    prior = np.zeros(len(rows)) if prior is None else prior
    left = timings - prior
    single = _one_hot(rows, counts)
    kinds = [single]
    if rows.shape[1] > 1:
        kinds.append(np.hstack([single, _one_hot(*_joined(rows, counts))]))
    folds = np.random.default_rng(seed).permutation(len(rows)) % min(_FOLDS, len(rows))
    best: tuple[float, _Floats, float, _Floats] | None = None
    for design in kinds:
        # Outliers are found once, with all timings: they count less wherever they are told from.
        weights = _huber_ridge(design, left, _STRENGTHS[len(_STRENGTHS) // 2])[2]
        told = np.empty((len(_STRENGTHS), len(rows)))
        for fold in range(folds.max() + 1):
            out = folds == fold
            for path, (slopes, intercept) in zip(
                told, _ridge_path(design[~out], left[~out], weights[~out]), strict=True
            ):
                path[out] = design[out] @ slopes + intercept
        for strength, path in zip(_STRENGTHS, told, strict=True):
            error = float(np.abs(path - left).mean())
            if best is None or error < best[0]:
                best = error, design, strength, path
    assert best is not None
    _, design, strength, path = best
    slopes, intercept, _ = _huber_ridge(design, left, strength)
    return AdditiveModel(*_parted(slopes, counts), intercept, errors_of(prior + path, timings))


def _parted(slopes: _Floats, counts: Genotypes) -> tuple[list[_Floats], list[_Floats] | None]:
    """Slopes by decision, and by pair of neighbours if there are some."""
    parts = np.split(slopes, np.cumsum(counts))
    singles, rest = parts[:-1], parts[-1]
    if not len(rest):
        return singles, None
    both = np.split(rest, np.cumsum(counts[:-1] * counts[1:])[:-1])
    shapes = zip(both, counts[:-1], counts[1:], strict=True)
    return singles, [part.reshape(a, b) for part, a, b in shapes]


def errors_of(told: _Floats, timings: _Floats) -> dict[str, float]:
    """How far latencies that were told are from those that were measured.

    Parameters
    ----------
    told, timings : ndarray of float64, shape (n,)
        In milliseconds.

    Returns
    -------
    dict of str to float
        Mean absolute error in milliseconds, median relative error, share within 10 %, Spearman's rank
        correlation.
    """
    difference = np.abs(told - timings)
    relative = difference / np.maximum(np.abs(timings), np.finfo(float).tiny)
    return {
        "mean_absolute_ms": float(difference.mean()),
        "median_relative": float(np.median(relative)),
        "within_10_percent": float((relative <= 0.1).mean()),
        "rank_correlation": _rank_correlation(told, timings),
    }


def _rank_correlation(a: _Floats, b: _Floats) -> float:
    """Spearman's, with mean ranks where there are ties; 0 if one is constant."""
    ranks = []
    for values in (a, b):
        _, place, count = np.unique(values, return_inverse=True, return_counts=True)
        rank = (np.cumsum(count) - (count - 1) / 2)[place]
        ranks.append(rank - rank.mean())
    one, other = ranks
    scale = float(np.sqrt((one @ one) * (other @ other)))
    return float(one @ other) / scale if scale > 0 else 0.0


def _one_hot(rows: Genotypes, counts: Genotypes) -> _Floats:
    columns = [row[:, None] == np.arange(count) for row, count in zip(rows.T, counts, strict=True)]
    return np.hstack(columns).astype(np.float64)


def _joined(rows: Genotypes, counts: Genotypes) -> tuple[Genotypes, Genotypes]:
    """Each pair of neighbours as one decision."""
    here, after = rows[:, :-1], rows[:, 1:]
    both = np.where((here < 0) | (after < 0), -1, here * counts[1:] + after)
    return both.astype(np.int32), counts[:-1] * counts[1:]


def _centered(design: _Floats, timings: _Floats, weights: _Floats) -> tuple[_Floats, _Floats, _Floats, float]:
    """Weighted rows around their mean, and the means."""
    total = weights.sum()
    center, mean = weights @ design / total, float(weights @ timings / total)
    roots = np.sqrt(weights)
    return (design - center) * roots[:, None], (timings - mean) * roots, center, mean


def _system(rows: _Floats, targets: _Floats) -> tuple[_Floats, _Floats, Callable[[_Floats], _Floats]]:
    """Matrix and right side of the smaller of two equal systems, and the slopes of its solution.

    With pairs there are many times more slopes than timings.
    """
    if rows.shape[1] > len(rows):
        return rows @ rows.T, targets, lambda solution: rows.T @ solution
    return rows.T @ rows, rows.T @ targets, lambda solution: solution


def _ridge_path(design: _Floats, timings: _Floats, weights: _Floats) -> list[tuple[_Floats, float]]:
    """Slopes and intercept of weighted ridge regressions of each strength, by one decomposition."""
    rows, targets, center, mean = _centered(design, timings, weights)
    gram, right, slopes_of = _system(rows, targets)
    values, vectors = np.linalg.eigh(gram)
    values, told = np.maximum(values, 0), vectors.T @ right
    found = []
    for strength in _STRENGTHS:
        slopes = slopes_of(vectors @ (told / (values + strength)))
        found.append((slopes, mean - float(center @ slopes)))
    return found


def _huber_ridge(design: _Floats, timings: _Floats, strength: float) -> tuple[_Floats, float, _Floats]:
    """Ridge regressions in turn, with weights that fall where errors are large; gives the last ones too."""
    weights: _Floats = np.ones(len(timings))
    for _ in range(_ROUNDS):
        rows, targets, center, mean = _centered(design, timings, weights)
        gram, right, slopes_of = _system(rows, targets)
        gram.flat[:: len(gram) + 1] += strength
        slopes = slopes_of(np.asarray(np.linalg.solve(gram, right), np.float64))
        intercept = mean - float(center @ slopes)
        errors = np.abs(design @ slopes + intercept - timings)
        allowed = _TUNING * 1.4826 * float(np.median(errors))
        before, weights = (
            weights,
            np.where(errors <= allowed, 1, allowed / np.maximum(errors, np.finfo(float).tiny)),
        )
        if allowed == 0 or np.abs(weights - before).max() < 0.01:
            break
    return slopes, intercept, weights
