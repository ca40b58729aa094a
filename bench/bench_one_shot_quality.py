"""How far shared weights can be trusted on real images: python bench/bench_one_shot_quality.py TABLE.

The space of NAS-Bench-201 as a supernet on part of Fashion-MNIST; few-shot search splits the supernets that
one-shot search has trained. Where the chosen cell is in the measured table, beside random cells; Kendall's
tau between scores and table; and what both come to without batch normalisations measured anew. The table's
networks were trained on other images, so that ranks agree in part at most.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait

import numpy as np
import torch
from bench_differentiable import FASHION, fashion

import nasx
from nasx.evaluation import rank_correlation
from nasx.statistics import kendall_tau, mean_and_error, with_error
from nasx.tasks import tables

METRIC = "cifar10_test_200"


def percentile(values: np.ndarray, value: float) -> float:
    """How many of a hundred cells of the table are worse, those that are equal counting half."""
    return float(100 * ((values < value).mean() + (values == value).mean() / 2))


def one_search(
    options: argparse.Namespace, seed: int, parent: nasx.nn.Supernet | None = None
) -> tuple[dict[str, float], nasx.nn.Supernet]:
    """Train or split a supernet and search it, and compare what it says with the table."""
    began = time.perf_counter()
    torch.set_num_threads(options.threads)
    table = tables.read_npz(options.table, objectives={METRIC: "maximize"})
    if options.digits:
        data = nasx.tasks.datasets.load("digits")
    else:
        data = fashion(options.fashion, options.images, options.valid)
    task = nasx.tasks.ImageClassification(
        data["train"],
        data["valid"],
        augment="standard",
        label_smoothing=0.1,
        device="cpu",
        threads=options.threads,
    )
    space = nasx.spaces.NASBench201(cells=1, channels=options.channels)
    settings = {
        "epochs": options.epochs,
        "batch_size": 64,
        "sampling": options.sampling,
        "lr": options.lr,
        "recalibration_batches": options.batches,
    }
    method = "one-shot" if parent is None else "few-shot"
    strategy = nasx.SPOS(**settings)
    if parent is not None:
        children = {"child_epochs": options.child_epochs, "split": options.split, "groups": options.groups}
        strategy = nasx.FewShot(**settings, **children, parent=parent)
    result = nasx.search(
        space, task, strategy=strategy, evaluations=options.evaluations, seed=seed, progress=False
    )
    values = table.columns[METRIC]
    best = table.evaluate_many(result.best.genotype[None])[METRIC][0]
    ranking = {"task": task, "metric": METRIC, "seed": seed, "progress": False}
    own = rank_correlation(
        result.supernet, table, architectures=options.cells, batches=options.batches, **ranking
    )
    found = {"percentile": percentile(values, best), "tau": own.kendall}
    # The same cells with and without statistics of their own: errors against accuracies.
    first = slice(options.uncalibrated)
    shared = rank_correlation(
        result.supernet, table, architectures=own.genotypes[first], batches=0, **ranking
    )
    for what, scores in (("own", own.scores[first]), ("shared", shared.scores)):
        found[f"tau, {what} statistics"] = -kendall_tau(scores, shared.values)
        found[f"mean error, {what} statistics"] = float(scores.mean())
    found["minutes"] = (time.perf_counter() - began) / 60
    found = {f"{method}: {name}": value for name, value in found.items()}
    if method == "one-shot":
        random = np.random.default_rng(seed).choice(values, 20)
        found["random: percentile"] = float(np.mean([percentile(values, value) for value in random]))
    return found, result.supernet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", help="the .npz file of NAS-Bench-201")
    parser.add_argument("--fashion", default=FASHION, help="folder of Fashion-MNIST's four files")
    parser.add_argument("--digits", action="store_true", help="scikit-learn's digits instead, to try it out")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--valid", type=int, default=1000, help="images that cells are scored on")
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--batches", type=int, default=4, help="of 64 images, for a cell's own statistics")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--child-epochs", type=int, default=5)
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--sampling", default="uniform")
    parser.add_argument("--split", default="gradient")
    parser.add_argument("--groups", type=int, default=None)
    parser.add_argument("--evaluations", type=int, default=200)
    parser.add_argument("--cells", type=int, default=1000, help="random ones, for tau")
    parser.add_argument(
        "--uncalibrated", type=int, default=100, help="of them, also with the statistics of all paths"
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0, help="so that several runs can share them")
    parser.add_argument("--workers", type=int, default=2, help="searches that run at once")
    parser.add_argument("--threads", type=int, default=1, help="of each")
    options = parser.parse_args()
    began = time.perf_counter()
    found: dict[int, dict[str, float]] = {
        seed: {} for seed in range(options.first_seed, options.first_seed + options.seeds)
    }
    with ProcessPoolExecutor(options.workers, multiprocessing.get_context("spawn")) as pool:
        waiting = {pool.submit(one_search, options, seed): seed for seed in found}
        split: set[int] = set()
        while waiting:
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                seed = waiting.pop(future)
                results, supernet = future.result()
                found[seed] |= results
                shown = ", ".join(f"{name} {value:.3f}" for name, value in results.items())
                print(f"seed {seed}: {shown}", flush=True)
                if seed not in split:  # few-shot search splits what one-shot search has trained
                    split.add(seed)
                    waiting[pool.submit(one_search, options, seed, supernet)] = seed
    rows = list(found.values())
    for row in rows:
        row["few-shot less one-shot: tau"] = row["few-shot: tau"] - row["one-shot: tau"]
        for method in ("one-shot", "few-shot"):
            row[f"{method} less random: percentile"] = (
                row[f"{method}: percentile"] - row["random: percentile"]
            )
    minutes = (time.perf_counter() - began) / 60
    print(f"\n{options.seeds} seeds, mean and standard error; {minutes:.0f} minutes")
    for name in rows[0]:
        values = [row[name] for row in rows]
        print(f"{name:<45} {with_error(*mean_and_error(values)) if len(values) > 1 else values[0]}")


if __name__ == "__main__":
    main()
