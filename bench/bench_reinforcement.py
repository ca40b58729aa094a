"""Policies against torch: python bench/bench_reinforcement.py."""

from __future__ import annotations

from harness import compare, describe  # first: it sets up the process

from itertools import cycle  # isort: skip

import numpy as np
import torch

import nasx
from nasx.strategies.reinforcement.lstm import LSTMPolicy

DECISIONS, CHOICES = 40, 8
SPACE = nasx.Space({f"x{j}": nasx.Categorical(range(CHOICES)) for j in range(DECISIONS)})
TABLE = np.random.default_rng(0).random((DECISIONS, CHOICES))
COLUMNS = np.arange(DECISIONS)
RATE = 0.01
PPO_SETTINGS = {"epochs": 4, "clip": 0.2, "value_weight": 0.5, "max_norm": 0.5}


def losses_of(x: np.ndarray) -> np.ndarray:
    losses: np.ndarray = TABLE[COLUMNS, x].sum(axis=1)
    return losses


class TorchPolicy:
    """Free logits with autograd: what one writes in torch, a whole batch in each operation."""

    def __init__(self, algorithm: str, *, critic: bool = False) -> None:
        self.algorithm = algorithm
        self.logits = torch.zeros(DECISIONS, CHOICES, dtype=torch.float64, requires_grad=True)
        self.critic = torch.zeros(DECISIONS, CHOICES, dtype=torch.float64, requires_grad=critic)
        self.constant = torch.zeros(1, dtype=torch.float64, requires_grad=critic)
        self.parameters = [self.logits, self.critic, self.constant] if critic else [self.logits]
        self.adam = torch.optim.Adam(self.parameters, lr=RATE)
        self.seen: set[bytes] = set()
        self.numerator = self.denominator = self.count = self.mean = self.squares = 0.0

    def ask(self, n: int) -> np.ndarray:
        """Draw until there are `n` rows that are new."""
        found: list[np.ndarray] = []
        while len(found) < n:
            with torch.no_grad():
                x = torch.multinomial(self.logits.softmax(dim=1), n - len(found), replacement=True).T
            for row in x.numpy().astype(np.int32):
                key = row.tobytes()
                if key not in self.seen:
                    self.seen.add(key)
                    found.append(row)
        return np.array(found)

    def tell(self, x: np.ndarray, losses: np.ndarray) -> None:
        rewards, baselines = [], []
        for loss in losses.tolist():
            self.count += 1
            before = loss - self.mean
            self.mean += before / self.count
            self.squares += before * (loss - self.mean)
            self.numerator = 0.9 * self.numerator + 0.1 * loss
            self.denominator = 0.9 * self.denominator + 0.1
            deviation = (self.squares / self.count) ** 0.5 or 1.0
            rewards.append((self.mean - loss) / deviation)
            baselines.append((self.mean - self.numerator / self.denominator) / deviation)
        choices = torch.from_numpy(x.astype(np.int64))
        reward = torch.tensor(rewards, dtype=torch.float64)
        if self.algorithm == "reinforce":
            self.reinforce(choices, reward - torch.tensor(baselines, dtype=torch.float64))
        else:
            self.ppo(choices, reward)

    def reinforce(self, choices: torch.Tensor, advantages: torch.Tensor) -> None:
        log_probs = self.logits.log_softmax(dim=1)[COLUMNS, choices].sum(dim=1)
        self.adam.zero_grad()
        (-advantages * log_probs).mean().backward()
        self.adam.step()

    def values(self, choices: torch.Tensor) -> torch.Tensor:
        gains = self.critic[COLUMNS, choices].cumsum(dim=1)
        return self.constant + torch.cat([torch.zeros_like(gains[:, :1]), gains[:, :-1]], dim=1)

    def ppo(self, choices: torch.Tensor, rewards: torch.Tensor) -> None:
        targets = rewards[:, None].expand(-1, DECISIONS)
        with torch.no_grad():
            advantages = targets - self.values(choices)
            behaviour = self.logits.log_softmax(dim=1)[COLUMNS, choices]
        for _ in range(PPO_SETTINGS["epochs"]):
            ratio = (self.logits.log_softmax(dim=1)[COLUMNS, choices] - behaviour).exp()
            near = ratio.clamp(1 - PPO_SETTINGS["clip"], 1 + PPO_SETTINGS["clip"])
            gain = torch.minimum(ratio * advantages, near * advantages)
            error = (self.values(choices) - targets).square() / 2
            self.adam.zero_grad()
            (PPO_SETTINGS["value_weight"] * error - gain).sum(dim=1).mean().backward()
            torch.nn.utils.clip_grad_norm_(self.parameters, PPO_SETTINGS["max_norm"])
            self.adam.step()


