"""The autoregressive policy in every strategy that can have it passes the suite that all strategies pass."""

from nasx import PPO, REINFORCE
from nasx.testing import StrategyConformance

# A few large updates, of one epoch: each is one of torch, and several are tested with free logits.
SETTINGS = {"policy": "lstm", "batch_size": 16, "learning_rate": 0.03}


class TestREINFORCE(StrategyConformance):
    def make(self, **settings):
        return REINFORCE(**SETTINGS, **settings)


class TestPPO(StrategyConformance):
    def make(self, **settings):
        return PPO(**SETTINGS, minibatch_size=16, epochs=1, **settings)
