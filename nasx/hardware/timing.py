"""Timing networks and their blocks on this machine, in a process of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import multiprocessing
import os
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from nasx._arguments import count
from nasx._live import Live, format_seconds
from nasx.architecture import Block
from nasx.errors import EvaluationError, require, unknown

if TYPE_CHECKING:
    from nasx.space import Space
    from nasx.tasks.base import TaskSpec

__all__ = ["BACKENDS", "Item", "Repeated", "TimingSettings", "measure_latency", "time_items", "undisturbed"]


class Repeated(NamedTuple):
    """Several copies of a block of a space, one run after the other on the same input."""

    block: Block
    copies: int


Item: TypeAlias = Repeated | tuple[int, ...]
"""Copies of a block, or the genotype of a whole network."""

BACKENDS = ("torch", "onnxruntime")
_FORMAT = "nasx timings 2"
_CHUNK = 8
_UNDISTURBED = 0.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class TimingSettings:
    """How to time.

    Parameters
    ----------
    backend : {"torch", "onnxruntime"}, default "torch"
        What runs the networks: PyTorch as it is, or ONNX Runtime with all its optimisations.
    device : str, default "cpu"
        Where torch runs them; ONNX Runtime runs them on the CPU.
    batch_size : int, default 1
        Inputs at a time.
    threads : int, default 1
        Threads of the backend; the process is held on so many CPUs.
    rounds : int, default 15
        Times that everything is timed, each time in another order.

    Raises
    ------
    ValueError
        If a setting is out of range.
    nasx.errors.MissingDependencyError
        If the backend is not installed.
    """

    backend: str = "torch"
    device: str = "cpu"
    batch_size: int = 1
    threads: int = 1
    rounds: int = 15

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise ValueError(unknown("backend", self.backend, BACKENDS))
        for name in ("batch_size", "threads", "rounds"):
            count(getattr(self, name), name)
        if self.backend == "onnxruntime" and self.device != "cpu":
            raise ValueError(f"device must be 'cpu' with backend 'onnxruntime'; got {self.device!r}")
        require("torch", "timing networks", "torch")
        if self.backend == "onnxruntime":
            for package in ("onnxruntime", "onnx"):
                require(package, "backend='onnxruntime'", "onnx")


def measure_latency(
    space: Space,
    spec: TaskSpec,
    genotypes: npt.ArrayLike,
    *,
    backend: str = "torch",
    device: str = "cpu",
    batch_size: int = 1,
    threads: int = 1,
    rounds: int = 15,
    seed: int = 0,
    resume: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
) -> npt.NDArray[np.float64]:
    """Time whole networks on this machine.

    They run in a process of its own with fixed threads, held on as many CPUs, and are warmed up until their
    times are stable. Rounds take all networks in turn, each time in another order, so that what else the
    machine does meets all of them. Whatever else runs on a machine only ever adds time: of the rounds, the
    10th percentile is taken. The process is started anew: a script needs the call under
    ``if __name__ == "__main__":``.

    Parameters
    ----------
    space : Space
        A space that can build networks.
    spec : TaskSpec
        Shape of one input and number of outputs.
    genotypes : array_like of int, shape (n, d)
        What to time.
    backend, device, batch_size, threads, rounds
        As of `TimingSettings`.
    seed : int, default 0
        Of the orders and the weights.
    resume : path-like, optional
        Keep what is timed in this file; a call that was stopped goes on with it.
    progress : bool, optional
        By default on a terminal only.

    Returns
    -------
    ndarray of float64, shape (n,)
        Milliseconds for a batch.

    Raises
    ------
    ValueError
        If a setting is out of range, or the file is of other timings.
    nasx.errors.EvaluationError
        If a network cannot be built or run.

    Examples
    --------
    >>> from nasx import TaskSpec
    >>> from nasx.spaces import ConvNet
    >>> space, spec = ConvNet(depths=[1], widths=[8]), TaskSpec((1, 8, 8), 10, "image_classification")
    >>> bool(measure_latency(space, spec, space.sample(2), rounds=3).min() > 0)
    True
    """
    settings = TimingSettings(
        backend=backend, device=device, batch_size=batch_size, threads=threads, rounds=rounds
    )
    items = [tuple(row) for row in space.check(genotypes).tolist()]
    times = time_items(space, spec, items, settings, seed=seed, resume=resume, progress=progress)
    return undisturbed(times)


def undisturbed(times: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Say what items take, of rounds that others on the machine may have slowed down.

    Parameters
    ----------
    times : ndarray of float64, shape (n, rounds)
        As from `time_items`.

    Returns
    -------
    ndarray of float64, shape (n,)
        The 10th percentile of the rounds: others only ever add time, so that it repeats better than the
        median. Differences are to be taken of what this gives, not the other way round: a low percentile of
        differences is of rounds in which what is taken away was slowed down.
    """
    return np.quantile(times, _UNDISTURBED, axis=1)


