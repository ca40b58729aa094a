"""Honest comparisons: answers first, then times of peer and nasx in turn, then one line with their ratio.

Import this before NumPy: it removes settings of OpenBLAS that would slow a peer down.
"""

from __future__ import annotations

import os

for _name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(_name, None)

import ctypes  # noqa: E402
import platform  # noqa: E402
import statistics  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from importlib.metadata import version  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import TypeVar  # noqa: E402

import nasx  # noqa: E402

Answer = TypeVar("Answer")

clock = time.perf_counter
"""Where a machine is shared and all work is one thread's, `time.process_time` sees less of the others."""

_HEADER = f"{'case':<34} {'peer':<11} {'peer ms':>18} {'nasx ms':>18} {'ratio':>7} {'target':>7}"


def keep_freed_memory() -> None:
    """Let glibc keep what is freed, as it does where a step of training needs it again at once.

    In a loop over a single operator it gives the pages back and has them cleared again at each call, on
    either side: with small tensors that is most of what is measured.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for setting in (-1, -3):  # when to give back the end of the heap, and what to map by itself
            mallopt(setting, 2**31 - 1)


def machine(*peers: str) -> None:
    """Print the machine, the settings and the versions."""
    cpus = Path("/proc/cpuinfo")
    lines = cpus.read_text().splitlines() if cpus.exists() else []
    model = next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown CPU"
    )
    print(f"{model}, {os.cpu_count()} CPUs, {platform.system()} {platform.machine()}")
    versions = ", ".join(f"{name} {version(name)}" for name in ("nasx", "numpy", *peers))
    print(f"Python {platform.python_version()}, {versions}")
    print(f"nasx: {nasx.get_num_threads()} threads, {nasx.simd_level()} kernels")


def describe(*peers: str) -> None:
    """Print the machine, the settings and the versions, then the header of the table of `compare`."""
    machine(*peers)
    print("times: median (least) of the repeats; ratio: of the medians, above 1 is faster than the peer\n")
    print(_HEADER)
    print("-" * len(_HEADER))


def compare(
    case: str,
    peer: str,
    theirs: Callable[[], Answer],
    ours: Callable[[], Answer],
    same: Callable[[Answer, Answer], bool],
    *,
    target: float | None = None,
    repeats: int = 9,
) -> float:
    """Compare two ways to the same answer and print one line.

    Both are called in turn, `repeats` times after a first round that is discarded; a round repeats a quick
    call until it takes ten milliseconds.

    Parameters
    ----------
    case, peer : str
        What is measured, and against whom.
    theirs, ours : callable
        Take nothing, return the answer.
    same : callable
        Whether two answers agree.
    target : float, optional
        The least ratio wanted.
    repeats : int, default 9
        At least 7.

    Returns
    -------
    float
        Median time of the peer over median time of nasx.

    Raises
    ------
    AssertionError
        If the answers differ.
    """
    if not same(theirs(), ours()):
        raise AssertionError(f"{case}: nasx and {peer} give different answers")
    calls = (theirs, ours)
    loops = [max(1, int(0.01 / max(_seconds(call, 1), 1e-9))) for call in calls]
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(max(repeats, 7) + 1):
        for call, loop, found in zip(calls, loops, times, strict=True):
            found.append(_seconds(call, loop) * 1e3)
    cells = [f"{statistics.median(t[1:]):.3f} ({min(t[1:]):.3f})" for t in times]
    ratio = statistics.median(times[0][1:]) / statistics.median(times[1][1:])
    wanted = "" if target is None else f"{target:g}"
    print(f"{case:<34} {peer:<11} {cells[0]:>18} {cells[1]:>18} {ratio:>7.2f} {wanted:>7}", flush=True)
    return ratio


def _seconds(call: Callable[[], object], loops: int) -> float:
    start = clock()
    for _ in range(loops):
        call()
    return (clock() - start) / loops


def show(case: str, times: dict[str, list[float]], ours: str) -> None:
    """Print the medians and minima of several variants, and how many times as fast as each of them ours is.

    Parameters
    ----------
    case : str
        What was measured.
    times : dict of str to list of float
        Seconds of each variant, of the same rounds.
    ours : str
        The variant that the others are compared with.
    """
    median, least = statistics.median(times[ours]), min(times[ours])
    print(f"{case}: {ours} {median:.3f} s ({min(times[ours]):.3f})", end="")
    for name, found in times.items():
        if name != ours:
            print(
                f" | {name} {statistics.median(found):.3f} s ({min(found):.3f}), "
                f"ratio {statistics.median(found) / median:.2f} ({min(found) / least:.2f})",
                end="",
            )
    print(flush=True)
