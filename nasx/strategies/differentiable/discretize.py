"""`best_within`: the architecture that a supernet's parameters say is best within the limits."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nasx.errors import EvaluationError
from nasx.hardware.budget import best_under
from nasx.nn.parts import Scores, option_scores
from nasx.nn.supernet import Supernet
from nasx.space import Genotypes
from nasx.strategies.differentiable.cost_models import CostModels, PartCosts, values_of
from nasx.strategies.limits import CostLimits
from nasx.strategies.one_shot.sampling import feasible

__all__ = ["best_within"]

_Taken = npt.NDArray[np.int64]
# Combinations of options that are gone through in the order of their scores.
_ENUMERABLE = 200_000
# Times that limits are tightened because a sum is not the cost.
_ROUNDS = 50
# Architectures that are drawn by the learned probabilities where nothing else is within the limits.
_DRAWN = 4_096
# Architectures whose costs are looked at together.
_TOGETHER = 256
# Relative rounding of sums that are the costs.
_SLACK = 1e-9


def best_within(
    supernet: Supernet, cost_limits: CostLimits | None, *, models: CostModels | None = None, seed: int = 0
) -> Genotypes | None:
    """Find the architecture of largest weight among those within the limits and the space's constraints.

    An architecture's weight is the product of what its choices weigh in the supernet (`Supernet.strengths`).
    What `Supernet.derive` gives is the heaviest of all: if it is within the limits, it is the answer.

    Parameters
    ----------
    supernet : Supernet
        With the learned parameters.
    cost_limits : CostLimits or None
        Costs and limits; None: only the space's constraints hold.
    models : CostModels, optional
        The costs over the supernet's parts, if they are there already.
    seed : int, default 0
        Of what is random: the architectures that costs are fitted to, and those that are drawn.

    Returns
    -------
    ndarray of int32, shape (d,), or None
        A genotype whose costs, as they are and not as they are modelled, are within all limits. None if none
        was found; where there are at most 200,000 combinations of options there is none then.

    Raises
    ------
    TypeError
        If the derived architecture is over a limit, and the supernet does not say what its parts are.

    Notes
    -----
    At most 200,000 combinations are gone through from the heaviest on; those that an exact sum says to be
    over a limit are passed by. That is exact, whatever the costs. Of more combinations, those of largest sum
    of log weights under the limits are a knapsack, which `nasx.hardware.best_under` solves: exactly where the
    costs are sums over parts, as in the DARTS cell space, whose nodes are parts. Where a cost is no such sum,
    what the knapsack gives is looked up, and its limit tightened by what the sum was wrong about, until a
    cost is within; then single parts are changed while that makes it heavier. If that finds nothing,
    architectures are drawn by the learned probabilities, and then at random.

    Examples
    --------
    >>> import nasx, torch
    >>> from torch import nn
    >>> layers = [nasx.nn.LayerChoice({"a": nn.ReLU(), "b": nn.Tanh()}) for _ in range(2)]
    >>> space = nasx.space_of(nn.Sequential(*layers))
    >>> supernet = space.supernet()
    >>> supernet.logits["0"].data = torch.tensor([[3.0, 0.0]])
    >>> supernet.logits["1"].data = torch.tensor([[2.0, 0.0]])
    >>> table = nasx.hardware.LatencyTable(space, [[2.0, 1.0], [2.0, 1.0]])
    >>> for limit in (4.0, 3.0, 1.0):
    ...     limits = CostLimits({"ms": table}, {"ms": limit}, lambda x: table(x) - limit)
    ...     print(best_within(supernet, limits))
    [0 0]
    [0 1]
    None
    """
    derived = supernet.derive()
    if _Allowed(supernet, cost_limits)(derived[None])[0]:
        return derived
    if models is None:
        nothing = CostLimits({}, {}, lambda rows: np.zeros(len(rows)))
        models = CostModels(supernet, nothing if cost_limits is None else cost_limits, seed=seed)
    return _Search(supernet, models, _Allowed(supernet, cost_limits), seed).best()


class _Allowed:
    """Which architectures meet the constraints and the limits."""

    def __init__(self, supernet: Supernet, cost_limits: CostLimits | None) -> None:
        self.space = supernet.space
        self.violation = cost_limits.violation if cost_limits is not None and cost_limits.limits else None

    def __call__(self, rows: Genotypes) -> npt.NDArray[np.bool_]:
        within = self.space.satisfies(rows)
        if self.violation is not None and within.any():
            within[within] = self.violation(rows[within]) <= 0
        return within

    def first(self, rows: Genotypes) -> int | None:
        """Find the first that is allowed; costs are computed for no more than it takes."""
        begin, size = 0, 1
        while begin < len(rows):
            allowed = self(rows[begin : begin + size])
            if allowed.any():
                return begin + int(np.argmax(allowed))
            begin, size = begin + size, min(2 * size, _TOGETHER)
        return None


class _Search:
    """One search for the heaviest architecture that is allowed; architectures are the options they take."""

    def __init__(self, supernet: Supernet, models: CostModels, allowed: _Allowed, seed: int) -> None:
        self.models, self.allowed, self.seed, self.space = models, allowed, seed, supernet.space
        self.limits = models.cost_limits.limits
        self.scores: list[Scores] = option_scores(models.parts, supernet.strengths())

    def best(self) -> Genotypes | None:
        if math.prod(len(score) for score in self.scores) <= _ENUMERABLE:
            return self.by_rank()
        taken, proven = self.by_knapsack()
        if taken is None:
            taken = self.by_chance()
        if taken is None:
            return None
        if not proven:
            taken = self.heavier(taken)
        return self.genotype(taken)

    def genotype(self, taken: _Taken) -> Genotypes:
        row: Genotypes = self.models.genotypes(taken[None])[0]
        return row

    def sums(self) -> dict[str, PartCosts]:
        """Give the sums of the limited costs."""
        return {name: self.models.additive(name) for name in self.limits}

    # -- all of them -----------------------------------------------------------------------------------------

    def by_rank(self) -> Genotypes | None:
        """Go through all combinations, heaviest first."""
        shape = [len(score) for score in self.scores]
        total = _added(self.scores)
        kept = np.ones(len(total), bool)
        # In a canonical space a cost is that of another combination's network.
        for name, model in self.sums().items() if not self.space.canonical else ():
            if model.exact:
                costs = model.intercept + _added(model.options)
                kept &= costs <= self.limits[name] + _SLACK * np.abs(costs).max()
        order = np.flatnonzero(kept)
        order = order[np.argsort(-total[order], kind="stable")]
        for begin in range(0, len(order), 16 * _TOGETHER):
            places = np.unravel_index(order[begin : begin + 16 * _TOGETHER], shape)
            rows = self.models.genotypes(np.stack(places, axis=1))
            found = self.allowed.first(rows)
            if found is not None:
                row: Genotypes = rows[found]
                return row
        return None

    # -- too many to go through ------------------------------------------------------------------------------

    def by_knapsack(self) -> tuple[_Taken | None, bool]:
        """Solve the knapsack of the sums, tightened until the costs are within; and say if that is proven."""
        models = self.sums()
        if not models:
            return None, False
        bounds = {
            name: limit + (_SLACK * max(abs(limit), abs(models[name].intercept)) if models[name].exact else 0)
            for name, limit in self.limits.items()
        }
        proven = not self.space.canonical and all(model.exact for model in models.values())
        for _ in range(_ROUNDS):
            try:
                found = best_under(
                    self.scores,
                    [list(model.options) for model in models.values()],
                    [bounds[name] - model.intercept for name, model in models.items()],
                )
            except ValueError:  # nothing is within these limits
                return None, False
            taken = found.genotype.astype(np.int64)
            row = self.genotype(taken)
            if self.allowed(row[None])[0]:
                return taken, proven and found.gap == 0
            over = False
            for name, model in models.items():
                cost = float(values_of(self.models.cost_limits.tables[name], row[None])[0])
                if cost > self.limits[name]:
                    over = True
                    wrong = cost - float(model(taken[None])[0])
                    least = bounds[name] - _SLACK * abs(bounds[name])
                    bounds[name] = min(self.limits[name] - wrong, least)
            if not over:  # it is a constraint that refuses it
                return None, False
        return None, False

    def by_chance(self) -> _Taken | None:
        """Draw the heaviest allowed of some: the cheapest by the sums, and by the learned probabilities."""
        models = self.sums()
        drawn = []
        if models:
            share = [
                sum(m.options[i] / (abs(self.limits[name]) or 1.0) for name, m in models.items())
                for i in range(len(self.scores))
            ]
            drawn.append(np.array([[int(np.argmin(part)) for part in share]]))
        random = np.random.default_rng([self.seed, 1])
        columns = []
        for score in self.scores:
            weights = np.cumsum(np.exp(score))
            picked = np.searchsorted(weights, random.random(_DRAWN) * weights[-1], side="right")
            columns.append(np.minimum(picked, len(score) - 1))
        learned = np.stack(columns, axis=1)
        order = np.argsort(-self.score(learned), kind="stable")
        for some in (learned[order], *drawn):
            found = self.allowed.first(self.models.genotypes(some))
            if found is not None:
                taken: _Taken = some[found]
                return taken
        try:
            row = next(feasible(self.space, self.seed, self.allowed.violation))
        except EvaluationError:
            return None
        found_row: _Taken = np.maximum(self.models.taken(row[None])[0], 0)
        return found_row

    def score(self, taken: _Taken) -> Scores:
        """Add up the scores of architectures: ``(n, parts)`` to ``(n,)``."""
        columns = zip(self.scores, taken.T, strict=True)
        return functools.reduce(np.add, (score[column] for score, column in columns))

    def heavier(self, taken: _Taken) -> _Taken:
        """Change single parts, by as much weight as is allowed, while that is possible."""
        while True:
            here = [score[k] for score, k in zip(self.scores, taken, strict=True)]
            gains = np.concatenate([score - now for score, now in zip(self.scores, here, strict=True)])
            part = np.repeat(np.arange(len(self.scores)), [len(score) for score in self.scores])
            option = np.concatenate([np.arange(len(score)) for score in self.scores])
            order = np.argsort(-gains, kind="stable")
            order = order[gains[order] > 0]
            changed = np.repeat(taken[None], len(order), axis=0)
            changed[np.arange(len(order)), part[order]] = option[order]
            changed = changed[self.plausible(changed)]
            found = self.allowed.first(self.models.genotypes(changed)) if len(changed) else None
            if found is None:
                return taken
            taken = changed[found]

    def plausible(self, taken: _Taken) -> npt.NDArray[np.bool_]:
        """Say which may be within the limits, as far as sums can be trusted: ``(n, parts)`` to ``(n,)``."""
        kept = np.ones(len(taken), bool)
        for name, model in self.sums().items():
            costs = model(taken)
            kept &= costs <= self.limits[name] + (2 * model.error + _SLACK) * np.abs(costs).max(initial=0)
        return kept


def _added(parts: Sequence[Scores]) -> Scores:
    """Add up one number of each part, for all combinations; the last part moves fastest."""
    return functools.reduce(lambda total, part: np.add.outer(total, part).ravel(), parts)
