"""The latency of a new device from a few timings and the tables of known ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nasx.space import Genotypes

if TYPE_CHECKING:
    from nasx.hardware.latency_table import LatencyTable

__all__ = ["Mixture"]

_Floats = npt.NDArray[np.float64]
_STRENGTHS = 10.0 ** np.arange(-4, 2.5, 0.5)
_LEAST = 1e-3  # of the median: sums of entries may be nothing or less, and have no logarithm
_SWEEPS = 1000
_CLOSE = 1e-9


class Mixture:
    """Log-latencies of a device as a weighted sum of those of known devices.

    A ridge regression towards equal weights; none is negative, for what is slower on one device is not faster
    on another. Its strength is the one that best tells each timing from the others.

    Parameters
    ----------
    tables : sequence of LatencyTable
        Of known devices.
    rows : ndarray of int32, shape (n, d)
        What was timed on the new device.
    timings : ndarray of float64, shape (n,)
        Positive milliseconds.

    Attributes
    ----------
    left_out : ndarray of float64, shape (n,)
        Each timing told from the others, in milliseconds.
    """

    def __init__(self, tables: Sequence[LatencyTable], rows: Genotypes, timings: _Floats) -> None:
        self._tables = tables
        self._floors = [_LEAST * float(np.median(np.abs(table(rows)))) or 1.0 for table in tables]
        known, targets = self._logarithms(rows), np.log(timings)
        # One problem for each timing that is left out, and one with all, for each strength.
        kept = np.vstack([1 - np.eye(len(rows)), np.ones(len(rows))])
        weights, offsets = _fit(known, targets, kept)
        told = np.einsum("snk,nk->sn", weights[:, :-1], known) + offsets[:, :-1]
        best = int(np.abs(told - targets).mean(axis=1).argmin())
        self._weights, self._offset = weights[best, -1], offsets[best, -1]
        self.left_out: _Floats = np.exp(told[best])

    def __call__(self, rows: Genotypes) -> _Floats:
        """Tell the latencies of architectures, in milliseconds."""
        told: _Floats = np.exp(self._logarithms(rows) @ self._weights + self._offset)
        return told

    def _logarithms(self, rows: Genotypes) -> _Floats:
        columns = zip(self._tables, self._floors, strict=True)
        told = np.stack([np.maximum(table(rows), floor) for table, floor in columns], axis=1)
        logarithms: _Floats = np.log(told)
        return logarithms


def _fit(known: _Floats, targets: _Floats, kept: _Floats) -> tuple[_Floats, _Floats]:
    """Weights ``(strengths, p, k)`` and offsets ``(strengths, p)`` of p problems, each with the rows kept."""
    total = kept.sum(axis=1, keepdims=True)
    centers, means = kept @ known / total, (kept @ targets) / total[:, 0]
    inputs = (known - centers[:, None]) * kept[:, :, None]
    gram = np.einsum("pnk,pnl->pkl", inputs, inputs)
    product = np.einsum("pnk,pn->pk", inputs, targets - means[:, None])
    devices = known.shape[1]
    scale = max(float(np.trace(gram[-1])) / min(known.shape), np.finfo(float).tiny)
    strengths = scale * _STRENGTHS[:, None, None]
    gram = gram + strengths[..., None] * np.eye(devices)
    product = product + strengths / devices
    # Coordinate descent: each weight in turn takes its best value, or nothing.
    weights = np.full(product.shape, 1 / devices)
    for _ in range(_SWEEPS):
        before = weights.copy()
        for j in range(devices):
            own = gram[..., j, j]
            rest = product[..., j] - (gram[..., j, :] * weights).sum(axis=-1) + own * weights[..., j]
            weights[..., j] = np.maximum(rest / own, 0)
        if np.abs(weights - before).max() < _CLOSE:
            break
    return weights, means - (weights * centers).sum(axis=-1)
