"""Search under limits against HiGHS, and how long samples and fronts take: python bench/bench_budget.py."""

from __future__ import annotations

from harness import compare, describe  # first: it sets up the process

import functools  # isort: skip
import statistics
import time

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import block_diag, csr_matrix

from nasx.hardware import best_under, pareto_of_sums, sample_under

Instance = tuple[np.ndarray, np.ndarray, np.ndarray]  # scores (d, k), costs (m, d, k), limits (m,)


def instance(d: int, k: int, m: int, kind: str, seed: int) -> Instance:
    """Independent scores and costs, or choices that score more the more they cost."""
    rng = np.random.default_rng(seed)
    costs = rng.random((m, d, k))
    scores = rng.random((d, k))
    if kind == "correlated":
        scores = costs.mean(axis=0) + 0.3 * scores
    return scores, costs, np.full(m, 0.35 * d)


def layers(seed: int, n: int = 30) -> Instance:
    """A decoder to be cut: heads, groups and width of each layer, by parameters and milliseconds.

    All layers cost the same; the harm that is done differs, and grows with what is left out.
    """
    rng = np.random.default_rng(seed)
    kept = np.arange(1, 9) / 8
    sizes = np.array([663_552, 221_184, 2_654_208])  # queries and outputs, keys and values, MLP
    params = sizes[:, None] * kept
    # As measured: something to start with, what grows with the width, and a few per cent of noise.
    times = np.array([[0.05], [0.02], [0.04]]) + np.array([[0.35], [0.1], [0.9]]) * kept
    times *= rng.normal(1, 0.03, times.shape)
    harm = rng.lognormal(0, 1, (n, 3, 1)) * sizes[:, None] / 1e6 * (1 - kept) ** rng.uniform(1, 3, (n, 3, 1))
    costs = np.stack([np.tile(params, (n, 1)), np.tile(times, (n, 1))])
    # No sum hits a limit but for rounding, which HiGHS would let pass.
    limits = np.array([0.7, 0.75]) * costs.max(axis=2).sum(axis=1) + np.array([0.5, 0.0])
    return -harm.reshape(3 * n, 8), costs, limits


class Highs:
    """The same as a mixed-integer program, whose matrices are made beforehand."""

    def __init__(self, scores: np.ndarray, costs: np.ndarray, limits: np.ndarray) -> None:
        d, k = scores.shape
        one_each = csr_matrix(block_diag([np.ones((1, k))] * d))
        self.scores = scores.ravel()
        self.constraints = [
            LinearConstraint(one_each, 1, 1),
            LinearConstraint(costs.reshape(len(limits), -1), -np.inf, limits),
        ]

    def __call__(self) -> float:
        found = milp(
            -self.scores,
            constraints=self.constraints,
            integrality=np.ones(len(self.scores)),
            bounds=Bounds(0, 1),
            options={"mip_rel_gap": 0},
        )
        assert found.status == 0, found.message
        return float(-found.fun)


def ours(scores: np.ndarray, costs: np.ndarray, limits: np.ndarray) -> float:
    found = best_under(scores, list(costs), limits.tolist())
    assert (found.costs <= limits).all()
    assert found.gap <= 1e-3 * abs(found.score), f"proven to {found.gap / abs(found.score):.2%} only"
    return found.score


def same(a: float, b: float) -> bool:
    return abs(a - b) <= 1e-6 * abs(b)  # HiGHS may be over a limit by 10^-6


def knapsacks() -> None:
    for d, k, m, target in ((22, 9, 1, 10), (22, 9, 3, 3), (90, 8, 2, 5)):
        for kind in ("independent", "correlated"):
            for seed in range(2):
                made = instance(d, k, m, kind, seed)
                compare(
                    f"best_under {d} x {k}, {m} {kind} {seed}",
                    "HiGHS",
                    Highs(*made),
                    functools.partial(ours, *made),
                    same,
                    target=target,
                    repeats=7,
                )


def transformers() -> None:
    """What `nasx.compress` begins with: 30 layers x 3 decisions x 8 choices, two limits."""
    for seed in range(4):
        made = layers(seed)
        compare(
            f"a decoder's 30 x 3 x 8, 2 limits {seed}",
            "HiGHS",
            Highs(*made),
            functools.partial(ours, *made),
            same,
            target=5,
            repeats=7,
        )


def seconds(call: object, repeats: int = 5) -> str:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()  # type: ignore[operator]
        times.append((time.perf_counter() - start) * 1e3)
    return f"{statistics.median(times):.1f} ms (least {min(times):.1f})"


def samples() -> None:
    """Limits that a known share of all architectures meets: sums of digits, by convolution."""
    d, k, n = 22, 9, 100_000
    rows = np.tile(np.arange(k, dtype=np.float64), (d, 1))
    counts = np.ones(1)
    for _ in range(d):
        counts = np.convolve(counts, np.ones(k))
    shares = np.cumsum(counts) / counts.sum()
    print()
    for wanted in (0.5, 1e-3, 1e-6, 1e-9):
        limit = float(np.searchsorted(shares, wanted))
        drawn = sample_under(rows, limit, n)
        totals = np.bincount(drawn.sum(axis=1), minlength=int(limit) + 1)
        expected = counts[: int(limit) + 1] / counts[: int(limit) + 1].sum()
        assert np.abs(totals / n - expected).max() < 0.01, "the draws are not uniform"
        print(
            f"sample_under {d} x {k}: {n:,} rows at a limit that a share of {shares[int(limit)]:.1e} meets: "
            + seconds(functools.partial(sample_under, rows, limit, n))
        )


def fronts() -> None:
    rng = np.random.default_rng(0)
    print()
    for m in (2, 3):
        for cap in (1_000, 10_000):
            tables = list(rng.random((m, 22, 9)))
            found = pareto_of_sums(tables, cap=cap)
            spread = np.ptp(found.costs, axis=0)
            print(
                f"pareto_of_sums 22 x 9, {m} costs, cap {cap:,}: {len(found):,} points, epsilon "
                f"{(found.epsilon / spread).max():.2%} of the range: "
                + seconds(functools.partial(pareto_of_sums, tables, cap=cap), 3)
            )


if __name__ == "__main__":
    describe("scipy")
    knapsacks()
    transformers()
    samples()
    fronts()
