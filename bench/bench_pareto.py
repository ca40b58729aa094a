"""Non-dominated ranks and crowding distances against moocore and pymoo: python bench/bench_pareto.py."""

from __future__ import annotations

from harness import compare, describe  # first: it sets up the process

import time  # isort: skip

import moocore
import numpy as np
import pygmo
from pymoo.operators.survival.rank_and_crowding.metrics import calc_crowding_distance
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from nasx import pareto


def uniform(n: int, m: int) -> np.ndarray:
    return np.random.default_rng(0).random((n, m))


def many_fronts(n: int, m: int) -> np.ndarray:
    """Points strung along the diagonal: hundreds of small fronts."""
    rng = np.random.default_rng(0)
    return rng.random((n, 1)) + 0.01 * rng.random((n, m))


def plane(n: int, m: int) -> np.ndarray:
    """Points on a plane, none of which dominates another: one large front."""
    points = np.random.default_rng(0).exponential(size=(n, m))
    return points / points.sum(axis=1, keepdims=True)


def pymoo_ranks(losses: np.ndarray) -> np.ndarray:
    return NonDominatedSorting().do(losses, return_rank=True)[1]


def ranks() -> None:
    cases = [
        ("uniform", uniform, 10_000, 2, 1.3),
        ("uniform", uniform, 10_000, 3, 3),
        ("uniform", uniform, 100_000, 3, 3),
        ("uniform", uniform, 10_000, 5, 4),
        ("many small fronts", many_fronts, 10_000, 3, 5),
        ("many small fronts", many_fronts, 10_000, 5, 10),
        ("one large front", plane, 100_000, 5, 1),
    ]
    for name, make, n, m, target in cases:
        losses = make(n, m)
        case = f"rank n={n} m={m} {name}"
        compare(
            case,
            "moocore",
            lambda x=losses: moocore.pareto_rank(x),
            lambda x=losses: pareto.rank(x),
            lambda a, b: np.array_equal(a - a.min(), b),
            target=target,
        )
        if n <= 10_000:  # pymoo compares all pairs: 10^5 rows do not fit in memory
            compare(
                case,
                "pymoo",
                lambda x=losses: pymoo_ranks(x),
                lambda x=losses: pareto.rank(x),
                np.array_equal,
                target=target,
                repeats=7,
            )


def growth() -> None:
    """Time a point over sizes, beside the complexity that the documentation states."""
    stated = {2: "n log n", 3: "n log^2 n", 5: "n^2 / 512 words, behind the cost of sorting"}
    print("\ngrowth of rank, uniform: nanoseconds a point")
    for m in (2, 3, 5):
        cells = []
        for n in (1_000, 10_000, 100_000):
            losses = uniform(n, m)
            cells.append(f"n={n}: {_best(losses) / n * 1e9:8.1f}")
        print(f"  m={m}  " + "   ".join(cells) + f"   ({stated[m]})")


def _best(losses: np.ndarray) -> float:
    found = []
    for _ in range(5):
        start = time.perf_counter()
        pareto.rank(losses)
        found.append(time.perf_counter() - start)
    return min(found)


def crowding() -> None:
    for m in (2, 3):
        losses = uniform(10_000, m)
        one_front = np.zeros(len(losses), np.int32)
        compare(
            f"crowding n=10000 m={m}",
            "pymoo",
            lambda x=losses: calc_crowding_distance(x),
            lambda x=losses, r=one_front: pareto.crowding_distance(x, r),
            lambda a, b, m=m: np.allclose(a * m, b),  # pymoo takes the mean over objectives
            target=3,
        )
        front = plane(10_000, m)  # pygmo takes points of which none dominates another
        compare(
            f"crowding n=10000 m={m} one front",
            "pygmo",
            lambda x=front: pygmo.crowding_distance(x),
            lambda x=front, r=one_front: pareto.crowding_distance(x, r),
            np.allclose,
            target=3,
        )


if __name__ == "__main__":
    describe("moocore", "pymoo", "pygmo")
    ranks()
    crowding()
    growth()