def time_items(
    space: Space,
    spec: TaskSpec,
    items: Sequence[Item],
    settings: TimingSettings,
    *,
    seed: int = 0,
    resume: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
) -> npt.NDArray[np.float64]:
    """Time networks and blocks, all in turn, round by round.

    What a block adds to a network is the difference between several copies and one; a single copy alone takes
    longer, by what it takes to start it.

    Parameters
    ----------
    space, spec
        What builds them.
    items : sequence of Repeated or tuple of int
        What to time.
    settings : TimingSettings
        How.
    seed, resume, progress
        As for `measure_latency`.

    Returns
    -------
    ndarray of float64, shape (n, rounds)
        Milliseconds for a batch.

    Raises
    ------
    ValueError
        If the file is of other timings.
    nasx.errors.EvaluationError
        If an item cannot be built or run, or the process dies.
    """
    times = np.full((len(items), settings.rounds), np.nan)
    header = {
        "format": _FORMAT,
        "space": space.to_dict(),
        "spec": dataclasses.asdict(spec),
        "items": json.loads(json.dumps(items)),
        "settings": dataclasses.asdict(settings),
        "seed": seed,
    }
    with contextlib.ExitStack() as stack:
        log = None if resume is None else stack.enter_context(_Log(Path(resume), header, times))
        display = stack.enter_context(_TimingProgress(times, show=progress))
        pool = ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn"), _start, (space, spec, settings, seed)
        )
        stack.callback(pool.shutdown, wait=True, cancel_futures=True)
        try:
            pool.submit(_time, []).result()
        except BrokenProcessPool:
            raise EvaluationError(
                "the process that times networks ended before it was ready; what it wrote is above. In a "
                "script, put the call under: if __name__ == '__main__'. The module that defines the space "
                "must be importable"
            ) from None
        for number in range(settings.rounds):
            order = np.random.default_rng([seed, number]).permutation(len(items))
            left = [int(i) for i in order if np.isnan(times[i, number])]
            for chunk in (left[i : i + _CHUNK] for i in range(0, len(left), _CHUNK)):
                found = _result(pool.submit(_time, [(i, items[i]) for i in chunk]))
                times[chunk, number] = found
                if log is not None:
                    log.add(number, chunk, found)
                display.update()
    return times


def _result(future: Future[list[float]]) -> list[float]:
    try:
        return future.result()
    except BrokenProcessPool:
        raise EvaluationError(
            "the process that times networks died; if memory was short, time fewer networks or smaller "
            "batches"
        ) from None


class _Log:
    """What was timed so far: a line of JSON that says what it is, then one for each chunk."""

    def __init__(self, path: Path, header: dict[str, Any], times: npt.NDArray[np.float64]) -> None:
        if path.exists() and path.stat().st_size:
            self._read(path, header, times)
            whole = path.read_bytes().endswith(b"\n")
            self._stream = open(path, "a", encoding="utf-8")  # noqa: SIM115 - closed by __exit__
            if not whole:  # what comes next must not follow a line that was cut
                self._stream.write("\n")
        else:
            self._stream = open(path, "w", encoding="utf-8")  # noqa: SIM115
            self._write(header)

    def _read(self, path: Path, header: dict[str, Any], times: npt.NDArray[np.float64]) -> None:
        with open(path, encoding="utf-8", errors="replace") as stream:
            try:
                known = json.loads(stream.readline())
            except ValueError:
                known = None
            if not isinstance(known, dict) or known.get("format") != _FORMAT:
                raise ValueError(f"{path} is no file of timings; it is left as it is, choose another name")
            different = [key for key in header if known.get(key) != json.loads(json.dumps(header[key]))]
            if different:
                raise ValueError(
                    f"{path} holds timings with another {', '.join(different)}; it is left as it is, choose "
                    "another name"
                )
            for line in stream:
                with contextlib.suppress(ValueError, TypeError, KeyError, IndexError):  # cut by a kill
                    entry = json.loads(line)
                    times[entry["items"], entry["round"]] = entry["ms"]

    def _write(self, entry: dict[str, Any]) -> None:
        self._stream.write(json.dumps(entry) + "\n")
        self._stream.flush()

    def add(self, number: int, items: list[int], found: list[float]) -> None:
        self._write({"round": number, "items": items, "ms": found})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()


