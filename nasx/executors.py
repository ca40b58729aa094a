"""Where evaluations run: here, in worker processes of our own, or in anybody's executor."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import queue
import signal
import statistics
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.reduction import ForkingPickler
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

from nasx import _runtime
from nasx.architecture import Architecture
from nasx.errors import EvaluationError, StopSearch, WorkerError, format_exception, require
from nasx.tasks.base import Task

__all__ = ["Evaluator", "Executor", "Job", "Outcome", "RayExecutor", "make_evaluator", "run"]

_GRACE = 2.0
"""Seconds that a worker has to end by itself."""


class Executor(Protocol):
    """Anything that runs a function elsewhere, as `concurrent.futures.Executor` does."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
        """Begin ``function(*arguments)`` and return its future."""


class Job(NamedTuple):
    """One evaluation to be done."""

    number: int
    architecture: Architecture
    seed: int
    device: str | None = None
    budget: int | None = None
    more_seeds: tuple[int, ...] = ()
    """Of further evaluations of the same architecture: what counts are the means."""


class Outcome(NamedTuple):
    """What came of a job."""

    value: Any
    """What the task returned."""
    error: str | None
    """The traceback, or what happened to the worker."""
    started: float
    """Unix time in seconds."""
    seconds: float
    stop: bool = False
    """Whether the task asked to end the search."""


def run(task: Task | Callable[..., Any], job: Job) -> Outcome:
    """Evaluate one architecture; whatever goes wrong ends up in the outcome.

    Parameters
    ----------
    task : Task or callable
        What evaluates.
    job : Job
        What to evaluate.

    Returns
    -------
    Outcome
        With numbers instead of tensors, so that it can travel.
    """
    value, error, stop = None, None, False
    started, clock = time.time(), time.perf_counter()
    try:
        value = _plain(_call(task, job))
        if job.more_seeds:
            others = [_plain(_call(task, job._replace(seed=seed))) for seed in job.more_seeds]
            value = _mean([value, *others])
    except StopSearch:
        stop = True
    except (Exception, SystemExit):
        error = format_exception()
    return Outcome(value, error, started, time.perf_counter() - clock, stop)


def _call(task: Task | Callable[..., Any], job: Job) -> Any:
    budget = job.budget
    if not isinstance(task, Task):
        return task(job.architecture) if budget is None else task(job.architecture, budget=budget)
    more: dict[str, Any] = {}
    if budget is not None:
        # A task that only reports is stopped when it has had its budget.
        more = {"budget": budget, "report": lambda step, metrics: step >= budget}
    return task.evaluate(job.architecture, seed=job.seed, device=job.device, **more)


def _plain(value: Any) -> Any:
    if type(value) is float:
        return value
    if isinstance(value, Mapping):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, str) or value is None:
        return value
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        return value  # the search says what is wrong with it


def _mean(values: list[Any]) -> Any:
    """Average numbers, or numbers by name."""
    if not any(isinstance(value, Mapping) for value in values):
        wrong = [value for value in values if not isinstance(value, float)]
        return wrong[0] if wrong else statistics.fmean(values)  # the search says what is wrong with it
    for value in values:
        if not isinstance(value, Mapping):
            raise EvaluationError(f"one evaluation of an architecture gave a dict, and another {value!r}")
    names = list(dict.fromkeys(name for value in values for name in value))
    for name in names:
        if not all(name in value for value in values):
            raise EvaluationError(
                f"metric {name!r} came in some evaluations of an architecture and not in others"
            )
    return {name: _mean([value[name] for value in values]) for name in names}


