"""Long runs: resuming 10^5 trials, and 10^6 trials of a table in one search: python bench/bench_scale.py.

Each run has a process of its own, so that its peak of memory is its own. Times are of `search()` alone.
"""

from __future__ import annotations

from harness import machine  # first: it sets up the process

import json  # isort: skip
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import nasx

RESUMED, VECTORIZED, REPEATS = 10**5, 10**6, 7


def table() -> nasx.tasks.TabularBenchmark:
    """A million architectures and a half with one number each."""
    space = nasx.Space({f"op{i}": nasx.Categorical(range(6)) for i in range(8)})
    rows = np.indices((6,) * 8, np.int32).reshape(8, -1).T
    columns = {"loss": np.random.default_rng(0).random(len(rows))}
    return nasx.tasks.TabularBenchmark(space, rows, columns, objectives={"loss": "minimize"})


def run(strategy: str, evaluations: int, journal: str | None) -> dict[str, float]:
    """Seconds of the search, and the process's peak of memory before and after it, in megabytes."""
    task = table()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    begun = time.perf_counter()
    result = nasx.search(
        task.space, task, strategy=strategy, evaluations=evaluations, seed=0, journal=journal, vectorized=True
    )
    seconds = time.perf_counter() - begun
    assert len(result.trials) == evaluations
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "before": before, "peak": peak}


def in_a_process(strategy: str, evaluations: int, journal: Path | None) -> dict[str, float]:
    command = [sys.executable, __file__, strategy, str(evaluations), *([str(journal)] if journal else [])]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def report(case: str, found: list[dict[str, float]], target: str) -> None:
    seconds = [each["seconds"] for each in found]
    cell = f"{statistics.median(seconds):.2f} ({min(seconds):.2f}) s"
    memory = f"{max(each['peak'] for each in found):.0f} MB"
    print(f"{case:<50} {cell:>16} {memory:>8}   {target}", flush=True)


def main() -> None:
    machine()
    print(f"\n{'median (least) of ' + str(REPEATS):<50} {'time':>16} {'peak':>8}   wanted")
    for strategy in ("random_search", "regularized_evolution"):
        with tempfile.TemporaryDirectory() as folder:
            journal = Path(folder) / "run.db"
            in_a_process(strategy, RESUMED, journal)
            found = [in_a_process(strategy, RESUMED, journal) for _ in range(REPEATS)]
            report(f"resuming {RESUMED:,} trials, {strategy}", found, "under 2 s")
    for strategy in ("random_search", "regularized_evolution"):
        found = [in_a_process(strategy, VECTORIZED, None) for _ in range(REPEATS)]
        report(f"{VECTORIZED:,} trials, {strategy}", found, "under 10 s, 500 MB")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(run(sys.argv[1], int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None)))
    else:
        main()
