"""A source of `FewShotTransfer` and its Gaussian process."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from nasx._core import gaussian_process as _native
from nasx.population import repair
from nasx.space import Genotypes, Space
from nasx.strategies.bayesian.scores import combine, fit_scores, normal_scores
from nasx.strategies.transfer.sources import Source

__all__ = ["Expert"]

Floats = npt.NDArray[np.float64]


class Expert:
    """A source and its process; inside `FewShotTransfer`.

    Parameters
    ----------
    source : Source
        The results.
    space : Space
        The new one.
    objectives : int
        How many losses the new search has.
    number : int
        The source's place among all.
    kernel : {"matern52", "rbf"}
        Of ordered decisions.

    Raises
    ------
    ValueError
        If the source has another number of objectives.
    """

    def __init__(
        self,
        source: Source,
        space: Space,
        *,
        objectives: int,
        number: int,
        kernel: Literal["matern52", "rbf"],
    ) -> None:
        theirs, self._space = source.losses.shape[1], space
        if np.isfinite(source.losses).any() and theirs != objectives:
            raise ValueError(
                f"sources[{number}] has {theirs} objectives and the search {objectives}: give genotypes and "
                "the losses that are meant"
            )
        self.source, self._number = source, number
        self._scores = normal_scores(source.losses, source.violations)
        self.process = _native.Process(self._space.cardinalities, self._space.ordered, kernel)
        fit_scores(self.process, self._space, source.rows, self._scores)
        self._out = source.rows[:0]

    def _known(self, rows: Genotypes) -> Genotypes:
        """Leave out the decisions that the source did not have."""
        return np.where(self.source.shared, rows, np.int32(-1))

    def best(self, n: int) -> Genotypes:
        """Give its best results as architectures of the space; what it does not know of them is drawn."""
        finished = np.isfinite(self.source.violations)
        order = np.argsort(np.where(finished, self._scores.min(axis=1), np.inf), kind="stable")
        rows = self.source.rows[order[: min(n, int(finished.sum()))]]
        space = self._space
        drawn = repair(rows, space.cardinalities, seed=self._number, conditions=space.conditions)
        return space.canonicalize(drawn)

    def predict(self, rows: Genotypes) -> tuple[Floats, Floats]:
        """Give means (k, columns of targets) and variances (k,) of scores."""
        return self.process.predict(self._known(rows))

    def place(self, rows: Genotypes) -> tuple[float, float]:
        """Give mean and deviation of the scores that it expects of rows, its own uncertainty included."""
        means, variances = self.predict(rows)
        return float(means[:, 0].mean()), float(np.sqrt(means[:, 0].var() + variances.mean()))

    def combine(self, weights: Floats) -> None:
        """Set the targets to a weighted combination of several losses."""
        self.process.set_targets(combine(self.source.losses, self.source.violations, weights)[1])

    def expect(self, out: Genotypes) -> None:
        """Count architectures whose results are out as if they had come out as expected."""
        if np.array_equal(out, self._out):
            return
        same = len(self._out) <= len(out) and np.array_equal(out[: len(self._out)], self._out)
        if not same:
            self.process.truncate(len(self.source.rows))
            self._out = out[:0]
        if len(out) > len(self._out):
            self.process.append(self._known(out[len(self._out) :]))
        self._out = out.copy()

    def draws(self, rows: Genotypes, n: int, seed: int, told: int) -> Floats:
        """Draw n functions and give their values at rows (n, k)."""
        return self.process.sample(self._known(rows), n, seed, 1 + self._number, told * n)
