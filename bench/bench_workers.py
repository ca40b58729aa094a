"""How well two worker processes are used, beside the ideal: python bench/bench_workers.py."""

from __future__ import annotations

from harness import machine  # first: it sets up the process

import statistics  # isort: skip
import time

import nasx

SPACE = nasx.Space({"a": nasx.Integer(0, 999), "b": nasx.Integer(0, 999)})


def even(architecture: nasx.Architecture) -> float:
    time.sleep(0.05)
    return 0.0


def uneven(architecture: nasx.Architecture) -> float:
    """Between 10 and 500 ms."""
    time.sleep(0.01 + 0.49 * architecture["a"] / 999)
    return 0.0


def efficiency(task: object, evaluations: int, strategy: str, seed: int) -> float:
    """Work done over the workers' time, from the first evaluation on: processes take a second to start."""
    result = nasx.search(
        SPACE,
        task,
        objectives={"x": "minimize"},
        strategy=strategy,
        evaluations=evaluations,
        workers=2,
        seed=seed,
    )
    begun = min(trial.started for trial in result.trials)
    ended = max(trial.started + trial.seconds for trial in result.trials)
    return sum(trial.seconds for trial in result.trials) / (2 * (ended - begun))


def main() -> None:
    machine()
    print(f"\n{'two workers':<34} {'strategy':<22} {'median (least) of 7':>22} {'target':>7}")
    for name, task, evaluations, target in (
        ("evaluations of 50 ms", even, 200, 0.95),
        ("uneven ones, 10 to 500 ms", uneven, 60, 0.90),
    ):
        for strategy in ("random_search", "regularized_evolution"):
            found = [efficiency(task, evaluations, strategy, seed) for seed in range(7)]
            cell = f"{statistics.median(found):.3f} ({min(found):.3f})"
            print(f"{name:<34} {strategy:<22} {cell:>22} {target:>7g}", flush=True)


if __name__ == "__main__":
    main()