def strategies() -> None:
    results = cycle(np.random.default_rng(1).random((1000, 64)))  # nothing is evaluated while the time runs
    for algorithm in ("reinforce", "ppo"):
        for batch, target in ((1, 20), (64, 5)):

            def ours() -> nasx.REINFORCE | nasx.PPO:
                if algorithm == "reinforce":  # noqa: B023
                    strategy: nasx.REINFORCE | nasx.PPO = nasx.REINFORCE(batch_size=batch, learning_rate=RATE)  # noqa: B023
                else:
                    strategy = nasx.PPO(batch_size=batch, learning_rate=RATE, target_kl=0.0, **PPO_SETTINGS)  # noqa: B023
                return strategy.setup(SPACE, seed=0)

            learner, peer = ours(), TorchPolicy(algorithm, critic=algorithm == "ppo")

            def learned_alike(_: object, __: object, batch: int = batch, algorithm: str = algorithm) -> bool:
                """Both are told the same for 30 rounds, and their logits agree."""
                strategy, twin = ours(), TorchPolicy(algorithm, critic=algorithm == "ppo")
                for _round in range(30):
                    x = strategy.ask(batch)
                    strategy.tell(x, losses_of(x))
                    twin.tell(x, losses_of(x))
                logits = strategy.learned_policy.logits.reshape(DECISIONS, CHOICES)
                return bool(np.allclose(logits, twin.logits.detach().numpy(), rtol=1e-6, atol=1e-6))

            def step(one: object, batch: int = batch) -> None:
                x = one.ask(batch)  # type: ignore[attr-defined]
                one.tell(x, next(results)[:batch])  # type: ignore[attr-defined]

            compare(
                f"{algorithm}: ask + tell, batch {batch}",
                "torch",
                lambda peer=peer, step=step: step(peer),
                lambda learner=learner, step=step: step(learner),
                learned_alike,
                target=target,
            )


def lstm_sampling() -> None:
    policy = LSTMPolicy(SPACE.cardinalities, SPACE.conditions, seed=0)
    w = {name: torch.from_numpy(weight) for name, weight in policy.weights.items()}
    cell = torch.nn.LSTMCell(100, 100)
    with torch.no_grad():
        cell.weight_ih.copy_(w["from_input"].T)
        cell.weight_hh.copy_(w["from_hidden"].T)
        cell.bias_ih.copy_(w["bias"])
        cell.bias_hh.zero_()

    def theirs(rows: np.ndarray | None = None, n: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Draw rows, or follow given ones, and give the log-probabilities."""
        with torch.no_grad():
            x, state, found, chosen = w["start"].expand(n, -1), None, [], []
            for j in range(DECISIONS):
                state = cell(x, state)
                part = slice(j * CHOICES, (j + 1) * CHOICES)
                logits = 2.5 * torch.tanh((state[0] @ w["heads"][part].T + w["head_bias"][part]) / 5)
                log_probs = logits.log_softmax(dim=1)
                if rows is None:
                    choice = torch.multinomial(log_probs.exp(), 1)[:, 0]
                else:
                    choice = torch.from_numpy(rows[:, j].astype(np.int64))
                found.append(log_probs.gather(1, choice[:, None])[:, 0])
                chosen.append(choice)
                x = w["embeddings"][j * CHOICES + choice]
            return torch.stack(chosen, 1).numpy().astype(np.int32), torch.stack(found, 1).numpy()

    def same(_: object, __: object) -> bool:
        rows, log_probs = policy.draw(64, 3, 0)
        return bool(np.allclose(theirs(rows, 64)[1], log_probs, atol=1e-5))

    for n, target in ((1, 20), (64, None)):
        compare(
            f"LSTM: {n} x {DECISIONS} decisions drawn",
            "torch",
            lambda n=n: theirs(n=n),
            lambda n=n: policy.draw(n, 0, 0),
            same,
            target=target,
        )


def main() -> None:
    describe("torch")
    torch.set_num_threads(1)  # operations so small are slower on two
    strategies()
    lstm_sampling()


if __name__ == "__main__":
    main()
