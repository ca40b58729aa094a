"""Which strategies beat random search on measured tables, and by how much: python bench/bench_strategies.py.

Single objective: the mean over the seeds of the best value after 100 evaluations, and how many standard
errors of the difference it is ahead of random search. Two objectives: the share of the true front's
hypervolume after 500 evaluations. NAS-Bench-201, TransNAS-Bench-101 and NAS-Bench-Macro come from a folder of
npz files, NAS-Bench-Graph from its package.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import nasx
from nasx.registry import strategy_class
from nasx.statistics import with_error
from nasx.tasks import TabularBenchmark, tables

BASELINE = "random_search"
# Settings for so few evaluations; the others stay as they are.
SETTINGS: dict[str, dict[str, Any]] = {"nsga2": {"population_size": 20}}
# The least that is wanted: standard errors ahead of random search, and share of the hypervolume.
WANTED_AHEAD = dict.fromkeys(
    ("gaussian_process", "regularized_evolution", "genetic_algorithm", "local_search"), "3 SE"
)
WANTED_SHARE = {"nsga2": "0.99"}
FRONT_STRATEGIES = ("nsga2", "pareto_search")
# After about 100 evaluations, by the paper on NAS-Bench-201: 200-epoch test accuracies on CIFAR-10 in %.
PUBLISHED = {
    "random_search": "93.70 ± 0.36",
    "reinforce": "93.85 ± 0.37",
    "regularized_evolution": "93.92 ± 0.30",
}
PUBLISHED_OPTIMUM = 94.37
TEST = "cifar10_test_200"


@dataclasses.dataclass(frozen=True)
class Case:
    """One run of the bench."""

    title: str
    read: Callable[[Path], TabularBenchmark]
    seeds: int = 200
    evaluations: int = 100
    metrics: tuple[str, ...] = ()


def npz(file: str, objectives: Mapping[str, Any], *metrics: str) -> Callable[[Path], TabularBenchmark]:
    columns = [*objectives, *metrics]
    return lambda data: tables.read_npz(data / f"{file}.npz", objectives=objectives, metrics=columns)


def graph(name: str) -> Callable[[Path], TabularBenchmark]:
    return lambda data: tables.nas_bench_graph(name)


MAXIMIZE = "maximize"
CASES = {
    "nasbench201": Case(
        "NAS-Bench-201, CIFAR-10: validation accuracy after 12 epochs, %",
        npz("nasbench201", {"cifar10_val": MAXIMIZE}, TEST),
        metrics=(TEST,),
    ),
    "arxiv": Case("NAS-Bench-Graph, arxiv: validation score", graph("arxiv")),
    "physics": Case("NAS-Bench-Graph, physics: validation score", graph("physics")),
    "cora": Case("NAS-Bench-Graph, cora: validation score", graph("cora"), seeds=1000),
    "transnas": Case(
        "TransNAS-Bench-101, class_scene: validation accuracy, %",
        npz("transnas101_micro", {"val/class_scene": MAXIMIZE}),
    ),
    "macro": Case(
        "NAS-Bench-Macro, CIFAR-10: test accuracy, mean of three trainings, %",
        npz("nasbench_macro", {"cifar10_test": MAXIMIZE}),
    ),
    "front": Case(
        "NAS-Bench-201, CIFAR-10: validation accuracy and latency on a GTX 1080 Ti",
        npz("nasbench201", {"cifar10_val": MAXIMIZE, "latency_ms/1080ti_1": "minimize"}),
        evaluations=500,
    ),
}


def sampled_strategies() -> list[str]:
    """All that can look things up in a table: no budgets, no shared weights."""
    # NEAT needs a Topology, and transfer is the Gaussian process where there are no sources.
    names = [name for name in nasx.available_strategies() if name not in ("neat", "few_shot_transfer")]
    return [name for name in names if issubclass(strategy_class(name), nasx.SampledStrategy)]


def label(name: str) -> str:
    settings = ", ".join(f"{key}={value}" for key, value in SETTINGS.get(name, {}).items())
    return f"{name}({settings})" if settings else name


def compare(case: Case, data: Path, names: Sequence[str], seeds: int | None) -> None:
    table = case.read(data)
    several = len(table.objectives) > 1
    names = [*dict.fromkeys([*names, BASELINE])]
    extra: dict[str, Any] = {}
    if several:
        worst = table.losses().max(axis=0)
        signs = [1 if way == "minimize" else -1 for way in table.objectives.values()]
        extra["reference"] = dict(zip(table.objectives, (signs * worst).tolist(), strict=True))
        extra["front"] = table.pareto_front()[1]
    start = time.perf_counter()
    comparison = nasx.compare(
        table.space,
        table,
        {name: strategy_class(name)(**SETTINGS.get(name, {})) for name in names},
        evaluations=case.evaluations,
        seeds=seeds or case.seeds,
        metrics=case.metrics,
        **extra,
    )
    seconds = time.perf_counter() - start
    summary = comparison.summary()
    print(f"\n{case.title}")
    print(
        f"{len(table):,} architectures; {comparison.measure} after {case.evaluations} evaluations, mean of "
        f"{len(comparison.seeds)} seeds ± standard error; {seconds:.0f} s"
    )
    header = f"{'strategy':<32} {comparison.measure:>24} {'ahead, SE':>10} {'wanted':>7}"
    print(header + (f" {'200-epoch test':>18} {'published':>14}" if case.metrics else ""))
    for name, one in summary.items():
        ahead = "" if name == BASELINE else f"{comparison.versus(name, BASELINE).z:.1f}"
        target = (WANTED_SHARE if several else WANTED_AHEAD).get(name, "")
        line = f"{label(name):<32} {with_error(one.mean, one.standard_error):>24} {ahead:>10} {target:>7}"
        for metric in case.metrics:
            line += f" {with_error(*one.metrics[metric]):>18} {PUBLISHED.get(name, ''):>14}"
        print(line)
    if several:
        worst_of = ", ".join(f"{name} {value:.6g}" for name, value in comparison.reference.items())
        print(f"reference point, the worst of each objective: {worst_of}")
        return
    best = table.best()
    (name,) = table.objectives
    optimum = f"{'optimum of the table':<32} {table.evaluate(best, seed=0)[name]:>24.6g} {'':>10} {'':>7}"
    for metric in case.metrics:
        optimum += f" {np.max(table.columns[metric]):>18.6g} {PUBLISHED_OPTIMUM:>14}"
    print(optimum)
    if case.metrics:
        print(
            "200-epoch test: accuracy of the chosen cell, never used to choose it, mean ± standard error; "
            "published: mean ± standard deviation"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--table", choices=CASES, action="append", help="only this one; may come again")
    parser.add_argument("--seeds", type=int, help="instead of 200, and 1000 on cora")
    parser.add_argument("--strategies", nargs="+", choices=sampled_strategies(), metavar="NAME")
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(__file__).resolve().parents[2] / "shared" / "data",
        help="folder of the npz files; default: %(default)s",
    )
    options = parser.parse_args()
    everything = sampled_strategies()
    for name in options.table or CASES:
        default = [s for s in FRONT_STRATEGIES if s in everything] if name == "front" else everything
        compare(CASES[name], options.data, options.strategies or default, options.seeds)


if __name__ == "__main__":
    main()