class Evaluator(ABC):
    """Runs jobs, so many at once.

    Attributes
    ----------
    capacity : int
        How many jobs may be out.
    """

    capacity: int = 1

    @abstractmethod
    def submit(self, job: Job) -> None:
        """Begin a job; at most `capacity` may be out."""

    @abstractmethod
    def wait(self) -> list[tuple[int, Outcome]]:
        """Wait until something is done, and give the numbers of those jobs with what came of them."""

    @abstractmethod
    def close(self) -> None:
        """Drop what is out and free everything."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def make_evaluator(
    task: Task | Callable[..., Any],
    *,
    workers: int | None = None,
    executor: Executor | None = None,
    timeout: float | None = None,
    devices: Sequence[str | None] = (None,),
) -> Evaluator:
    """Choose where evaluations run.

    Parameters
    ----------
    task : Task or callable
        What evaluates.
    workers : int, optional
        Number of processes, or of evaluations that an `executor` gets at once.
    executor : Executor, optional
        Somebody else's workers.
    timeout : float, optional
        Seconds for one evaluation.
    devices : sequence of str or None
        Where tasks compute, in turn.

    Returns
    -------
    Evaluator
        In this process, unless something asks for more.

    Raises
    ------
    ValueError, TypeError
        If an argument is wrong.
    WorkerError
        If the task cannot be sent to processes.
    """
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 1):
        raise ValueError(f"workers must be a positive integer; got {workers!r}")
    if timeout is not None and not (isinstance(timeout, int | float) and timeout > 0):
        raise ValueError(f"timeout must be a positive number of seconds; got {timeout!r}")
    if executor is not None:
        if not callable(getattr(executor, "submit", None)):
            raise TypeError(
                f"executor must have submit(function, *arguments), as those of concurrent.futures; got "
                f"{executor!r}"
            )
        slots = workers or getattr(executor, "_max_workers", None) or os.cpu_count() or 1
        return _Futures(task, executor, int(slots), timeout, devices)
    if workers is None and timeout is None and len(devices) == 1:
        return _Here(task, devices[0])
    return _Processes(task, workers or len(devices), timeout, devices)


class _Here(Evaluator):
    """One job at a time in this process."""

    def __init__(self, task: Task | Callable[..., Any], device: str | None) -> None:
        self._task, self._device = task, device
        self._job: Job | None = None

    def submit(self, job: Job) -> None:
        self._job = job if self._device is None else job._replace(device=self._device)

    def wait(self) -> list[tuple[int, Outcome]]:
        job, self._job = self._job, None
        assert job is not None
        return [(job.number, run(self._task, job))]

    def close(self) -> None:
        self._job = None


class _Futures(Evaluator):
    """Jobs in somebody's executor."""

    def __init__(
        self,
        task: Task | Callable[..., Any],
        executor: Executor,
        capacity: int,
        timeout: float | None,
        devices: Sequence[str | None],
    ) -> None:
        self._task, self._executor, self._timeout, self._devices = task, executor, timeout, devices
        self.capacity = capacity
        self._out: dict[int, _Out] = {}
        self._done: queue.SimpleQueue[int] = queue.SimpleQueue()

    def submit(self, job: Job) -> None:
        busy = [out.device for out in self._out.values()]
        device = min(self._devices, key=busy.count)
        future = self._executor.submit(run, self._task, job._replace(device=device))
        self._out[job.number] = _Out(future, device, time.time(), time.monotonic())
        future.add_done_callback(lambda _, number=job.number: self._done.put(number))  # type: ignore[misc]

    def wait(self) -> list[tuple[int, Outcome]]:
        while True:
            number = self._next_done()
            if number is None:
                if late := self._abandon_late():
                    return late
            elif number in self._out:  # otherwise it was given up, and came all the same
                return [(number, self._outcome(self._out.pop(number)))]

    def _next_done(self) -> int | None:
        seconds = None
        if self._timeout is not None:
            first = min(out.clock for out in self._out.values())
            seconds = max(first + self._timeout - time.monotonic(), 0.0)
        try:
            return self._done.get(timeout=seconds)
        except queue.Empty:
            return None

    def _abandon_late(self) -> list[tuple[int, Outcome]]:
        assert self._timeout is not None
        now = time.monotonic()
        late = [number for number, out in self._out.items() if now - out.clock >= self._timeout]
        outcomes = []
        for number in late:
            out = self._out.pop(number)
            out.future.cancel()
            error = f"given up: no result {self._timeout:g} s after it was handed to the executor"
            outcomes.append((number, Outcome(None, error, out.started, now - out.clock)))
        return outcomes

    def _outcome(self, out: _Out) -> Outcome:
        try:
            outcome = out.future.result()
        except CancelledError:
            error = "the executor cancelled it"
        except Exception:
            error = format_exception()  # of the executor: tasks' own exceptions come in the outcome
        else:
            if isinstance(outcome, Outcome):
                return outcome
            error = f"the executor returned {outcome!r}, not what it was given to do"
        return Outcome(None, error, out.started, time.monotonic() - out.clock)

    def close(self) -> None:
        for out in self._out.values():
            out.future.cancel()
        self._out.clear()


