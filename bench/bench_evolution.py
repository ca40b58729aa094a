"""Regularised evolution on a table of measured networks: python bench/bench_evolution.py."""

from __future__ import annotations

from harness import compare, describe  # first: it sets up the process

import random  # isort: skip
from collections import deque
from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np

import nasx
from nasx.tasks import TabularBenchmark

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "nasbench201.npz"
DECISIONS, CHOICES = 6, 5
BATCH = 64


def plain_loop(
    table: dict[tuple[int, ...], float], evaluations: int, population: int, sample: int, seed: int
) -> float:
    """The algorithm as one writes it down in Python; returns the smallest loss."""
    rng = random.Random(seed)
    members: deque[tuple[float, list[int]]] = deque()
    best = float("inf")
    for _ in range(evaluations):
        if len(members) < population:
            child = [rng.randrange(CHOICES) for _ in range(DECISIONS)]
        else:
            contestants = [rng.choice(members) for _ in range(sample)]
            _, parent = min(contestants, key=lambda member: member[0])
            child = parent.copy()
            decision = rng.randrange(DECISIONS)
            child[decision] = rng.choice([c for c in range(CHOICES) if c != parent[decision]])
        loss = table[tuple(child)]
        members.append((loss, child))
        if len(members) > population:
            members.popleft()
        best = min(best, loss)
    return best


def batched_loop(
    table: dict[tuple[int, ...], float], evaluations: int, population: int, sample: int, seed: int
) -> float:
    """The same, a batch at a time, written to be as fast as Python goes."""
    rng = random.Random(seed)
    members: deque[tuple[float, tuple[int, ...]]] = deque(maxlen=population)
    for _ in range(population):
        row = tuple(rng.choices(range(CHOICES), k=DECISIONS))
        members.append((table[row], row))
    best = min(members)[0]
    choices, randrange = rng.choices, rng.randrange
    for done in range(population, evaluations, BATCH):
        told = []
        for _ in range(min(BATCH, evaluations - done)):
            child = list(min(choices(members, k=sample))[1])
            j = randrange(DECISIONS)
            child[j] = (child[j] + 1 + randrange(CHOICES - 1)) % CHOICES
            row = tuple(child)
            told.append((table[row], row))
        members.extend(told)
        best = min(best, min(told)[0])
    return best


def nasx_loop(table: TabularBenchmark, evaluations: int, population: int, sample: int, seed: int) -> float:
    strategy = nasx.RegularizedEvolution(
        population_size=population, sample_size=sample, allow_repeats=True
    ).setup(table.space, seed=seed)
    losses_of = table.cost("loss")
    told = []
    for done in [0, *range(population, evaluations, BATCH)]:
        x = strategy.ask(min(BATCH, evaluations - done) if done else population)
        losses = losses_of(x)
        strategy.tell(x, losses)
        told.append(losses)
    return float(np.concatenate(told).min())


def main() -> None:
    known = nasx.tasks.tables.read_npz(DATA, objectives={"cifar10_val": "maximize"})
    losses = 100 - known.columns["cifar10_val"]
    table = TabularBenchmark(known.space, known.genotypes, {"loss": losses}, objectives={"loss": "minimize"})
    lookup = dict(zip(map(tuple, known.genotypes.tolist()), losses.tolist(), strict=True))

    seeds = count()
    describe()
    loops: dict[str, Callable[..., float]] = {"a loop": plain_loop, "a quick one": batched_loop}
    targets = {"a loop": 50, "a quick one": None}

    def agree(loop: Callable[..., float], population: int, sample: int) -> bool:
        """Both reach the same best after 500 evaluations, on average, within three standard errors."""
        runs = [(500, population, sample, seed) for seed in range(100)]
        found = np.array([[loop(lookup, *r) for r in runs], [nasx_loop(table, *r) for r in runs]])
        theirs, ours = found.mean(axis=1)
        print(f"mean best validation accuracy of 100 runs: {100 - theirs:.2f} and {100 - ours:.2f} %")
        return bool(abs(theirs - ours) < 3 * np.sqrt(found.var(axis=1, ddof=1).sum() / len(runs)))

    for population, sample in ((20, 5), (100, 10)):
        for peer, loop in loops.items():
            size = (200_000, population, sample)
            compare(
                f"200,000 by {BATCH}, {sample} of {population}",
                peer,
                lambda size=size, loop=loop: loop(lookup, *size, next(seeds)),
                lambda size=size: nasx_loop(table, *size, next(seeds)),
                lambda _, __, size=size, loop=loop: agree(loop, *size[1:]),
                target=targets[peer],
            )


if __name__ == "__main__":
    main()
