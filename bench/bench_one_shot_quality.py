"""What one-shot search finds in NAS-Bench-201's space: python bench/bench_one_shot_quality.py.

For every seed a supernet learns Fashion-MNIST by single paths; a genetic search by shared weights chooses a
cell, whose place in the table of 200-epoch accuracies on CIFAR-10 is printed beside random cells'. Scores
of random cells by shared weights are then correlated with the table: with the batch normalisations that
training leaves, with those measured anew for each cell, and after the supernet is split at one edge.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import multiprocessing
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from bench_differentiable import FASHION, fashion
from scipy.stats import kendalltau

import nasx
from nasx.statistics import mean_and_error, with_error
from nasx.tasks import SharedWeights, tables


class Plan(NamedTuple):
    """What is done with every seed."""

    images: int
    epochs: int
    split_epochs: int
    cells: int
    evaluations: int
    threads: int
    fashion: str
    table: Path


class Found(NamedTuple):
    """What came of one seed; the correlations are Kendall's tau with the table."""

    seed: int
    percentile: float
    random_percentile: float
    tau: float
    tau_without: float
    tau_split: float
    split_percentile: float
    minutes: float


def accuracies(plan: Plan) -> dict[bytes, float]:
    """The table: genotype -> test accuracy after 200 epochs on CIFAR-10."""
    benchmark = tables.read_npz(plan.table / "nasbench201.npz", objectives={"cifar10_test_200": "maximize"})
    column = np.asarray(benchmark.columns["cifar10_test_200"], np.float64)
    rows = nasx.spaces.NASBench201().enumerate()
    return dict(zip((row.tobytes() for row in rows), column.tolist(), strict=True))


def run(plan: Plan, seed: int) -> Found:
    """Train, search and correlate, one-shot and few-shot, with one seed."""
    torch.set_num_threads(plan.threads)
    begun = time.perf_counter()
    table = accuracies(plan)
    everything = np.sort(list(table.values()))
    task = nasx.tasks.ImageClassification(**fashion(plan.fashion, plan.images), device="cpu")
    space = nasx.spaces.NASBench201(cells=1, channels=8)
    one_shot = nasx.SPOS(epochs=plan.epochs, batch_size=64)
    few_shot = nasx.FewShot(base=one_shot, split_epochs=plan.split_epochs)
    rows = space.sample(plan.cells, seed=1000 + seed)
    truth = np.array([table[row.tobytes()] for row in rows])

    def percentile(architecture: nasx.Architecture) -> float:
        place = np.searchsorted(everything, table[architecture.genotype.tobytes()], side="right")
        return 100.0 * float(place) / len(everything)

    def tau(supernet: object, batches: int) -> float:
        shared = SharedWeights(supernet, task, seed=seed, batches=batches)
        scores = [shared.evaluate(space.architecture(row))["accuracy"] for row in rows]
        return float(kendalltau(scores, truth).statistic)

    found = []
    for strategy in (one_shot, few_shot):
        result = nasx.search(
            space, task, strategy=strategy, evaluations=plan.evaluations, seed=seed, progress=False
        )
        assert result.best is not None
        found.append((percentile(result.best.architecture), result.supernet))
    (percentile_one, supernet), (percentile_few, split) = found
    drawn = [percentile(space.architecture(row)) for row in rows]
    return Found(
        seed,
        percentile_one,
        float(np.mean(drawn)),
        tau(supernet, 20),
        tau(supernet, 0),
        tau(split, 20),
        percentile_few,
        (time.perf_counter() - begun) / 60,
    )


def show(done: Sequence[Found]) -> None:
    """Means over the seeds with their standard errors, and paired differences."""
    columns = {name: np.array([getattr(one, name) for one in done]) for name in Found._fields}

    def line(text: str, values: np.ndarray) -> None:
        print(f"{text:<66} {with_error(*mean_and_error(values)) if len(values) > 1 else f'{values[0]:.3g}'}")

    print()
    line("percentile of the cell that one-shot search chooses", columns["percentile"])
    line("percentile of the cell that few-shot search chooses", columns["split_percentile"])
    line("mean percentile of random cells", columns["random_percentile"])
    line("one-shot minus random", columns["percentile"] - columns["random_percentile"])
    line("few-shot minus random", columns["split_percentile"] - columns["random_percentile"])
    line("Kendall's tau, one-shot (published on CIFAR-10: 0.49)", columns["tau"])
    line("Kendall's tau, few-shot, one edge split (published: 0.55)", columns["tau_split"])
    line("few-shot minus one-shot, paired", columns["tau_split"] - columns["tau"])
    line("Kendall's tau, one-shot, without recalibration", columns["tau_without"])
    line("recalibrated minus without, paired", columns["tau"] - columns["tau_without"])
    print(f"{columns['minutes'].sum():.0f} minutes of processes in all")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--images", type=int, default=10_000, help="to train on")
    parser.add_argument("--epochs", type=int, default=30, help="of the supernet")
    parser.add_argument("--split-epochs", type=int, default=6, help="of each part that it is split into")
    parser.add_argument("--cells", type=int, default=1000, help="random cells to correlate")
    parser.add_argument("--evaluations", type=int, default=500, help="of a search")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared/data")
    parser.add_argument("--fashion", default=FASHION, help="folder of Fashion-MNIST's four files")
    options = parser.parse_args()
    plan = Plan(
        options.images,
        options.epochs,
        options.split_epochs,
        options.cells,
        options.evaluations,
        max(1, torch.get_num_threads() // options.workers),
        options.fashion,
        options.data,
    )
    print(f"{plan}, torch {torch.__version__}")
    done = []
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(options.workers, mp_context=context) as pool:
        jobs = [pool.submit(run, plan, seed) for seed in range(options.seeds)]
        for future in concurrent.futures.as_completed(jobs):
            done.append(future.result())
            print("  " + ", ".join(f"{k} {v:.3g}" for k, v in done[-1]._asdict().items()), flush=True)
    show(sorted(done))


if __name__ == "__main__":
    main()
