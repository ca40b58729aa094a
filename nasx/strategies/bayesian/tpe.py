"""The tree-structured Parzen estimator: propose what is likely among the good and unlikely among the rest."""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections import deque

import numpy as np
import numpy.typing as npt

from nasx._core import parzen
from nasx.errors import require
from nasx.population import sample
from nasx.space import Genotypes
from nasx.strategies.bayesian.base import ModelStrategy
from nasx.strategies.bayesian.subset import best_subset

__all__ = ["TPE"]

# No more than so many count as good, with one objective.
_MOST_GOOD = 25
# So many times candidates are drawn in the hope of a new one, before random architectures are looked at.
_TRIES = 4
_RANDOM = 64


@dataclasses.dataclass(kw_only=True, eq=False)
class TPE(ModelStrategy):
    """Model the good and the other architectures by a density each, and propose where their ratio is largest.

    After `n_startup` results for random architectures, the best tenth of what was told, at most 25, counts as
    good. Candidates are drawn from a Parzen estimator of the good ones, and the new one with the largest
    ratio of this density to that of all others is proposed. Each observation is a kernel: of a categorical
    decision, mostly the observed choice; of an `Ordinal` or `Integer` one, a normal density over the order of
    the choices, as wide as the distance to the neighbouring observations. A uniform prior is one more kernel,
    and observations older than the last 25 weigh less. Architectures whose results are still out count as
    not good, so that parallel workers look elsewhere.

    Violations decide before losses, and failures are never good. With several objectives the good tenth are
    the first non-dominated fronts; of the front that does not fit whole, those that together dominate most.

    Parameters
    ----------
    n_startup : int, default 10
        How many results to wait for, with random proposals, at least 1.
    n_candidates : int, default 24
        How many candidates are drawn for each proposal, at least 1. More of them search greedily.
    multivariate : bool, default True
        One estimator over all decisions, which learns what goes together; a proposal takes time in proportion
        to what was told. False gives every decision its own, from the results in which it was active; with
        one objective in the same time however much was told.
    allow_repeats : bool, default False
        Propose architectures that were already proposed or told; for noisy objectives.

    Raises
    ------
    ValueError
        If a setting is out of range.
    MissingDependencyError
        From `setup`, with more than two objectives, if moocore is not installed.

    Notes
    -----
    Candidates are whole architectures also with ``multivariate=False``: choosing each decision by itself
    gives little but repeats where choices are few. Densities are computed in floating point, so a search is
    the same on the same machine; it does not depend on threads. With several objectives the fronts are found
    anew after each result, in time in proportion to what was told: some 50 ms after 100,000 results.

    References
    ----------
    J. Bergstra, R. Bardenet, Y. Bengio and B. Kégl, "Algorithms for hyper-parameter optimization",
    NeurIPS 2011.
    S. Falkner, A. Klein and F. Hutter, "BOHB: robust and efficient hyperparameter optimization at scale",
    ICML 2018, for the multivariate estimator.
    Y. Ozaki, Y. Tanigaki, S. Watanabe, M. Nomura and M. Onishi, "Multiobjective tree-structured Parzen
    estimator", JAIR 73 (2022).

    Examples
    --------
    >>> from nasx import Categorical, Integer, Space, TPE
    >>> space = Space({"op": Categorical("abc"), **{f"x{i}": Integer(0, 9) for i in range(4)}})
    >>> strategy = TPE().setup(space, seed=0)
    >>> best = 36
    >>> for _ in range(200):
    ...     x = strategy.ask()
    ...     loss = (x[:, 0] != 1) * 4 + x[:, 1:].sum(axis=1)
    ...     strategy.tell(x, loss)
    ...     best = min(best, int(loss[0]))
    >>> best < 4
    True
    """

    n_candidates: int = 24
    multivariate: bool = True

    def __post_init__(self) -> None:
        self._check_integers(n_startup=1, n_candidates=1)
        self._check_flags("multivariate")

    @property
    def _known(self) -> int:
        return self._results

    def _start(self) -> None:
        if self.objectives > 2:
            require("moocore", "nasx.TPE with more than two objectives", "compare")
        space = self.space
        # All rows that were asked for or told, in this order.
        self._history = parzen.History(
            space.cardinalities, space.conditions, space.ordered, self.multivariate, self.objectives > 1
        )
        self._pending: dict[bytes, deque[int]] = {}  # places in the history of what is out
        self._results = 0
        # Of what may be good: violation, loss, place in the history; in order with one objective.
        self._ranking: list[tuple[float, float, int]] = []
        self._losses: list[list[float]] = []  # of the same, with several
        self._split_is_old = False

    def _adopt(self, x: Genotypes) -> None:
        for place, row in enumerate(x, len(self._history)):
            self._pending.setdefault(row.tobytes(), deque()).append(place)
        self._history.append(x)

    # -- proposals -------------------------------------------------------------------------------------------

    def _propose(self, n: int, first: int) -> Genotypes:
        if self._results < self.n_startup:
            return self._random(n, first)
        if self._split_is_old:
            self._history.set_good(self._good())
            self._split_is_old = False
        rows = self._none()
        for generation in range(_TRIES):
            rows, _ = self._history.propose(self.n_candidates, self.seed, generation, first)
            if self.allow_repeats:
                return rows[:1]
            rows = self.space.canonicalize(rows)
            known = self._seen.contains(rows)
            best = int(known.argmin())
            if not known[best]:
                return rows[best : best + 1]
        # The estimators have narrowed down to what is known.
        rows = self.space.canonicalize(self._random(_RANDOM, first * _RANDOM, generation=1))
        best = int(self._seen.contains(rows).argmin())
        return rows[best : best + 1]

    def _random(self, n: int, first: int, generation: int = 0) -> Genotypes:
        space = self.space
        return sample(
            space.cardinalities,
            n,
            seed=self.seed,
            generation=generation,
            first=first,
            conditions=space.conditions,
        )

    def _good(self) -> npt.NDArray[np.int64]:
        """Places in the history of the good ones, increasing."""
        wanted = math.ceil(self._results / 10)
        if self.objectives == 1:
            places = [place for _, _, place in self._ranking[: min(wanted, _MOST_GOOD)]]
            return np.sort(np.array(places, np.int64))
        over = np.array([violation for violation, _, _ in self._ranking])
        places = [place for _, _, place in self._ranking]
        losses = np.array(self._losses).reshape(len(places), self.objectives)
        return np.sort(np.array(places, np.int64)[best_subset(losses, over, wanted)])

    # -- results ---------------------------------------------------------------------------------------------

    def _observe(
        self, x: Genotypes, losses: npt.NDArray[np.float64], violations: npt.NDArray[np.float64]
    ) -> None:
        # Told again, an architecture would make its surroundings look populated.
        x, losses, violations = self._told_first(x, losses, violations)
        for row, values, violation in zip(x, losses.tolist(), violations.tolist(), strict=True):
            key = row.tobytes()
            waiting = self._pending.get(key)
            if waiting:
                place = waiting.popleft()
                if not waiting:
                    del self._pending[key]
            else:
                place = len(self._history)
                self._history.append(row[None])
            self._results += 1
            self._split_is_old = True
            if violation == math.inf:  # failed
                continue
            if self.objectives == 1:
                bisect.insort(self._ranking, (violation, values[0], place))
            else:
                self._ranking.append((violation, 0.0, place))
                self._losses.append(values)
