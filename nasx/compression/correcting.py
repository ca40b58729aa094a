"""`Corrected`: exact starts solved again and again, by estimates that measured candidates correct."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nasx.compression.costs import PartsCost
from nasx.compression.space import CompressionSpace
from nasx.compression.start import Estimates, best_start
from nasx.space import Genotypes
from nasx.strategies.base import Losses, SampledStrategy, Violations
from nasx.strategies.inner import make_inner

__all__ = ["ALIKE", "Corrected", "Corrections", "Knapsack"]

_Floats = npt.NDArray[np.float64]

ALIKE = (0.0, 0.25, 0.5, 0.75, 1.0)
"""How far layers are taken to be alike, the likeliest of these: shares, for `Estimates.evened`."""

# What else the fit chooses from: by how much estimates of parts are off, and what sums leave unexplained.
_OFF = (0.125, 0.25, 0.5, 1.0)
_UNEXPLAINED = (0.01, 0.03, 0.1, 0.3)
_MOST = 256  # architectures that it takes
# Options of one part differ less from each other than parts do.
_OPTIONS = 0.5
# Harm that a draw takes away altogether would be no reason to keep anything.
_LEAST = 0.05
# Standard deviations that draws are from what is expected, in turn; then what is tried where all was seen.
_SPREADS = (0.0, 0.5, 1.0)
_TRIES = 6
# The other strategy has the word this often: most know little yet when hundreds are scored.
_TURNS = 4


class Corrections:
    """What is known of each part's harm after some architectures were measured.

    The harm of an architecture is taken as a sum over parts of estimates, each times a factor of its own:
    Bayesian linear regression, in which factors are expected to be alike. Sums leave a share of each harm
    unexplained, so that what ruins a network says little of those that are hardly harmed. That share, the
    factors' spread, and how alike layers are taken to be, are chosen by the marginal likelihood.

    Parameters
    ----------
    space : CompressionSpace
        The architectures.
    estimates : Estimates
        What was expected before anything was measured.

    Examples
    --------
    >>> from nasx.compression.shapes import LayerShape, Shape
    >>> space = CompressionSpace(Shape(8, [LayerShape(2, 2, 16)] * 2), dimensions=["mlp", "skip"])
    >>> estimates = Estimates.zero(space)
    >>> for each in estimates.mlp:
    ...     each[:] = np.linspace(1, 0, len(each))
    >>> corrections = Corrections(space, estimates)
    >>> rows = space.sample(20, seed=0)
    >>> only_the_second = space.parts(rows).mlp[:, 1] / -8 + 1
    >>> corrections.fit(rows, only_the_second)
    >>> first, second = corrections.draw(np.random.default_rng(0), spread=0).mlp
    >>> bool(second[0] > 5 * first[0])
    True
    """

    def __init__(self, space: CompressionSpace, estimates: Estimates) -> None:
        self._space, self._estimates = space, estimates
        self._model = _Model(estimates, np.empty((0, 1 + 2 * len(estimates.mlp)), np.int64), np.empty(0))

    def fit(self, genotypes: Genotypes, harms: npt.ArrayLike) -> None:
        """Learn from all that was measured.

        Parameters
        ----------
        genotypes : ndarray of int32, shape (n, d)
            What was measured.
        harms : array_like of float, shape (n,)
            How much worse each is than the whole, in any unit.

        Notes
        -----
        O(n^3 + n^2 L) for L layers, of which the last 256 architectures are taken at most.
        """
        hidden, attention, mlp = self._space.parts(genotypes[-_MOST:])
        taken = np.column_stack([hidden, attention, mlp])
        measured = np.asarray(harms, np.float64)[-_MOST:]
        models = [_Model(self._estimates.evened(share), taken, measured) for share in ALIKE]
        self._model = max(models, key=lambda model: model.likelihood)

    def draw(self, rng: np.random.Generator, *, spread: float) -> Estimates:
        """Draw what the harms could be.

        Parameters
        ----------
        rng : numpy.random.Generator
            Draws.
        spread : float
            0 gives what is expected; 1 draws from all that is possible, and what is between lies between.

        Returns
        -------
        Estimates
            In the unit of what was measured.
        """
        found = self._model.draw(rng, spread)
        layers = len(self._estimates.attention)
        return Estimates(found[0], found[1 : 1 + layers], found[1 + layers :])


class _Model:
    """The regression for one way to expect harms; of its settings, the likeliest."""

    def __init__(self, expected: Estimates, taken: npt.NDArray[np.int64], measured: _Floats) -> None:
        self.each = [expected.hidden, *expected.attention, *expected.mlp]
        self.taken = taken  # options, by architecture and part
        self.told = np.column_stack([e[t] for e, t in zip(self.each, taken.T, strict=True)])
        self.scale, self.off, self.likelihood = 1.0, 0.5, -np.inf
        self.rest: _Floats = np.empty(0)
        self.unexplained: _Floats = np.empty(0)
        self.inverse: _Floats = np.empty((0, 0))
        if len(measured):
            self._fit(measured)

    def _fit(self, measured: _Floats) -> None:
        sums = self.told.sum(axis=1)
        level = np.maximum(np.abs(measured), 0.1 * float(np.median(np.abs(measured))) or 1.0)
        weight = float((sums**2 / level**2).sum())
        ratio = float((sums * measured / level**2).sum()) / weight if weight else 1.0
        self.scale = ratio if ratio > 0 else 1.0
        self.rest = measured / self.scale - sums
        level = np.maximum(level / self.scale, np.abs(sums))
        alike = np.zeros((len(measured), len(measured)))
        for taken, told in zip(self.taken.T, self.told.T, strict=True):
            alike += (1 + _OPTIONS**2 * (taken[:, None] == taken)) * (told[:, None] * told)
        for off in _OFF:
            for share in _UNEXPLAINED:
                inverse = np.asarray(
                    np.linalg.inv(off**2 * alike + np.diag((share * level) ** 2)), np.float64
                )
                # Of what was measured, not of its multiples: the scale is another for each expectation.
                likelihood = 0.5 * float(np.linalg.slogdet(inverse)[1] - self.rest @ inverse @ self.rest)
                likelihood -= len(measured) * float(np.log(self.scale))
                if likelihood > self.likelihood:
                    self.likelihood, self.off, self.inverse = likelihood, off, inverse
                    self.unexplained = share * level

    def draw(self, rng: np.random.Generator, spread: float) -> list[_Floats]:
        """Draw the harms of all options of all parts."""
        parts = rng.standard_normal(len(self.each))
        options = [_OPTIONS * rng.standard_normal(len(e)) for e in self.each]
        drawn = self.unexplained * rng.standard_normal(len(self.taken))
        for p, taken in enumerate(self.taken.T):
            drawn = drawn + self.off * self.told[:, p] * (parts[p] + options[p][taken])
        # A draw from the prior, moved by what the measurements say of its error (Matheron's rule).
        weights = self.inverse @ (self.rest - spread * drawn)
        found = []
        for p, e in enumerate(self.each):
            pulled = self.told[:, p] * weights
            own = np.bincount(self.taken[:, p], pulled, minlength=len(e))
            factors = 1 + spread * self.off * (parts[p] + options[p])
            factors += self.off**2 * (pulled.sum() + _OPTIONS**2 * own)
            found.append(self.scale * e * np.maximum(factors, _LEAST))
        return found


@dataclasses.dataclass(frozen=True, eq=False)
class Knapsack:
    """What `Corrected` solves.

    Parameters
    ----------
    space : CompressionSpace
        The architectures.
    costs : mapping of str to PartsCost
        Those that are limited.
    limits : mapping of str to float
        Upper bounds.
    estimates : Estimates
        Of harms.
    whole : float
        Loss of the whole model, as `Scorer.loss` gives it.
    shares : sequence of float
        Of the limits, that are solved for in turn.
    logarithm : bool
        Whether losses that are told are perplexities, and harms differences of their logarithms.
    """

    space: CompressionSpace
    costs: Mapping[str, PartsCost]
    limits: Mapping[str, float]
    estimates: Estimates
    whole: float
    shares: Sequence[float] = (1.0,)
    logarithm: bool = False

    @property
    def digest(self) -> str:
        """A fingerprint of the estimates."""
        content = hashlib.sha256()
        for each in (self.estimates.hidden, *self.estimates.attention, *self.estimates.mlp):
            content.update(each.astype("<f8").tobytes())
        return content.hexdigest()[:32]


@dataclasses.dataclass(kw_only=True, eq=False)
class Corrected(SampledStrategy):
    """Solve the exact start again by corrected estimates, in turn with what another strategy proposes.

    Of every four proposals three are the best within the limits by estimates of harm that all measured
    architectures corrected, or by a draw of what these could be: Thompson sampling of a combinatorial bandit
    [1]_, whose oracle is exact here. Near tight limits it shrinks some parts and grows others, which
    mutations hardly ever do right. Where it has nothing new to say, the other strategy has the word.

    Parameters
    ----------
    inner : str, SampledStrategy or mapping, default "nsga2"
        What proposes the fourth of every four: a name, an instance, or a mapping of "name" and settings.
    knapsack : Knapsack
        Estimates, costs and limits.
    allow_repeats : bool, default False
        Not used with `search`.

    References
    ----------
    .. [1] S. Wang and W. Chen, "Thompson Sampling for Combinatorial Semi-Bandits", ICML 2018.
    """

    inner: str | SampledStrategy | Mapping[str, Any] = "nsga2"
    knapsack: Knapsack

    def __post_init__(self) -> None:
        self._make_inner()

    def _make_inner(self) -> SampledStrategy:
        return make_inner(self.inner, why="corrected estimates propose what is new")

    @property
    def settings(self) -> dict[str, Any]:
        """The settings as JSON types; the estimates as a fingerprint."""
        from nasx.registry import strategy_name

        inner = self._make_inner()
        return {
            "allow_repeats": self.allow_repeats,
            "inner": {"name": strategy_name(inner), **inner.settings},
            "knapsack": {"estimates": self.knapsack.digest, "shares": list(self.knapsack.shares)},
        }

    def _start(self) -> None:
        self._inner = self._make_inner()
        self._inner.setup(
            self.space, objectives=self.objectives, seed=self.seed, cost_violation=self._cost_violation
        )
        self._rows: list[Genotypes] = []
        self._harms: list[float] = []
        self._corrections = Corrections(self.knapsack.space, self.knapsack.estimates)
        self._fitted = 0
        self._silent: set[float] = set()  # shares for which nothing new was found since the last result

    def _propose(self, n: int, first: int) -> Genotypes:
        if first % _TURNS != _TURNS - 1:
            row = self._solved(first - first // _TURNS)
            if row is not None:
                return row[None]
        rows = self._inner.ask(1)
        if not len(rows):
            return self.space.sample(1, seed=self.seed)  # seen or not: the base class looks for what is left
        if self._seen.contains(rows)[0]:
            self._inner.withdraw(rows)
        return rows

    def _solved(self, number: int) -> Genotypes | None:
        """Give the best by corrected estimates; None if nothing new was found."""
        if self._fitted < len(self._rows):
            self._corrections.fit(np.stack(self._rows), self._harms)
            self._fitted = len(self._rows)
            self._silent.clear()
        problem = self.knapsack
        share = problem.shares[number % len(problem.shares)]
        if share in self._silent:
            return None
        limits = {name: share * limit for name, limit in problem.limits.items()}
        rng = np.random.default_rng([self.seed, number])
        begin = number // len(problem.shares) % len(_SPREADS)
        spreads = [*_SPREADS[begin:], *[_SPREADS[-1]] * _TRIES]
        for spread in spreads[:_TRIES]:
            estimates = self._corrections.draw(rng, spread=spread)
            start = best_start(problem.space, problem.costs, limits, estimates)
            if start is None:
                break
            if not self._seen.contains(start.genotype[None])[0]:
                return start.genotype
        self._silent.add(share)
        return None

    def _observe(self, x: Genotypes, losses: Losses, violations: Violations) -> None:
        self._inner.tell(x, losses, violations=violations, failed=np.isinf(violations))
        for row, loss in zip(x, losses[:, 0].tolist(), strict=True):
            harm = (np.log(loss) if self.knapsack.logarithm and loss > 0 else loss) - self.knapsack.whole
            if np.isfinite(harm):
                self._rows.append(row)
                self._harms.append(float(harm))
