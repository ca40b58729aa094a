"""What methods with a policy share: rollouts, their rewards, and settings in range."""

from __future__ import annotations

import dataclasses
import math
from abc import abstractmethod
from typing import Literal

import numpy as np
import numpy.typing as npt

from nasx._core import policy as _native
from nasx.space import Genotypes
from nasx.strategies.base import SampledStrategy
from nasx.strategies.reinforcement.policies import Floats, Policy, make_policy

__all__ = ["PolicyStrategy", "product_of_values"]

# Values count as if they were no nearer to 0 and no farther away, and products as if they were no larger.
_SMALLEST, _LARGEST = 1e-150, 1e150

# After so many rows in a row that are over a limit or known, the policy learns from those over a limit too.
_FRUITLESS = 16

_LEARNING_RATES = {"independent": 0.05, "lstm": 0.003}


def product_of_values(losses: Floats, weights: Floats) -> Floats:
    """Multiply objectives as MnasNet does: those that are maximised, over those that are minimised.

    Parameters
    ----------
    losses : ndarray of float64, shape (n, m)
        Minus the value of what is maximised; so a loss below 0 multiplies, and one above 0 divides.
    weights : ndarray of float64, shape (m,)
        The power of each.

    Returns
    -------
    ndarray of float64, shape (n,)
        The larger the better, between 1e-150 and 1e150.

    Examples
    --------
    An accuracy of 0.8 at 20 ms, and the target of 10 ms as the constant factor that it is:

    >>> found = product_of_values(np.array([[-0.8, 20.0]]), np.array([1.0, 0.07]))
    >>> bool(np.isclose(found[0] / 10**-0.07, 0.8 * (20 / 10) ** -0.07))
    True
    """
    logs = np.log(np.clip(np.abs(losses), _SMALLEST, _LARGEST))
    exponents: Floats = np.where(np.signbit(losses), logs, -logs) @ weights
    products: Floats = np.exp(np.clip(exponents, math.log(_SMALLEST), math.log(_LARGEST)))
    return products


