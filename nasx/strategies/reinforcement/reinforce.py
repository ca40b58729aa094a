"""REINFORCE: follow the policy gradient, with a moving average as baseline."""

from __future__ import annotations

import dataclasses

from nasx.space import Genotypes
from nasx.strategies.reinforcement.base import PolicyStrategy
from nasx.strategies.reinforcement.policies import Floats

__all__ = ["REINFORCE"]


@dataclasses.dataclass(kw_only=True, eq=False)
class REINFORCE(PolicyStrategy):
    """Make choices more probable as far as their rewards are above average.

    Each update is a step of Adam up the mean over `batch_size` rollouts of advantage times log-probability;
    the log-probability of a rollout is the sum over its active decisions. The advantage is the reward less
    an exponential moving average of rewards that begins without a bias and includes the reward itself.

    Parameters
    ----------
    policy : {"independent", "lstm"}, default "independent"
        Free logits for each decision, or an LSTM that knows the earlier choices and learns with torch.
    batch_size : int, default 1
        Rollouts in an update.
    learning_rate : float, optional
        Of Adam, about as much as a step changes a weight; by default 0.05 for free logits and 0.003 for an
        LSTM.
    momentum : float, default 0.9
        Of the moving average.
    entropy_weight : float, default 0.0
        Weight of the policy's entropy, summed over the decisions, beside rewards of unit deviation.
    weights : list of float, optional
        Of the objectives, in their order; by default all are equal.
    combine : {"sum", "product"}, default "sum"
        How several objectives become one reward: the sum of the weighted losses, each over its deviation; or
        the product of the values, each to the power of its weight, where a minimised one divides. The
        latter, with accuracy, latency and ``weights=[1, 0.07]``, is MnasNet's soft reward
        ``accuracy * (latency / target)^-0.07``: the target is a constant factor, which no policy feels.
        Values must be positive.
    limit_exponent : float, optional
        Soft limits: a violation v changes a positive reward by the factor (1 + v)^limit_exponent. On a
        latency it is MnasNet's reward with a target that nothing is gained below; its hard one is -1. By
        default, what is over a limit is worse than everything that is not. It is for limits on what an
        evaluation measures: what is over a limit on a cost is known beforehand and never proposed.
    allow_repeats : bool, default False
        Propose architectures that were already proposed or told; for noisy objectives.

    Raises
    ------
    ValueError
        If a setting is out of range.

    See Also
    --------
    nasx.PPO : several careful steps for each batch.

    Notes
    -----
    Rewards are minus the losses, each divided by its running standard deviation, and added up by `weights`;
    Adam does not feel the scale, but the entropy and several objectives do. A failed evaluation is worse than
    everything that finished, and enters neither deviation nor baseline. Architectures that were told before
    and are drawn again are learned from at once, without an evaluation. Those over a limit on costs are drawn
    again; only where nearly all are over one are they learned from too. Several objectives become one number,
    so the search goes to one place of the front; for the whole of it use `nasx.NSGA2`.

    NAS-Bench-201 uses a learning rate of 0.01, with which a few hundred evaluations change the policy little.
    The default was chosen on tables of TransNAS-Bench-101 and NAS-Bench-Macro, with 300 evaluations.

    References
    ----------
    R. J. Williams, "Simple statistical gradient-following algorithms for connectionist reinforcement
    learning", Machine Learning 8, 1992. B. Zoph and Q. V. Le, "Neural architecture search with reinforcement
    learning", ICLR 2017. X. Dong and Y. Yang, "NAS-Bench-201", ICLR 2020. M. Tan et al., "MnasNet", CVPR
    2019.

    Examples
    --------
    >>> from nasx import REINFORCE, Integer, Space
    >>> strategy = REINFORCE()
    >>> strategy = strategy.setup(Space({f"x{i}": Integer(0, 9) for i in range(4)}), seed=0)
    >>> for _ in range(200):
    ...     x = strategy.ask(1)
    ...     strategy.tell(x, x.sum(axis=1))
    >>> bool(strategy.learned_policy.sample(100).sum(axis=1).mean() < 12)  # 18 at first
    True
    """

    momentum: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be at least 0 and below 1; got {self.momentum}")

    @property
    def _momentum(self) -> float:
        return self.momentum

    def _update(self, rows: Genotypes, log_probs: Floats, rewards: Floats, baselines: Floats) -> None:
        self._policy.reinforce(rows, rewards - baselines, self.entropy_weight, self._rate)
