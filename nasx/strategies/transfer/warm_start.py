"""Bayesian optimisation that begins with what earlier searches found."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nasx._core import gaussian_process as _native
from nasx.population import repair, unique
from nasx.space import Genotypes
from nasx.strategies.bayesian.gaussian_process import Area, GaussianProcess
from nasx.strategies.bayesian.scores import combine, normal_scores
from nasx.strategies.transfer.ranking import LEAST, ranking_weights
from nasx.strategies.transfer.sources import Source, map_record, read_records

__all__ = ["FewShotTransfer"]

Floats = npt.NDArray[np.float64]

# So many of a source's best results may be proposed again, and so many of all sources' together.
_BEST_OF_EACH = 50
_DESIGN = 100
# Neighbours of so many of them are candidates of every proposal.
_STARTS = 5
# Of more results, so many in proportion say how well a model ranks.
_RANKED = 200


@dataclasses.dataclass(kw_only=True, eq=False)
class FewShotTransfer(GaussianProcess):
    """Model a new task together with earlier ones, each as far as it ranks the new results rightly.

    Each source, an earlier search, has a Gaussian process of its own, and so has the new task. The first
    `n_startup` proposals are what the sources found best: those whose predicted losses are smallest, where of
    several sources each counts by the best proposal so far, so that they complement each other. From then on
    the acquisition function is maximised on a weighted sum of all processes [1]_. The weight of a process is
    the share of draws from its posterior that rank the new task's results with the fewest errors; for the new
    task's own, each result is predicted from all others. A source that ranks worse than that would has no
    weight, so that useless sources do no harm.

    Sources may have searched another space. Decisions and choices are matched by their names; what a source
    does not know makes no difference to its process, and a warning says what that is.

    Parameters
    ----------
    sources : sequence, default ()
        Results of earlier searches, paths of their journals, or pairs of genotypes ``(n, d)`` of this space
        and losses ``(n,)`` or ``(n, objectives)``, smaller is better, NaN for failures. They need the new
        search's number of objectives, in the same order. They are read at once and kept as JSON types, 300
        results of each at most, so that a journal of the new search needs no other file. Without sources the
        strategy is `GaussianProcess`.
    n_startup : int, default 5
        How many of the sources' best to wait for, at least 1. With fewer than three results all sources
        have equal weights.
    acquisition : {"log_ei", "ucb"}, default "log_ei"
        As for `GaussianProcess`.
    n_draws : int, default 256
        How many draws from each posterior the weights are counted from, at least 1.
    prevent_dilution : bool, default True
        Whether a source is left out while its median ranking loss is above the 95th percentile of the new
        task's own.
    deviations, kernel, n_candidates, max_points, allow_repeats
        As for `GaussianProcess`.

    Raises
    ------
    TypeError
        If a source is none.
    ValueError
        If a setting is out of range; from `setup`, if a source has another number of objectives or shares no
        decision with the space.

    Warns
    -----
    UserWarning
        From `setup`, for each source whose space differs, what does not fit.

    Notes
    -----
    A source of m results and n new ones take O(m^2 n + n^3) operations for the draws, and O(m^2) for each of
    some thousand candidates of a proposal; n is at most 200 there. Weights change with new results only.

    References
    ----------
    .. [1] M. Feurer, B. Letham, F. Hutter, E. Bakshy, "Practical transfer learning for Bayesian
       optimization", arXiv:1802.02219 (2018).

    Examples
    --------
    >>> from nasx import Categorical, FewShotTransfer, Integer, Space
    >>> space = Space({"op": Categorical("abc"), **{f"x{i}": Integer(0, 9) for i in range(4)}})
    >>> earlier = space.sample(60, seed=1)
    >>> scores = (earlier[:, 0] != 1) * 4 + earlier[:, 1:].sum(axis=1)
    >>> strategy = FewShotTransfer(sources=[(earlier, scores)]).setup(space, seed=0)
    >>> best = 36
    >>> for _ in range(15):  # the new task differs a little
    ...     x = strategy.ask()
    ...     loss = (x[:, 0] != 2) * 2 + x[:, 1:].sum(axis=1)
    ...     strategy.tell(x, loss)
    ...     best = min(best, int(loss[0]))
    >>> best <= 3, strategy.weights.shape
    (True, (2,))
    """

    sources: Sequence[Any] = ()
    n_startup: int = 5
    n_draws: int = 256
    prevent_dilution: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_words("acquisition", "log_ei", "ucb")
        self._check_integers(n_draws=1)
        self._check_flags("prevent_dilution")
        self.sources = read_records(self.sources)

    @property
    def weights(self) -> Floats:
        """Weights ``(sources + 1,)`` at the last proposal: of the sources and, last, of the new task."""
        self._require_setup()
        return self._weights.copy()

    def _start(self) -> None:
        super()._start()
        self._experts = [
            _Expert(self, map_record(record, self.space, f"sources[{i}]"), i)
            for i, record in enumerate(self.sources)
        ]
        for i, expert in enumerate(self._experts):
            if missing := expert.source.missing:
                warnings.warn(
                    f"FewShotTransfer: sources[{i}] and the space differ: {'; '.join(missing)}. "
                    "The rest is matched by name",
                    UserWarning,
                    stacklevel=3,
                )
        count = len(self._experts)
        self._weights = np.append(np.full(count, 1 / max(count, 1)), float(count == 0))
        self._weighed_at: tuple[int, ...] | None = None
        self._design = self._best_of_sources() if count else self._none()

    # -- proposals -------------------------------------------------------------------------------------------

    def _best_of_sources(self) -> Genotypes:
        """Give what to evaluate first: candidates that lower the sources' best predictions most."""
        rows = unique(np.concatenate([expert.best(_BEST_OF_EACH) for expert in self._experts])).rows
        predicted = np.column_stack([expert.predict(rows) for expert in self._experts])
        mean, reached = predicted.mean(axis=1), np.full(predicted.shape[1], np.inf)
        chosen: list[int] = []
        left = np.ones(len(rows), bool)
        for _ in range(min(len(rows), _DESIGN)):
            total = np.minimum(predicted, reached).sum(axis=1)
            best = int(np.lexsort([mean, total, ~left])[0])
            chosen.append(best)
            left[best] = False
            reached = np.minimum(reached, predicted[best])
        return rows[chosen]

    def _propose(self, n: int, first: int) -> Genotypes:
        if self._experts and len(self._rows) < self.n_startup and first < len(self._design):
            return self._design[first : first + n].copy()
        return super()._propose(n, first)

    def _set_targets(self, first: int) -> tuple[Floats, Area | None]:
        found = super()._set_targets(first)
        if self._experts:
            self._weigh(first)
        return found

    def _weigh(self, first: int) -> None:
        """Bring the sources' processes and all weights up to date."""
        combining = self._combining(first)
        # The weights must not depend on what is out: they are those of the results.
        at = (len(self._rows),) if combining is None else (len(self._rows), first)
        if at != self._weighed_at:
            for expert in self._experts:
                expert.expect(self._none())
                if combining is not None:
                    expert.combine(combining)
            if len(self._members) >= LEAST:
                self._weights = self._ranking_weights()
            self._weighed_at = at
        out = self._process.rows()[len(self._members) :]
        for expert in self._experts:
            expert.expect(out)

    def _ranking_weights(self) -> Floats:
        known, targets = len(self._members), self._process.targets()[:, 0]
        some = np.arange(known) if known <= _RANKED else np.arange(1, _RANKED + 1) * known // _RANKED - 1
        y, told = targets[some], len(self._rows)
        rows = self._process.rows()[:known][some]
        losses = [
            _native.ranking_losses(expert.draws(rows, self.n_draws, self.seed, told), y, False)
            for expert in self._experts
        ]
        mean, variance = _native.leave_one_out(self._process)
        normal = np.random.default_rng([self.seed, told]).standard_normal((self.n_draws, len(some)))
        own = mean[some] + normal * np.sqrt(variance[some])
        losses.append(_native.ranking_losses(own, y, True))
        return ranking_weights(losses, prevent_dilution=self.prevent_dilution)

    # -- all processes as one --------------------------------------------------------------------------------

    def _ensemble(self) -> tuple[list[_native.Process], Floats, npt.NDArray[np.bool_]]:
        """Give the new task's process and those that count, their weights, and what they know."""
        used = [i for i, weight in enumerate(self._weights[:-1].tolist()) if weight > 0]
        experts = [self._experts[i] for i in used]
        return (
            [self._process, *(expert.process for expert in experts)],
            self._weights[[-1, *used]],
            np.stack([np.ones(len(self.space), bool), *(expert.source.shared for expert in experts)]),
        )

    def _predict(self, rows: Genotypes) -> tuple[Floats, Floats]:
        if not self._experts:
            return super()._predict(rows)
        return _native.ensemble_predict(*self._ensemble(), rows)

    def _search(
        self, starts: Genotypes, incumbent: float, first: int, wanted: int, area: Area | None
    ) -> tuple[Genotypes, Floats]:
        if not self._experts:
            return super()._search(starts, incumbent, first, wanted, area)
        return _native.ensemble_search(
            *self._ensemble(),
            self.space.cardinalities,
            self.space.conditions,
            self.acquisition,
            incumbent,
            self.deviations,
            np.concatenate([starts, self._design[:_STARTS]]),
            self.n_candidates,
            wanted,
            self.seed,
            first,
            self.allow_repeats,
        )


