"""The controller of ENAS written plainly: row by row, decision by decision, with torch's own cell and optimiser."""

import torch
from torch import nn


class PlainController:
    def __init__(
        self, weights, cardinalities, booleans, *, temperature, bound, rate, entropy_weight, decay, skips
    ):
        self.weights = {
            name: nn.Parameter(torch.tensor(w, dtype=torch.float64)) for name, w in weights.items()
        }
        self.cardinalities, self.booleans = list(cardinalities), list(booleans)
        self.temperature, self.bound, self.entropy_weight, self.decay = (
            temperature,
            bound,
            entropy_weight,
            decay,
        )
        self.skip_weight, self.skip_target = skips
        self.optimizer = torch.optim.Adam(self.weights.values(), rate)
        self.means = []

    def along(self, row):
        """Log-probability and entropy of a row, and the divergence of its Boolean decisions."""
        w = self.weights
        x = w["start"][None]
        state = torch.zeros(1, 100, dtype=torch.float64), torch.zeros(1, 100, dtype=torch.float64)
        log_prob = entropy = divergence = torch.zeros((), dtype=torch.float64)
        begin = 0
        for size, boolean, choice in zip(self.cardinalities, self.booleans, row, strict=True):
            if choice >= 0:
                state = torch.lstm_cell(
                    x, state, w["from_input"].T, w["from_hidden"].T, w["bias"], torch.zeros_like(w["bias"])
                )
                logits = w["heads"][begin : begin + size] @ state[0][0] + w["head_bias"][begin : begin + size]
                p = torch.softmax(self.bound * torch.tanh(logits / self.temperature), 0)
                log_prob = log_prob + torch.log(p[choice])
                entropy = entropy - (p * torch.log(p)).sum()
                if boolean:
                    target = torch.tensor([1 - self.skip_target, self.skip_target], dtype=torch.float64)
                    divergence = divergence + (p * torch.log(p / target)).sum()
                x = w["embeddings"][begin + choice][None]
            begin += size
        return log_prob, entropy, divergence

    @property
    def baseline(self):
        weights = [self.decay**age for age in range(len(self.means))][::-1]
        return sum(w * mean for w, mean in zip(weights, self.means, strict=True)) / sum(weights)

    def learn(self, rows, rewards):
        found = [self.along(row) for row in rows]
        gains = [
            reward + self.entropy_weight * entropy.item()
            for reward, (_, entropy, _) in zip(rewards, found, strict=True)
        ]
        self.means.append(sum(gains) / len(gains))
        loss = sum(
            (self.baseline - gain) * log_prob for gain, (log_prob, _, _) in zip(gains, found, strict=True)
        )
        loss = loss + self.skip_weight * sum(divergence for *_, divergence in found) / self.booleans.count(
            False
        )
        self.optimizer.zero_grad()
        (loss / len(rows)).backward()
        self.optimizer.step()