class _Out(NamedTuple):
    """A job that an executor has."""

    future: Future[Any]
    device: str | None
    started: float
    clock: float


class _Processes(Evaluator):
    """Jobs in processes of our own, which are replaced when they die or hang."""

    def __init__(
        self,
        task: Task | Callable[..., Any],
        workers: int,
        timeout: float | None,
        devices: Sequence[str | None],
    ) -> None:
        self.capacity = workers
        self._task, self._timeout = task, timeout
        self._context = multiprocessing.get_context("spawn")
        self._devices = [devices[i % len(devices)] for i in range(workers)]
        self._workers: list[_Worker] = []
        try:
            ForkingPickler.dumps(task)
        except Exception as error:
            raise WorkerError(
                f"the task cannot be sent to worker processes ({error}): define it at the top level of a "
                "module, and keep open files, locks and lambdas out of it"
            ) from None

    def submit(self, job: Job) -> None:
        for worker in self._workers:
            if worker.job is None:
                break
        else:
            taken = [worker.place for worker in self._workers]
            place = next(i for i in range(self.capacity) if i not in taken)
            worker = _Worker(self._context, self._task, place, self._devices[place], self.capacity)
            self._workers.append(worker)
        worker.give(job)

    def wait(self) -> list[tuple[int, Outcome]]:
        done: list[tuple[int, Outcome]] = []
        while not done:
            busy = [worker for worker in self._workers if worker.job is not None]
            seconds = None
            if self._timeout is not None:
                seconds = max(min(worker.clock for worker in busy) + self._timeout - time.monotonic(), 0.0)
                seconds = None if math.isinf(seconds) else seconds
            ready = wait([worker.connection for worker in busy], seconds)
            for worker in busy:
                if worker.connection in ready:
                    outcome = worker.take()
                elif self._timeout is not None and time.monotonic() - worker.clock >= self._timeout:
                    outcome = worker.lost(f"stopped: it took more than {self._timeout:g} s")
                else:
                    continue
                if outcome is not None:
                    done.append(outcome)
            self._workers = [worker for worker in self._workers if not worker.ended]
        return done

    def close(self) -> None:
        for worker in self._workers:
            worker.dismiss()
        for worker in self._workers:
            worker.end()
        self._workers = []


