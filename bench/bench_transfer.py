"""What earlier searches are worth: python bench/bench_transfer.py [--only WORD] [--seeds N].

`graph`: NAS-Bench-Graph, nine data sets, each the target in turn, with 100 random evaluations on each of
the next four as sources. `transnas`: TransNAS-Bench-101, one task by the other three. `control`: the first
again with shuffled scores. `nasbench201`: 200-epoch accuracy by a source of 12-epoch accuracies.
`predictor`: rank correlations of `nasx.models.ArchitecturePredictor`. `cost`: one suggestion against the
same written with BoTorch, if it is installed. Searches count the rank of their best architecture in the
whole table, 0 for the best there is; means are over seeds, and over targets of those. "none" is the same
process without sources and its 10 random architectures first, "none, 5" with as few as transfer begins with.
"""

from __future__ import annotations

from harness import compare, machine  # first: it sets up the process

import argparse  # isort: skip
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

import nasx
from nasx.models import ArchitecturePredictor
from nasx.models import GaussianProcess as Process
from nasx.statistics import mean_and_error, spearman_rho, with_error
from nasx.tasks import TabularBenchmark, tables

GRAPHS = ("arxiv", "citeseer", "computers", "cora", "cs", "photo", "physics", "proteins", "pubmed")
TASKS = ("class_scene", "class_object", "jigsaw", "room_layout")
AFTER = (10, 20, 50, 100)
SOURCE_SIZE = 100
WAYS = ("none", "none, 5", "with")


class Table:
    """Losses of all architectures that were measured, and their ranks."""

    def __init__(self, table: TabularBenchmark, metric: str | None = None) -> None:
        self.space = table.space
        self.rows = np.ascontiguousarray(table.genotypes)
        losses = table.losses({metric: "maximize"} if metric else None)[:, 0]
        self.losses = losses
        self.ranks = np.searchsorted(np.sort(losses), losses)
        self.places = nasx.population.GenotypeSet(len(self.space), self.rows)

    def draw(self, n: int, seed: int) -> np.ndarray:
        """Places of n random architectures."""
        return np.random.default_rng(seed).choice(len(self.rows), n, replace=False)

    def source(self, seed: int, *, shuffled: bool = False, n: int = SOURCE_SIZE) -> dict[str, Any]:
        some = self.draw(n, seed)
        losses = self.losses[some]
        if shuffled:
            losses = np.random.default_rng([seed, 1]).permutation(losses)
        return {
            "decisions": self.space.to_dict()["decisions"],
            "genotypes": self.rows[some].tolist(),
            "losses": losses[:, None].tolist(),
            "violations": [0.0] * n,
        }

    def search(self, strategy: nasx.SampledStrategy, evaluations: int, seed: int) -> np.ndarray:
        """Places of what was evaluated; what was never measured is skipped."""
        strategy.setup(
            self.space, seed=seed, cost_violation=lambda x: (self.places.find(x) < 0).astype(np.float64)
        )
        found = []
        self.weights: list[np.ndarray] = []  # at each proposal
        for _ in range(evaluations):
            x = strategy.ask(1)
            if isinstance(strategy, nasx.FewShotTransfer):
                self.weights.append(strategy.weights)
            place = int(self.places.find(x)[0])
            found.append(place)
            strategy.tell(x, self.losses[[place]])
        return np.array(found)


def ranks_after(table: Table, strategy: nasx.SampledStrategy, seed: int) -> list[float]:
    best = np.minimum.accumulate(table.ranks[table.search(strategy, max(AFTER), seed)])
    return [float(best[n - 1]) for n in AFTER]


