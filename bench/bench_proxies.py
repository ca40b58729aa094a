"""Scores without training on NAS-Bench-201: python bench/bench_proxies.py TABLE [PART ...].

TABLE is an npz with ``genotypes``, ``cifar10_val`` and ``cifar10_test_200``. The parts are "correlation", how
well proxies of networks with random weights rank 300 random cells; "cost", what they take; and "search", what
prescreening by them gives a search of 30 evaluations.
"""

from __future__ import annotations

from harness import clock, machine  # first: it sets up the process

import argparse  # isort: skip
from pathlib import Path

import numpy as np
import torch

import nasx
from nasx.errors import EvaluationError
from nasx.proxies import AZ_NAS, Proxy, aggregate
from nasx.statistics import kendall_tau, mean_and_error, spearman_rho, with_error

METRIC, REWARD = "cifar10_test_200", "cifar10_val"
FOUR = ("synflow", "naswot", "az_expressivity", "az_trainability")
TARGETS = {"synflow": 0.65, "naswot": 0.65, "aggregate of four": 0.7}


def digits(n: int, size: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    """Real images of digits, scaled to a size, in three channels, normalised; and their labels."""
    images, labels = nasx.tasks.datasets.load("digits")["train"]
    chosen = np.random.default_rng(0).permutation(len(images))[:n]
    x = torch.nn.functional.interpolate(torch.from_numpy(images[chosen]), size=(size, size), mode="bilinear")
    return ((x - x.mean()) / x.std()).repeat(1, 3, 1, 1), torch.from_numpy(labels[chosen])


def column(space, rows, batch, name, spec) -> tuple[np.ndarray, np.ndarray]:
    """Scores, minus infinity where they are not defined, as for cells without a path; and seconds."""
    proxy = Proxy(name, batch, spec=spec).bind(space, None)
    values, seconds = np.full(len(rows), -np.inf), np.full(len(rows), np.nan)
    for i, row in enumerate(rows):
        start = clock()
        try:
            values[i] = proxy(row[None])[0]
        except EvaluationError:
            continue
        seconds[i] = clock() - start
    return values, seconds


class Kept:
    """What takes long, kept in a file from one run to the next, if there is one."""

    def __init__(self, file: Path | None) -> None:
        self._file, self._arrays = file, {}
        if file is not None and file.exists():
            with np.load(file, allow_pickle=False) as kept:
                self._arrays = dict(kept)

    def get(self, key: str) -> np.ndarray | None:
        return self._arrays.get(key)

    def put(self, **arrays: np.ndarray) -> None:
        self._arrays |= arrays
        if self._file is not None:
            np.savez(self._file, **self._arrays)


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks stand in for values that may be minus infinity."""
    return np.unique(values, return_inverse=True)[1].astype(float)


def correlation(table, rows, cells: int, names: list[str], spec, kept: Kept) -> None:
    space = nasx.spaces.NASBench201(cells=cells)
    start, values, seconds = clock(), {}, {}
    for name in names:
        keys = [f"{name}, {what}, {cells}, {len(rows)}" for what in ("values", "seconds")]
        if kept.get(keys[0]) is None:
            found = column(space, rows, digits(64), name, spec)
            kept.put(**dict(zip(keys, found, strict=True)))
        values[name], seconds[name] = kept.get(keys[0]), kept.get(keys[1])
    accuracy = lookup(table, METRIC)(rows)
    print(f"\n{len(rows)} random cells, {cells} in a stage, {clock() - start:.0f} s in all; against {METRIC}")
    print(f"{'proxy':<20} {'Spearman':>9} {'Kendall':>9} {'target':>7} {'undefined':>10} {'median ms':>10}")
    joined = {"aggregate of four": FOUR, "AZ-NAS": AZ_NAS}
    for name, parts in joined.items():
        if all(part in values for part in parts):
            values[name] = aggregate(values, parts)
    for name, scored in values.items():
        lost = int(np.isinf(scored).sum())
        rho, tau = (function(ranks(scored), accuracy) for function in (spearman_rho, kendall_tau))
        took = f"{1e3 * np.nanmedian(seconds[name]):10.1f}" if name in seconds else ""
        print(f"{name:<20} {rho:9.3f} {tau:9.3f} {TARGETS.get(name, ''):>7} {lost:10} {took}", flush=True)


def lookup(table, name: str):
    """A function from genotypes to a column of the table."""
    places = 5 ** np.arange(6)
    column = np.empty(5**6)
    column[table["genotypes"].astype(np.int64) @ places] = table[name]
    return lambda rows: column[np.asarray(rows, np.int64) @ places]


def cost(rows, spec, names: list[str]) -> None:
    space = nasx.spaces.NASBench201()
    torch.set_num_threads(2)
    print(
        "\nmilliseconds a cell of 5 in a stage, batch of 64, 2 threads, network built: median (least) of 15"
    )
    for name in names:
        _, seconds = column(space, rows[:16], digits(64), name, spec)
        print(
            f"{name:<20} {1e3 * np.nanmedian(seconds[1:]):8.1f} ({1e3 * np.nanmin(seconds[1:]):.1f})",
            flush=True,
        )


def precomputed(rows, cells: int, names: list[str], spec, kept: Kept) -> dict[str, np.ndarray]:
    """Proxies of all cells, one network for each canonical form."""
    space = nasx.spaces.NASBench201(cells=cells)
    forms, places = np.unique(
        nasx.spaces.NASBench201(canonical=True).canonicalize(rows), axis=0, return_inverse=True
    )
    values = {}
    for name in names:
        start, key = clock(), f"{name}, all, {cells}"
        if kept.get(key) is None:
            kept.put(**{key: column(space, forms, digits(64), name, spec)[0]})
            print(f"{name} of {len(forms)} canonical cells: {clock() - start:.0f} s", flush=True)
        values[name] = kept.get(key)[places.ravel()]
    return values


def search(table, proxies: dict[str, np.ndarray], seeds: int) -> None:
    space = nasx.spaces.NASBench201()
    rows = table["genotypes"]
    reward, test = lookup(table, REWARD), lookup(table, METRIC)
    tables = {name: lookup({"genotypes": rows, name: column}, name) for name, column in proxies.items()}
    # Disconnected cells have no score; they come last.
    ways = {name: (lambda x, f=f: np.nan_to_num(f(x), neginf=-1e300)) for name, f in tables.items()}
    found = {}
    for name, proxy in {"": None, **ways, " and ".join(ways): list(ways.values())}.items():
        found[name] = np.empty(seeds)
        for seed in range(seeds):
            result = nasx.search(
                space,
                lambda architecture: float(reward(architecture.genotype)),
                objectives={REWARD: "maximize"},
                strategy="regularized_evolution",
                evaluations=30,
                seed=seed,
                prescreen=proxy,
                progress=False,
            )
            found[name][seed] = test(result.best.architecture.genotype)
        mean, error = mean_and_error(found[name])
        line = f"{'prescreened by ' + name if name else 'as it is':<34} {with_error(mean, error):>16}"
        if name:
            gain, spread = mean_and_error(found[name] - found[""])
            line += f"   gain {gain:.3f}, {gain / spread:.1f} standard errors of paired seeds"
        print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("parts", nargs="*", default=["correlation", "cost", "search"])
    parser.add_argument("--number", type=int, default=300, help="how many random cells")
    parser.add_argument("--cells", type=int, default=5, help="cells in each stage, for the correlations")
    parser.add_argument("--search-cells", type=int, default=1, help="the same where all cells are scored")
    parser.add_argument("--proxies", nargs="*", help="by default synflow, naswot and those of AZ-NAS")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--keep", type=Path, help="an npz file for scores, to go on from")
    options = parser.parse_args()
    names = options.proxies or ["params", "flops", "synflow", "naswot", *AZ_NAS[:3]]
    with np.load(options.table, allow_pickle=False) as file:
        table = {name: file[name] for name in ("genotypes", METRIC, REWARD)}
    spec = nasx.TaskSpec((3, 32, 32), 10, "image_classification")
    chosen = np.random.default_rng(0).choice(len(table["genotypes"]), options.number, replace=False)
    rows = table["genotypes"][chosen].astype(np.int32)
    kept = Kept(options.keep)
    machine("torch")
    if "correlation" in options.parts:
        correlation(table, rows, options.cells, names, spec, kept)
    if "cost" in options.parts:
        cost(rows, spec, options.proxies or [*nasx.proxies.available()])
    if "search" in options.parts:
        everything = table["genotypes"].astype(np.int32)
        values = precomputed(everything, options.search_cells, ["synflow", "naswot"], spec, kept)
        print(f"\nregularised evolution, 30 evaluations of {REWARD}, {options.seeds} seeds: mean {METRIC}")
        search(table, values, options.seeds)


if __name__ == "__main__":
    main()