class _Worker:
    """One process, and the job that it has."""

    def __init__(
        self,
        context: SpawnContext,
        task: Task | Callable[..., Any],
        place: int,
        device: str | None,
        workers: int,
    ) -> None:
        self.place, self._device = place, device
        self.connection, theirs = context.Pipe()
        self._process: SpawnProcess = context.Process(
            target=_serve, args=(theirs, task, workers), name=f"nasx-worker-{place}"
        )
        self._process.start()
        theirs.close()
        self.job: Job | None = None
        self.clock = math.inf  # when the job began; the time that the process takes to start does not count
        self._ready = self.ended = False
        self._started = time.time()

    def give(self, job: Job) -> None:
        self.job = job if self._device is None else job._replace(device=self._device)
        self._started = time.time()
        if self._ready:
            self.clock = time.monotonic()
        with contextlib.suppress(OSError):  # it died while idle; waiting for it says so
            self.connection.send(self.job)

    def take(self) -> tuple[int, Outcome] | None:
        """Receive what has come: that the process is ready, an outcome, or that it is dead."""
        try:
            message = self.connection.recv()
        except (EOFError, OSError):
            return self.lost(None)
        except Exception as error:  # the message is there, but its objects cannot be made again
            what = f"what the task returned cannot be read in the search's process: {error}"
            message = Outcome(None, what, self._started, time.time() - self._started)
        if message is None:
            self._ready, self.clock, self._started = True, time.monotonic(), time.time()
            return None
        job, self.job, self.clock = self.job, None, math.inf
        assert job is not None
        return job.number, message

    def lost(self, error: str | None) -> tuple[int, Outcome]:
        """Give the worker up, with its job."""
        job, clock = self.job, self.clock
        assert job is not None
        if error is not None:
            self._process.kill()
        self.end()
        code = self._process.exitcode
        if not self._ready:
            raise WorkerError(
                f"a worker process ended before it was ready (exit code {code}); what it wrote is above. In "
                "a script, put the search under: if __name__ == '__main__'. The module that defines the "
                "task must be importable"
            )
        if error is None:
            how = (
                f"was killed by signal {-code}"
                if code is not None and code < 0
                else f"ended with code {code}"
            )
            error = f"the worker process {how}" + (" (out of memory?)" if code == -signal.SIGKILL else "")
        seconds = 0.0 if math.isinf(clock) else time.monotonic() - clock
        return job.number, Outcome(None, error, self._started, seconds)

    def dismiss(self) -> None:
        """Ask the process to end; what it is doing is dropped."""
        try:
            if self.job is None:
                self.connection.send(None)
            else:
                self._process.terminate()
        except OSError:
            pass

    def end(self) -> None:
        self._process.join(_GRACE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self.connection.close()
        self.ended = True


def _serve(connection: Connection, task: Task | Callable[..., Any], workers: int) -> None:
    """Work off jobs until nobody gives any; the life of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the search, which ends its workers
    threads = max(1, len(os.sched_getaffinity(0)) // workers) if hasattr(os, "sched_getaffinity") else 1
    _runtime.set_num_threads(threads)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))  # for what is not loaded yet
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    try:
        connection.send(None)
        while (job := connection.recv()) is not None:
            outcome = run(task, job)
            try:
                connection.send(outcome)
            except OSError:
                raise
            except Exception:
                error = f"the task returned {outcome.value!r}, which cannot be sent back"
                connection.send(outcome._replace(value=None, error=error))
    except (EOFError, OSError):  # the search is gone
        pass


class RayExecutor:
    """Ray's workers as an executor for ``search(executor=...)``.

    Parameters
    ----------
    **options
        Options of the remote function, for example ``num_cpus=2`` or ``num_gpus=0.5``.

    Raises
    ------
    MissingDependencyError
        If ray is not installed.

    Notes
    -----
    ``ray.init`` is yours to call; without it Ray starts on this machine. The task is sent to Ray once.

    Examples
    --------
    >>> executor = RayExecutor(num_cpus=1)  # doctest: +SKIP
    >>> nasx.search(space, task, executor=executor, workers=8, evaluations=100)  # doctest: +SKIP
    """

    def __init__(self, **options: Any) -> None:
        self._ray = require("ray", "RayExecutor", "ray")
        self._options = options
        self._sent: tuple[Any, Any] = (None, None)

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
        """Begin ``function(*arguments)`` on a worker and return its future.

        Parameters
        ----------
        function : callable
            What to run.
        *arguments
            Its arguments; the first is kept on Ray's side as long as it stays the same object.

        Returns
        -------
        concurrent.futures.Future
            The future.
        """
        ray, (first, *rest) = self._ray, arguments
        if self._sent[0] is not first:
            self._sent = first, ray.put(first)
        remote = ray.remote(function)
        if self._options:
            remote = remote.options(**self._options)
        future: Future[Any] = remote.remote(self._sent[1], *rest).future()
        return future
