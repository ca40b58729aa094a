"""Bayesian optimisation that begins with what earlier searches found."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nasx._core import gaussian_process as _native
from nasx.population import unique
from nasx.space import Genotypes
from nasx.strategies.bayesian.gaussian_process import Area, GaussianProcess
from nasx.strategies.transfer.expert import Expert
from nasx.strategies.transfer.ranking import LEAST, ranking_weights
from nasx.strategies.transfer.sources import map_record, read_records

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
    task's own, each result is predicted from all others. A source that ranks clearly worse than that has no
    weight, so that useless sources do no harm.

    Scores are standardised for each source. Those of the new task are no random sample, for they begin with
    what the sources found best: their mean and deviation are what the sources, by their weights, expect of
    these architectures, and 0 and 1 by the weight of the task's own process. Else what was never tried would
    look as good as an average of the best.

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
    Predictions of results that were left out are compared with results, as in the authors' code, and those of
    sources with each other: that favours the new task's own process, so that sources fade early.

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
            Expert(
                map_record(record, self.space, f"sources[{i}]"),
                self.space,
                objectives=self.objectives,
                number=i,
                kernel=self.kernel,
            )
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
        self._place = 0.0, 1.0  # where the new task's scores are put: mean and deviation
        self._design = self._best_of_sources() if count else self._none()

    # -- proposals -------------------------------------------------------------------------------------------

    def _best_of_sources(self) -> Genotypes:
        """Give what to evaluate first: candidates that lower the sources' best predictions most."""
        rows = unique(np.concatenate([expert.best(_BEST_OF_EACH) for expert in self._experts])).rows
        predicted = np.column_stack([expert.predict(rows)[0] for expert in self._experts])
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
            mean, deviation = self._place
            self._process.set_targets(mean + deviation * self._process.targets())
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
            self._judge()
            self._weighed_at = at
        out = self._process.rows()[len(self._members) :]
        for expert in self._experts:
            expert.expect(out)

    def _judge(self) -> None:
        """Weigh all processes by the results, and say where the new task's scores belong."""
        known, told = len(self._members), len(self._rows)
        some = np.arange(known) if known <= _RANKED else np.arange(1, _RANKED + 1) * known // _RANKED - 1
        rows, y = self._process.rows()[some], self._process.targets()[some, 0]
        if known >= LEAST:
            losses = [
                _native.ranking_losses(expert.draws(rows, self.n_draws, self.seed, told), y, False)
                for expert in self._experts
            ]
            mean, variance = _native.leave_one_out(self._process)
            normal = np.random.default_rng([self.seed, told]).standard_normal((self.n_draws, len(some)))
            own = mean[some] + normal * np.sqrt(variance[some])
            losses.append(_native.ranking_losses(own, y, True))
            self._weights = ranking_weights(losses, prevent_dilution=self.prevent_dilution)
        places = [expert.place(rows) for expert in self._experts] + [(0.0, 1.0)]
        mean_of_all, deviation = self._weights @ np.array(places)
        self._place = float(mean_of_all), float(deviation)

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
