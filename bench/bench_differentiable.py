"""What DARTS and PC-DARTS find on real images: python bench/bench_differentiable.py CASE.

digits: searches with several seeds; the networks that they derive, retrained, beside random cells of the same
space and budget. fashion: one search of each on 5,000 images of Fashion-MNIST, with learning curves, and time
and memory of its steps beside those of the twin in plain PyTorch (bench_darts.py).
nasbench201: where in NAS-Bench-201's table the derived cells are, searched for on the same images.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import gzip
import math
import multiprocessing
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import nasx
from nasx.statistics import mean_and_error, with_error
from nasx.tasks import tables

METHODS = {"DARTS": nasx.DARTS, "PC-DARTS": nasx.PCDARTS}
# How far architecture parameters can go as published: the rate of Adam times its steps on 25,000 images.
# Searches on fewer images take fewer steps, and a rate that makes up for it.
REACH = {"DARTS": 3e-4 * 50 * 25_000 / 64, "PC-DARTS": 6e-4 * 35 * 25_000 / 256}
BATCH = 64
RANDOM = 1000  # seeds of random cells begin here
FASHION = "/usr/share/datasets/fashion-mnist"


class Trained(NamedTuple):
    """One network: how it was found, and what it came to."""

    method: str
    seed: int
    minutes: float
    skips: str
    test_error: float
    parameters: int
    history: list[dict[str, Any]]
    genotype: list[int]
    warning: str


class Plan(NamedTuple):
    """What is done to every network of a bench."""

    case: str
    space: nasx.Space
    search_epochs: int
    epochs: int
    batch_size: int
    data: str
    threads: int


def digits() -> dict[str, Any]:
    return nasx.tasks.datasets.load("digits")


def fashion(folder: str, train: int = 5000, valid: int = 1000) -> dict[str, Any]:
    """So many images to train on and to validate, and all 10,000 to test on."""
    found = {}
    for name, prefix in (("train", "train"), ("test", "t10k")):
        with gzip.open(Path(folder) / f"{prefix}-images-idx3-ubyte.gz") as file:
            images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 1, 28, 28)
        with gzip.open(Path(folder) / f"{prefix}-labels-idx1-ubyte.gz") as file:
            labels = np.frombuffer(file.read(), np.uint8, offset=8).astype(np.int64)
        found[name] = (images, labels)
    images, labels = found["train"]
    return {
        "train": (images[:train], labels[:train]),
        "valid": (images[train : train + valid], labels[train : train + valid]),
        "test": found["test"],
    }


def task_data(plan: Plan) -> dict[str, Any]:
    return digits() if plan.data == "digits" else fashion(plan.data)


def strategy_of(method: str, epochs: int, images: int) -> nasx.DARTS:
    """The published settings, as far as so few images allow."""
    # PC-DARTS as published: a rate of 0.1 at 256 images, operations on 4 channels (of 16; here of 8).
    more = {"partial_channels": 2} if method == "PC-DARTS" else {}
    strategy = METHODS[method](epochs=epochs, batch_size=BATCH, lr=0.025, **more)
    steps = (epochs - strategy.warmup_epochs) * math.ceil(images / 2 / BATCH)
    return dataclasses.replace(strategy, architecture_lr=REACH[method] / steps)


def task_of(plan: Plan) -> nasx.tasks.ImageClassification:
    return nasx.tasks.ImageClassification(
        **task_data(plan),
        epochs=max(plan.epochs, 1),  # none is used where nothing is trained anew
        batch_size=plan.batch_size,
        augment="standard",
        lr=0.05,
        grad_clip=5.0,
        device="cpu",
    )


def run(plan: Plan, method: str, seed: int) -> Trained:
    """Search, or draw a random architecture, and train it on training and validation images."""
    torch.set_num_threads(plan.threads)
    task = task_of(plan)
    begun = time.perf_counter()
    history: list[dict[str, Any]] = []
    skips = warning = ""
    if method == "random":
        architecture = plan.space.architecture(plan.space.sample(1, seed=RANDOM + seed)[0], spec=task.spec)
    else:
        strategy = strategy_of(method, plan.search_epochs, len(task_data(plan)["train"][1]))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            result = nasx.search(plan.space, task, strategy=strategy, seed=seed, progress=False)
        assert result.best is not None
        architecture, history = result.best.architecture, result.history
        found, operations = result.supernet.skips(architecture)
        skips = f"{found}/{operations}"
        warning = " ".join(str(one.message) for one in caught if "skip connections" in str(one.message))
    minutes = (time.perf_counter() - begun) / 60
    if not plan.epochs:
        return Trained(
            method, seed, minutes, skips, math.nan, 0, history, architecture.genotype.tolist(), warning
        )
    network, metrics = task.retrain(architecture, seed=seed)
    return Trained(
        method,
        seed,
        minutes,
        skips,
        metrics["test_error"],
        sum(parameter.numel() for parameter in network.parameters()),
        history,
        architecture.genotype.tolist(),
        warning,
    )


def run_all(plan: Plan, jobs: Sequence[tuple[str, int]], workers: int) -> list[Trained]:
    """Run jobs in processes of their own, and print each as it ends."""
    done = []
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context) as pool:
        for future in concurrent.futures.as_completed([pool.submit(run, plan, *job) for job in jobs]):
            one = future.result()
            done.append(one)
            searched = f"searched {one.minutes:.1f} min, skips {one.skips}" if one.skips else "drawn"
            trained = f", {one.parameters:,} parameters, test error {100 * one.test_error:.2f} %"
            print(f"  {one.method} {one.seed}: {searched}{trained if plan.epochs else ''}", flush=True)
            if one.warning:
                print(f"    warning: {one.warning}", flush=True)
    return sorted(done, key=lambda one: (one.method, one.seed))


def table(done: Sequence[Trained]) -> None:
    """Mean test errors, and how far each method is from random cells."""
    errors = {
        name: np.array([100 * one.test_error for one in done if one.method == name])
        for name in (*METHODS, "random")
    }
    base, base_error = mean_and_error(errors["random"])
    titles = ["method", "networks", "test error, %", "parameters", "minutes", "minus random"]
    print("\n" + _row(titles))
    for name, values in errors.items():
        if not len(values):
            continue
        mean, error = mean_and_error(values)
        rows = [one for one in done if one.method == name]
        parameters = np.mean([one.parameters for one in rows])
        minutes = np.mean([one.minutes for one in rows])
        cells = [name, str(len(values)), with_error(mean, error), f"{parameters:,.0f}", f"{minutes:.1f}"]
        if name != "random":
            cells.append(f"{mean - base:+.2f} ± {np.hypot(error, base_error):.2f}")
        print(_row(cells))


def _row(cells: Sequence[str]) -> str:
    return " ".join(f"{cell:>{width}}" for cell, width in zip(cells, (10, 8, 16, 11, 8, 14), strict=False))


def curves(done: Sequence[Trained]) -> None:
    """Losses over the epochs of the searches."""
    for one in done:
        for entry in one.history:
            other = entry["architecture_loss"]
            print(
                f"{one.method} epoch {entry['epoch']:>3}: loss {entry['loss']:.3f}, architecture "
                f"{'-' if other is None else f'{other:.3f}'}, {entry['skips']}/{entry['operations']} skips, "
                f"{entry['seconds']:.0f} s"
            )


def steps(space: nasx.Space, in_channels: int, side: int) -> None:
    """Time and memory of the steps of such searches, beside the twin's."""
    program = [sys.executable, str(Path(__file__).with_name("bench_darts.py"))]
    sizes = {
        "channels": space.channels,
        "cells": space.cells,
        "batch-size": BATCH,
        "side": side,
        "in-channels": in_channels,
    }
    program += [part for name, value in sizes.items() for part in (f"--{name}", str(value))]
    for more in ([], ["--memory"]):
        print(flush=True)
        subprocess.run([*program, *more], check=True)


