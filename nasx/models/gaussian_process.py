"""Regression of measured values on genotypes by a Gaussian process."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from nasx import _runtime as _runtime  # the core follows torch's number of threads from here on
from nasx._arguments import floats, integers, unsigned
from nasx._core import gaussian_process as _native

__all__ = ["GaussianProcess", "Prediction"]

Floats = npt.NDArray[np.float64]


class Prediction(NamedTuple):
    """What a Gaussian process says about rows.

    Attributes
    ----------
    mean : ndarray of float64, shape (k,), or (k, m) for several targets
        Expected values, in the units of the targets.
    variance : ndarray of float64, shape (k,), or (k, m) for several targets
        Variances of the values without noise, in the squared units of the targets.
    """

    mean: Floats
    variance: Floats


# Of targets: their variance must not overflow.
_LARGEST = 1e150


class GaussianProcess:
    """A Gaussian process over genotypes, with a length scale for each decision.

    The correlation of two rows is a product over the decisions. A decision without an order gives
    ``exp(-[a != b] / length)``, so that all of them together are the exponential of a weighted Hamming
    distance; an ordered one gives the Matern 5/2 or squared exponential kernel of the difference of ranks,
    which go from 0 to 1. An inactive decision, -1, equals only an inactive one. Length scales, output scale
    and noise are those that are most probable after the targets, which are standardised, under log-normal
    priors [1]_, by gradients from several starts.

    Parameters
    ----------
    ordered : array_like of bool, shape (d,), optional
        Which decisions have choices in an order (``space.ordered``); none by default.
    cardinalities : array_like of int, shape (d,), optional
        How many choices each decision has (``space.cardinalities``); by default those that `fit` sees.
    kernel : {"matern52", "rbf"}, default "matern52"
        Of ordered decisions.
    priors : bool, default True
        Whether priors keep hyperparameters sensible. False maximises the likelihood alone, between wide
        bounds.
    starts : int, default 3
        From how many hyperparameters the gradient is followed, at least 1.

    Raises
    ------
    ValueError
        If a setting is out of range.

    Notes
    -----
    For n rows a fit takes O(n^3), `append` and `drop` O(n^2), and a prediction O(n^2) for each row; memory is
    O(n^2). Without ordered decisions, above 256 rows the best start is found with 86 to 256 of them, and
    followed among three times as many until all take part. The factorisation is nasx's own; results are the
    same for every number of threads, and may differ in the last digits between machines. With several columns
    of targets, all share the hyperparameters.

    References
    ----------
    .. [1] C. E. Rasmussen, C. K. I. Williams, "Gaussian Processes for Machine Learning", MIT Press 2006.

    Examples
    --------
    >>> import numpy as np
    >>> from nasx import Categorical, Integer, Space
    >>> space = Space({"op": Categorical("abcd"), "depth": Integer(1, 9), "width": Integer(1, 9)})
    >>> x = space.sample(60, seed=0)
    >>> y = (x[:, 0] == 2) + np.sin(x[:, 1] / 2)
    >>> model = GaussianProcess(ordered=space.ordered, cardinalities=space.cardinalities).fit(x, y)
    >>> mean, variance = model.predict([[2, 3, 0], [0, 3, 0]])
    >>> (mean[0] - mean[1]).round(1), bool(variance.max() < 0.1)
    (np.float64(1.0), True)
    >>> bool(model.length_scales[2] > model.length_scales[1])  # the width means nothing
    True
    """

    def __init__(
        self,
        *,
        ordered: npt.ArrayLike | None = None,
        cardinalities: npt.ArrayLike | None = None,
        kernel: Literal["matern52", "rbf"] = "matern52",
        priors: bool = True,
        starts: int = 3,
    ) -> None:
        if kernel not in ("matern52", "rbf"):
            raise ValueError(f"kernel must be 'matern52' or 'rbf'; got {kernel!r}")
        if isinstance(starts, bool) or not isinstance(starts, int) or starts < 1:
            raise ValueError(f"starts must be an integer of at least 1; got {starts!r}")
        self._ordered = None if ordered is None else np.ascontiguousarray(ordered, np.bool_)
        self._cardinalities = (
            None if cardinalities is None else integers(cardinalities, "cardinalities", 1).copy()
        )
        self.kernel, self.priors, self.starts = kernel, bool(priors), starts
        self._process: _native.Process | None = None

    # -- fitting ---------------------------------------------------------------------------------------------

    def fit(self, genotypes: npt.ArrayLike, y: npt.ArrayLike) -> Self:
        """Find hyperparameters, and keep rows and targets.

        Parameters
        ----------
        genotypes : array_like of int, shape (n, d)
            The index of the choice at each decision, -1 where it is inactive. At least one row.
        y : array_like of float, shape (n,) or (n, m)
            Finite targets, within ±1e150.

        Returns
        -------
        GaussianProcess
            The model itself.

        Raises
        ------
        ValueError
            If a shape does not fit, a target is not finite, or a choice is out of range.
        """
        rows = integers(genotypes, "genotypes", 2)
        targets, self._several = self._targets(y, len(rows))
        if not len(rows):
            raise ValueError("genotypes is empty; a fit needs at least one row")
        process = self._make(rows)
        self._centre, spread = targets.mean(axis=0), targets.std(axis=0)
        self._spread = np.where(spread > 0, spread, 1.0)
        process.fit(
            rows,
            (targets - self._centre) / self._spread,
            priors=self.priors,
            starts=self.starts,
            start_rows=256,
            iterations=100,
            tolerance=1e-2,
        )
        self._process, self._y = process, targets
        return self

    def append(self, genotypes: npt.ArrayLike, y: npt.ArrayLike) -> Self:
        """Add rows and targets, with the hyperparameters as they are.

        Parameters
        ----------
        genotypes, y
            As for `fit`; no rows are allowed.

        Returns
        -------
        GaussianProcess
            The model itself.

        Raises
        ------
        ValueError
            As for `fit`.
        RuntimeError
            If `fit` was not called.
        """
        process = self._fitted()
        rows = integers(genotypes, "genotypes", 2)
        targets, _ = self._targets(y, len(rows))
        if targets.shape[1] != self._y.shape[1]:
            raise ValueError(f"y must have {self._y.shape[1]} columns, as in fit; got {targets.shape[1]}")
        process.append(rows)
        self._set(np.concatenate([self._y, targets]))
        return self

    def drop(self, index: int) -> Self:
        """Remove one row and its target, with the hyperparameters as they are.

        Parameters
        ----------
        index : int
            Its place among the rows, from 0.

        Returns
        -------
        GaussianProcess
            The model itself.

        Raises
        ------
        ValueError
            If there is no such row.
        RuntimeError
            If `fit` was not called.
        """
        process = self._fitted()
        place = unsigned(index, "index")
        if place >= len(self._y):
            raise ValueError(f"index must be below the number of rows, {len(self._y)}; got {place}")
        process.drop(place)
        self._set(np.delete(self._y, place, axis=0))
        return self

    # -- what it says ----------------------------------------------------------------------------------------

    def predict(self, genotypes: npt.ArrayLike) -> Prediction:
        """Predict the values of rows.

        Parameters
        ----------
        genotypes : array_like of int, shape (k, d)
            As for `fit`. Choices that were not seen there are unlike all others.

        Returns
        -------
        Prediction
            Means and variances.

        Raises
        ------
        ValueError
            If the shape does not fit, or a choice is out of range.
        RuntimeError
            If `fit` was not called.
        """
        mean, variance = self._fitted().predict(integers(genotypes, "genotypes", 2))
        mean = mean * self._spread + self._centre
        variance = variance[:, None] * self._spread**2
        return Prediction(mean, variance) if self._several else Prediction(mean[:, 0], variance[:, 0])

    def sample(self, genotypes: npt.ArrayLike, n: int = 1, *, seed: int = 0) -> Floats:
        """Draw functions from the posterior and give their values at rows, those of the first target.

        Parameters
        ----------
        genotypes : array_like of int, shape (k, d)
            As for `predict`.
        n : int, default 1
            How many functions.
        seed : int, default 0
            Same seed, same functions.

        Returns
        -------
        ndarray of float64, shape (n, k)
            Values, without noise.

        Raises
        ------
        ValueError
            As for `predict`, or if `n` is negative.
        RuntimeError
            If `fit` was not called.
        """
        rows = integers(genotypes, "genotypes", 2)
        drawn = self._fitted().sample(rows, unsigned(n, "n"), unsigned(seed, "seed"), 0, 0)
        values: Floats = drawn * self._spread[0] + self._centre[0]
        return values

    @property
    def length_scales(self) -> Floats:
        """Of each decision, ``(d,)``; where it is large, the decision hardly matters."""
        return np.exp(self._fitted().parameters()[:-2])

    @property
    def output_scale(self) -> float:
        """Variance of the values, in units of the targets' own variance."""
        return math.exp(self._fitted().parameters()[-2])

    @property
    def noise(self) -> float:
        """Variance of the noise, in units of the targets' own variance."""
        return math.exp(self._fitted().parameters()[-1])

    @property
    def log_marginal_likelihood(self) -> float:
        """Logarithm of the likelihood of the standardised targets, without priors."""
        return self._fitted().log_likelihood()

    def __len__(self) -> int:
        return 0 if self._process is None else len(self._process)

    # -- shared ----------------------------------------------------------------------------------------------

    def _make(self, rows: npt.NDArray[np.int32]) -> _native.Process:
        d = rows.shape[1]
        cardinalities = self._cardinalities
        if cardinalities is None:
            cardinalities = np.maximum(rows.max(axis=0), 0) + np.int32(1)
        ordered = np.zeros(d, bool) if self._ordered is None else self._ordered
        for name, values in (("cardinalities", cardinalities), ("ordered", ordered)):
            if values.shape != (d,):
                raise ValueError(
                    f"{name} must have one value for each of the {d} decisions; got {values.shape}"
                )
        return _native.Process(cardinalities, ordered, self.kernel)

    def _fitted(self) -> _native.Process:
        if self._process is None:
            raise RuntimeError("GaussianProcess: call fit(genotypes, y) first")
        return self._process

    def _set(self, y: Floats) -> None:
        self._y = y
        self._fitted().set_targets((y - self._centre) / self._spread)

    @staticmethod
    def _targets(y: npt.ArrayLike, n: int) -> tuple[Floats, bool]:
        several = np.ndim(y) == 2
        values = floats(y, "y", 2) if several else floats(y, "y", 1)[:, None]
        if len(values) != n or not values.shape[1]:
            raise ValueError(f"y must have one row for each of the {n} genotypes; got {values.shape}")
        if not np.isfinite(values).all():
            raise ValueError("y must be finite; leave out what failed")
        if np.abs(values).max(initial=0.0) > _LARGEST:
            raise ValueError(f"y must be within ±{_LARGEST:g}, or its variance overflows; divide it")
        return np.ascontiguousarray(values), several