@dataclasses.dataclass(kw_only=True, eq=False)
class PolicyStrategy(SampledStrategy):
    """A method that draws architectures from a policy and learns it from their rewards.

    A method implements `_update`, and sets defaults.

    Parameters
    ----------
    policy : {"independent", "lstm"}, default "independent"
        Free logits for each decision, or an LSTM that knows the earlier choices and learns with torch.
    batch_size : int
        Rollouts in an update.
    learning_rate : float, optional
        Of Adam; by default 0.05 for free logits and 0.003 for an LSTM.
    entropy_weight : float, default 0.0
        Weight of the policy's entropy, summed over the decisions, beside rewards of unit deviation.
    weights : list of float, optional
        Of the objectives, in their order; by default all are equal.
    combine : {"sum", "product"}, default "sum"
        How several objectives become one reward: the sum of the weighted losses, each over its deviation; or
        the product of the values, each to the power of its weight, where a minimised one divides.
    limit_exponent : float, optional
        Soft limits: a violation v changes a positive reward by the factor (1 + v)^limit_exponent. By default,
        what is over a limit is worse than everything that is not. It is for limits on what is measured by the
        evaluation: what is over a limit on a cost is known beforehand and never proposed.
    allow_repeats : bool, default False
        Propose architectures that were already proposed or told; for noisy objectives.

    Notes
    -----
    **Rollouts.** Every row that the policy draws is one, and there are three kinds. One that was told before
    has its reward already: it is learned from at once and costs no evaluation. One that is over a limit on
    costs or breaks a constraint is rejected (below). All others wait until they are told; drawn again in the
    meantime, such a row is skipped, and its one result counts once. Rows that the policy did not draw (the
    caller's own, and those that `SampledStrategy` finds by enumeration) are remembered as told, but not
    learned from, since a policy gradient holds for what the policy does.

    **Limits on costs.** What is proposed is drawn from the policy given the limits, and the gradient of that
    needs nothing but rows within them: what rejected rows would add, the derivative of the probability to be
    within the limits, is the same for all rows, and the baseline takes it away. A punishment for rejected
    rows would do harm: they are many and free, so that it would drive the policy to where nothing is ever
    rejected, far inside, while the best is often next to a limit. Only where 16 rows in a row gave nothing to
    evaluate does the policy learn from rejected ones, as from the worst, until it finds something again.

    **Why batches do not matter.** Rows are numbered as they are drawn, and those after one that completes an
    update are dropped and drawn again from the new policy under the same numbers. So `ask(n)` goes through
    exactly the steps of `n` times `ask(1)`. Repeats and rows over a limit are handed to `SampledStrategy`
    like all others; it turns them down, and after 256 in a row it looks for what is left, so that a policy
    which has settled on few architectures cannot run in circles.
    """

    policy: Literal["independent", "lstm"] = "independent"
    batch_size: int = 1
    learning_rate: float | None = None
    entropy_weight: float = 0.0
    weights: list[float] | None = None
    combine: Literal["sum", "product"] = "sum"
    limit_exponent: float | None = None

    def __post_init__(self) -> None:
        self._check_words("policy", "independent", "lstm")
        self._check_words("combine", "sum", "product")
        self._check_integers(batch_size=1)
        if self.learning_rate is not None:
            self._check_range("learning_rate", 0, math.inf)
        self._check_range("entropy_weight", 0, math.inf)
        if self.weights is not None:
            self.weights = [float(weight) for weight in self.weights]
            if not all(0 <= weight < math.inf for weight in self.weights) or not any(self.weights):
                raise ValueError(f"weights must be at least 0 and not all 0; got {self.weights}")
        if self.limit_exponent is not None:
            self._check_range("limit_exponent", -math.inf, 0)

    @property
    def learned_policy(self) -> Policy:
        """The policy as it is now: it can be drawn from, and saved for `nasx.Policy.load`."""
        self._require_setup()
        return self._policy

    @property
    def warmup(self) -> int:
        """The first update."""
        return self.batch_size

    @abstractmethod
    def _update(self, rows: Genotypes, log_probs: Floats, rewards: Floats, baselines: Floats) -> None:
        """Learn from `batch_size` rollouts."""

    # -- the run ---------------------------------------------------------------------------------------------

    def _start(self) -> None:
        m = self.objectives
        weights = [1 / m] * m if self.weights is None else self.weights
        if len(weights) != m:
            raise ValueError(f"weights must have one number for each of the {m} objectives; got {weights}")
        self._policy = make_policy(self.policy, self.space, self.seed)
        # A product is one number before it comes to rewards.
        self._weights = np.array(weights)
        self._rewarded = 1 if self.combine == "product" else m
        self._rollouts = _native.Rollouts(
            len(self.space),
            self._rewarded,
            self.batch_size,
            self.allow_repeats,
            np.ones(1) if self.combine == "product" else self._weights,
            self._momentum,
            self.limit_exponent,
        )

    def _propose(self, n: int, first: int) -> Genotypes:
        rows, log_probs = self._policy.draw(n, self.seed, first)
        canonical = self.space.canonicalize(rows) if self.space.canonical else rows
        if self._limited:
            taken = self._draw_within_limits(rows, canonical, log_probs)
        else:
            taken = self._rollouts.draw(rows, canonical, log_probs)
        if self._rollouts.ready:
            self._update(*self._rollouts.take())
        return rows[:taken]

    def _draw_within_limits(self, rows: Genotypes, canonical: Genotypes, log_probs: Floats) -> int:
        """Make rollouts of rows in order until a batch is complete; give how many were taken or rejected."""
        within = self._within_limits(canonical)
        eligible = within if self.allow_repeats else within & ~self._seen.contains(canonical)
        fruitless = self._rejected
        for i in range(len(rows)):
            one = slice(i, i + 1)
            is_new = bool(self._rollouts.is_new(canonical[one])[0])
            fruitful = bool(eligible[i]) and (is_new or self.allow_repeats)
            if within[i] or not is_new or fruitless >= _FRUITLESS:
                if is_new and not within[i]:
                    over = self._excess(canonical[one])
                    self._rollouts.keep(canonical[one], np.full((1, self._rewarded), math.inf), over)
                self._rollouts.draw(rows[one], canonical[one], log_probs[one])
                if self._rollouts.ready:
                    return i + 1
            fruitless = 0 if fruitful else fruitless + 1
        return len(rows)

    def _excess(self, x: Genotypes) -> Floats:
        """How far a row is over the limits on costs; infinitely, if it breaks a constraint."""
        if self._cost_violation is None or not self.space.satisfies(x)[0]:
            return np.array([math.inf])
        excess = np.asarray(self._cost_violation(x), np.float64)
        return np.nan_to_num(excess, nan=math.inf, posinf=math.inf)

    def _observe(
        self, x: Genotypes, losses: npt.NDArray[np.float64], violations: npt.NDArray[np.float64]
    ) -> None:
        if self.combine == "product":
            losses = -product_of_values(losses, self._weights)[:, None]
        self._rollouts.tell(x, losses, violations)
        while self._rollouts.ready:
            self._update(*self._rollouts.take())

    @property
    def _rate(self) -> float:
        """Of Adam."""
        return _LEARNING_RATES[self.policy] if self.learning_rate is None else self.learning_rate

    @property
    def _momentum(self) -> float:
        """Of the baseline."""
        return 0.9

    # -- settings --------------------------------------------------------------------------------------------

    def _check_range(self, name: str, least: float, most: float) -> None:
        value = getattr(self, name)
        if not (least <= value <= most and math.isfinite(value)):
            raise ValueError(f"{name} must be a number in [{least}, {most}]; got {value}")
