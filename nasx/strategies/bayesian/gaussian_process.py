"""Bayesian optimisation with a Gaussian process: evaluate where much is expected, or little is known."""

from __future__ import annotations

import dataclasses
from collections import deque
from typing import ClassVar, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from nasx import _runtime as _runtime  # the core follows torch's number of threads from here on
from nasx._core import gaussian_process as _native
from nasx.pareto import rank
from nasx.population import sample, unique
from nasx.space import Genotypes
from nasx.strategies.base import PATIENCE, Losses, Violations
from nasx.strategies.bayesian.base import ModelStrategy
from nasx.strategies.bayesian.scores import combine, fit_scores, normal_scores, of_ranks, ranks

__all__ = ["GaussianProcess"]

Floats = npt.NDArray[np.float64]
Area: TypeAlias = tuple[Floats, Floats]

# The neighbours of so many of the best are candidates.
_BEST = 5
# So many of the best candidates are looked through first for one that is new and within the limits, then more
# and more of them, under limits at most so many, and then so many random architectures. In a space where
# several genotypes are one network, so many are put in order again by their canonical form.
_LOOKED_AT = 128
_MOST = 10_000
_RANDOM = 64
_CANONICAL = 1_000
# Functions are drawn over fewer candidates, for they are drawn over all of them together.
_DRAWN = 400


