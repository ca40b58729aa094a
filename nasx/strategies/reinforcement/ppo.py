"""PPO: several steps for each batch of rollouts, none of them far from the policy that drew them."""

from __future__ import annotations

import dataclasses

from nasx.space import Genotypes
from nasx.strategies.reinforcement.base import PolicyStrategy
from nasx.strategies.reinforcement.policies import Floats, PpoReport, PpoSettings

__all__ = ["PPO"]


@dataclasses.dataclass(kw_only=True, eq=False)
class PPO(PolicyStrategy):
    """Use each batch of rollouts for several steps, clipped where they would go far.

    An architecture is an episode: its decisions are the actions, and the reward comes once, at the end,
    without a discount. A critic, learned beside the policy, estimates the reward from the choices made so
    far. After every `batch_size` rollouts, `epochs` passes over them in minibatches make a step of Adam each
    up the clipped surrogate plus the entropy, less the critic's squared error. Sums go over the active
    decisions of a rollout, means over rollouts. With one epoch over the whole batch this is the policy
    gradient.

    Parameters
    ----------
    policy : {"independent", "lstm"}, default "independent"
        Free logits for each decision, or an LSTM that knows the earlier choices and learns with torch.
    batch_size : int, default 16
        Rollouts in an update.
    learning_rate : float, optional
        Of Adam, about as much as a step changes a weight; by default 0.05 for free logits and 0.003 for an
        LSTM.
    epochs : int, default 4
        Passes over the batch.
    minibatch_size : int, optional
        Rollouts in a step of Adam; by default the whole batch.
    clip : float, default 0.2
        How far the ratio of a choice's probabilities, now and when it was drawn, may be from 1 until the
        step no longer follows it.
    gae_lambda : float, default 1.0
        Of the generalised advantages. 1 is right whatever the critic says; less trusts it more, and gives
        early decisions little as long as it has learned nothing.
    value_weight : float, default 0.5
        Weight of the critic's squared error.
    max_norm : float, default 0.5
        Longest gradient; 0 for any.
    target_kl : float, default 0.02
        Stop the passes when the policy is 1.5 times so far from the one that drew the batch, as a mean over
        decisions; 0 for never.
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
    nasx.REINFORCE : one step for each rollout, and more about rewards.

    Notes
    -----
    Rewards are minus the losses, each less its running mean and divided by its running standard deviation,
    and added up by `weights`. Results that come late count with the probabilities of the policy that drew
    them.

    References
    ----------
    J. Schulman, F. Wolski, P. Dhariwal, A. Radford and O. Klimov, "Proximal policy optimization algorithms",
    2017. J. Schulman, P. Moritz, S. Levine, M. Jordan and P. Abbeel, "High-dimensional continuous control
    using generalized advantage estimation", ICLR 2016.

    Examples
    --------
    >>> from nasx import PPO, Integer, Space
    >>> strategy = PPO()
    >>> strategy = strategy.setup(Space({f"x{i}": Integer(0, 9) for i in range(4)}), seed=0)
    >>> for _ in range(20):
    ...     x = strategy.ask(16)
    ...     strategy.tell(x, x.sum(axis=1))
    >>> bool(strategy.learned_policy.sample(100).sum(axis=1).mean() < 12)  # 18 at first
    True
    """

    batch_size: int = 16
    epochs: int = 4
    minibatch_size: int | None = None
    clip: float = 0.2
    gae_lambda: float = 1.0
    value_weight: float = 0.5
    max_norm: float = 0.5
    target_kl: float = 0.02

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_integers(epochs=1)
        if self.minibatch_size is not None:
            self._check_integers(minibatch_size=1)
        self._check_range("clip", 0, 1)
        self._check_range("gae_lambda", 0, 1)
        for name in ("value_weight", "max_norm", "target_kl"):
            self._check_range(name, 0, float("inf"))

    @property
    def last_update(self) -> PpoReport | None:
        """Steps, divergence and share of clipped decisions of the last update, if there was one."""
        self._require_setup()
        return self._report

    def _start(self) -> None:
        super()._start()
        self._updates = 0
        self._report: PpoReport | None = None

    def _update(self, rows: Genotypes, log_probs: Floats, rewards: Floats, baselines: Floats) -> None:
        settings = PpoSettings(
            learning_rate=self._rate,
            clip=self.clip,
            entropy_weight=self.entropy_weight,
            value_weight=self.value_weight,
            gae_lambda=self.gae_lambda,
            max_norm=self.max_norm,
            target_kl=self.target_kl,
            epochs=self.epochs,
            minibatch_size=self.batch_size if self.minibatch_size is None else self.minibatch_size,
        )
        self._report = self._policy.improve(rows, log_probs, rewards, settings, self.seed, self._updates)
        self._updates += 1