class _TimingProgress(Live):
    def __init__(self, times: npt.NDArray[np.float64], *, show: bool | None) -> None:
        self._times = times
        self._first = int(np.isfinite(times).sum())
        super().__init__("timing", total=times.size, show=show)

    def completed(self) -> float:
        return int(np.isfinite(self._times).sum())

    def status(self) -> str:
        done, elapsed = self.completed(), self._elapsed()
        pace = (done - self._first) / elapsed if elapsed > 0 else 0.0
        left = f", {format_seconds((self._times.size - done) / pace)} left" if pace > 0 else ""
        return f"{done} of {self._times.size} timings{left}"

    def update(self) -> None:
        self._print_now_and_then()


# -- in the other process ------------------------------------------------------------------------------------

_SAMPLE_SECONDS = 2e-3
_STABLE, _WARM_SECONDS, _WARM_MOST = 0.05, 1.0, 30

_bench: _Bench


def _start(space: Space, spec: TaskSpec, settings: TimingSettings, seed: int) -> None:
    global _bench
    _bench = _Bench(space, spec, settings, seed)


def _time(items: list[tuple[int, Item]]) -> list[float]:
    return [_bench.time(number, item) for number, item in items]


class _Bench:
    """Networks and blocks, ready to run."""

    def __init__(self, space: Space, spec: TaskSpec, settings: TimingSettings, seed: int) -> None:
        import torch

        self.space, self.spec, self.settings, self.seed = space, spec, settings, seed
        if hasattr(os, "sched_setaffinity"):
            cpus = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(0, cpus[: settings.threads])
        torch.set_num_threads(settings.threads)
        self._ready: dict[int, _Timer] = {}

    def time(self, number: int, item: Item) -> float:
        """Milliseconds of one round."""
        if number not in self._ready:
            try:
                self._ready[number] = _Timer(self._run(number, item))
            except Exception as error:
                raise EvaluationError(f"{item} cannot be timed: {type(error).__name__}: {error}") from None
        return 1000 * self._ready[number].sample()

    def _run(self, number: int, item: Item) -> Callable[[], object]:
        import torch

        torch.manual_seed(self.seed + number)
        if isinstance(item, Repeated):
            block = item.block
            modules = [self.space.build_block(block) for _ in range(item.copies)]
            return self._runner(modules, block.input_shape, channels_last=block.channels_last)
        network = self.space.decode(np.array(item, np.int32)).build(self.spec)
        return self._runner([network], self.spec.input_shape, channels_last=False)

    def _runner(
        self, modules: list[Any], input_shape: tuple[int, ...], *, channels_last: bool
    ) -> Callable[[], object]:
        import torch

        from nasx.hardware.inputs import input_type

        device = torch.device(self.settings.device)
        dtype = input_type(self.spec, input_shape)
        if dtype.is_floating_point:
            batch = torch.randn(self.settings.batch_size, *input_shape, device=device)
        else:
            batch = torch.zeros(self.settings.batch_size, *input_shape, dtype=dtype, device=device)
        if self.settings.backend == "onnxruntime":
            from nasx.hardware.onnx import session

            return session(modules, batch, self.settings.threads)
        if channels_last and device.type == "cpu":
            batch = batch.contiguous(memory_format=torch.channels_last)
        modules = [module.to(device).eval() for module in modules]

        @torch.inference_mode()
        def run() -> None:
            for module in modules:
                module(batch)
            if device.type == "cuda":
                torch.cuda.synchronize(device)

        return run


class _Timer:
    """Seconds of one call, as the mean of so many that the clock can tell; warmed up first."""

    def __init__(self, run: Callable[[], object]) -> None:
        import time

        self._run, self._clock = run, time.perf_counter
        self._calls = 1
        begun = self._clock()
        last: list[float] = []
        while len(last) < _WARM_MOST and (len(last) < 3 or self._clock() - begun < _WARM_SECONDS):
            last.append(self.sample())
            recent = last[-3:]
            if len(last) > 3 and max(recent) - min(recent) < _STABLE * min(recent):
                break
        self._calls = max(1, round(_SAMPLE_SECONDS / max(statistics.median(last[-3:]), 1e-9)))

    def sample(self) -> float:
        before = self._clock()
        for _ in range(self._calls):
            self._run()
        return (self._clock() - before) / self._calls