def searched(
    case: tuple[str, Table, list[Table]], seeds: int, shuffled: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Ranks (3, seeds, len(AFTER)) without sources, without but as early, and with them; and the weights."""
    _, table, others = case
    ranks, weights = [], []
    for seed in range(seeds):
        sources = [other.source(1000 * seed + i, shuffled=shuffled) for i, other in enumerate(others)]
        strategies = (
            nasx.GaussianProcess(),
            nasx.GaussianProcess(n_startup=5),
            nasx.FewShotTransfer(sources=sources),
        )
        ranks.append([ranks_after(table, strategy, seed) for strategy in strategies])
        weights.append([table.weights[n - 1] for n in AFTER[:3]])
    return np.array(ranks).transpose(1, 0, 2), np.array(weights)


def contest(
    title: str,
    cases: Sequence[tuple[str, Table, list[Table]]],
    seeds: int,
    workers: int,
    *,
    shuffled: bool = False,
) -> None:
    """Compare a Gaussian process with and without sources, target by target and on average."""
    print(f"\n{title}: mean rank of the best after so many evaluations, {seeds} seeds")
    print(
        f"{'target':<14} {'sources':<8}"
        + "".join(f"{n:>16}" for n in AFTER)
        + "   Spearman: weights at 10/20/50"
    )
    every = []
    # Of each target, correlations and weights of its sources.
    judged: list[tuple[np.ndarray, np.ndarray]] = []

    def show(name: str, label: str, found: np.ndarray, rest: str) -> None:
        cells = "".join(f"{with_error(*mean_and_error(column)):>16}" for column in found.T)
        print(f"{name:<14} {label:<8}{cells}   {rest}".rstrip(), flush=True)

    with ProcessPoolExecutor(workers, multiprocessing.get_context("fork")) as pool:
        results = pool.map(searched, cases, repeat(seeds), repeat(shuffled))
        for (name, table, others), (ranks, weights) in zip(cases, results, strict=True):
            correlations = np.array([correlation(table, other) for other in others])
            for label, found in zip(WAYS, ranks, strict=True):
                told = weights_and_correlations(correlations, weights.mean(0)) if label == WAYS[-1] else ""
                show(name, label, found, told)
            every.append(ranks)
            judged.append((correlations, weights[..., :-1]))
    mean = np.mean(every, axis=0)  # over targets, (3, seeds, len(AFTER))
    for label, found in zip(WAYS, mean, strict=True):
        show("mean", label, found, "")
    for label, columns in zip(WAYS, mean[:2] - mean[2], strict=False):
        for n, column in zip(AFTER, columns.T, strict=True):
            mean, error = mean_and_error(column)
            errors = mean / error if error else 0
            print(
                f"after {n:>3}, against {label}: better by {mean:8.1f} ranks, {errors:6.1f} standard errors"
            )

    if not shuffled:
        for i, n in enumerate(AFTER[:2]):
            slopes = [(c, w[:, i]) for c, w in judged]
            mean, error = mean_and_error(weight_by_correlation(slopes))
            print(
                f"after {n:>3}, weight of a source by its rank correlation with the target: "
                f"{with_error(mean, error)}, {mean / error:.1f} standard errors"
            )


def weight_by_correlation(judged: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Slope (seeds,) of a source's weight over its correlation, least squares within each search.

    Of each target the correlations (sources,) and weights (seeds, sources). A source that agrees with the
    target by 0.1 more than another has a tenth of the slope more weight; sources that agree about as well,
    whose order says nothing, count little.
    """
    centred = [(c - c.mean(), w) for c, w in judged]
    return np.sum([w @ c for c, w in centred], axis=0) / sum(c @ c for c, _ in centred)


def weights_and_correlations(correlations: np.ndarray, weights: np.ndarray) -> str:
    """Weights after 10, 20 and 50 evaluations (3, sources + 1), with the sources' rank correlations."""
    parts = [f"{c:.2f}: {shares(weights[:, i])}" for i, c in enumerate(correlations)]
    return "; ".join([*parts, f"own: {shares(weights[:, -1])}"])


def shares(weights: np.ndarray) -> str:
    return "/".join(f"{weight:.2f}" for weight in weights)


def correlation(table: Table, other: Table) -> float:
    """Spearman's between two tables, over those of 2,000 random architectures that both have, by name."""
    ours = {table.space.decode(table.rows[i]): i for i in table.draw(min(2000, len(table.rows)), 0)}
    theirs = {other.space.decode(row): i for i, row in enumerate(other.rows)}
    pairs = [
        (i, theirs[key])
        for architecture, i in ours.items()
        if (key := _in(other.space, architecture)) in theirs
    ]
    first, second = np.array(pairs).T
    return spearman_rho(table.losses[first], other.losses[second])


def _in(space: nasx.Space, architecture: nasx.Architecture) -> Any:
    try:
        return space.decode(space.encode([dict(architecture)])[0])
    except ValueError:  # a choice that the other space lacks
        return None


def graph_cases(targets: int | None) -> list[tuple[str, Table, list[Table]]]:
    all_of_them = [Table(tables.nas_bench_graph(name)) for name in GRAPHS]
    several = [
        (name, all_of_them[i], [all_of_them[(i + k) % len(GRAPHS)] for k in (1, 2, 3, 4)])
        for i, name in enumerate(GRAPHS)
    ]
    return several[:targets]


def transnas_cases(data: Path, targets: int | None) -> list[tuple[str, Table, list[Table]]]:
    found = {}
    for name in TASKS:
        metric = f"val/{name}"
        table = tables.read_npz(
            data / "transnas101_micro.npz", objectives={metric: "maximize"}, metrics=[metric]
        )
        found[name] = Table(table)
    return [(n, found[n], [found[o] for o in TASKS if o != n]) for n in TASKS][:targets]


def bench_nasbench201(data: Path, seeds: int) -> None:
    metrics = {"val": "cifar10_val", "test": "cifar10_test_200"}
    found = {
        key: Table(
            tables.read_npz(
                data / "nasbench201.npz",
                space=nasx.spaces.NASBench201(),
                objectives={metric: "maximize"},
                metrics=[metric],
            )
        )
        for key, metric in metrics.items()
    }
    source, target = found["val"], found["test"]
    best = target.losses.min()
    regrets: dict[str, list[float]] = {}
    for size in (SOURCE_SIZE, len(source.rows)):
        for seed in range(seeds):
            some = source.draw(size, seed)
            order = some[np.argsort(source.losses[some], kind="stable")]
            strategies = {
                "without sources": nasx.GaussianProcess(),
                f"{size} of the source": nasx.FewShotTransfer(
                    sources=[(source.rows[some], source.losses[some])]
                ),
            }
            for label, strategy in strategies.items():
                if label == "without sources" and size > SOURCE_SIZE:
                    continue
                places = target.search(strategy, 20, seed)
                regrets.setdefault(label, []).append(target.losses[places].min() - best)
            for top in (1, 10):
                regrets.setdefault(f"top {top} of {size} copied", []).append(
                    target.losses[order[:top]].min() - best
                )
    print(f"\nNAS-Bench-201: regret in % of 200-epoch test accuracy after 20 evaluations, {seeds} seeds")
    for label, values in regrets.items():
        print(f"{label:<28} {with_error(*mean_and_error(values)):>16}")


def bench_predictor(cases: Sequence[tuple[str, Table, list[Table]]], seeds: int) -> None:
    print(f"\nSpearman's rho with the target's scores from so many of its results, {seeds} seeds")
    names = ("Gaussian process", "predictor, no sources", "predictor, pre-trained")
    print(f"{'target':<14} {'results':>8}" + "".join(f"{name:>26}" for name in names))
    for name, table, others in cases:
        for n in (10, 30, 100):
            found: list[list[float]] = [[], [], []]
            for seed in range(seeds):
                some, test = table.draw(n, seed), table.draw(2_000, seed + 99)
                x, y = table.rows[some], table.losses[some]
                cardinalities = table.space.cardinalities
                process = Process(cardinalities=cardinalities).fit(x, y)
                plain, trained = (ArchitecturePredictor(cardinalities=cardinalities) for _ in range(2))
                trained.pretrain(
                    [
                        (other.rows[a], other.losses[a])
                        for i, other in enumerate(others)
                        if np.array_equal(other.space.cardinalities, cardinalities)
                        for a in [other.draw(SOURCE_SIZE, 1000 * seed + i)]
                    ]
                )
                guesses = (
                    process.predict(table.rows[test]).mean,
                    plain.fit(x, y).predict(table.rows[test]),
                    trained.fit(x, y).predict(table.rows[test]),
                )
                for column, guess in zip(found, guesses, strict=True):
                    column.append(spearman_rho(guess, table.losses[test]))
            cells = "".join(f"{with_error(*mean_and_error(column)):>26}" for column in found)
            print(f"{name:<14} {n:>8}{cells}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parts = ("graph", "transnas", "control", "nasbench201", "predictor", "cost")
    parser.add_argument("--only", choices=parts, action="append")
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--targets", type=int, help="only so many of the targets")
    parser.add_argument("--workers", type=int, default=1, help="targets that are searched at once")
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(__file__).resolve().parents[2] / "shared" / "data",
        help="folder of the npz files; default: %(default)s",
    )
    options = parser.parse_args()
    nasx.set_num_threads(1)
    machine()
    graphs: list[tuple[str, Table, list[Table]]] = []

    def cases() -> list[tuple[str, Table, list[Table]]]:
        if not graphs:
            graphs.extend(graph_cases(options.targets))
        return graphs

    ways: dict[str, Callable[[], None]] = {
        "graph": lambda: contest("NAS-Bench-Graph", cases(), options.seeds, options.workers),
        "transnas": lambda: contest(
            "TransNAS-Bench-101",
            transnas_cases(options.data, options.targets),
            options.seeds,
            options.workers,
        ),
        "control": lambda: contest(
            "NAS-Bench-Graph, shuffled sources", cases(), options.seeds, options.workers, shuffled=True
        ),
        "nasbench201": lambda: bench_nasbench201(options.data, options.seeds),
        "predictor": lambda: bench_predictor(cases(), min(options.seeds, 10)),
        "cost": bench_cost,
    }
    for part in options.only or parts:
        ways[part]()


def bench_cost() -> None:
    if find_spec("botorch") is None:
        print("\nBoTorch is not installed: the cost of a suggestion is not compared")
        return
    from botorch_transfer import Problem, botorch_suggestion, nasx_suggestion

    problem = Problem()
    print("\none suggestion, 4 sources of 100 results, the target's process fitted to its 50th result:")
    compare(
        "4 x 100 and 50, 8 decisions",
        "botorch",
        lambda: botorch_suggestion(problem),
        lambda: nasx_suggestion(problem),
        problem.alike,
        target=20,
        repeats=7,
    )


if __name__ == "__main__":
    main()
