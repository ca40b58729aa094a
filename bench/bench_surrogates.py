"""How good Bayesian and reinforcement-learning searches are on measured tables: bench_surrogates.py.

After 100 evaluations: Gaussian processes and TPE beside random search, regularised evolution and Optuna's
samplers of the same methods, which propose to the same tables in a process of their own. After 300: REINFORCE
and PPO beside random search. A figure is the mean over the seeds of the best validation score; NAS-Bench-201
comes from a folder of npz files, NAS-Bench-Graph from its package.

Optuna gets as many seeds as nasx; its GPSampler takes an hour for those on cora. What it finds does not
depend on nasx, so it can be kept: `--peer GPSampler --table cora --seeds 200 > FOLDER/cora_GPSampler.json`,
and then `--found FOLDER`.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from bench_strategies import CASES

import nasx
from nasx.statistics import mean_and_error, with_error
from nasx.tasks import TabularBenchmark

TABLES = ("nasbench201", "cora", "arxiv", "physics")
# Seeds for what is cheap, and for Gaussian processes; on cora, where one evaluation says little, more.
SEEDS, SEEDS_GP = {"cora": 1000}, {"cora": 200}
PEERS = {"tpe": "TPESampler", "gaussian_process": "GPSampler"}
RANDOM, EVOLUTION = "random_search", "regularized_evolution"


class Scores(NamedTuple):
    """The best values of one strategy, one for each seed, and what they took."""

    values: np.ndarray
    seconds: float

    def ahead(self, other: Scores) -> float:
        """By how many standard errors of the difference these are better."""
        (mean, error), (other_mean, other_error) = mean_and_error(self.values), mean_and_error(other.values)
        return (mean - other_mean) / (math.hypot(error, other_error) or math.nan)


def ours(table: TabularBenchmark, name: str, seeds: int, evaluations: int) -> Scores:
    began = time.perf_counter()
    comparison = nasx.compare(
        table.space, table, [name], evaluations=evaluations, seeds=seeds, progress=False
    )
    (runs,) = comparison.runs.values()
    return Scores(comparison.filled(runs.scores), time.perf_counter() - began)


def theirs(sampler: str, case: str, options: argparse.Namespace, seeds: int, evaluations: int) -> Scores:
    """Ask this file in another process, where only Optuna searches; or read what it answered before."""
    kept = options.found / f"{case}_{sampler}.json" if options.found else None
    if kept and kept.exists():
        found = json.loads(kept.read_text())
        if len(found["values"]) != seeds:
            raise SystemExit(f"{kept} has {len(found['values'])} seeds; {seeds} are needed")
    else:
        command = [sys.executable, __file__, "--peer", sampler, "--table", case, "--data", str(options.data)]
        command += ["--seeds", str(seeds), "--evaluations", str(evaluations)]
        found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return Scores(np.array(found["values"]), found["seconds"])


def peer(sampler: str, table: TabularBenchmark, seeds: int, evaluations: int) -> dict[str, Any]:
    """Let one of Optuna's samplers search; what the space excludes is pruned and counts."""
    import warnings

    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    space = table.space
    (objective,) = table.objectives
    choices = {name: list(range(n)) for name, n in zip(space, space.cardinalities, strict=True)}

    def evaluate(trial: optuna.Trial) -> float:
        row = np.array([[trial.suggest_categorical(name, some) for name, some in choices.items()]], np.int32)
        if not space.satisfies(row).all():
            raise optuna.TrialPruned
        return float(table.evaluate_many(space.canonicalize(row))[objective][0])

    values, began = [], time.perf_counter()
    for seed in range(seeds):
        study = optuna.create_study(
            direction="maximize", sampler=getattr(optuna.samplers, sampler)(seed=seed)
        )
        study.optimize(evaluate, n_trials=evaluations)
        values.append(study.best_value)
    return {"values": values, "seconds": time.perf_counter() - began}


def bayesian(case: str, options: argparse.Namespace) -> None:
    table = CASES[case].read(options.data)
    many, some = options.seeds or SEEDS.get(case, 200), options.seeds_gp or SEEDS_GP.get(case, 50)
    print(f"\n{CASES[case].title}; best after 100 evaluations", flush=True)
    print(f"{'method':<24} {'seeds':>5} {'mean':>20} {'over random':>12} {'over evolution':>15} {'peer':>7}")
    rivals = {name: ours(table, name, many, 100) for name in (RANDOM, EVOLUTION)}
    for name, scores in rivals.items():
        row(name, scores, rivals)
    for name, sampler in PEERS.items():
        n = some if name == "gaussian_process" else many
        mine = ours(table, name, n, 100)
        row(name, mine, rivals)
        rival = theirs(sampler, case, options, n, 100)
        row(f"optuna {sampler}", rival, rivals, f"{mine.ahead(rival):+.1f}")
    print(f"{'optimum of the table':<24} {'':>5} {optimum(table):>20.6g}")


def policies(case: str, options: argparse.Namespace) -> None:
    table = CASES[case].read(options.data)
    many = options.seeds or SEEDS.get(case, 200)
    print(f"\n{CASES[case].title}; best after 300 evaluations", flush=True)
    print(f"{'method':<24} {'seeds':>5} {'mean':>20} {'over random':>12} {'over evolution':>15} {'peer':>7}")
    rivals = {name: ours(table, name, many, 300) for name in (RANDOM, EVOLUTION)}
    for name, scores in rivals.items():
        row(name, scores, rivals)
    for name in ("reinforce", "ppo"):
        row(name, ours(table, name, many, 300), rivals)


def row(name: str, scores: Scores, rivals: dict[str, Scores], peer: str = "") -> None:
    ahead = ["" if name == rival else f"{scores.ahead(rivals[rival]):.1f} SE" for rival in rivals]
    mean = with_error(*mean_and_error(scores.values))
    print(
        f"{name:<24} {len(scores.values):>5} {mean:>20} {ahead[0]:>12} {ahead[1]:>15} {peer:>7}"
        f"  ({scores.seconds:.0f} s)",
        flush=True,
    )


def optimum(table: TabularBenchmark) -> float:
    (name,) = table.objectives
    return float(table.evaluate(table.best(), seed=0)[name])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--table", choices=TABLES, action="append", help="only this one; may come again")
    parser.add_argument("--part", choices=("bayesian", "policies"), help="only this part")
    parser.add_argument("--seeds", type=int, help="instead of 200, and 1000 on cora")
    parser.add_argument("--seeds-gp", type=int, help="instead of 50, and 200 on cora")
    parser.add_argument("--peer", choices=PEERS.values(), help="let Optuna search and print JSON")
    parser.add_argument("--evaluations", type=int, default=100, help="of a peer")
    parser.add_argument("--found", type=Path, help="folder of what peers printed before")
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(__file__).resolve().parents[2] / "shared" / "data",
        help="folder of the npz files; default: %(default)s",
    )
    options = parser.parse_args()
    if options.peer:
        (case,) = options.table
        table = CASES[case].read(options.data)
        print(json.dumps(peer(options.peer, table, options.seeds, options.evaluations)))
        return
    for case in options.table or TABLES:
        if options.part != "policies":
            bayesian(case, options)
        if options.part != "bayesian":
            policies(case, options)


if __name__ == "__main__":
    main()
