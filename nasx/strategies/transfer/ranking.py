"""How much each of several models is to be believed, by how it ranks what is known of a new task."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["LEAST", "ranking_weights"]

LEAST = 3
"""With fewer results there is next to nothing to rank."""

# A source whose loss is mostly above what the target's own stays below in 19 of 20 draws has no weight.
_PERCENTILE = 95


def ranking_weights(losses: npt.ArrayLike, *, prevent_dilution: bool = True) -> npt.NDArray[np.float64]:
    """Weigh models by the share of draws in which they rank best [1]_.

    Parameters
    ----------
    losses : array_like of int, shape (k, draws)
        How often each draw of a model ranks a pair wrongly. The last model is that of the new task, each of
        its values predicted without the result at hand.
    prevent_dilution : bool, default True
        Give no weight to a model whose median loss is above the 95th percentile of the last one's: many bad
        models, each of which is the best once by chance, would otherwise add up.

    Returns
    -------
    ndarray of float64, shape (k,)
        Not negative, with sum 1. Models that are best together share a draw.

    References
    ----------
    .. [1] M. Feurer, B. Letham, E. Bakshy, "Scalable meta-learning for Bayesian optimization using
       ranking-weighted Gaussian process ensembles", ICML AutoML workshop 2018.

    Examples
    --------
    >>> ranking_weights([[0, 1, 1, 2], [5, 6, 7, 8], [1, 1, 2, 1]])
    array([0.625, 0.   , 0.375])
    """
    table = np.array(losses, np.float64)
    if prevent_dilution:
        bound = np.percentile(table[-1], _PERCENTILE)
        table[:-1][np.median(table[:-1], axis=1) > bound] = np.inf
    best = table == table.min(axis=0)
    weights: npt.NDArray[np.float64] = (best / best.sum(axis=0)).mean(axis=1)
    return weights
