"""`aggregate`: several proxies joined into one ranking by the logarithms of ranks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from nasx.errors import unknown

__all__ = ["aggregate"]


def aggregate(
    scores: Mapping[str, npt.ArrayLike] | Sequence[Mapping[str, float]],
    proxies: Iterable[str] | None = None,
) -> npt.NDArray[np.float64]:
    """Join scores of the same n networks by several proxies into one number for each network.

    The sum over the proxies of ``log(rank / n)``, where the best network of a proxy has rank n, the worst one
    rank 1, and equal scores share their mean rank [1]_. A network that is last by one proxy loses more than
    it gains by being first by another: what comes out first is good by all of them. Over `AZ_NAS` this is
    the score of AZ-NAS.

    Parameters
    ----------
    scores : mapping of str to array_like of float, shape (n,); or sequence of n mappings of str to float
        Columns by name, or what `score` gave for each network. Higher is better; minus infinity is worst.
    proxies : iterable of str, optional
        Which of them; by default all, and of what `score` gave those that were asked for.

    Returns
    -------
    ndarray of float64, shape (n,)
        At most 0, which is being first by every proxy. It compares these n networks with each other only.

    Raises
    ------
    ValueError
        If there is no network or no proxy, a name is unknown, lengths differ, or a score is NaN.

    Notes
    -----
    O(k n log n) for k proxies.

    References
    ----------
    .. [1] J. Lee and B. Ham, "AZ-NAS: Assembling Zero-Cost Proxies for Network Architecture Search", CVPR
       2024.

    Examples
    --------
    >>> aggregate({"synflow": [1.0, 2.0, 4.0, 3.0], "naswot": [20.0, 10.0, 40.0, 30.0]}).round(2).tolist()
    [-2.08, -2.08, 0.0, -0.58]
    """
    columns = dict(scores) if isinstance(scores, Mapping) else _columns(scores, proxies)
    names = list(columns) if proxies is None else list(proxies)
    for name in names:
        if name not in columns:
            raise ValueError("proxies: " + unknown("score", name, columns))
    table = [np.asarray(columns[name], np.float64) for name in names]
    if not table or not table[0].size:
        raise ValueError("scores must be of one network and one proxy at least; got none")
    n = len(table[0]) if table[0].ndim == 1 else -1
    total = np.zeros(max(n, 0))
    for name, column in zip(names, table, strict=True):
        if column.shape != (n,):
            raise ValueError(
                f"scores[{name!r}] must have one number for each of {n} networks; got shape {column.shape}"
            )
        if np.isnan(column).any():
            raise ValueError(f"scores[{name!r}] is NaN for network {int(np.isnan(column).argmax())}")
        total += np.log(_ranks(column) / n)
    return total


def _columns(rows: Sequence[Mapping[str, float]], proxies: Iterable[str] | None) -> dict[str, npt.ArrayLike]:
    """Turn one mapping a network into one column a proxy."""
    names = list(getattr(rows[0], "asked", rows[0])) if rows and proxies is None else list(proxies or ())
    for i, row in enumerate(rows):
        for name in names:
            if name not in row:
                raise ValueError(f"scores[{i}]: " + unknown("score", name, row))
    return {name: [row[name] for row in rows] for name in names}


def _ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Ranks from 1; equal values share their mean rank."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum()
    mean: npt.NDArray[np.float64] = (last - (counts - 1) / 2)[places]
    return mean
