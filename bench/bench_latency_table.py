"""Latency tables: lookup, fits and adaptation, and this machine: python bench/bench_latency_table.py.

Parts: lookup, fit, adapt, counts, machine, memory; by default all. The last two run real networks and want a
quiet machine; counts takes ten minutes.
"""

from __future__ import annotations

from harness import compare, describe, machine  # first: it sets up the process

import argparse  # isort: skip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.stats

import nasx
from nasx.hardware import FlopsTable, LatencyTable, MemoryTable, ParamsTable
from nasx.spaces import (
    DARTS,
    ConvNet,
    ENASCell,
    ENASMacro,
    FBNet,
    NASBench201,
    ProxylessMobile,
    ShuffleNetV2,
    Transformer,
)

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
IMAGES = nasx.TaskSpec((3, 32, 32), 10, "image_classification")
DRAWS = 20
SEED, SPACE, ROUNDS = 0, None, 45  # of the tables measured here, by the command line
Floats = np.ndarray


def rank_correlation(a: Floats, b: Floats) -> float:
    return float(scipy.stats.spearmanr(a, b).statistic)


def lookup() -> None:
    """Twenty blocks of eight choices, one thread."""
    nasx.set_num_threads(1)
    rng = np.random.default_rng(0)
    space = nasx.Space({f"block{i}": nasx.Categorical([f"op{k}" for k in range(8)]) for i in range(20)})
    entries = rng.random((20, 8))
    table = LatencyTable(space, entries)
    flat, first = entries.ravel(), np.arange(20, dtype=np.int32) * 8
    names = [[f"block{i}.op{k}" for k in range(8)] for i in range(20)]
    by_name = {names[i][k]: entries[i, k] for i in range(20) for k in range(8)}
    sides, widths = [224 >> (1 + i // 5) for i in range(20)], [16 + 8 * i for i in range(21)]

    def key(i: int, k: int) -> str:
        """Say what a block is, as tables of blocks for mobile networks have it."""
        parts = [
            "mobile inverted bottleneck",
            "input:{}".format("x".join(str(n) for n in (sides[i], sides[i], widths[i]))),
            "output:{}".format("x".join(str(n) for n in (sides[i], sides[i], widths[i + 1]))),
            f"expand:{3 + 3 * (k % 2)}",
            f"kernel:{3 + 2 * (k // 2)}",
            f"stride:{1 + (i % 5 == 0)}",
        ]
        return "-".join(parts)

    by_key = {key(i, k): entries[i, k] for i in range(20) for k in range(8)}

    def by_keys(rows: Floats) -> Floats:
        return np.array([sum(by_key[key(i, k)] for i, k in enumerate(row)) for row in rows.tolist()])

    def by_names(rows: Floats) -> Floats:
        return np.array([sum(by_name[names[i][k]] for i, k in enumerate(row)) for row in rows.tolist()])

    def gather(rows: Floats) -> Floats:
        return flat[rows + first].sum(axis=1)

    def near(a: Floats, b: Floats) -> bool:
        return np.allclose(a, b, rtol=1e-12)

    describe()
    for n in (10**5, 10**7):
        rows = space.sample(n, seed=0)
        # A hundredth of the rows for the dicts, whose times grow with the rows: all would take minutes.
        few = rows[: n // 100]
        for what, look_up, target in (
            ("by keys of blocks", by_keys, 5000),
            ("by names at hand", by_names, None),
        ):
            compare(
                f"{len(few):,} rows {what}",
                "dict",
                lambda few=few, look_up=look_up: look_up(few),
                lambda few=few: table(few),
                near,
                target=target,
            )
        compare(
            f"{n:,} rows",
            "numpy gather",
            lambda rows=rows: gather(rows),
            lambda rows=rows: table(rows),
            near,
            target=10,
        )
    target = np.empty_like(rows)
    compare(
        "10,000,000 rows, read and written",
        "numpy copy",
        lambda: np.copyto(target, rows),
        lambda: table(rows),
        lambda a, b: True,
        target=0.5,
    )
    nasx.set_num_threads(2)


def measured(name: str) -> tuple[Floats, dict[str, Floats]]:
    with np.load(DATA / name, allow_pickle=False) as file:
        columns = {
            key.split("/")[1]: file[key].astype(float) for key in file.files if key.startswith("latency_ms/")
        }
        return file["genotypes"].astype(np.int32), columns


def fit() -> None:
    print(f"\nLatencyTable.fit, {DRAWS} draws, told for all: mean rank correlation, mean absolute error")
    rows, columns = measured("nasbench201.npz")
    wanted = {
        "1080ti_1": "0.98 4 %",
        "gold_6226": "0.98 5 %",
        "silver_4114": "0.95 10 %",
        "samsung_a50": "0.96 8 %",
    }
    for device, target in wanted.items():
        report_fit(f"NAS-Bench-201, 100 timings, {device}", NASBench201(), rows, columns[device], 100, target)
    rows, columns = measured("fbnet_latency.npz")
    space = nasx.Space(
        {f"layer{i}": nasx.Categorical(range(int(rows[:, i].max()) + 1)) for i in range(rows.shape[1])}
    )
    for device, timings in columns.items():
        report_fit(f"FBNet, 200 timings, {device}", space, rows, timings, 200, "printed")
        # What a table of means says: a block's entry is how far the networks that have it are from the mean.
        found = []
        for draw in range(DRAWS):
            i = np.random.default_rng(draw).choice(len(rows), 200, replace=False)
            mean = timings[i].mean()
            told = np.full(len(rows), mean)
            for j, count in enumerate(space.cardinalities):
                for k in range(count):
                    has = rows[i, j] == k
                    told[rows[:, j] == k] += timings[i][has].mean() - mean if has.any() else 0
            found.append((rank_correlation(told, timings), np.mean(np.abs(told - timings) / timings)))
        show("    sums of single blocks' means", found, "")


def report_fit(case: str, space: nasx.Space, rows: Floats, timings: Floats, n: int, target: str) -> None:
    found = []
    for draw in range(DRAWS):
        i = np.random.default_rng(draw).choice(len(rows), n, replace=False)
        told = LatencyTable.fit(space, rows[i], timings[i])(rows)
        found.append((rank_correlation(told, timings), np.mean(np.abs(told - timings) / timings)))
    show(case, found, target)


def show(case: str, found: list[tuple[float, float]], target: str) -> None:
    correlation, error = np.mean(found, axis=0)
    print(f"{case:<45} {correlation:6.3f} {error:7.1%}   {target}", flush=True)


def adapt() -> None:
    print(f"\nLatencyTable.adapt, 10 timings, the other devices known, {DRAWS} draws: rank correlations")
    rows, columns = measured("nasbench201.npz")
    space, some = NASBench201(), np.arange(0, len(rows), 4)
    tables = {name: LatencyTable.fit(space, rows[some], timings[some]) for name, timings in columns.items()}
    counts = {cost.name: cost.bind(space, IMAGES)(rows) for cost in (FlopsTable(), ParamsTable())}
    means: list[list[float]] = []
    print(f"{'device':<20} {'mean':>7} {'least':>7} {'flops':>7} {'parameters':>11}")
    for name, timings in columns.items():
        if name in ("eyeriss", "fpga"):  # simulated
            continue
        found = []
        for draw in range(DRAWS):
            i = np.random.default_rng(draw).choice(len(rows), 10, replace=False)
            known = [table for other, table in tables.items() if other != name]
            found.append(rank_correlation(LatencyTable.adapt(known, rows[i], timings[i])(rows), timings))
        peers = [rank_correlation(values, timings) for values in counts.values()]
        means.append([float(np.mean(found)), *peers])
        print(
            f"{name:<20} {np.mean(found):7.3f} {min(found):7.3f} {peers[0]:7.3f} {peers[1]:11.3f}", flush=True
        )
    mean = np.mean(means, axis=0)
    print(f"{'mean of six':<20} {mean[0]:7.3f} {'':7} {mean[1]:7.3f} {mean[2]:11.3f}   at least 0.90")


def on_this_machine() -> None:
    print("\nmeasured here, against 100 networks that were held out: rank correlation, median error")
    for space, wanted in ((NASBench201(), "0.95, 8 %"), (ConvNet(), "")):
        name = type(space).__name__
        if SPACE not in (None, name):
            continue
        # Machines drift within minutes: what is held out is timed in the same rounds as what tells it.
        table = LatencyTable.measure(space, IMAGES, held_out=100, rounds=ROUNDS, seed=SEED)
        found = table.about["held_out"]
        rows, true = np.array(found["genotypes"]), np.array(found["measured_ms"])
        report(f"{name}: table", table(rows), true, wanted)
        # The usual table: each operation timed alone, once for each place.
        known = np.array([ms is not None for ms in found["blocks_alone_ms"]])
        sums = np.array([ms for ms in found["blocks_alone_ms"] if ms is not None])
        report(f"{name}: sum of operations timed alone", sums, true[known], f"{known.sum()} networks")
        report_difference(f"{name}: table, better than the sum by", table(rows)[known], sums, true[known])
        repeated = found["repeated_errors"]
        correlation, error = repeated["rank_correlation"], repeated["median_relative"]
        print(f"{name + ': the networks, by half of the rounds':<50} {correlation:6.3f} {error:7.1%}")
        flops = FlopsTable().bind(space, IMAGES)(rows)
        print(f"{name + ': FLOPs':<50} {rank_correlation(flops, true):6.3f}")


def report(case: str, told: Floats, true: Floats, target: str) -> None:
    print(
        f"{case:<50} {rank_correlation(told, true):6.3f} {median_error(told, true):7.1%}   {target}",
        flush=True,
    )


def report_difference(case: str, told: Floats, peer: Floats, true: Floats) -> None:
    """Differences of both figures with intervals of 95 %, from networks drawn again with replacement."""
    rng = np.random.default_rng(0)
    rows = [rng.integers(len(true), size=len(true)) for _ in range(2000)]
    by_rank = [rank_correlation(told[i], true[i]) - rank_correlation(peer[i], true[i]) for i in rows]
    by_error = [median_error(peer[i], true[i]) - median_error(told[i], true[i]) for i in rows]
    low, high = np.percentile([by_rank, by_error], [2.5, 97.5], axis=1)
    rank = rank_correlation(told, true) - rank_correlation(peer, true)
    error = median_error(peer, true) - median_error(told, true)
    print(
        f"{case:<50} {rank:+6.3f} {error:+7.1%}   rank {low[0]:+.3f} to {high[0]:+.3f}, "
        f"error {low[1]:+.1%} to {high[1]:+.1%}",
        flush=True,
    )


def median_error(told: Floats, true: Floats) -> float:
    return float(np.median(np.abs(told - true) / true))


BUILT_IN = (
    ConvNet,
    NASBench201,
    DARTS,
    ENASCell,
    ENASMacro,
    ShuffleNetV2,
    ProxylessMobile,
    FBNet,
    Transformer,
)
TOKENS = nasx.TaskSpec((64,), 65, "language_modelling")


def counts() -> None:
    """FLOPs and parameters by tables and by torch, of each space in its default size."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    print("\nFlopsTable and ParamsTable beside torch's own counts, 200 random networks of each space")
    for make in BUILT_IN:
        space = make()
        spec = TOKENS if make is Transformer else IMAGES
        rows = space.sample(200, seed=11)
        parameters, flops = ParamsTable().bind(space, spec)(rows), FlopsTable().bind(space, spec)(rows)
        differ = 0
        for row, count, work in zip(rows, parameters, flops, strict=True):
            with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
                network = space.decode(row).build(spec).eval()
                network(torch.zeros(1, *spec.input_shape, dtype=torch.long if spec is TOKENS else None))
            differ += count != sum(p.numel() for p in network.parameters())
            differ += work != counter.get_total_flops()
        print(
            f"{make.__name__:<16} {differ} differ; {parameters.min():,.0f} to {parameters.max():,.0f} "
            f"parameters, {flops.min() / 1e6:,.1f} to {flops.max() / 1e6:,.1f} MFLOPs",
            flush=True,
        )


BATCH = 64


def memory() -> None:
    print(f"\nMemoryTable, batches of {BATCH}, against the peak of a fresh process, 20 networks")
    for space, wanted in ((NASBench201(cells=2), "15 %"), (ConvNet(), "15 %")):
        rows = space.sample(20, seed=5)
        told = MemoryTable(batch_size=BATCH).bind(space, IMAGES)(rows)
        true = np.array([fresh_peak(space, row) for row in rows])
        error = np.abs(told - true) / true
        print(
            f"{type(space).__name__:<20} median error {np.median(error):.1%}, largest {error.max():.1%}, "
            f"rank correlation {rank_correlation(told, true):.3f}   {wanted}",
            flush=True,
        )


def fresh_peak(space: nasx.Space, row: Floats) -> float:
    text = json.dumps({"space": space.to_dict(), "row": row.tolist()})
    # Freed memory goes back at once, as a peak of what is in use wants it.
    environment = {
        "MALLOC_MMAP_THRESHOLD_": "65536",
        "MALLOC_TRIM_THRESHOLD_": "65536",
        "OMP_NUM_THREADS": "1",
    }
    command = [
        "env",
        *(f"{k}={v}" for k, v in environment.items()),
        sys.executable,
        __file__,
        "--peak-of",
        text,
    ]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def peak_of(text: str) -> None:
    import torch

    torch.set_num_threads(1)
    data = json.loads(text)
    space = nasx.Space.from_dict(data["space"])

    def run(row: list[int], batch: int) -> None:
        network = space.decode(np.array(row, np.int32)).build(IMAGES).eval()
        with torch.inference_mode():
            network(torch.zeros(batch, *IMAGES.input_shape))

    run(data["row"], 1)  # what torch loads and compiles for these layers is its own
    status = Path("/proc/self/status")
    before = next(
        int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmRSS")
    )
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    run(data["row"], BATCH)
    peak = next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    print(1024 * (peak - before))


PARTS: dict[str, Callable[[], None]] = {
    "lookup": lookup,
    "fit": fit,
    "adapt": adapt,
    "counts": counts,
    "machine": on_this_machine,
    "memory": memory,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--seed", type=int, default=SEED, help="of the tables measured on this machine")
    parser.add_argument("--space", help="only this space, of those measured on this machine")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of these tables")
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    SEED, SPACE, ROUNDS = options.seed, options.space, options.rounds
    if options.peak_of:
        peak_of(options.peak_of)
    else:
        machine()
        for part in options.parts or PARTS:
            PARTS[part]()
