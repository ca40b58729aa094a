"""`search`: the one loop that asks a strategy, evaluates, tells it, and writes everything down."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import math
import os
import struct
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from nasx import vectorized as matrices
from nasx._interrupts import Interrupts
from nasx._runtime import sync_num_threads
from nasx.architecture import Architecture
from nasx.errors import JournalError, StopSearch, format_exception
from nasx.executors import Evaluator, Executor, Job, Outcome, make_evaluator
from nasx.journal import MOST_REQUESTED, Ask, Journal
from nasx.problem import Costs, OutOfTime, Problem, header
from nasx.progress import Progress
from nasx.registry import get_strategy, strategy_name
from nasx.result import Result, Stopped
from nasx.space import Genotypes, Space
from nasx.strategies.base import Losses, SampledStrategy, Strategy, Violations
from nasx.strategies.multi_fidelity.base import Budgets, MultiFidelityStrategy
from nasx.strategies.supernet import SupernetStrategy
from nasx.tasks.base import Direction, Task
from nasx.trial import Batch, State, Trial
from nasx.weight_sharing import train_supernet

__all__ = ["Callback", "search"]

Callback = Callable[[Result, Trial], None]

# Fractions of evaluations are summed up; this is more than their rounding.
_ROUNDING = 1e-6
# At most so many architectures are asked for before the first of them is evaluated.
_AHEAD = 64


def search(
    space: Space,
    task: Task | Callable[[Architecture], float | Mapping[str, float]],
    *,
    strategy: str | Strategy | type[Strategy] = "nsga2",
    evaluations: int | None = None,
    seconds: float | None = None,
    objectives: Mapping[str, Direction] | None = None,
    costs: Costs | None = None,
    limits: Mapping[str, float] | None = None,
    seed: int = 0,
    initial: Iterable[Mapping[str, Any]] = (),
    workers: int | None = None,
    executor: Executor | None = None,
    timeout: float | None = None,
    vectorized: bool = False,
    batch_size: int = 64,
    device: str | None = None,
    devices: Sequence[str] = (),
    journal: str | os.PathLike[str] | None = None,
    callbacks: Sequence[Callback] = (),
    progress: bool | None = None,
) -> Result:
    """Search for the best architectures of a space.

    Parameters
    ----------
    space : Space
        The architectures.
    task : Task or callable
        What is being learned; or a function of an `Architecture` that returns a number, or a dict of numbers
        by name.
    strategy : str, Strategy or type, default "nsga2"
        The method: a name of `available_strategies`, or an instance with settings. An instance is copied
        and stays as it is.
    evaluations : int, optional
        How many architectures to evaluate in all; those of a resumed run count. An evaluation with a part of
        the budget, by a multi-fidelity strategy, counts as that part. Strategies that train a supernet, such
        as `DARTS`, need no budget: they train for their ``epochs`` and score one architecture.
    seconds : float, optional
        Begin no evaluation after so much time, and wait for those that are out; a resumed run's count.
    objectives : mapping of str to {"minimize", "maximize"}, optional
        Metrics to optimise, the most important first. Needed for a function; a task brings its own.
    costs : mapping or sequence of str, optional
        Metrics known without training, usable in `objectives` and `limits`: names of `nasx.hardware`
        (``["parameters", "latency_ms"]``), or name -> cost or function from genotypes ``(n, d)`` to ``(n,)``.
    limits : mapping of str to float, optional
        Hard upper bounds on metrics. One on a cost is checked before anything is trained.
    seed : int, default 0
        Seeds the strategy and, with the trial's number, every evaluation.
    initial : iterable of mapping, optional
        Architectures to evaluate first, as name -> choice.
    workers : int, optional
        Evaluate so many at once, in processes of their own; by default one, in this process. With
        `executor`, how many it is given at once.
    executor : Executor, optional
        Somebody else's workers: anything with the ``submit`` of `concurrent.futures`, such as
        ``dask_client.get_executor()``, ``mpi4py.futures.MPIPoolExecutor()`` or `nasx.executors.RayExecutor`.
    timeout : float, optional
        Seconds after which an evaluation counts as failed. A process of our own is then killed and
        replaced; what somebody else's executor was given is abandoned, and its time counts from when it was
        given.
    vectorized : bool, default False
        Evaluate whole matrices: the task is a function from genotypes ``(n, d)`` to values ``(n,)`` or to
        name -> values, or has ``evaluate_many(genotypes, *, seed)`` as `nasx.tasks.TabularBenchmark` has.
        For tables and predictors, where millions of evaluations are affordable.
    batch_size : int, default 64
        How many architectures are asked for at once if `vectorized`.
    device : str, optional
        Where a `Task` trains, for example ``"cuda"``; by default the task decides.
    devices : sequence of str, optional
        The same for several workers, which take turns: ``["cuda:0", "cuda:1"]``. By default as many workers
        as devices.
    journal : path-like, optional
        SQLite file that records every proposal and result. If it exists and belongs to the same search, the
        search goes on where that one ended, with the same trials as if it had never stopped. A supernet's
        training goes on from ``<journal>.checkpoint``, which is written after every epoch.
    callbacks : sequence of callable, optional
        Each is called as ``callback(result, trial)`` after every trial; raising `StopSearch` ends the search.
    progress : bool, optional
        Show progress on the standard error stream; by default on a terminal, once two seconds have passed.

    Returns
    -------
    Result
        Also after Ctrl-C, with everything that was finished (``result.stopped == "interrupted"``).

    Raises
    ------
    ValueError
        If an argument is wrong; the message names it.
    JournalError
        If the journal is damaged, in use, or of another search; it is left as it is.
    WorkerError
        If worker processes cannot be started, or the task cannot be sent to them.

    Warns
    -----
    RuntimeWarning
        If every evaluation failed, or a resumed strategy proposes other architectures than before.

    Notes
    -----
    An evaluation that raises, or whose metrics are missing or not finite, becomes a failed trial with its
    traceback, and the search goes on; so does one whose worker dies or takes too long. A strategy is asked
    whenever a worker is free and never waits for the others.

    Worker processes are started anew (``spawn``): the task must be importable from them, and a script needs
    its search under ``if __name__ == "__main__":``.

    Examples
    --------
    >>> import nasx
    >>> space = nasx.Space({"depth": nasx.Integer(1, 8), "op": nasx.Categorical(["conv", "skip"])})
    >>> result = nasx.search(
    ...     space,
    ...     lambda architecture: abs(architecture["depth"] - 5) + (architecture["op"] == "skip"),
    ...     objectives={"error": "minimize"},
    ...     evaluations=16,
    ... )
    >>> dict(result.best.architecture), result.best.metrics
    ({'depth': 5, 'op': 'conv'}, {'error': 0.0})
    """
    method = get_strategy(strategy)
    _check_budget(evaluations, seconds, needed=not isinstance(method, SupernetStrategy))
    seed = _integer("seed", seed)
    if device is not None and devices:
        raise ValueError("give device= or devices=, not both")
    places = tuple(devices) or (device,)
    problem = Problem(space, task, objectives=objectives, costs=costs, limits=limits)
    if isinstance(method, SupernetStrategy):
        if workers is not None or executor is not None or timeout is not None or vectorized or devices:
            raise ValueError(
                f"strategy {strategy_name(method)!r} trains one network in this process: leave workers, "
                "executor, timeout, vectorized and devices out"
            )
        if not isinstance(initial, tuple) or initial:
            raise ValueError(f"strategy {strategy_name(method)!r} learns its architecture: leave initial out")
        return train_supernet(
            problem,
            task,
            method,
            seconds=seconds,
            seed=seed,
            device=device,
            journal=journal,
            callbacks=callbacks,
            progress=progress,
        )
    if not isinstance(method, SampledStrategy | MultiFidelityStrategy):
        raise TypeError(f"strategy {strategy_name(method)!r} is no sampled strategy")
    if isinstance(initial, Mapping):
        raise TypeError("initial must be a list of architectures; put the one you have into a list")
    first = space.encode(list(dict.fromkeys(space.decode(row) for row in space.encode(list(initial)))))
    if not space.satisfies(first).all():
        raise ValueError(
            f"initial: architecture {int(np.argmin(space.satisfies(first)))} breaks a constraint"
        )
    more = {"max_budget": _whole_budget(task)} if isinstance(method, MultiFidelityStrategy) else {}
    method.setup(
        space,
        objectives=len(problem.names),
        seed=seed,
        cost_violation=problem.cost_violation if problem.limited_costs else None,
        **more,
    )
    result = Result(
        space=space,
        objectives=problem.objectives,
        limits=problem.limits,
        strategy=strategy_name(method),
        seed=seed,
    )
    batch = None
    if vectorized:
        if workers is not None or executor is not None or timeout is not None or devices:
            raise ValueError(
                "vectorized=True evaluates in this process: leave workers, executor, timeout out"
            )
        if isinstance(method, MultiFidelityStrategy):
            raise ValueError(
                f"strategy {result.strategy!r} gives budgets, which vectorized=True does not know"
            )
        if _integer("batch_size", batch_size) < 1:
            raise ValueError(f"batch_size must be at least 1; got {batch_size}")
        batch = matrices.whole_matrices(task)
    sync_num_threads()
    with (
        make_evaluator(
            task, workers=workers, executor=executor, timeout=timeout, devices=places
        ) as evaluator,
        Interrupts() as interrupts,
        Progress(result, evaluations=evaluations, seconds=seconds, show=progress) as display,
    ):
        run = _Run(problem, method, result, evaluator, callbacks, interrupts=interrupts, progress=display)
        run.seeded = isinstance(task, Task)
        with contextlib.ExitStack() as stack:
            if journal is not None:
                run.journal = stack.enter_context(Journal(journal))
                run.journal.begin(
                    header(
                        problem,
                        task,
                        result.strategy,
                        method,
                        seed=seed,
                        initial=first,
                        max_budget=run.whole,
                    )
                )
            if batch is None:
                run.go(first, evaluations, seconds, run.evaluate_one_by_one)
            else:
                run.go(first, evaluations, seconds, run.evaluate_batches, batch, batch_size)
            if run.journal is not None:
                run.journal.set_stopped(result.stopped)
    if result.trials and all(trial.state == "failed" for trial in result.trials):
        warnings.warn(f"{result.reason}\n{result.trials[0].error}", RuntimeWarning, stacklevel=2)
    return result


class _Waiting(NamedTuple):
    """A proposal that nobody evaluates yet."""

    genotype: Genotypes
    budget: int | None


class _Running(NamedTuple):
    """A proposal that is being evaluated, and what is known of it without that."""

    architecture: Architecture
    budget: int | None
    fraction: float
    costs: dict[str, float]


class _Run:
    """The state of one search."""

    def __init__(
        self,
        problem: Problem,
        strategy: SampledStrategy | MultiFidelityStrategy,
        result: Result,
        evaluator: Evaluator,
        callbacks: Sequence[Callback],
        *,
        interrupts: Interrupts,
        progress: Progress,
    ) -> None:
        self.problem, self.strategy, self.result = problem, strategy, result
        self.evaluator, self.callbacks = evaluator, callbacks
        self.interrupts, self.progress = interrupts, progress
        self.whole = strategy.budgets[-1] if isinstance(strategy, MultiFidelityStrategy) else None
        self.journal: Journal | None = None
        self.seeded = True  # whether the task takes a seed
        self.asked = 0
        self.spent = self.committed = 0.0  # evaluations that are paid for, and that are out
        # By number: asked and not told.
        self.waiting: dict[int, _Waiting] = {}
        self.running: dict[int, _Running] = {}
        self.untold: list[Trial] = []  # results that the strategy has not heard of yet

    def go(
        self,
        first: Genotypes,
        evaluations: int | None,
        seconds: float | None,
        way: Callable[..., Stopped],
        *more: Any,
    ) -> None:
        """Evaluate until a budget is spent, nothing is left, or somebody stops it."""
        try:
            if self.journal is not None:
                self.resume(self.journal)
            if seconds is not None:
                self.problem.deadline = time.monotonic() + seconds - self.time_spent()
            if len(first) and not self.asked:
                self.take(first, None, requested=0)
            self.result.stopped = way(evaluations, *more)
        except OutOfTime:
            self.result.stopped = "seconds"
        except KeyboardInterrupt:
            self.result.stopped = "interrupted"
        except StopSearch:
            self.result.stopped = "callback"

    def evaluate_batches(
        self, evaluations: int | None, function: Callable[..., Any], batch_size: int
    ) -> Stopped:
        """Evaluate a matrix at a time."""
        while evaluations is None or len(self.result.trials) < evaluations:
            self.problem.check_time()
            left = math.inf if evaluations is None else evaluations - len(self.result.trials)
            if not self.waiting:
                self.tell_all()
                n = int(min(batch_size, left, MOST_REQUESTED))
                if isinstance(self.strategy, SampledStrategy):
                    n = self.strategy.portion(n)
                rows = self.ask(n)[0]
                if not len(rows):
                    return "exhausted"
                self.take(rows, None, requested=n)
            numbers = list(self.waiting)[: int(min(batch_size, left))]
            self.finish_batch(
                matrices.evaluate(
                    function,
                    self.problem,
                    numbers=np.array(numbers),
                    genotypes=self.problem.space.stack([self.waiting[number].genotype for number in numbers]),
                    seed=trial_seed(self.result.seed, numbers[0]),
                )
            )
        return "evaluations"

    def finish_batch(self, batch: Batch) -> None:
        """Write results down, tell the strategy, and let everybody know."""
        with self.interrupts.held:
            if self.journal is not None:
                self.journal.told_many(batch[row] for row in range(len(batch)))
            losses = matrices.losses(self.problem, batch)
            violations = batch.violations if batch.violations.any() else None
            assert isinstance(self.strategy, SampledStrategy)  # search() took care of that
            self.strategy.tell(batch.genotypes, losses, violations=violations)
            self.result.trials.add(batch)
            self.spent += len(batch)
            for number in batch.numbers.tolist():
                del self.waiting[number]
        self.progress.update_many(len(batch), len(batch.errors))
        if self.callbacks:
            for row in range(len(batch)):
                trial = batch[row]
                for callback in self.callbacks:
                    callback(self.result, trial)

    def evaluate_one_by_one(self, evaluations: int | None) -> Stopped:
        """Evaluate one architecture at a time, wherever the evaluator does."""
        while True:
            stopped = self.begin_what_may_begin(evaluations)
            if not self.running:
                return stopped
            for number, outcome in self.evaluator.wait():
                self.finish(self.trial(number, outcome))

    def begin_what_may_begin(self, evaluations: int | None) -> Stopped:
        """Keep everybody busy; returns why no further evaluation begins."""
        while len(self.running) < self.evaluator.capacity:
            if evaluations is not None and self.spent + self.committed > evaluations - _ROUNDING:
                return "evaluations"
            try:
                self.problem.check_time()
                if not self.waiting and not self.ask_ahead(evaluations):
                    return "exhausted"
                self.begin(next(iter(self.waiting)))
            except OutOfTime:
                return "seconds"
        return "running"

    def ask_ahead(self, evaluations: int | None) -> bool:
        """Ask for as many as the strategy would propose anyway; returns whether there are any."""
        self.tell_all()
        n = 1
        if isinstance(self.strategy, SampledStrategy):
            n = min(self.strategy.ahead, _AHEAD)
            if evaluations is not None:
                n = min(n, evaluations - len(self.result.trials) - len(self.running))
        rows, budgets = self.ask(n)
        if len(rows):
            self.take(rows, budgets, requested=n)
        return bool(len(rows))

    def ask(self, n: int) -> tuple[Genotypes, Budgets | None]:
        """Ask the strategy for architectures, with budgets if it is one that sets them."""
        if isinstance(self.strategy, MultiFidelityStrategy):
            return self.strategy.ask(n)
        return self.strategy.ask(n), None

    def take(self, rows: Genotypes, budgets: Budgets | None, *, requested: int) -> None:
        """Give new proposals their numbers and write them down before any is evaluated."""
        if self.journal is not None:
            with self.interrupts.held:
                told = len(self.result.trials)
                position = self.strategy.position
                blob = self.problem.space.to_bytes(rows)
                self.journal.asked(
                    blob, requested=requested, told_before=told, budgets=budgets, position=position
                )
        self.add(rows, budgets)

    def add(self, rows: Genotypes, budgets: Budgets | None) -> None:
        """Put proposals with those that wait."""
        for i, row in enumerate(rows):
            self.waiting[self.asked] = _Waiting(row, self.whole if budgets is None else int(budgets[i]))
            self.asked += 1

    def begin(self, number: int) -> None:
        """Begin an evaluation, or finish it at once if its costs say all."""
        genotype, budget = self.waiting[number]
        architecture = self.problem.space.architecture(genotype, spec=self.problem.spec)
        fraction = 1.0 if budget is None or self.whole is None else budget / self.whole
        costs: dict[str, float] = {}
        outcome = None
        if self.problem.costs:
            started, clock, error = time.time(), time.perf_counter(), None
            try:
                costs = self.problem.metrics_of_costs(genotype)
            except OutOfTime:
                raise
            except Exception:
                error = format_exception()
            # Known to be over a limit is not worth training.
            if error is not None or self.problem.violation(costs) > 0:
                outcome = Outcome(costs, error, started, time.perf_counter() - clock)
        del self.waiting[number]
        self.running[number] = _Running(architecture, budget, fraction, costs)
        self.committed += fraction
        if outcome is not None:
            self.finish(self.trial(number, outcome))
        else:
            seed = trial_seed(self.result.seed, number) if self.seeded else 0
            self.evaluator.submit(Job(number, architecture, seed, budget=budget))

    def trial(self, number: int, outcome: Outcome) -> Trial:
        """Make a trial of what came of an evaluation; whatever is wrong with that ends up in it."""
        if outcome.stop:
            raise StopSearch
        architecture, budget, fraction, metrics = self.running[number]
        state: State = "complete" if fraction == 1 else "partial"
        error = outcome.error
        violation = self.problem.violation(metrics) if metrics else 0.0
        if error is None and violation == 0:
            try:
                metrics = self.problem.check_metrics(outcome.value, metrics)
                violation = self.problem.violation(metrics) if self.problem.limits else 0.0
            except Exception:
                error = format_exception()
        if error is not None:
            state = "failed"
        elif violation > 0:
            state = "infeasible"
        return Trial(
            number=number,
            architecture=architecture,
            state=state,
            metrics=metrics,
            violation=violation,
            error=error,
            started=outcome.started,
            seconds=outcome.seconds,
            budget=budget,
            fraction=fraction,
        )

    def finish(self, trial: Trial) -> None:
        """Write a result down and let everybody know; the strategy hears of it before it is asked again."""
        with self.interrupts.held:
            if self.journal is not None:
                self.journal.told(trial)
            self.result.trials.append(trial)
            self.untold.append(trial)
            self.spent += trial.fraction
            self.committed -= self.running.pop(trial.number).fraction
        self.progress.update(trial)
        for callback in self.callbacks:
            callback(self.result, trial)

    def tell_all(self) -> None:
        """Tell the strategy what it has not heard yet."""
        trials, self.untold = self.untold, []
        if not trials:
            return
        x, losses, violations = self.columns(trials)
        if isinstance(self.strategy, MultiFidelityStrategy):
            budgets = [trial.budget or 0 for trial in trials]
            self.strategy.tell(x, losses, budgets=budgets, violations=violations)
        else:
            self.strategy.tell(x, losses, violations=violations)

    def columns(self, trials: list[Trial]) -> tuple[Genotypes, Losses, Violations | None]:
        """Results as a strategy is told them."""
        x = self.problem.space.stack([trial.genotype for trial in trials])
        losses = np.array([self.losses(trial) for trial in trials])  # NaN where a trial failed
        over = [trial.violation for trial in trials]
        return x, losses, np.array(over) if any(over) else None

    def losses(self, trial: Trial) -> list[float]:
        """Losses as a strategy is told them."""
        if trial.state == "failed":
            return self.problem.no_losses
        try:
            return self.problem.losses(trial.metrics)
        except KeyError:  # infeasible by its cost alone; its violation says how bad it is
            return self.problem.worst_losses

    def time_spent(self) -> float:
        """Seconds that the evaluations of an earlier run took, side by side."""
        return sum(trial.seconds for trial in self.result.trials) / self.evaluator.capacity

    def resume(self, journal: Journal) -> None:
        """Bring the strategy where it was, and take over what was asked and told."""
        problem = self.problem
        if problem.remembers_costs:
            problem.remember_costs(*journal.costs(problem.space, len(problem.costs)))
            problem.on_cost = functools.partial(journal.measured, problem.space)
        asks = journal.asks(problem.space)
        trials = journal.trials(problem.space, problem.spec, asks=asks)
        position = journal.position()
        # What the user gave at first was told in between.
        if position is not None and all(ask.requested for ask in asks):
            told = self.jump(journal, position, asks, trials)
        else:
            told = self.replay(journal, asks, trials)
        self.untold = trials[told:]
        for trial in trials:
            del self.waiting[trial.number]
            self.result.trials.append(trial)
            self.spent += trial.fraction
        self.progress.resumed()
        journal.set_stopped("running")

    def jump(self, journal: Journal, position: Any, asks: list[Ask], trials: list[Trial]) -> int:
        """Give a strategy that has a position all at once; returns how many results it was told."""
        told = asks[-1].told_before
        asked = self.problem.space.join([ask.genotypes for ask in asks])
        x, losses, violations = self.columns(trials[:told])
        try:
            if not isinstance(self.strategy, SampledStrategy):
                raise ValueError(f"{type(self.strategy).__name__} has no position")
            self.strategy.jump(position, asked, x, losses, violations=violations)
        except (ValueError, TypeError, LookupError, ArithmeticError, RuntimeError) as error:
            raise JournalError(f"{journal.path} cannot be resumed: {error}") from None
        self.add(asked, None)
        return told

    def replay(self, journal: Journal, asks: list[Ask], trials: list[Trial]) -> int:
        """Ask and tell in the order in which it was done; returns how many results the strategy was told."""
        space, diverged, told = self.problem.space, 0, 0
        for ask in asks:
            self.untold = trials[told : ask.told_before]
            self.tell_all()
            told = ask.told_before
            if ask.requested:
                rows, budgets = self.ask(ask.requested)
                same = space.to_bytes(rows) == space.to_bytes(ask.genotypes)
                diverged += not (same and _equal(budgets, ask.budgets))
            self.add(ask.genotypes, ask.budgets)
        if diverged:
            warnings.warn(
                f"{journal.path}: {diverged} of its proposals differ from what the strategy proposes now "
                "(another version or machine?); its results are kept, the search goes on from them",
                RuntimeWarning,
                stacklevel=5,  # the caller of search
            )
        return told


def _equal(a: Budgets | None, b: Budgets | None) -> bool:
    return a is b or (a is not None and b is not None and np.array_equal(a, b))


def trial_seed(seed: int, number: int) -> int:
    """Give the seed of one evaluation.

    Parameters
    ----------
    seed : int
        The search's seed.
    number : int
        The trial's number.

    Returns
    -------
    int
        In 0..2**31-1, the same everywhere.

    Examples
    --------
    >>> trial_seed(0, 0) != trial_seed(0, 1)
    True
    """
    digest = hashlib.blake2b(struct.pack("<QQ", seed, number), digest_size=4).digest()
    return int.from_bytes(digest, "little") >> 1


def _check_budget(evaluations: int | None, seconds: float | None, *, needed: bool) -> None:
    if evaluations is None and seconds is None and needed:
        raise ValueError("a search needs a budget: give evaluations= or seconds=")
    if evaluations is not None and _integer("evaluations", evaluations) < 1:
        raise ValueError(f"evaluations must be a positive integer; got {evaluations!r}")
    if seconds is not None and (not isinstance(seconds, int | float | np.number) or not seconds > 0):
        raise ValueError(f"seconds must be a positive number; got {seconds!r}")


def _whole_budget(task: Task | Callable[..., Any]) -> int | None:
    """Largest budget of a task, after checking that it can be given smaller ones."""
    if isinstance(task, Task):
        return task.max_budget
    try:
        inspect.signature(task).bind(None, budget=1)
    except TypeError:
        raise TypeError(
            "a multi-fidelity strategy needs a task that takes a budget: task(architecture, *, budget)"
        ) from None
    except ValueError:  # no signature to look at
        pass
    return None


def _integer(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ValueError(f"{name} must be an integer; got {value!r}")
    return int(value)
