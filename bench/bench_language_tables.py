"""Strategies on HW-GPT-Bench beside its true front: python bench/bench_language_tables.py.

Perplexity of language models against latency on an A100, without a limit, and with one on latency: the 30th
percentile of those measured. The table holds 10,000 of 1.9e12 GPTs, so that there are two ways to search it:

measured   its rows alone, arranged by width, depth, bias, and the layers' sums of MLP ratios and of heads
           (nasx.tasks.tables.arrange_rows): every answer was measured, and so was the true front.
whole      the whole space. With width, depth and bias given, both metrics are sums over the layers' choices,
           to within the errors that are printed first; the true front of the sums is exact
           (nasx.hardware.pareto_of_sums).

Scores are shares of the true front's hypervolume, means over the seeds ± standard errors, and how many
standard errors of the difference each strategy is ahead of random search. Limits hold before anything is
evaluated. --plot draws, beside the true front, the front of each strategy's median seed.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from bench_strategies import BASELINE, SETTINGS, label, sampled_strategies

import nasx
from nasx import pareto
from nasx._figures import panels
from nasx.hardware import pareto_of_sums
from nasx.registry import strategy_class
from nasx.statistics import with_error
from nasx.tasks import TabularBenchmark, tables

Values = npt.NDArray[np.float64]
OBJECTIVES: dict[str, Any] = {"perplexity": "minimize", "latency_ms": "minimize"}
MEASURED = {"perplexity": "perplexity", "latency_ms": "latency_ms/a100"}
SHARED = ("embed_dim", "n_layer", "bias")
LAYERED = ("n_head", "mlp_ratio")
# Of the measured latencies; the part of them that a limit leaves.
WITHIN = 0.3


@dataclasses.dataclass(frozen=True)
class Case:
    """Something to search, and what is true of it."""

    title: str
    space: nasx.Space
    task: Any
    latency: Callable[[npt.NDArray[np.int32]], Values]
    front: Values  # (n, 2), perplexity and latency: the true front, or all there is


def read(data: Path) -> TabularBenchmark:
    return tables.read_columns(
        data / "hwgpt_s.npz",
        decisions=[*SHARED, *LAYERED],
        length="n_layer",
        objectives={"perplexity": "minimize"},
        metrics=list(MEASURED.values()),
    )


def losses_of(table: TabularBenchmark) -> Values:
    return np.column_stack([table.columns[name] for name in MEASURED.values()])


# -- the measured networks -----------------------------------------------------------------------------------


def measured(table: TabularBenchmark) -> Case:
    def total(kind: str) -> Values:
        columns = [table.space.names.index(name) for name in table.space.names if name.startswith(kind)]
        amounts = np.array([*table.space[f"{kind}.1"].choices, 0], np.float64)  # -1: no such layer
        return amounts[table.genotypes[:, columns]].sum(axis=1)

    rows = tables.arrange_rows(table, decisions=SHARED, traits={kind: total(kind) for kind in LAYERED[::-1]})
    return Case(
        f"the {len(rows):,} measured GPTs",
        rows.space,
        rows,
        rows.cost(MEASURED["latency_ms"]),
        losses_of(table)[pareto.front(losses_of(table))],
    )


# -- the whole space -----------------------------------------------------------------------------------------


class Sums:
    """Perplexity and latency as sums over the layers' choices, for each width, depth and bias their own.

    By least squares; ``entries[width, depth, bias]`` holds (decisions, choices, 2), 0 for the first choice.
    """

    def __init__(self, space: nasx.Space, genotypes: npt.NDArray[np.int32], losses: Values) -> None:
        self.space = space
        counts = space.cardinalities.tolist()
        shared, layered = tuple(counts[: len(SHARED)]), counts[len(SHARED) :]
        self.choices = max(layered)
        self.intercepts = np.zeros((*shared, losses.shape[1]))
        self.entries = np.zeros((*shared, len(layered), self.choices + 1, losses.shape[1]))  # last: inactive
        for group in np.ndindex(*shared):
            rows = (genotypes[:, : len(SHARED)] == group).all(axis=1)
            one_hot = genotypes[rows, len(SHARED) :, None] == np.arange(1, self.choices)
            design = np.column_stack([np.ones(rows.sum()), one_hot.reshape(rows.sum(), -1)])
            found = np.linalg.lstsq(design, losses[rows], rcond=None)[0]
            self.intercepts[group] = found[0]
            self.entries[group][:, 1 : self.choices] = found[1:].reshape(len(layered), -1, losses.shape[1])

    def __call__(self, genotypes: npt.NDArray[np.int32]) -> Values:
        group = tuple(genotypes[:, : len(SHARED)].T)
        taken = np.take_along_axis(
            self.entries[group], genotypes[:, len(SHARED) :, None, None] % (self.choices + 1), axis=2
        )
        sums: Values = self.intercepts[group] + taken[:, :, 0].sum(axis=1)
        return sums

    def front(self) -> Values:
        """Give the exact front of all architectures, (n, 2)."""
        found = []
        for group in np.ndindex(*self.intercepts.shape[:-1]):
            entries = self.entries[group][:, : self.choices]
            part = pareto_of_sums([entries[:, :, k] for k in (0, 1)], cap=10**6)
            if part.epsilon.any():
                raise AssertionError("the front of the sums is not exact")
            found.append(self.intercepts[group] + part.costs)
        every = np.concatenate(found)
        return every[pareto.front(every)]


def whole(table: TabularBenchmark) -> Case:
    losses = losses_of(table)
    out = np.arange(len(table)) % 5 == 0
    told = Sums(table.space, table.genotypes[~out], losses[~out])(table.genotypes[out])
    error = np.abs(told - losses[out])
    print("sums over layers, on a fifth of the table that they were not fitted to:")
    for k, name in enumerate(OBJECTIVES):
        print(f"  {name}: mean error {error[:, k].mean():.3f}, largest {error[:, k].max():.3f}")
    sums = Sums(table.space, table.genotypes, losses)

    def perplexity(architecture: nasx.Architecture) -> dict[str, float]:
        return {"perplexity": float(sums(architecture.genotype[None])[0, 0])}

    return Case(
        f"all {table.space.size:.1e} GPTs, as sums over layers",
        table.space,
        perplexity,
        lambda x: sums(x)[:, 1],
        sums.front(),
    )


# -- searches ------------------------------------------------------------------------------------------------


def methods(names: list[str]) -> dict[str, nasx.SampledStrategy]:
    return {
        name: strategy_class(name)(**SETTINGS.get(name, {})) for name in [*dict.fromkeys([*names, BASELINE])]
    }


def options_of(case: Case, limit: float | None, evaluations: int) -> dict[str, Any]:
    return {
        "objectives": OBJECTIVES,
        "costs": {"latency_ms": case.latency},
        "limits": {} if limit is None else {"latency_ms": limit},
        "evaluations": evaluations,
        "progress": False,
    }


def compare(
    case: Case, losses: Values, limit: float | None, names: list[str], seeds: int, evaluations: int
) -> nasx.Comparison:
    """Compare strategies and print a line for each."""
    within = case.front if limit is None else case.front[case.front[:, 1] <= limit]
    worst = losses.max(axis=0)
    start = time.perf_counter()
    comparison = nasx.compare(
        case.space,
        case.task,
        methods(names),
        seeds=seeds,
        front=within,
        reference={"perplexity": worst[0], "latency_ms": worst[1] if limit is None else limit},
        **options_of(case, limit, evaluations),
    )
    seconds = time.perf_counter() - start
    bound = "no limit" if limit is None else f"at most {limit:.2f} ms"
    print(f"\n{case.title}, {bound}; {evaluations} evaluations, {seeds} seeds; {seconds:.0f} s")
    print(f"{'strategy':<32} {'share of the hypervolume':>25} {'ahead, SE':>10}")
    for name, one in comparison.summary().items():
        ahead = "" if name == BASELINE else f"{comparison.versus(name, BASELINE).z:.1f}"
        print(f"{label(name):<32} {with_error(one.mean, one.standard_error):>25} {ahead:>10}", flush=True)
    print(f"the true front has {len(within)} points")
    return comparison


def typical_fronts(case: Case, comparison: nasx.Comparison, limit: float | None) -> Mapping[str, nasx.Result]:
    """Search again with each strategy's median seed."""
    found = {}
    for name in comparison.summary():
        scores = comparison.runs[name].scores
        seed = comparison.seeds[int(np.argsort(scores)[len(scores) // 2])]
        options = options_of(case, limit, comparison.evaluations)
        found[label(name)] = nasx.search(
            case.space, case.task, strategy=methods([name])[name], seed=seed, **options
        )
    return found


def draw(searches: Mapping[str, tuple[Mapping[str, nasx.Result], Values]], path: Path) -> None:
    """Draw the fronts that were found beside the true ones, a panel for each search."""
    figure, axes = panels(len(searches))
    for axis, (title, (found, truth)) in zip(axes, searches.items(), strict=True):
        nasx.plots.plot_fronts(found, truth=truth, axis=axis)
        axis.set_title(title, fontsize=9)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=("measured", "whole"), help="only this one")
    parser.add_argument("--limit", choices=("none", "latency"), help="only without a limit, or only under it")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--evaluations", type=int, default=300)
    parser.add_argument("--strategies", nargs="+", choices=sampled_strategies(), metavar="NAME")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the fronts into this file")
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(__file__).resolve().parents[2] / "shared" / "data",
        help="folder of the npz files; default: %(default)s",
    )
    options = parser.parse_args()
    table = read(options.data)
    losses = losses_of(table)
    limit = float(np.quantile(losses[:, 1], WITHIN))
    cases = [make(table) for make in (measured, whole) if options.part in (None, make.__name__)]
    limits = [bound for bound, name in ((None, "none"), (limit, "latency")) if options.limit in (None, name)]
    drawn: dict[str, Any] = {}
    for case, bound in itertools.product(cases, limits):
        comparison = compare(
            case,
            losses,
            bound,
            options.strategies or sampled_strategies(),
            options.seeds,
            options.evaluations,
        )
        if options.plot:
            title = case.title if bound is None else f"{case.title}, at most {bound:.2f} ms"
            truth = case.front if bound is None else case.front[case.front[:, 1] <= bound]
            drawn[title] = (typical_fronts(case, comparison, bound), truth)
    if options.plot:
        draw(drawn, options.plot)


if __name__ == "__main__":
    main()