def in_table(done: Sequence[Trained], data: Path) -> None:
    """Ranks of cells among all 15,625 by their 200-epoch test accuracy."""
    benchmark = tables.read_npz(data / "nasbench201.npz", objectives={"cifar10_test_200": "maximize"})
    accuracy = np.asarray(benchmark.columns["cifar10_test_200"])
    space = nasx.spaces.NASBench201()
    names = {name: [one for one in done if one.method == name] for name in METHODS}
    print(f"\nmean of all cells {accuracy.mean():.2f} %, best {accuracy.max():.2f} %")
    for name, rows in names.items():
        for one in rows:
            cell = np.array(one.genotype, np.int32)
            place = int(np.ravel_multi_index(tuple(cell), space.cardinalities))
            rank = int((accuracy > accuracy[place]).sum()) + 1
            text = space.to_string(space.decode(cell))
            print(f"{name} seed {one.seed}: {accuracy[place]:.2f} %, rank {rank:,} of 15,625, {text}")
            if one.warning:
                print(f"    warning: {one.warning}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("case", choices=("digits", "fashion", "nasbench201"))
    parser.add_argument("--seeds", type=int, help="searches of each method")
    parser.add_argument("--random", type=int, help="random cells")
    parser.add_argument("--search-epochs", type=int)
    parser.add_argument("--epochs", type=int, help="of the final training")
    parser.add_argument("--workers", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared/data")
    parser.add_argument("--fashion", default=FASHION, help="folder of Fashion-MNIST's four files")
    options = parser.parse_args()
    settings: dict[str, tuple[nasx.Space, int, int, int, int, str]] = {
        "digits": (nasx.spaces.DARTS(cells=3, channels=8), 50, 30, 5, 20, "digits"),
        "fashion": (nasx.spaces.DARTS(cells=5, channels=8), 10, 10, 1, 5, options.fashion),
        "nasbench201": (nasx.spaces.NASBench201(cells=1, channels=8), 25, 0, 5, 0, "digits"),
    }
    space, search_epochs, epochs, seeds, cells, data = settings[options.case]
    plan = Plan(
        options.case,
        space,
        options.search_epochs or search_epochs,
        options.epochs or epochs,
        96,
        data,
        max(1, torch.get_num_threads() // options.workers),
    )
    print(f"{plan}, torch {torch.__version__}")
    seeds = seeds if options.seeds is None else options.seeds
    cells = cells if options.random is None else options.random
    jobs = [(name, seed) for seed in range(seeds) for name in METHODS] + [
        ("random", seed) for seed in range(cells)
    ]
    done = run_all(plan, jobs, options.workers)
    if options.case == "fashion":
        curves(done)
        steps(space, in_channels=1, side=28)
    if options.case == "nasbench201":
        in_table(done, options.data)
    else:
        table(done)


if __name__ == "__main__":
    main()
