"""Classes of genotypes that describe one network."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nasx.space import Genotypes

__all__ = ["lookup", "representatives"]


def representatives(rows: Genotypes, forms: npt.ArrayLike) -> Genotypes:
    """Give each row the first row of its class.

    Parameters
    ----------
    rows : ndarray of int32, shape (n, d)
        All genotypes of a space without conditions, in lexicographic order.
    forms : array_like, shape (n,)
        Equal where the networks are the same.

    Returns
    -------
    ndarray of int32, shape (n, d)
        Read-only; the lexicographically smallest row with the same form, for `lookup`.
    """
    _, first, own_class = np.unique(np.asarray(forms), return_index=True, return_inverse=True)
    table = rows[first[own_class]]
    table.flags.writeable = False
    return table


def lookup(table: Genotypes, cardinalities: Genotypes, genotypes: Genotypes) -> Genotypes:
    """Look genotypes up in what `representatives` gave.

    Parameters
    ----------
    table : ndarray of int32, shape (n, d)
        Representatives.
    cardinalities : ndarray of int32, shape (d,)
        Choices of each decision.
    genotypes : ndarray of int32, shape (k, d)
        Well-formed genotypes.

    Returns
    -------
    ndarray of int32, shape (k, d)
        Their representatives.
    """
    found: Genotypes = table[np.ravel_multi_index(tuple(genotypes.T), tuple(cardinalities))]
    return found