@dataclasses.dataclass(kw_only=True, eq=False)
class GaussianProcess(ModelStrategy):
    """Model losses by a Gaussian process, and propose where it promises the largest improvement.

    After `n_startup` results for random architectures, a Gaussian process with a length scale for each
    decision is fitted to what was told (see `nasx.models.GaussianProcess`): at every result while they are
    few, then whenever they have grown by a tenth, with new results added in between. An acquisition function
    is maximised over the whole space, from random architectures and from neighbours of the best ones, by
    changing one decision after another to its best choice. Architectures whose results are still out count
    as if they had come out as expected, so that parallel workers look elsewhere.

    Losses enter by their ranks, as normal scores: the process sees neither their scale nor how bad the bad
    ones are. Infeasible architectures rank after all feasible ones, by their violation, and failures last.
    With several objectives, each proposal combines them with weights of its own, at random, so that all of
    the front is looked for [3]_: the losses, on the scale of the front so far, whose combination then enters
    by its ranks.

    Parameters
    ----------
    n_startup : int, default 10
        How many results to wait for, with random proposals, at least 1.
    acquisition : {"log_ei", "ucb", "thompson", "ehvi"}, default "log_ei"
        The logarithm of the expected improvement [1]_; the mean and `deviations` standard deviations; a
        function drawn from the posterior; or, for two objectives, the logarithm of the expected hypervolume
        improvement.
    deviations : float, default 2.0
        Of ``"ucb"``: larger explores more. Not negative.
    kernel : {"matern52", "rbf"}, default "matern52"
        Of `Ordinal` and `Integer` decisions; the others have the Hamming kernel.
    n_candidates : int, default 1000
        How many random architectures each proposal begins with, at least 1.
    max_points : int, default 1000
        With more results, the better half of so many and the latest ones are modelled; at least 2. It bounds
        time and memory.
    allow_repeats : bool, default False
        Propose architectures that were already proposed or told; for noisy objectives.

    Raises
    ------
    ValueError
        If a setting is out of range, or, from `setup`, if ``"ehvi"`` is asked for with other than two
        objectives.

    Notes
    -----
    With n results modelled, a fit takes O(n^3) for each of some 15 steps, 40 with ordered decisions, and a
    proposal O(n^2) for each of some thousand candidates. Proposals are a function of settings, seed, and the
    order of what was asked and told. A search is the same on the same machine; it does not depend on threads.

    References
    ----------
    .. [1] S. Ament, S. Daulton, D. Eriksson, M. Balandat, E. Bakshy, "Unexpected improvements to expected
       improvement for Bayesian optimization", NeurIPS 2023.
    .. [2] D. R. Jones, M. Schonlau, W. J. Welch, "Efficient global optimization of expensive black-box
       functions", Journal of Global Optimization 13 (1998).
    .. [3] J. Knowles, "ParEGO: a hybrid algorithm with on-line landscape approximation for expensive
       multiobjective optimization problems", IEEE Transactions on Evolutionary Computation 10 (2006).

    Examples
    --------
    >>> from nasx import Categorical, GaussianProcess, Integer, Space
    >>> space = Space({"op": Categorical("abc"), **{f"x{i}": Integer(0, 9) for i in range(4)}})
    >>> strategy = GaussianProcess().setup(space, seed=0)
    >>> best = 36
    >>> for _ in range(40):
    ...     x = strategy.ask()
    ...     loss = (x[:, 0] != 1) * 4 + x[:, 1:].sum(axis=1)
    ...     strategy.tell(x, loss)
    ...     best = min(best, int(loss[0]))
    >>> best
    0
    """

    _jumps: ClassVar[bool] = True

    acquisition: Literal["log_ei", "ucb", "thompson", "ehvi"] = "log_ei"
    deviations: float = 2.0
    kernel: Literal["matern52", "rbf"] = "matern52"
    n_candidates: int = 1000
    max_points: int = 1000

    def __post_init__(self) -> None:
        self._check_integers(n_startup=1, n_candidates=1, max_points=2)
        self._check_words("acquisition", "log_ei", "ucb", "thompson", "ehvi")
        self._check_words("kernel", "matern52", "rbf")
        if not 0 <= self.deviations < np.inf:
            raise ValueError(f"deviations must be a number of at least 0; got {self.deviations}")

    @property
    def _known(self) -> int:
        return len(self._rows)

    def _start(self) -> None:
        if self.acquisition == "ehvi" and self.objectives != 2:
            raise ValueError(
                f"acquisition='ehvi' is for two objectives; got {self.objectives}. Use 'log_ei', which "
                "combines any number of them"
            )
        # What was told, in this order.
        self._rows: list[Genotypes] = []
        self._losses: list[list[float]] = []
        self._over: list[float] = []
        self._out: dict[int, Genotypes] = {}  # what is out, by number, in the order of asking
        self._numbers: dict[bytes, deque[int]] = {}  # of the same
        self._next_number = 0
        self._process = _native.Process(self.space.cardinalities, self.space.ordered, self.kernel)
        self._fitted_at = 0  # how many results there were
        self._members: list[int] = []  # which results are modelled
        self._modelled = 0  # up to which one
        self._fantasies: list[int] = []  # which of what is out are modelled after them

    def _adopt(self, x: Genotypes) -> None:
        for number, row in enumerate(x, self._next_number):
            self._out[number] = row.copy()
            self._numbers.setdefault(row.tobytes(), deque()).append(number)
        self._next_number += len(x)

    def _withdraw(self, x: Genotypes) -> None:
        for row in x:
            key = row.tobytes()
            numbers = self._numbers.get(key)
            if numbers:
                del self._out[numbers.popleft()]
                if not numbers:
                    del self._numbers[key]

    def _observe(self, x: Genotypes, losses: Losses, violations: Violations) -> None:
        x, losses, violations = self._told_first(x, losses, violations)
        self._withdraw(x)
        for row, values, over in zip(x, losses.tolist(), violations.tolist(), strict=True):
            self._rows.append(row.copy())
            self._losses.append(values)
            self._over.append(over)

    # -- the model -------------------------------------------------------------------------------------------

    def _update(self) -> None:
        """Bring the process up to date, but for its targets.

        What comes out depends on the order of asks and tells alone, not on when they came: hyperparameters
        are fitted to the first so many results, and the others are added one by one.
        """
        n = len(self._rows)
        fit_at = _last_fit(n)
        if fit_at != self._fitted_at:
            self._members = self._choose(fit_at)
            x, losses, over = self._told(self._members)
            fit_scores(self._process, self.space, x, normal_scores(losses, over))
            self._fitted_at, self._modelled, self._fantasies = fit_at, fit_at, []
        # Results since the fit come before what is out.
        since = range(self._modelled, n)
        fantasies = list(self._out)[-self.max_points :]
        if since or fantasies[: len(self._fantasies)] != self._fantasies:
            self._process.truncate(len(self._members))
            self._fantasies, self._modelled = [], n
            self._members = [*self._members, *since]
            if since:
                self._process.append(np.stack([self._rows[i] for i in since]))
        new = fantasies[len(self._fantasies) :]
        if new:
            self._process.append(np.stack([self._out[number] for number in new]))
            self._fantasies = fantasies

    def _choose(self, n: int) -> list[int]:
        """Which of the first n results to model: the better half and the latest, if there are too many."""
        if n <= self.max_points:
            return list(range(n))
        _, losses, over = self._told(range(n))
        latest = n - self.max_points // 2
        best = np.argsort(rank(losses[:latest], over[:latest]), kind="stable")[
            : self.max_points - self.max_points // 2
        ]
        return [*np.sort(best).tolist(), *range(latest, n)]

    def _told(self, which: list[int] | range) -> tuple[Genotypes, Losses, Violations]:
        rows = np.array([self._rows[i] for i in which], np.int32)
        losses = np.array([self._losses[i] for i in which])
        return rows, losses, np.array([self._over[i] for i in which])

    # -- proposals -------------------------------------------------------------------------------------------

    def _propose(self, n: int, first: int) -> Genotypes:
        if len(self._rows) < self.n_startup:
            return self._random(n, first)
        self._update()
        for rows in (self._candidates(first), self._random(_RANDOM, first * _RANDOM, 1)):
            found = self._first_allowed(rows)
            if len(found):
                return found
        # Nothing new is near or easily drawn: the base class is to look for what is left.
        self._rejected = PATIENCE
        return rows[:1]

    def _first_allowed(self, rows: Genotypes) -> Genotypes:
        """Give the first row that is new and within the limits, if there is one."""
        rows = self.space.canonicalize(rows)
        begin, size = 0, _LOOKED_AT
        while begin < len(rows):
            some = rows[begin : begin + size]
            allowed = np.ones(len(some), bool) if self.allow_repeats else ~self._seen.contains(some)
            if self._limited:
                allowed[allowed] = self._within_limits(some[allowed])
            if allowed.any():
                chosen = int(allowed.argmax())
                return some[chosen : chosen + 1]
            begin, size = begin + size, 4 * size
        return self._none()

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

    def _candidates(self, first: int) -> Genotypes:
        """Give the best candidates for one proposal, best first."""
        process, space = self._process, self.space
        order, area = self._set_targets(first)
        best = [self._members[i] for i in np.argsort(order, kind="stable")[:_BEST]]
        where = space.cardinalities, space.conditions
        starts = np.stack([self._rows[i] for i in best])
        if self.acquisition == "thompson":
            random = min(self.n_candidates, _DRAWN)
            rows = process.first_candidates(*where, starts, random, self.seed, first, self.allow_repeats)
            rows = unique(space.canonicalize(rows)).rows
            values = -process.sample(rows, 1, self.seed, 0, first)[0]
        else:
            incumbent = float(self._predict(process.rows())[0][:, 0].min())
            wanted = _MOST if self._limited else _CANONICAL if space.canonical else _LOOKED_AT
            rows, values = self._search(starts, incumbent, first, wanted, area)
            if not space.canonical:
                return rows
            # What would be evaluated is the canonical form, so that is what counts.
            rows = unique(space.canonicalize(rows)).rows
            means, variances = self._predict(rows)
            if area is not None:
                values = _native.log_expected_area(means, variances, *area)
            elif self.acquisition == "ucb":
                values = self.deviations * np.sqrt(variances) - means[:, 0]
            else:
                values = _native.log_expected_improvement(means[:, 0].copy(), variances, incumbent)
        return rows[np.argsort(-values, kind="stable")]

    def _predict(self, rows: Genotypes) -> tuple[Floats, Floats]:
        """Give means (k, columns of targets) and variances (k,) of rows."""
        return self._process.predict(rows)

    def _search(
        self, starts: Genotypes, incumbent: float, first: int, wanted: int, area: Area | None
    ) -> tuple[Genotypes, Floats]:
        """Give the candidates that the acquisition function prefers, best first, and its values."""
        points, reference = area or (None, None)
        return self._process.search(
            self.space.cardinalities,
            self.space.conditions,
            "log_ehvi" if self.acquisition == "ehvi" else self.acquisition,
            incumbent,
            self.deviations,
            points,
            reference,
            starts,
            self.n_candidates,
            wanted,
            self.seed,
            first,
            self.allow_repeats,
        )

    def _set_targets(self, first: int) -> tuple[Floats, Area | None]:
        """Give the process its targets for a proposal, and say how good the modelled results are.

        Returns
        -------
        order : ndarray of float64, shape (n,)
            The smaller the better.
        area : tuple of ndarray of float64, shapes (k, 2) and (2,), or None
            Of ``"ehvi"``: the losses that are known, and those expected of what is out, as the process sees
            them; and the reference point.
        """
        _, losses, over = self._told(self._members)
        if self.acquisition == "ehvi":
            scores = normal_scores(losses, over)
            self._process.set_targets(scores)
            expected, _ = self._process.predict(self._process.rows()[len(self._members) :])
            reference = scores.max(axis=0) + 1  # so that the ends of the front count too
            points = np.concatenate([scores[over <= 0], expected])
            return rank(losses, over).astype(np.float64), (points, reference)
        weights = self._combining(first)
        if weights is None:
            order = ranks(losses[:, 0], over)
            scores = of_ranks(order)[:, None]
        else:
            order, scores = combine(losses, over, weights)
        self._process.set_targets(scores)
        return order, None

    def _combining(self, first: int) -> Floats | None:
        """Weights of several losses for a proposal, uniform over all that add up to 1; None for one loss."""
        if self.objectives == 1:
            return None
        weights = -np.log(1 - np.random.default_rng([self.seed, first]).random(self.objectives))
        scaled: Floats = weights / weights.sum()
        return scaled


def _last_fit(n: int) -> int:
    """At how many of n results the last fit is due: each one at first, then a tenth apart."""
    at = 1
    while (following := max(at + 1, at + at // 10)) <= n:
        at = following
    return at
