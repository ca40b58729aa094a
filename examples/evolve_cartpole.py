"""Evolve a network that balances gymnasium's CartPole-v1: ``pip install nasx gymnasium``; some seconds."""

from __future__ import annotations

import gymnasium
import numpy as np

import nasx
from nasx.spaces import Topology
from nasx.spaces.networks import Network

EPISODES, STEPS = 5, 500


def balanced(network: Network, first: int) -> float:
    """For how many steps a network balances, on average over episodes that are numbered from `first`."""
    environment = gymnasium.make("CartPole-v1")
    total = 0
    for episode in range(EPISODES):
        seen, _ = environment.reset(seed=first + episode)
        done = False
        while not done:
            action = int(network(seen[None])[0, 0] > 0.5)
            seen, _, fallen, late, _ = environment.step(action)
            total += 1
            done = fallen or late
    environment.close()
    return total / EPISODES


def main() -> None:
    """Search, and test on other episodes."""

    def enough(result: nasx.Result, trial: nasx.Trial) -> None:
        if trial.metrics.get("steps") == STEPS:
            raise nasx.StopSearch

    result = nasx.search(
        Topology(inputs=4, outputs=1),
        lambda network: balanced(network, first=0),
        strategy=nasx.NEAT(population_size=50, weight_range=2.0),
        objectives={"steps": "maximize"},
        evaluations=2000,
        callbacks=[enough],
    )
    best = result.best
    steps = best.metrics["steps"]
    print(f"{best.architecture}: {steps:.0f} of {STEPS} steps after {len(result.trials)} networks")
    others = [balanced(best.architecture, first=1000 * (i + 1)) for i in range(10)]
    print(f"on 50 other episodes: {np.mean(others):.0f} steps on average")


if __name__ == "__main__":
    main()
