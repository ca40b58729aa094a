"""Non-dominated sorting and crowding distances by the native core, and hypervolumes by moocore.

Smaller losses are better. A row dominates another when it is at most as large in every objective and
smaller in at least one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nasx import _runtime as _runtime  # the core follows torch's number of threads from here on
from nasx._arguments import floats, integers
from nasx._core import pareto as _native
from nasx.errors import require

__all__ = ["crowding_distance", "front", "hypervolume", "rank"]


def rank(losses: npt.ArrayLike, violations: npt.ArrayLike | None = None) -> npt.NDArray[np.int32]:
    """Sort rows into non-dominated fronts.

    Parameters
    ----------
    losses : array_like of float, shape (n, m)
        One row for each point, one column for each objective, smaller is better. Infinities are allowed.
    violations : array_like of float, shape (n,), optional
        How far each row breaks its constraints. Rows at most 0 are feasible. All others rank after the
        feasible ones, in the order of their violation; ``inf`` for a row that failed.

    Returns
    -------
    ndarray of int32, shape (n,)
        The front of each row, 0 the best. Equal rows share a front.

    Raises
    ------
    TypeError
        If an argument does not hold real numbers.
    ValueError
        If an argument has the wrong shape or holds NaN.

    Notes
    -----
    One and two objectives take O(n log n) [1]_, three O(n log^2 n), more O(m n^2 / 512) operations on
    512 bits; memory is O(m n). Constrained domination follows [2]_.

    References
    ----------
    .. [1] M. T. Jensen, "Reducing the run-time complexity of multiobjective EAs: the NSGA-II and other
       algorithms", IEEE Transactions on Evolutionary Computation 7 (2003).
    .. [2] K. Deb, A. Pratap, S. Agarwal, T. Meyarivan, "A fast and elitist multiobjective genetic
       algorithm: NSGA-II", IEEE Transactions on Evolutionary Computation 6 (2002).

    Examples
    --------
    >>> rank([[1, 4], [2, 2], [3, 3], [4, 1]])
    array([0, 0, 1, 0], dtype=int32)
    >>> rank([[1, 4], [2, 2], [3, 3], [4, 1]], violations=[0, 0.5, 0, 0])
    array([0, 1, 0, 0], dtype=int32)
    """
    checked = None if violations is None else floats(violations, "violations", 1)
    return _native.rank(floats(losses, "losses", 2), checked)


def front(losses: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Mark the rows that no other row dominates.

    Parameters
    ----------
    losses : array_like of float, shape (n, m)
        Smaller is better. Infinities are allowed.

    Returns
    -------
    ndarray of bool, shape (n,)
        True on the first front. Equal rows are all marked, or none of them.

    Raises
    ------
    TypeError
        If `losses` does not hold real numbers.
    ValueError
        If `losses` has the wrong shape or holds NaN.

    Notes
    -----
    O(n log n) up to three objectives [1]_, then as `rank` at worst.

    References
    ----------
    .. [1] H. T. Kung, F. Luccio, F. P. Preparata, "On finding the maxima of a set of vectors",
       Journal of the ACM 22 (1975).

    Examples
    --------
    >>> front([[1, 4], [2, 2], [3, 3], [4, 1]])
    array([ True,  True, False,  True])
    """
    return _native.front(floats(losses, "losses", 2))


def crowding_distance(losses: npt.ArrayLike, ranks: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Measure how alone each row is on its front.

    The sum over objectives of the gap between a row's two neighbours, divided by the front's own range over
    finite values. The first and the last row in an objective are infinitely alone, and so is every row of a
    front of fewer than three. An objective that is constant on a front adds nothing. An infinite gap adds
    infinity, and equal infinities are 0 apart. Equal values are taken in the order of rows.

    Parameters
    ----------
    losses : array_like of float, shape (n, m)
        Smaller is better. Infinities are allowed.
    ranks : array_like of int, shape (n,)
        The front of each row, as from `rank`: any non-negative labels.

    Returns
    -------
    ndarray of float64, shape (n,)
        Larger is more alone; never NaN.

    Raises
    ------
    TypeError
        If `losses` does not hold real numbers or `ranks` does not hold integers.
    ValueError
        If an argument has the wrong shape, `losses` holds NaN, or a rank is negative.

    Notes
    -----
    O(m n) time and O(n) memory. The definition is that of [1]_.

    References
    ----------
    .. [1] K. Deb, A. Pratap, S. Agarwal, T. Meyarivan, "A fast and elitist multiobjective genetic
       algorithm: NSGA-II", IEEE Transactions on Evolutionary Computation 6 (2002).

    Examples
    --------
    >>> crowding_distance([[1, 4], [2, 2], [4, 1]], [0, 0, 0])
    array([inf,  2., inf])
    """
    return _native.crowding_distance(floats(losses, "losses", 2), integers(ranks, "ranks", 1))


def hypervolume(losses: npt.ArrayLike, reference: npt.ArrayLike) -> float:
    """Measure the volume that a set of rows dominates, up to a reference point.

    Only rows that are smaller than the reference in every objective contribute; dominated and equal rows
    add nothing.

    Parameters
    ----------
    losses : array_like of float, shape (n, m)
        Smaller is better; ``inf`` is allowed and contributes nothing.
    reference : array_like of float, shape (m,)
        The corner that bounds the volume: finite, and worse than what is to count.

    Returns
    -------
    float
        In the product of the objectives' units; 0.0 if no row contributes.

    Raises
    ------
    TypeError
        If an argument does not hold real numbers.
    ValueError
        If an argument has the wrong shape, `losses` holds NaN or ``-inf``, or `reference` is not finite.
    MissingDependencyError
        If moocore is not installed.

    Notes
    -----
    O(n log n) up to three objectives, O(n^2) for four, O(n^(m-2)) at worst for more [1]_ [2]_. The
    computation is that of the moocore library.

    References
    ----------
    .. [1] N. Beume, C. M. Fonseca, M. Lopez-Ibanez, L. Paquete, J. Vahrenhold, "On the complexity of
       computing the hypervolume indicator", IEEE Transactions on Evolutionary Computation 13 (2009).
    .. [2] A. P. Guerreiro, C. M. Fonseca, "Computing and updating hypervolume contributions in up to four
       dimensions", IEEE Transactions on Evolutionary Computation 22 (2018).

    Examples
    --------
    >>> hypervolume([[1, 4], [2, 2], [3, 3], [4, 1]], reference=[5, 5])
    11.0
    """
    moocore = require("moocore", "nasx.pareto.hypervolume", "compare")
    rows, corner = floats(losses, "losses", 2), floats(reference, "reference", 1)
    if corner.shape != (rows.shape[1],):
        raise ValueError(
            f"reference must have one value for each of {rows.shape[1]} objectives; got {len(corner)}"
        )
    if not np.isfinite(corner).all():
        raise ValueError(f"reference must be finite; got {corner.tolist()}")
    for wrong, name in ((np.isnan(rows), "NaN"), (np.isneginf(rows), "-inf, whose volume has no bound")):
        if wrong.any():
            row, objective = np.argwhere(wrong)[0]
            raise ValueError(f"losses must not hold {name}; row {row}, objective {objective} does")
    rows = rows[(rows < corner).all(axis=1)]
    return float(moocore.hypervolume(rows, ref=corner)) if len(rows) else 0.0
