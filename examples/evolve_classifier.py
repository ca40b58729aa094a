"""Evolve a classifier of breast-cancer data, and compare it with dense networks of as many weights.

NEAT searches structure and weights by accuracy and size; nothing is trained by gradients until the end, when
torch trains the weights of the evolved network further. Run it with ``pip install 'nasx[torch,data]'``; it
takes about a minute.
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from torch import nn

import nasx
from nasx.spaces import Topology


def main() -> None:
    """Search, train on, compare."""
    x, y = load_breast_cancer(return_X_y=True)
    x = (x - x.mean(0)) / x.std(0)
    x, x_test, y, y_test = train_test_split(x, y, test_size=0.3, random_state=0, stratify=y)
    inputs = x.shape[1]

    def loss(networks: nasx.spaces.networks.Networks) -> dict[str, np.ndarray]:
        p = np.clip(networks(x)[:, :, 0], 1e-6, 1 - 1e-6)
        return {"loss": -np.where(y, np.log(p), np.log(1 - p)).mean(axis=1)}

    result = nasx.search(
        Topology(inputs, 1, activations=["sigmoid", "tanh", "relu"], initial_connections=0.1),
        loss,
        strategy=nasx.NEAT(population_size=200, add_connection=0.2, weight_power=1.0, weight_range=2.0),
        objectives={"loss": "minimize"},
        costs=["connections"],
        limits={"connections": 40},
        vectorized=True,
        batch_size=200,
        evaluations=40_000,
    )
    network = result.best.architecture
    print(network)
    print(f"evolved: test accuracy {((network(x_test)[:, 0] > 0.5) == y_test).mean():.3f}")

    def trained(module: nn.Module, scores: bool) -> float:
        """Train and give the test accuracy; outputs are probabilities or scores."""
        optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
        criterion = nn.BCEWithLogitsLoss() if scores else nn.BCELoss()
        for _ in range(300):
            optimizer.zero_grad()
            out = module(torch.from_numpy(x))[:, 0]
            criterion(out if scores else out.clamp(1e-6, 1 - 1e-6), torch.from_numpy(y).double()).backward()
            optimizer.step()
        with torch.no_grad():
            out = module(torch.from_numpy(x_test))[:, 0].numpy()
        return float(((out > (0.0 if scores else 0.5)) == y_test).mean())

    weights = network.connections
    has_probabilities = network["nodes"][0]["activation"] == "sigmoid"
    if has_probabilities:
        accuracy = trained(network.to_torch(), scores=False)
        print(f"evolved, then trained by gradients: test accuracy {accuracy:.3f}")
    torch.manual_seed(0)
    hidden = max(1, round(weights / (inputs + 2)))
    dense = nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, 1)).double()
    count = sum(p.numel() for p in dense.parameters())
    print(f"dense, {count} weights: test accuracy {trained(dense, scores=True):.3f}")


if __name__ == "__main__":
    main()
