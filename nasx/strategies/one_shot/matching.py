"""Gradient matching: by which decision, and into which groups of choices, to split a supernet."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nasx.nn.recalibration import frozen_statistics
from nasx.nn.supernet import Supernet
from nasx.space import Genotypes

__all__ = ["disagreement", "similarities", "two_groups"]

Matrix = npt.NDArray[np.float64]


def similarities(
    supernet: Supernet,
    loss: Callable[[Any], Tensor],
    batches: Sequence[Any],
    genotypes: Genotypes,
    decision: int,
    *,
    may: Callable[[Genotypes], npt.NDArray[np.bool_]] | None = None,
) -> Matrix:
    """Say how alike the gradients are that a decision's choices give to the weights that all of them share.

    Parameters
    ----------
    supernet : Supernet
        In training mode; it is left as it is, but for gradients, which are dropped.
    loss : callable
        The loss of the supernet on a batch.
    batches : sequence
        The batches.
    genotypes : ndarray of int32, shape (b, d)
        For each batch the rest of the path, the same for all choices.
    decision : int
        The decision's column.
    may : callable, optional
        Says which genotypes ``(n, d)`` may be paths; the others are left out.

    Returns
    -------
    ndarray of float64, shape (k, k)
        Mean cosines between choices, with ones on the diagonal; NaN between choices that never met.

    Notes
    -----
    It takes k passes forward and backward for each batch.

    References
    ----------
    S. Hu et al., "Generalizing Few-Shot NAS with Gradient Matching", ICLR 2022.
    """
    space = supernet.space
    weights = supernet.weight_parameters()
    size = int(space.cardinalities[decision])
    total, met = np.zeros((size, size)), np.zeros((size, size))
    for batch, rest in zip(batches, genotypes, strict=True):
        if rest[decision] < 0:  # inactive
            continue
        rows = np.repeat(rest[None], size, axis=0)
        rows[:, decision] = np.arange(size)
        rows = _repaired(supernet, rows)
        allowed = np.ones(size, bool) if may is None else may(rows)
        gradients: list[list[Tensor | None] | None] = []
        for row, is_allowed in zip(rows, allowed.tolist(), strict=True):
            if not is_allowed:
                gradients.append(None)
                continue
            supernet.zero_grad(set_to_none=True)
            with frozen_statistics(supernet), supernet.path(space.architecture(row)):
                loss(batch).backward()  # type: ignore[no-untyped-call]  # untyped in older torch
            gradients.append([weight.grad for weight in weights])
        supernet.zero_grad(set_to_none=True)
        for i, j in itertools.combinations(range(size), 2):
            one, other = gradients[i], gradients[j]
            if one is None or other is None:
                continue
            total[i, j] += _cosine(one, other)
            met[i, j] += 1
    mean = np.divide(total, met, out=np.full_like(total, np.nan), where=met > 0)
    mean = np.where(np.tri(size, k=-1, dtype=bool), mean.T, mean)
    np.fill_diagonal(mean, 1.0)
    return mean


def _repaired(supernet: Supernet, rows: Genotypes) -> Genotypes:
    from nasx import population

    space = supernet.space
    return population.repair(rows, space.cardinalities, conditions=space.conditions)


def _cosine(one: Sequence[Tensor | None], other: Sequence[Tensor | None]) -> float:
    """Cosine over the weights that have both gradients."""
    pairs = [(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None]
    if not pairs:
        return 0.0
    sums = [torch.stack([(a * b).sum(), a.square().sum(), b.square().sum()]) for a, b in pairs]
    inner, first, second = torch.stack(sums).double().sum(0).tolist()
    return float(inner / max((first * second) ** 0.5, 1e-30))


def disagreement(similarity: Matrix) -> float:
    """Average how far choices are from agreeing: 1 less the mean cosine between different ones.

    Parameters
    ----------
    similarity : ndarray of float64, shape (k, k)
        What `similarities` gave.

    Returns
    -------
    float
        0 where all gradients point the same way, 2 at most; -inf where nothing is known.

    Examples
    --------
    >>> disagreement(np.array([[1.0, 0.5], [0.5, 1.0]]))
    0.5
    """
    others = similarity[~np.eye(len(similarity), dtype=bool)]
    others = others[~np.isnan(others)]
    return float(1 - others.mean()) if others.size else -np.inf


def two_groups(similarity: Matrix) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Split choices into halves, as equal in size as can be, with the least similarity between them.

    Parameters
    ----------
    similarity : ndarray of float64, shape (k, k)
        What `similarities` gave, k at least 2; NaN counts as no similarity.

    Returns
    -------
    tuple of tuple of int
        Both groups, that of the first choice first. It looks at all splits, at most ``2 ** (k - 1)``.

    Examples
    --------
    >>> two_groups(np.array([[1, 0.1, 0.9], [0.1, 1, 0.2], [0.9, 0.2, 1]]))
    ((0, 2), (1,))
    """
    known, size = np.nan_to_num(similarity, nan=0.0), len(similarity)
    best: tuple[float, tuple[int, ...]] | None = None
    for half in {size // 2, size - size // 2}:
        for rest in itertools.combinations(range(1, size), half - 1):
            group = (0, *rest)
            others = [choice for choice in range(size) if choice not in group]
            between = float(known[np.ix_(group, others)].mean())
            if best is None or (between, group) < best:
                best = between, group
    assert best is not None
    return best[1], tuple(choice for choice in range(size) if choice not in best[1])