class _Expert:
    """A source and its process."""

    def __init__(self, strategy: FewShotTransfer, source: Source, number: int) -> None:
        objectives, self._space = source.losses.shape[1], strategy.space
        if np.isfinite(source.losses).any() and objectives != strategy.objectives:
            raise ValueError(
                f"sources[{number}] has {objectives} objectives and the search {strategy.objectives}: give "
                "genotypes and the losses that are meant"
            )
        self.source, self._number = source, number
        self._scores = normal_scores(source.losses, source.violations)
        self.process = _native.Process(self._space.cardinalities, self._space.ordered, strategy.kernel)
        self.process.fit(
            source.rows,
            self._scores,
            priors=True,
            starts=2,
            start_rows=256,
            iterations=50,
            tolerance=1e-2,
        )
        self._out = strategy._none()

    def _known(self, rows: Genotypes) -> Genotypes:
        """Leave out the decisions that the source did not have."""
        return np.where(self.source.shared, rows, np.int32(-1))

    def best(self, n: int) -> Genotypes:
        """Its best results as architectures of the space; what it does not know of them is drawn."""
        finished = np.isfinite(self.source.violations)
        order = np.argsort(np.where(finished, self._scores.min(axis=1), np.inf), kind="stable")
        rows = self.source.rows[order[: min(n, int(finished.sum()))]]
        space = self._space
        drawn = repair(rows, space.cardinalities, seed=self._number, conditions=space.conditions)
        return space.canonicalize(drawn)

    def predict(self, rows: Genotypes) -> Floats:
        """Give expected scores (k, objectives)."""
        return self.process.predict(self._known(rows))[0]

    def combine(self, weights: Floats) -> None:
        """Set the targets to a weighted combination of several losses."""
        self.process.set_targets(combine(self._scores, self.source.violations, weights)[1])

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
