"""The loop of sampled searches: ask a strategy, evaluate, tell it, and write everything down."""

from __future__ import annotations

import functools
import hashlib
import math
import struct
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from nasx import vectorized as matrices
from nasx._interrupts import Interrupts
from nasx.architecture import Architecture
from nasx.errors import JournalError, StopSearch, format_exception
from nasx.executors import Evaluator, Job, Outcome
from nasx.journal import MOST_REQUESTED, Ask, Journal
from nasx.problem import OutOfTime, Problem
from nasx.progress import Progress
from nasx.result import Result, Stopped
from nasx.space import Genotypes
from nasx.strategies.base import Losses, SampledStrategy, Violations
from nasx.strategies.multi_fidelity.base import Budgets, MultiFidelityStrategy
from nasx.trial import Batch, State, Trial, time_taken

__all__ = ["Callback", "SampledRun", "remember_costs", "trial_seed"]

Callback = Callable[[Result, Trial], None]

# Fractions of evaluations are summed up; this is more than their rounding.
_ROUNDING = 1e-6
# At most so many architectures are asked for before the first of them is evaluated.
_AHEAD = 64


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


class SampledRun:
    """The state of one search by a sampled strategy."""

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
        self.replicates = 1
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
            more = tuple(trial_seed(seed, i) if self.seeded else 0 for i in range(1, self.replicates))
            self.evaluator.submit(Job(number, architecture, seed, budget=budget, more_seeds=more))

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
        return time_taken(self.result.trials)

    def resume(self, journal: Journal) -> None:
        """Bring the strategy where it was, and take over what was asked and told."""
        problem = self.problem
        remember_costs(problem, journal)
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


def remember_costs(problem: Problem, journal: Journal) -> None:
    """Decide by the costs that an earlier run has measured, and write down those that are measured now.

    Parameters
    ----------
    problem : Problem
        Whose costs; nothing happens if proposals do not depend on measured ones.
    journal : Journal
        Where they are kept.
    """
    if problem.remembers_costs:
        problem.remember_costs(*journal.costs(problem.space, len(problem.costs)))
        problem.on_cost = functools.partial(journal.measured, problem.space)


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
